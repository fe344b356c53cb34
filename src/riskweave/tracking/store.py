"""The lab's store of runs (MLflow on SQLite), made from the run records; it can be deleted and made again."""

import contextlib
import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from riskweave.errors import DataError
from riskweave.tracking.contents import Contents, of_fold, of_run, of_trial, read_curves, read_evaluation, times_of
from riskweave.tracking.database import ARTIFACTS, DATABASE, init_store, locked, open_store, relocate
from riskweave.tracking.ids import StepRun, write_ids
from riskweave.tracking.record import FoldRecord, RunRecord, fingerprint, read_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["collect", "init_store", "relocate"]

logger = logging.getLogger(__name__)

RECORD = "riskweave.record"
FINGERPRINT = "riskweave.fingerprint"
EVALUATION = "riskweave.evaluation"
PARENT = "mlflow.parentRunId"
STATUS = "status"
CURRENT, SUPERSEDED = "current", "superseded"


@dataclass
class _Stored:
    """What the store knows of a run."""

    run_id: str
    finished: bool
    tags: dict[str, str]


def collect(
    *,
    records: Iterable[Path],
    directory: Path,
    study: str,
    metrics: Mapping[str, Path] | None = None,
    artifacts: Iterable[Path] = (),
    ids: Path | None = None,
) -> dict[str, int]:
    """Bring the store up to date with the run records.

    Each record is a parent run with a child run per fold, and below that one per trial of a search. A record that is
    stored already, by the sha256 of its content, is left alone; a changed one makes a new run, and the older run of the
    same step is tagged with status ``superseded``. What an interrupted call left half-written is deleted and written
    again. One process writes at a time; others wait.

    Parameters
    ----------
    records : iterable of Path
        ``run.json`` of training steps, with ``curves.csv`` next to each where there are curves.
    directory : Path
        Folder of the store; made when missing.
    study : str
        Name of the study: the MLflow experiment.
    metrics : mapping of endpoint to Path, optional
        ``metrics.parquet`` of the evaluation. They become metrics of the experiments' parent runs, and are updated when
        they change.
    artifacts : iterable of Path, optional
        Small files about the study as a whole, such as leaderboards, kept in the run ``evaluation``.
    ids : Path, optional
        CSV file for MLflow's ids of the runs of these records and of their folds (:mod:`riskweave.tracking.ids`).

    Returns
    -------
    dict of str to int
        Number of records ``stored`` now, ``unchanged``, and of older runs ``superseded``.

    Raises
    ------
    DataError
        When a record is unreadable, two describe the same step, one is of another study, or the store cannot be opened.
    """
    loaded = _load(records, study)
    evaluations = {endpoint: read_evaluation(path) for endpoint, path in (metrics or {}).items()}
    directory, counts = Path(directory), {"stored": 0, "unchanged": 0, "superseded": 0}
    runs: list[StepRun] = []
    with locked(directory):
        client = open_store(directory)
        experiment = _experiment(client, directory, study)
        stored = _stored_runs(directory / DATABASE, experiment)
        stored = _without_leftovers(client, stored)
        for key, (path, run) in loaded.items():
            digest = fingerprint(path)
            known = next((one for one in stored if _is(one, key, digest)), None)
            run_id = (
                known.run_id if known else _write_run(client, experiment, path, run, {RECORD: key, FINGERPRINT: digest})
            )
            runs.append(StepRun(run.kind, run.endpoint, run.name, digest, run_id))
            counts["unchanged" if known else "stored"] += 1
            counts["superseded"] += _make_current(client, stored, key, run_id)
            if run.kind == "experiment":
                values = evaluations.get(run.endpoint, {}).get(run.name, {})
                _write_evaluation(client, run_id, known, values)
        if artifacts:
            counts["superseded"] += _write_artifacts(client, experiment, stored, study, list(artifacts))
        if ids is not None:
            write_ids(directory=directory, experiment=experiment, runs=runs, path=ids)
    logger.info(
        "%d runs stored, %d were there already, %d older ones superseded",
        counts["stored"],
        counts["unchanged"],
        counts["superseded"],
    )
    return counts


def _load(records: Iterable[Path], study: str) -> dict[str, tuple[Path, RunRecord]]:
    """Read the records, by the step that each describes."""
    loaded: dict[str, tuple[Path, RunRecord]] = {}
    for path in records:
        run = read_record(path)
        belongs = run.context.get("study", study)
        if belongs != study:
            problem = f"the record is of study {belongs!r}, not of {study!r}"
            raise DataError(str(path), problem, "Collect each study by its own name")
        key = f"{run.kind}/{run.endpoint}/{run.name}"
        if key in loaded:
            problem = f"describes the same step as {loaded[key][0]}: {key}"
            raise DataError(str(path), problem, "Give each record once")
        loaded[key] = (Path(path), run)
    return loaded


def _experiment(client: "MlflowClient", directory: Path, study: str) -> str:
    """Return the id of the study's MLflow experiment, made when missing, restored when deleted in the interface."""
    found = client.get_experiment_by_name(study)
    if found is None:
        return client.create_experiment(study, artifact_location=str(directory.resolve() / ARTIFACTS / study))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _stored_runs(database: Path, experiment: str) -> list[_Stored]:
    """Read the runs of a study that are not deleted: in SQL, since MLflow's search takes 7 ms for each."""
    query = """
        SELECT run.run_uuid, run.status, tag.key, tag.value
        FROM runs AS run JOIN tags AS tag ON tag.run_uuid = run.run_uuid
        WHERE run.experiment_id = ? AND run.lifecycle_stage = 'active' AND tag.key IN (?, ?, ?, ?, ?)
    """
    keys = (RECORD, FINGERPRINT, EVALUATION, PARENT, STATUS)
    found: dict[str, _Stored] = {}
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
        for run_id, status, key, value in connection.execute(query, (int(experiment), *keys)):
            found.setdefault(run_id, _Stored(run_id, status == "FINISHED", {})).tags[key] = value
    return [run for run in found.values() if RECORD in run.tags]


def _is(run: _Stored, key: str, digest: str) -> bool:
    return PARENT not in run.tags and run.tags[RECORD] == key and run.tags.get(FINGERPRINT) == digest


def _without_leftovers(client: "MlflowClient", stored: list[_Stored]) -> list[_Stored]:
    """Delete what a call that was interrupted left: parents that never finished, what is below them or below none."""
    broken = {run.run_id for run in stored if PARENT not in run.tags and not run.finished}
    whole = {run.run_id for run in stored} - broken
    leftovers = [run for run, top in zip(stored, _tops(stored), strict=True) if top not in whole]
    for run in leftovers:
        client.delete_run(run.run_id)
    return [run for run in stored if run not in leftovers]


def _tops(stored: list[_Stored]) -> list[str]:
    """Return for each run the parent that describes its step: a trial's is that of its fold."""
    parents = {run.run_id: run.tags.get(PARENT) for run in stored}
    tops = []
    for run in stored:
        top = run.run_id
        while parents.get(top) is not None:
            top = parents[top]
        tops.append(top)
    return tops


def _make_current(client: "MlflowClient", stored: list[_Stored], key: str, run_id: str) -> int:
    """Tag the run as the current one of its step, the others as superseded; return how many of these are new."""
    superseded = 0
    own = [run for run in stored if run.tags[RECORD] == key]
    for run, top in zip(own, _tops(own), strict=True):
        status = CURRENT if top == run_id else SUPERSEDED
        if run.tags.get(STATUS) != status:
            client.set_tag(run.run_id, STATUS, status)
            superseded += status == SUPERSEDED and PARENT not in run.tags
    return superseded


def _write_run(client: "MlflowClient", experiment: str, path: Path, run: RunRecord, tags: dict[str, str]) -> str:
    """Store a record: the parent, a child per fold, one below it per trial, the files. The parent is finished last."""
    start, end = times_of(run)
    own = {RECORD: tags[RECORD], STATUS: CURRENT}
    parent = _create(client, experiment, start, of_run(run), {**own, **tags})
    curves = read_curves(path)
    known = {fold.fold for fold in run.folds}
    folds = [*run.folds, *(FoldRecord(fold) for fold in sorted(set(curves) - known))]
    for fold in folds:
        child = _create(client, experiment, start, of_fold(run, fold, curves), {**own, PARENT: parent})
        for trial in fold.trials:
            tried = _create(client, experiment, start, of_trial(run, fold, trial), {**own, PARENT: child})
            client.set_terminated(tried, "FINISHED", end_time=start + round(1000 * trial.seconds))
        client.set_terminated(child, "FINISHED", end_time=end)
    _log_data(client, parent, run)
    for file in (path, path.with_name("curves.csv")):
        if file.is_file():
            client.log_artifact(parent, str(file))
    client.set_terminated(parent, "FINISHED", end_time=end)
    return parent


def _create(client: "MlflowClient", experiment: str, start: int, contents: Contents, tags: dict[str, str]) -> str:
    """Create a run and log its contents in as few transactions as MLflow's limits allow."""
    from mlflow.entities import Metric, Param

    run_id = client.create_run(
        experiment, start_time=start, run_name=contents.name, tags={**contents.tags, **tags}
    ).info.run_id
    # A later epoch has a later time, so that the interface draws curves by either.
    metrics = [Metric(key, value, start + step, step) for key, value, step in contents.metrics]
    params = [Param(key, value) for key, value in contents.params.items()]
    for first in range(0, len(params), 100):
        client.log_batch(run_id, params=params[first : first + 100], synchronous=True)
    for first in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[first : first + 1000], synchronous=True)
    return run_id


def _log_data(client: "MlflowClient", run_id: str, run: RunRecord) -> None:
    """Link the run to the data set it was trained on, under our own digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = run.data.get("fingerprint")
    if not digest:
        return
    data = Dataset(
        name=str(run.data.get("source", "cohort")),
        digest=digest[:32],  # MLflow takes at most 36 characters; the tag `data` has all 64
        source_type="local",
        source=json.dumps({"uri": ", ".join(map(str, run.data.get("files") or []))}),
        profile=json.dumps({"fingerprint": digest, "tables": run.data.get("tables", {})}),
    )
    client.log_inputs(run_id, [DatasetInput(data, tags=[InputTag("mlflow.data.context", "training")])])


def _write_evaluation(client: "MlflowClient", run_id: str, known: _Stored | None, values: Mapping[str, float]) -> None:
    """Log the final metrics of an experiment, unless the same are there."""
    from mlflow.entities import Metric, RunTag

    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    if not values or (known is not None and known.tags.get(EVALUATION) == digest):
        return
    now = round(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in values.items()]
    for first in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[first : first + 1000], synchronous=True)
    client.log_batch(run_id, tags=[RunTag(EVALUATION, digest)], synchronous=True)


def _write_artifacts(
    client: "MlflowClient", experiment: str, stored: list[_Stored], study: str, files: list[Path]
) -> int:
    """Store the files about the study as a whole; return how many older runs of them are superseded."""
    if not files:
        return 0
    key, digest = "evaluation", hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0" + hashlib.sha256(Path(file).read_bytes()).digest())
    known = next((run for run in stored if _is(run, key, digest.hexdigest())), None)
    if known is None:
        tags = {"study": study, "kind": key, RECORD: key, FINGERPRINT: digest.hexdigest(), STATUS: CURRENT}
        contents = Contents(name=f"evaluation of {study}", tags=tags)
        run_id = _create(client, experiment, round(time.time() * 1000), contents, {})
        for file in sorted(files):
            # Files of several endpoints share their names: the folder keeps them apart.
            client.log_artifact(run_id, str(file), artifact_path=Path(file).resolve().parent.name)
        client.set_terminated(run_id, "FINISHED")
    else:
        run_id = known.run_id
    return _make_current(client, stored, key, run_id)

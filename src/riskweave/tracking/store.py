"""The lab's store of runs (MLflow's tables), made from the run records; it can be deleted and made again."""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from riskweave.errors import DataError
from riskweave.tracking.contents import Contents, read_evaluation
from riskweave.tracking.database import init_store, locked, open_store, relocate, writing
from riskweave.tracking.ids import StepRun, write_ids
from riskweave.tracking.record import RunRecord, fingerprint, read_record
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.trees import (
    CURRENT,
    EVALUATION,
    FINGERPRINT,
    PARENT,
    RECORD,
    REMOVED,
    STATUS,
    SUPERSEDED,
    Node,
    StoredRun,
    key_of,
    tree_of,
)

__all__ = ["collect", "init_store", "relocate", "set_status"]

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""Records of one transaction: a reader of PostgreSQL or SQLite sees either none or all of it."""


def collect(
    *,
    records: Iterable[Path],
    directory: Path,
    study: str,
    metrics: Mapping[str, Path] | None = None,
    artifacts: Iterable[Path] = (),
    complete: Iterable[str] = (),
    steps: Iterable[str] = (),
    report: Path | None = None,
    ids: Path | None = None,
) -> dict[str, int]:
    """Bring the store up to date with the run records.

    Each record is a parent run with a child run per fold, and below that one per trial of a search. A record that is
    stored already, by the sha256 of its content, is left alone; a changed one makes a new run, and the older run of the
    same step is tagged with status ``superseded``. A record is stored wholly or not at all; what an older version left
    half-written is deleted and written again. One process writes at a time; others wait.

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
    complete : iterable of str, optional
        Kinds of records of which the study has no other steps than those given and `steps`. A step of such a kind that
        only the store holds was taken out of the study: its run gets the status ``removed``.
    steps : iterable of str, optional
        Steps of the study (``kind/endpoint/name``) that may lack a record, such as those that failed.
    report : Path, optional
        The study report, named by the tag ``report`` of each run that is stored now.
    ids : Path, optional
        CSV file for MLflow's ids of the runs of these records and of their folds (:mod:`riskweave.tracking.ids`).

    Returns
    -------
    dict of str to int
        Number of records ``stored`` now, ``unchanged``, and of older runs ``superseded`` and ``removed``.

    Raises
    ------
    DataError
        When a record is unreadable, two describe the same step, one is of another study, or the store cannot be opened.
    """
    loaded = _load(records, study)
    evaluations = {endpoint: read_evaluation(path) for endpoint, path in (metrics or {}).items()}
    tags = {} if report is None else {"report": Path(report).as_posix()}
    with locked(directory), open_store(Path(directory)) as store, writing(directory):
        experiment = store.experiment(study)
        stored = _without_leftovers(store, store.runs(experiment, (FINGERPRINT, EVALUATION, STATUS, "kind", "fold")))
        known = {(run.tags[RECORD], run.tags.get(FINGERPRINT)): run for run in stored if PARENT not in run.tags}
        current, new = {}, []
        for key, (path, run) in loaded.items():
            values = evaluations.get(run.endpoint, {}).get(run.name, {}) if run.kind == "experiment" else {}
            digest = fingerprint(path)
            there = known.get((key, digest))
            if there is None:
                new.append(_with(tree_of(path, run), values, tags))
            else:
                _update_evaluation(store, there, values)
            current[key] = StepRun(run.kind, run.endpoint, run.name, digest, there.run_id if there else new[-1].run_id)
        for first in range(0, len(new), AT_ONCE):
            store.write(experiment, new[first : first + AT_ONCE])
        tops = {key: step.run_id for key, step in current.items()}
        if artifacts:
            tops["evaluation"] = _write_artifacts(store, experiment, known, study, sorted(artifacts))
        counts = {"stored": len(new), "unchanged": len(loaded) - len(new)}
        counts |= set_status(store, stored, tops, (frozenset(complete), frozenset(steps)))
        if ids is not None:
            write_ids(store=store, experiment=experiment, runs=current.values(), path=ids)
    logger.info("runs: %s", ", ".join(f"{number} {what}" for what, number in counts.items()))
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
        key = key_of(run)
        if key in loaded:
            problem = f"describes the same step as {loaded[key][0]}: {key}"
            raise DataError(str(path), problem, "Give each record once")
        loaded[key] = (Path(path), run)
    return loaded


def _with(tree: Node, values: Mapping[str, float], tags: Mapping[str, str]) -> Node:
    """Add to the run of a record its final metrics and further tags."""
    tree.contents.metrics += [(key, value, 0) for key, value in values.items()]
    tree.contents.tags |= tags | ({EVALUATION: _digest(values)} if values else {})
    return tree


def _digest(values: Mapping[str, float]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _update_evaluation(store: SqlStore, run: StoredRun, values: Mapping[str, float]) -> None:
    """Give a run that is stored its final metrics, unless it has the same."""
    if values and run.tags.get(EVALUATION) != _digest(values):
        store.set_metrics(run.run_id, values)
        store.set_tag([run.run_id], EVALUATION, _digest(values))


def _without_leftovers(store: SqlStore, stored: list[StoredRun]) -> list[StoredRun]:
    """Delete what an older version left when it was interrupted: runs that never finished, and what is below none."""
    broken = {run.run_id for run in stored if PARENT not in run.tags and not run.finished}
    whole = {run.run_id for run in stored} - broken
    tops = _tops(stored)
    leftovers = [run.run_id for run in stored if tops[run.run_id] not in whole]
    store.delete(leftovers)
    return [run for run in stored if tops[run.run_id] in whole]


def _tops(stored: Iterable[StoredRun]) -> dict[str, str]:
    """Return for each run the parent that describes its step: a trial's is that of its fold."""
    parents = {run.run_id: run.tags.get(PARENT) for run in stored}
    tops = {}
    for run_id in parents:
        top = run_id
        while parents.get(top) is not None:
            top = parents[top]
        tops[run_id] = top
    return tops


def set_status(
    store: SqlStore,
    stored: list[StoredRun],
    current: Mapping[str, str],
    study: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
) -> dict[str, int]:
    """Tag of the runs of before which are current, superseded and removed; return how many steps changed.

    Parameters
    ----------
    store : SqlStore
    stored : list of StoredRun
        What the store held before.
    current : mapping of str to str
        Id of the current run of each step.
    study : tuple of set of str
        Kinds of which all steps are known; further steps that the study has.
    """
    complete, steps = study
    tops, counts = _tops(stored), {SUPERSEDED: 0, REMOVED: 0}
    changed: dict[str, list[str]] = {}
    for run in stored:
        key, was = run.tags[RECORD], run.tags.get(STATUS)
        if key in current:
            status = CURRENT if tops[run.run_id] == current[key] else SUPERSEDED
        elif run.tags.get("kind") in complete and key not in steps and was == CURRENT:
            status = REMOVED
        else:
            continue
        if was != status:
            changed.setdefault(status, []).append(run.run_id)
            if status in counts and PARENT not in run.tags:
                counts[status] += 1
    for status, run_ids in changed.items():
        store.set_tag(run_ids, STATUS, status)
    return counts


def _write_artifacts(
    store: SqlStore, experiment: str, known: Mapping[tuple[str, str | None], StoredRun], study: str, files: list[Path]
) -> str:
    """Store the files about the study as a whole, unless the same are there; return the id of their run."""
    key, digest = "evaluation", hashlib.sha256()
    for file in files:
        digest.update(str(file).encode() + b"\0" + hashlib.sha256(Path(file).read_bytes()).digest())
    there = known.get((key, digest.hexdigest()))
    if there is not None:
        return there.run_id
    now = round(time.time() * 1000)
    tags = {"study": study, "kind": key, RECORD: key, FINGERPRINT: digest.hexdigest(), STATUS: CURRENT}
    # Files of several endpoints share their names: the folder keeps them apart.
    kept = [(Path(file), Path(file).resolve().parent.name) for file in files]
    node = Node(Contents(name=f"evaluation of {study}", tags=tags), now, now, files=kept)
    store.write(experiment, [node])
    return node.run_id

"""The run record: what a training step leaves behind about itself, as one JSON file next to its results.

Records are written by the jobs and are the source; the MLflow store is made from them and can be deleted at any time.
This module is light: a job that trains does not import mlflow.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from riskweave.errors import DataError
from riskweave.files import write_text
from riskweave.study.raw import digests
from riskweave.tracking.energy import cost_of
from riskweave.tracking.hardware import measuring
from riskweave.tracking.plain import as_counts, as_metrics, plain, with_nan, without_nan
from riskweave.tracking.provenance import data_facts, precision_here, provenance

__all__ = [
    "FORMAT",
    "FoldRecord",
    "RunRecord",
    "TrialRecord",
    "context_of",
    "fingerprint",
    "read_record",
    "read_records",
    "recording",
    "write_record",
]

FORMAT = 1
"""Version of the file format."""

KINDS = ("encoder", "experiment", "final_encoder", "final_experiment", "pretraining")


@dataclass
class TrialRecord:
    """One trial of a search of hyper-parameters: the values tried, and their score on the validation rows.

    Attributes
    ----------
    model : str
        Name of the model whose values were searched.
    trial : int
        Number of the trial in the search, from 0.
    state : str
        ``"complete"``, ``"pruned"`` or ``"failed"``.
    value : float
        Score, higher is better; NaN unless complete.
    seconds : float
        Its duration.
    params : dict
        The values tried.
    """

    model: str
    trial: int
    state: str
    value: float
    seconds: float
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class FoldRecord:
    """What one fold contributed: final metrics, chosen settings, aggregate counts and the trials of its search."""

    fold: int
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    trials: list[TrialRecord] = field(default_factory=list)


@dataclass
class RunRecord:
    """One training step: an experiment or an encoder, with all its folds.

    Attributes
    ----------
    kind : str
        ``"experiment"``, ``"encoder"``, ``"pretraining"`` (of an encoder, without labels); ``"final_..."``: fitted on
        everybody, for a bundle.
    name : str
        Name of the experiment, or of the feature set whose encoder was trained.
    endpoint : str
        What was predicted; empty for a pretraining.
    feature_sets : dict of str to list of str
        Columns of each feature set, in the order used.
    params : dict
        The study's blocks behind the step; plain nested values.
    seed : int
        Seed of the training.
    context : dict
        Who asked for the step: ``study``, ``rule``, ``wildcards``, ``config`` (hash of the study), ...
    data : dict
        Fingerprint of the cohort: source, sha256, files as configured, their date.
    architecture : str
        Summary of the network; empty for models without one.
    metrics : dict of str to float
        Final metrics over all folds, where training knows some.
    folds : list of FoldRecord
        In the order of the folds.
    hardware, provenance : dict
        See `riskweave.tracking.hardware` and `riskweave.tracking.provenance`.
    started : str
        Start, ISO 8601, UTC.
    duration : float
        In seconds.
    format : int
        Version of the file format.
    """

    kind: str
    name: str
    endpoint: str
    feature_sets: dict[str, list[str]]
    params: dict[str, Any]
    seed: int
    context: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    architecture: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    folds: list[FoldRecord] = field(default_factory=list)
    hardware: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    duration: float = 0.0
    format: int = FORMAT

    def add_fold(
        self,
        fold: int,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        counts: Mapping[str, int] | None = None,
        trials: Iterable[TrialRecord] = (),
    ) -> None:
        """Add what one fold contributed.

        Parameters
        ----------
        fold : int
            Number of the fold, 0 and up; each only once.
        metrics : mapping of str to float, optional
            Final metrics of the fold; NaN where one is not defined.
        params : mapping, optional
            What was chosen in this fold, such as a penalty.
        counts : mapping of str to int, optional
            Aggregate counts, such as ``train`` or ``train_events``.
        trials : iterable of TrialRecord, optional
            The trials of the fold's search of hyper-parameters, in their order.

        Raises
        ------
        ValueError
            When the fold is there already, or a value is not aggregate.
        """
        if any(known.fold == fold for known in self.folds):
            raise ValueError(f"fold {fold} is already in the record")
        where = f"fold {fold}"
        self.folds.append(
            FoldRecord(
                fold=int(fold),
                metrics=as_metrics(metrics or {}, where),
                params=plain(dict(params or {}), f"{where}, params"),
                counts=as_counts(counts or {}, where),
                trials=[_checked(trial, where) for trial in trials],
            )
        )

    def average_folds(self) -> None:
        """Set each metric to its mean over the folds that have it.

        A fold lacks a metric that it cannot have, such as the concordance of nobody, or has NaN. Where that leaves
        fewer than all folds, ``<metric>_folds`` tells how many they are.
        """
        for name in dict.fromkeys(name for fold in self.folds for name in fold.metrics):
            values = [fold.metrics.get(name, math.nan) for fold in self.folds]
            known = [value for value in values if not math.isnan(value)]
            self.metrics[name] = sum(known) / len(known) if known else math.nan
            if len(known) < len(values):
                self.metrics[f"{name}_folds"] = float(len(known))


def context_of(*, study: str, rule: str, wildcards: Mapping[str, str], data: Path) -> dict[str, Any]:
    """Make the context of a training step from what its workflow script knows.

    Parameters
    ----------
    study : str
        Name of the study.
    rule : str
        Name of the workflow's rule.
    wildcards : mapping of str to str
        Wildcards of the job.
    data : Path
        ``data.json`` of the cohort.

    Returns
    -------
    dict
        ``study``, ``rule``, ``wildcards`` (sorted) and ``data`` (the content of the file).
    """
    content = json.loads(Path(data).read_text(encoding="utf-8"))
    return {"study": study, "rule": rule, "wildcards": dict(sorted(wildcards.items())), "data": content}


@contextmanager
def recording(
    path: Path,
    *,
    kind: str,
    name: str,
    endpoint: str,
    feature_sets: Mapping[str, Iterable[str]],
    params: Mapping[str, Any],
    seed: int,
    context: Mapping[str, Any],
) -> Iterator[RunRecord]:
    """Measure and describe a training step, and write its record when the step has succeeded.

    Parameters
    ----------
    path : Path
        The record, ``run.json``. Written atomically at the end; nothing is written when the body raises.
    kind : {"encoder", "experiment", "final_encoder", "final_experiment", "pretraining"}
        What is trained.
    name : str
        Name of the experiment, or of the encoder's feature set.
    endpoint : str
        Name of the endpoint.
    feature_sets : mapping of str to iterable of str
        Columns of each feature set. A set whose columns are the raw input of an encoder may list none.
    params : mapping
        Settings, as in the study file; nested mappings and lists of plain values.
    seed : int
        Seed of the training.
    context : mapping
        ``study``, ``rule``, ``wildcards``, ``data`` (the content of ``data.json``) and whatever else the script knows.
        Of ``training`` (`riskweave.tracking.reuse.Training.context`) fingerprint and parts become
        ``provenance["training"]``, with the sha256 of the outputs that the step has written by then, and where it asks
        for mixed precision with the one that it got.

    Yields
    ------
    RunRecord
        To be filled: ``architecture``, ``metrics``, ``add_fold(...)``; more columns of ``feature_sets`` or ``params``
        that only become known during training may be added too.

    Raises
    ------
    ValueError
        When a value could hold rows of subjects: arrays, tables, lists of more than 1,000 values. A record holds
        settings, names and aggregates only.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: allowed are {', '.join(KINDS)}")
    cost_of(0.0)  # a price that is none is told before the training, not after it
    context = dict(context)
    data = context.pop("data", None) or {}
    training = dict(context.pop("training", None) or {})
    outputs = training.pop("outputs", {})
    run = RunRecord(
        kind=kind,
        name=name,
        endpoint=endpoint,
        feature_sets={key: [str(column) for column in columns] for key, columns in feature_sets.items()},
        params=plain(dict(params), "params"),
        seed=int(seed),
        context=plain(context, "context"),
        data=plain(data_facts(data), "data"),
        provenance=provenance() | ({"training": plain(training, "training")} if training else {}),
        started=datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
    )
    start = time.perf_counter()
    with measuring() as hardware:
        yield run
    run.duration = round(time.perf_counter() - start, 3)
    cost = cost_of(run.duration)
    run.hardware = dict(hardware) | ({} if cost is None else {"cost": cost})
    if "precision" in training:
        run.provenance["training"]["precision"] = precision_here(apart=False)
    if outputs:
        made = digests([Path(output) for output in outputs.values()])
        run.provenance["training"]["outputs"] = {name: made[Path(output)] for name, output in outputs.items()}
    write_record(run, path)


def write_record(run: RunRecord, path: Path) -> None:
    """Check a record and write it atomically."""
    path = Path(path)
    content = asdict(run)
    content["metrics"] = as_metrics(run.metrics, "metrics")
    content["params"] = plain(run.params, "params")
    content["folds"] = sorted(content["folds"], key=lambda fold: fold["fold"])
    text = json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n"
    write_text(text, path)


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises
    ------
    DataError
        When the file is not a record of this format.
    """
    path = Path(path)
    remedy = "Delete the file and run the step again, or collect with the riskweave version that wrote it"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(str(path), "there is no such run record", "Run the training step that writes it") from None
    except ValueError:
        raise DataError(str(path), "is not a run record: not valid JSON", remedy) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(str(path), f"is not a run record of format {FORMAT}", remedy)
    try:
        folds = [_fold(fold) for fold in content.pop("folds")]
        run = RunRecord(**{**content, "folds": folds, "metrics": with_nan(content["metrics"])})
    except (KeyError, TypeError):
        raise DataError(str(path), "is not a complete run record: it lacks keys or has unknown ones", remedy) from None
    return run


def read_records(directory: Path) -> dict[Path, RunRecord]:
    """Read all records (``run.json``) below a folder, sorted by path."""
    return {path: read_record(path) for path in sorted(Path(directory).rglob("run.json"))}


def fingerprint(path: Path) -> str:
    """Return the sha256 of a record and of the training curves next to it."""
    digest = hashlib.sha256(Path(path).read_bytes())
    curves = Path(path).with_name("curves.csv")
    if curves.is_file():
        digest.update(curves.read_bytes())
    return digest.hexdigest()


def _checked(trial: TrialRecord, where: str) -> TrialRecord:
    """Return a trial with plain values."""
    where = f"{where}, trial {trial.trial}"
    values = as_metrics({"value": trial.value, "seconds": trial.seconds}, where)
    return replace(trial, trial=int(trial.trial), params=plain(dict(trial.params), f"{where}, params"), **values)


def _fold(content: Mapping[str, Any]) -> FoldRecord:
    """Return what a record says of a fold; one of before there were searches says nothing of trials."""
    trials = [TrialRecord(**{**trial, **with_nan({"value": trial["value"]})}) for trial in content.get("trials", [])]
    return FoldRecord(**{**content, "metrics": with_nan(content["metrics"]), "trials": trials})

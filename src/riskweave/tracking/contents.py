"""From a run record to what MLflow shows of it: parameters, tags, metrics. No mlflow here."""

import csv
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from riskweave.errors import DataError
from riskweave.parquet import read_frame
from riskweave.tracking.earlier import TAGS
from riskweave.tracking.record import FoldRecord, RunRecord, TrialRecord

__all__ = [
    "LONGEST_PARAM",
    "Contents",
    "Curves",
    "flatten",
    "of_fold",
    "of_run",
    "of_trial",
    "read_curves",
    "read_evaluation",
    "times_of",
]

LONGEST_KEY = 250
LONGEST_PARAM = 500
"""Longer values are told by their sha256; an artifact holds them, the record unless told otherwise."""
RECORD = "run.json"
LONGEST_NOTE = 6000

Curves = dict[int, list[tuple[str, int, float]]]
"""Of each fold: metric, epoch, value."""


@dataclass
class Contents:
    """What one run of MLflow holds. Metrics are (key, value, step)."""

    name: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)


def flatten(values: Mapping[str, Any], prefix: str = "", *, whole: str = RECORD) -> dict[str, str]:
    """Flatten nested settings to ``block.key`` and text.

    A text that is too long for MLflow is told by its sha256 and by the artifact that holds it (`whole`).

    Examples
    --------
    >>> flatten({"model": {"kind": "cox", "penalty": [0.1, 1.0]}})
    {'model.kind': 'cox', 'model.penalty': '[0.1,1.0]'}
    """
    flat = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.", whole=whole)
        else:
            flat[_key(name)] = _short(_text(value), whole)
    return flat


def of_run(run: RunRecord) -> Contents:
    """Return the contents of the parent run of a record."""
    hardware, gpus = run.hardware, run.hardware.get("gpus", [])
    columns = {name: json.dumps(columns) for name, columns in run.feature_sets.items()}
    params = {
        "seed": str(run.seed),
        "folds": str(len(run.folds)),
        "feature_sets": "+".join(run.feature_sets),
        **{f"columns.{name}": str(len(columns)) for name, columns in run.feature_sets.items()},
        "hardware.cpu": _text(hardware.get("cpu_model", "")),
        "hardware.cpus": _text(hardware.get("cpus", "")),
        "hardware.gpu": ", ".join(gpu["name"] for gpu in gpus) or "none",
        **flatten(run.params),
    }
    tags = {
        **_tags_of_both(run),
        "wildcards": _short(_text(run.context.get("wildcards", {}))),
        **{f"columns.{name}": hashlib.sha256(text.encode()).hexdigest() for name, text in columns.items()},
        **_provenance_tags(run.provenance),
        "mlflow.note.content": _note(run),
    }
    metrics = {f"training.{key}": value for key, value in run.metrics.items()}
    metrics |= {"duration": run.duration} | _hardware_metrics(hardware)
    return Contents(
        name=f"{run.name} ({run.endpoint or run.kind})",
        params={_key(key): _short(value) for key, value in params.items()},
        tags={_key(key): value for key, value in tags.items() if value != ""},
        metrics=[(_key(key), float(value), 0) for key, value in metrics.items()],
    )


def of_fold(run: RunRecord, fold: FoldRecord, curves: Curves) -> Contents:
    """Return the contents of the child run of a fold: its curves, final metrics, counts and chosen settings."""
    history = [(_key(metric), value, epoch) for metric, epoch, value in curves.get(fold.fold, [])]
    drawn = {metric for metric, _, _ in history}
    final = {_key(key): value for key, value in fold.metrics.items()}
    final = {f"final.{key}" if key in drawn else key: value for key, value in final.items()}
    final |= {_key(f"count.{key}"): value for key, value in fold.counts.items()}
    return Contents(
        name=f"{run.name} ({run.endpoint or run.kind}), fold {fold.fold}",
        params={**flatten(fold.params), "fold": str(fold.fold)},
        tags={**_tags_of_both(run), "fold": str(fold.fold)},
        metrics=history + [(key, float(value), 0) for key, value in final.items()],
    )


def of_trial(run: RunRecord, fold: FoldRecord, trial: TrialRecord) -> Contents:
    """Return the contents of the child run of a trial in a fold's search of hyper-parameters."""
    values = {"score": trial.value, "duration": trial.seconds}
    return Contents(
        name=f"{run.name} ({run.endpoint or run.kind}), fold {fold.fold}, {trial.model}, trial {trial.trial}",
        params={**flatten(trial.params), "fold": str(fold.fold), "trial": str(trial.trial), "model": trial.model},
        tags={**_tags_of_both(run), "fold": str(fold.fold), "trial": str(trial.trial), "trial.state": trial.state},
        metrics=[(key, float(value), 0) for key, value in values.items() if not math.isnan(value)],
    )


def times_of(run: RunRecord) -> tuple[int, int]:
    """Return start and end of a run in milliseconds since 1970."""
    start = round(datetime.fromisoformat(run.started).timestamp() * 1000)
    return start, start + round(run.duration * 1000)


def read_curves(record: Path) -> Curves:
    """Read the training curves next to a record: ``curves.csv`` with fold, epoch, metric, value; empty when absent.

    Raises
    ------
    DataError
        When a column is missing or a value is no number.
    """
    path = Path(record).with_name("curves.csv")
    curves: Curves = {}
    if not path.is_file():
        return curves
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                value = float(row["value"] or math.nan)
                curves.setdefault(int(row["fold"]), []).append((row["metric"], int(float(row["epoch"])), value))
        except (KeyError, TypeError, ValueError):
            raise DataError(
                str(path),
                f"line {reader.line_num} is not fold, epoch, metric, value",
                "Delete the file and run the training step again",
            ) from None
    return curves


def read_evaluation(path: Path) -> dict[str, dict[str, float]]:
    """Read the final metrics of each experiment on all subjects, with their intervals.

    Parameters
    ----------
    path : Path
        ``metrics.parquet`` of an endpoint.

    Returns
    -------
    dict
        Of each experiment: ``<metric>[_<horizon in days>]`` and the same with ``_lower`` and ``_upper``.
    """
    import pandas as pd  # here, since jobs that only record stay light

    try:
        table = read_frame(path)
        table = table[table["group"].isna() | table["group"].isin(["", "all", "overall"])]
        rows = list(table[["experiment", "metric", "horizon", "estimate", "lower", "upper"]].itertuples(index=False))
    except (OSError, ValueError, KeyError) as error:
        problem = f"is not a table of metrics: {type(error).__name__}"
        raise DataError(str(path), problem, "Run the evaluation of the endpoint again") from None
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        key = row.metric if pd.isna(row.horizon) else f"{row.metric}_{int(row.horizon)}"
        values = found.setdefault(row.experiment, {})
        for suffix, value in (("", row.estimate), ("_lower", row.lower), ("_upper", row.upper)):
            if not pd.isna(value):
                values[_key(f"{key}{suffix}")] = float(value)
    return found


def _tags_of_both(run: RunRecord) -> dict[str, str]:
    """Return the tags by which parents and children are found."""
    context, data = run.context, run.data
    tags = {
        "experiment" if run.kind.endswith("experiment") else "feature_set": run.name,
        "study": _text(context.get("study", "")),
        "kind": run.kind,
        "endpoint": run.endpoint,
        "feature_sets": "+".join(run.feature_sets),
        "rule": _text(context.get("rule", "")),
        "data": _text(data.get("fingerprint", "")),
        "data.source": _text(data.get("source", "")),
        "data.modified": _text(data.get("modified", "")),
        "data.files": _short(_text(data.get("files", ""))),
        "mlflow.user": _text(run.provenance.get("user", "")),
        "mlflow.source.name": _text(context.get("rule", "riskweave")),
        "mlflow.source.type": "JOB",
        "mlflow.source.git.commit": _text(run.provenance.get("git", {}).get("commit") or ""),
    }
    return {key: value for key, value in tags.items() if value != ""}


def _provenance_tags(provenance: Mapping[str, Any]) -> dict[str, str]:
    git, training, reused = (provenance.get(key, {}) for key in ("git", "training", "reused"))
    return {
        # By these a training that would repeat this one finds it, superseded or not.
        **{tag: training[part] for part, tag in TAGS.items() if training.get(part)},
        **{f"reused.{key}": reused[key] for key in ("from", "by", "at") if key in reused},
        **{f"git.{key}": _text(git[key]) for key in ("commit", "dirty", "diff") if git.get(key) is not None},
        **{key: _text(provenance[key]) for key in ("code", "python", "platform", "host", "user") if key in provenance},
        **{f"package.{name}": version for name, version in provenance.get("packages", {}).items()},
    }


def _hardware_metrics(hardware: Mapping[str, Any]) -> dict[str, float]:
    keys = ("cpu_percent_mean", "cpu_percent_peak", "memory_total", "memory_peak", "threads_peak", "torch_threads")
    keys += ("cpu_energy", "cost")
    metrics = {f"hardware.{key}": hardware[key] for key in keys if key in hardware}
    for number, gpu in enumerate(hardware.get("gpus", [])):
        metrics |= {f"hardware.gpu{number}.{key}": value for key, value in gpu.items() if key != "name"}
    return metrics


def _note(run: RunRecord) -> str:
    """Return the architecture for the page of the run; the record among the artifacts holds all of it."""
    if not run.architecture:
        return ""
    text = run.architecture
    if len(text) > LONGEST_NOTE:
        text = f"{text[:LONGEST_NOTE]}\n... (continues in run.json)"
    return f"```\n{text}\n```"


def _key(name: str) -> str:
    """Return a name that MLflow takes as a key."""
    return re.sub(r"[^\w.\- :]", "_", name)[:LONGEST_KEY]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _short(text: str, whole: str = RECORD) -> str:
    if len(text) <= LONGEST_PARAM:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()} ({len(text)} characters, see {whole})"

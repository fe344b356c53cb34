"""What the training of an experiment leaves: predictions and models of all folds, curves and trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.cohort.tables import ROLES
from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.fusion.registry import FusedModel
from riskweave.survival.design import Design
from riskweave.survival.predictions import prediction_frame, write_predictions
from riskweave.survival.registry import Preprocessing
from riskweave.survival.roles import concordance
from riskweave.survival.sets import StoredSet
from riskweave.survival.stored_models import store_models
from riskweave.survival.tuning import Tuned, write_trials
from riskweave.tracking.record import RunRecord

__all__ = ["MEASURED", "MODELS_FORMAT", "FoldResult", "Rows", "Task", "add_folds", "flat", "result_of", "write_results"]

MODELS_FORMAT = 4
"""Version of models.zip."""

MEASURED = ("validation_harrell_c", "test_harrell_c")
"""Metrics of a fold whose mean over the folds the run record holds."""


@dataclass(frozen=True)
class Rows:
    """The rows of one role in a fold: what is known of them, and what happened to them."""

    design: Design
    time: np.ndarray
    event: np.ndarray

    @classmethod
    def of(cls, design: Design, outcomes: pd.DataFrame) -> "Rows":
        """Return the rows of a design with their outcomes, a table indexed by subject_id."""
        rows = outcomes.loc[design.subjects]
        return cls(design, rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=int))


@dataclass(frozen=True)
class Task:
    """What is predicted: the experiment, for one endpoint.

    Attributes
    ----------
    experiment : mapping
        ``name``, ``endpoint``, ``feature_sets``, ``fusion`` and ``model`` (names).
    times : list of int
        Days at which risks are predicted, increasing; the last is the last horizon.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`.
    """

    experiment: Mapping[str, Any]
    times: list[int]
    causes: int

    @property
    def endpoint(self) -> str:
        """Name of the endpoint."""
        return self.experiment["endpoint"]


@dataclass(frozen=True)
class FoldResult:
    """What one fold gives.

    Attributes
    ----------
    predictions : DataFrame or None
        Of the test rows; None where there are none.
    fitted_on : str
        Digest of the subjects that everything was fitted on; see `riskweave.survival.fits`.
    """

    predictions: pd.DataFrame | None
    preprocessing: Preprocessing
    fused: FusedModel
    tuned: Tuned
    metrics: dict[str, float]
    counts: dict[str, int]
    fitted_on: str


def result_of(
    task: Task,
    fold: int,
    rows: Mapping[str, Rows],
    *,
    preprocessing: Preprocessing,
    fused: FusedModel,
    tuned: Tuned,
    fitted_on: str,
) -> FoldResult:
    """Predict the test rows of a fold by its fitted model, and measure what the run record tells.

    Raises
    ------
    DataError
        When a prediction is no finite number.
    """
    test, validation = rows["test"], rows["validation"]
    last = np.asarray(fused.predict(validation.design, task.times[-1:]), dtype=np.float64)[:, 0, -1]
    metrics = {"validation_harrell_c": concordance(time=validation.time, event=validation.event, risk=last)}
    predictions = None
    if len(test.design):
        predictions, risk = _predictions(task, fold, test.design, fused)
        metrics["test_harrell_c"] = concordance(time=test.time, event=test.event, risk=risk)
    else:
        metrics["test_harrell_c"] = float("nan")
    metrics |= getattr(fused, "metrics", {})
    counts = {"columns": len(preprocessing.columns_)}
    for role in ROLES:
        counts[f"{role}_subjects"] = len(rows[role].design)
        counts |= {f"{role}_events_cause_{k}": int((rows[role].event == k).sum()) for k in range(1, task.causes + 1)}
        if hasattr(fused, "counts") and len(rows[role].design):
            counts |= {f"{role}_{what}": number for what, number in fused.counts(rows[role].design).items()}
    return FoldResult(predictions, preprocessing, fused, tuned, metrics, counts, fitted_on)


def _predictions(task: Task, fold: int, design: Design, fused: FusedModel) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the prediction table of test rows, and their risk of the target at the last time."""
    risks = np.asarray(fused.predict(design, task.times), dtype=np.float64)
    lost = int((~np.isfinite(risks)).any(axis=(1, 2)).sum())
    if lost:
        problem = f"{lost} of {len(risks)} predictions are no finite numbers: the training diverged"
        raise DataError(f"model {task.experiment['model']}", problem, "Lower its learning rate, or raise its penalty")
    table = prediction_frame(
        subjects=design.subjects,
        experiment=task.experiment["name"],
        endpoint=task.endpoint,
        fold=fold,
        modalities=design.patterns(),
        linear_predictor=fused.linear_predictor(design),
        risks=risks,
        times=task.times,
    )
    return table, risks[:, 0, -1]


def add_folds(run: RunRecord, results: Mapping[int, FoldResult], *, trials: bool = True) -> None:
    """Tell the run record what the folds gave, with or without the trials of their searches, and their mean metrics."""
    for fold, result in results.items():
        run.architecture = result.fused.architecture
        chosen = {**result.tuned.params, **getattr(result.fused, "params", {})}
        if getattr(result.fused, "best_epoch", None) is not None:
            chosen["best_epoch"] = result.fused.best_epoch
        tried = result.tuned.trials if trials else ()
        run.add_fold(fold, metrics=result.metrics, params=chosen, counts=result.counts, trials=tried)
    for metric in MEASURED:
        run.metrics[metric] = float(np.mean([result.metrics[metric] for result in results.values()]))


def write_results(
    task: Task,
    sets: list[StoredSet],
    results: Mapping[int, FoldResult],
    *,
    predictions: Path | None,
    models: Path,
    curves: Path,
    trials: Path,
) -> None:
    """Write models and preprocessing of all folds, curves and trials, and the prediction table where there is one."""
    if predictions is not None:
        write_predictions(
            pd.concat([result.predictions for result in results.values()], ignore_index=True), predictions
        )
    content = {
        "format": MODELS_FORMAT,
        "experiment": {**task.experiment, "feature_sets": list(task.experiment["feature_sets"])},
        "times": task.times,
        "causes": task.causes,
        "feature_sets": {feature_set.name: feature_set.columns for feature_set in sets},
        "folds": {
            fold: {
                "preprocessing": result.preprocessing,
                "model": result.fused,
                "columns": result.preprocessing.columns_,
                "fitted_on": result.fitted_on,
            }
            for fold, result in results.items()
        },
    }
    store_models(content, models)
    frames = [result.fused.curves.assign(fold=fold) for fold, result in results.items()]
    table = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    with replacing(curves) as (partial,):
        table[["fold", "epoch", "metric", "value"]].to_csv(partial, index=False)
    write_trials({fold: result.tuned for fold, result in results.items()}, trials)


def flat(block: Mapping[str, Any], stem: str = "") -> dict[str, Any]:
    """Return nested settings as ``{"training.epochs": 20, ...}``."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        found |= flat(value, f"{stem}{key}.") if isinstance(value, Mapping) else {f"{stem}{key}": value}
    return found

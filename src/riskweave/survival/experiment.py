"""Train one experiment: all folds in one job, out-of-fold predictions for every subject at risk."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from riskweave.cohort.tables import FOLDS, OUTCOMES, ROLES, read_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, read_features, read_sparse
from riskweave.modalities.sparse import SparseColumn
from riskweave.study.models import Model
from riskweave.survival.fits import check_fits, digest_of
from riskweave.survival.null import NullModel
from riskweave.survival.predictions import prediction_frame, write_predictions
from riskweave.survival.preprocessing import EarlyFusion, FeatureTable
from riskweave.survival.registry import Estimator, build_estimator
from riskweave.survival.roles import Roles, check_events, concordance, roles_at_risk
from riskweave.tracking.record import recording

__all__ = ["MODELS_FORMAT", "train_experiment"]

logger = logging.getLogger(__name__)

MODELS_FORMAT = 1
"""Version of models.joblib."""


@dataclass(frozen=True)
class _Set:
    """A feature set as stored: its table with sparse histories, and the embeddings of all folds where it has some."""

    name: str
    table: pd.DataFrame
    sparse: dict[str, SparseColumn]
    table_columns: list[Column]
    embeddings: pd.DataFrame | None
    embedding_columns: list[Column]

    @property
    def columns(self) -> list[Column]:
        return [*self.table_columns, *self.embedding_columns]

    def of_fold(self, fold: int) -> FeatureTable:
        """Return the features in one fold: embeddings come from the encoder that was trained in it."""
        values = self.table
        if self.embeddings is not None:
            embedded = self.embeddings[self.embeddings["fold"] == fold].drop(columns="fold").set_index("subject_id")
            values = values.join(embedded, how="outer")
        modality = self.columns[0].modality if self.columns else self.name
        categorical = tuple(column.name for column in self.columns if column.kind == "categorical")
        return FeatureTable(
            name=self.name, modality=modality, frame=values, categorical=categorical, sparse=self.sparse
        )


def _read_set(name: str, table: Path, embeddings: Path | None) -> _Set:
    values, columns = read_features(Path(table))
    sparse, sparse_columns = read_sparse(Path(table))
    columns += sparse_columns
    embedded, embedding_columns = (None, []) if embeddings is None else read_features(Path(embeddings))
    twice = sorted({column.name for column in columns} & {column.name for column in embedding_columns})
    if twice:
        raise DataError(
            f"{table} and {embeddings}",
            f"{len(twice)} columns are in both: {', '.join(twice)}",
            "Columns of a feature set need different names",
        )
    return _Set(name, values.set_index("subject_id"), sparse, columns, embedded, embedding_columns)


@dataclass(frozen=True)
class _Job:
    """What all folds of an experiment share."""

    experiment: Mapping[str, Any]
    model: Model
    sets: list[_Set]
    outcomes: pd.DataFrame
    times: list[int]
    seed: int
    threads: int

    @property
    def causes(self) -> int:
        return max(1, int(self.outcomes["event"].max()))


@dataclass(frozen=True)
class _Fold:
    """What one fold gives."""

    predictions: pd.DataFrame
    fusion: EarlyFusion
    estimator: Estimator
    metrics: dict[str, float]
    counts: dict[str, int]
    fitted_on: str


def _check_encoders(sets: list[_Set], embeddings: Mapping[str, Path], roles: Roles) -> None:
    """Refuse embeddings of encoders that were fitted on other rows than their fold's training rows (DataError)."""
    for feature_set in sets:
        if feature_set.embeddings is not None:
            check_fits(
                embeddings=Path(embeddings[feature_set.name]),
                feature_set=feature_set.name,
                present={
                    int(fold): pd.Index(rows, dtype=object)
                    for fold, rows in feature_set.embeddings.groupby("fold")["subject_id"]
                },
                train={fold: subjects["train"] for fold, subjects in roles.items()},
            )


def _train_fold(job: _Job, fold: int, subjects: Mapping[str, pd.Index]) -> _Fold:
    """Fit the preprocessing and the model on the training rows of a fold, and predict its test rows."""
    tables = [feature_set.of_fold(fold) for feature_set in job.sets]
    fusion = EarlyFusion().fit(tables, subjects["train"])
    x = {role: fusion.transform(tables, subjects[role]).to_numpy() for role in ROLES}
    rows = {role: job.outcomes.loc[subjects[role]] for role in ROLES}
    time = {role: rows[role]["time"].to_numpy(dtype=float) for role in ROLES}
    event = {role: rows[role]["event"].to_numpy(dtype=int) for role in ROLES}
    estimator = (
        build_estimator(
            model=job.model, causes=job.causes, seed=job.seed + fold, threads=job.threads, columns=fusion.columns_
        )
        if fusion.columns_
        else NullModel(causes=job.causes)
    )
    estimator.fit(x["train"], time["train"], event["train"], x["validation"], time["validation"], event["validation"])
    risks = np.asarray(estimator.predict(x["test"], job.times), dtype=np.float64)
    lost = int((~np.isfinite(risks)).any(axis=(1, 2)).sum())
    if lost:
        problem = f"{lost} of {len(risks)} predictions are no finite numbers: the training diverged"
        raise DataError(f"model {job.experiment['model']}", problem, "Lower its learning rate, or raise its penalty")
    predictions = prediction_frame(
        subjects=subjects["test"],
        experiment=job.experiment["name"],
        endpoint=job.experiment["endpoint"],
        fold=fold,
        linear_predictor=estimator.linear_predictor(x["test"]),
        risks=risks,
        times=job.times,
    )
    validation = np.asarray(estimator.predict(x["validation"], job.times[-1:]), dtype=np.float64)[:, 0, -1]
    metrics = {
        "validation_harrell_c": concordance(time=time["validation"], event=event["validation"], risk=validation),
        "test_harrell_c": concordance(time=time["test"], event=event["test"], risk=risks[:, 0, -1]),
        **getattr(estimator, "metrics", {}),
    }
    counts = {"columns": len(fusion.columns_)}
    for role in ROLES:
        counts[f"{role}_subjects"] = len(subjects[role])
        counts |= {f"{role}_events_cause_{k}": int((event[role] == k).sum()) for k in range(1, job.causes + 1)}
    return _Fold(predictions, fusion, estimator, metrics, counts, digest_of(subjects["train"]))


def train_experiment(
    *,
    experiment: Mapping[str, Any],
    model: Model,
    tables: Mapping[str, Path],
    embeddings: Mapping[str, Path],
    outcomes: Path,
    folds: Path,
    times: list[int],
    seed: int,
    threads: int,
    predictions: Path,
    models: Path,
    record: Path,
    curves: Path,
    context: Mapping[str, Any],
) -> None:
    """Train one experiment on all folds and write its out-of-fold predictions.

    In each fold everything learnt (imputation, scaling, categories, penalty, model) comes from the fold's training
    rows, with validation rows for penalties and early stopping; every subject at risk is predicted once, by the fold in
    whose test rows it is, whatever modalities it lacks.

    Parameters
    ----------
    experiment : mapping
        ``name``, ``endpoint``, ``feature_sets`` (names in order), ``fusion`` (``early``) and ``model`` (its name).
    model : Model
        Block of the study.
    tables : mapping of feature set to path
        Feature tables.
    embeddings : mapping of feature set to path
        Tables of embeddings, for the sets that have an encoder.
    outcomes, folds : path
        Tables of the endpoint's outcomes and of the division.
    times : list of int
        Days at which risks are predicted, increasing; the last is the last horizon.
    seed : int
        Seed of the experiment; fold k uses ``seed + k``.
    threads : int
        Threads of numerical libraries and forests.
    predictions, models, record, curves : path
        Files to write: prediction table; fitted models and preprocessing of all folds (joblib, a dictionary with its
        format version; each fold with a digest of its training rows, see `riskweave.survival.fits`); run record;
        training curves (CSV: fold, epoch, metric, value).
    context : mapping
        What the record tells about the study and the rule.

    Raises
    ------
    DataError
        When a fold has no target event in its training rows, subjects at risk are not tested exactly once, an encoder
        was fitted on rows outside the training rows of its fold, no column varies, or no penalty converges.
    StudyError
        When the model's optional package is not installed.
    """
    sets = [_read_set(name, tables[name], embeddings.get(name)) for name in experiment["feature_sets"]]
    rows = read_table(outcomes, OUTCOMES).set_index("subject_id")
    roles = roles_at_risk(folds=read_table(folds, FOLDS), outcomes=rows, where=str(folds))
    check_events(roles=roles, outcomes=rows, endpoint=experiment["endpoint"])
    _check_encoders(sets, embeddings, roles)
    job = _Job(experiment, model, sets, rows, sorted(times), seed, threads)
    params = {"fusion": experiment["fusion"], "model": experiment["model"], **_flat(model.model_dump(mode="json"))}
    columns = {feature_set.name: [column.name for column in feature_set.columns] for feature_set in sets}
    results: dict[int, _Fold] = {}
    with (
        threadpool_limits(limits=threads),
        recording(
            record,
            kind="experiment",
            name=experiment["name"],
            endpoint=experiment["endpoint"],
            feature_sets=columns,
            params=params,
            seed=seed,
            context=context,
        ) as run,
    ):
        for fold, subjects in roles.items():
            try:
                result = results[fold] = _train_fold(job, fold, subjects)
            except DataError as error:
                where = (
                    f"endpoint {experiment['endpoint']}, experiment {experiment['name']}, fold {fold}, {error.where}"
                )
                raise DataError(where, error.problem, error.remedy) from error
            run.architecture = result.estimator.architecture
            chosen = {**getattr(result.estimator, "params", {})}
            if hasattr(result.estimator, "best_epoch"):
                chosen["best_epoch"] = result.estimator.best_epoch
            run.add_fold(fold, metrics=result.metrics, params=chosen, counts=result.counts)
            logger.info(
                "%s, %s: fold %d (%d of %d): %d training subjects, %d columns, concordance validation %.3f, test %.3f",
                experiment["endpoint"],
                experiment["name"],
                fold,
                len(results),
                len(roles),
                result.counts["train_subjects"],
                result.counts["columns"],
                result.metrics["validation_harrell_c"],
                result.metrics["test_harrell_c"],
            )
        for metric in ("validation_harrell_c", "test_harrell_c"):
            run.metrics[metric] = float(np.mean([result.metrics[metric] for result in results.values()]))
        _write(job, results, predictions=predictions, models=models, curves=curves)


def _flat(block: Mapping[str, Any], stem: str = "") -> dict[str, Any]:
    """Return nested settings as ``{"training.epochs": 20, ...}``."""
    flat: dict[str, Any] = {}
    for key, value in block.items():
        flat |= _flat(value, f"{stem}{key}.") if isinstance(value, Mapping) else {f"{stem}{key}": value}
    return flat


def _write(job: _Job, results: Mapping[int, _Fold], *, predictions: Path, models: Path, curves: Path) -> None:
    write_predictions(pd.concat([result.predictions for result in results.values()], ignore_index=True), predictions)
    Path(models).parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": MODELS_FORMAT,
        "experiment": {**job.experiment, "feature_sets": list(job.experiment["feature_sets"])},
        "times": job.times,
        "causes": job.causes,
        "feature_sets": {feature_set.name: feature_set.columns for feature_set in job.sets},
        "folds": {
            fold: {
                "preprocessing": result.fusion,
                "model": result.estimator,
                "columns": result.fusion.columns_,
                "fitted_on": result.fitted_on,
            }
            for fold, result in results.items()
        },
    }
    joblib.dump(content, models, compress=3)
    frames = [result.estimator.curves.assign(fold=fold) for fold, result in results.items()]
    table = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    Path(curves).parent.mkdir(parents=True, exist_ok=True)
    table[["fold", "epoch", "metric", "value"]].to_csv(curves, index=False)

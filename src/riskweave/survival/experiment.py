"""Train one experiment: all folds in one job, out-of-fold predictions for every subject at risk."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from riskweave.cohort.tables import FINAL, FOLDS, OUTCOMES, ROLES, read_table
from riskweave.errors import DataError
from riskweave.fusion.registry import FusedModel, build_fusion
from riskweave.study.fusions import BUILT_IN, AttentionFusion, Fusion
from riskweave.study.models import Model
from riskweave.survival.fits import digest_of
from riskweave.survival.registry import Preprocessing, build_estimator, build_preprocessing
from riskweave.survival.results import MEASURED, FoldResult, Rows, Task, add_folds, flat, result_of, write_results
from riskweave.survival.roles import check_events, roles_at_risk
from riskweave.survival.search import Prune, forget, validated
from riskweave.survival.sets import RecordedFiles, StoredSet, check_encoders, read_people, read_set
from riskweave.survival.tuning import JOURNAL, Tuned, tune
from riskweave.tracking.record import RunRecord, recording

__all__ = ["train_experiment"]

logger = logging.getLogger(__name__)

CHECKPOINTS = ".training"
"""Folder beside the outputs in which a network in training can be taken up again after the job was killed."""


@dataclass(frozen=True)
class _Job:
    """What all folds of an experiment share."""

    task: Task
    model: Model
    members: Mapping[str, Model]
    fusion: Fusion
    sets: list[StoredSet]
    outcomes: pd.DataFrame
    people: pd.Series | None
    recorded: Mapping[str, RecordedFiles]
    seed: int
    threads: int
    folder: Path


def _prepare(job: _Job, fold: int, subjects: Mapping[str, pd.Index]) -> tuple[Preprocessing, dict[str, Rows]]:
    """Return the preprocessing, fitted on the training rows of a fold, and the rows of each role."""
    tables = [feature_set.of_fold(fold) for feature_set in job.sets]
    preprocessing = build_preprocessing(job.model).fit(tables, subjects["train"], job.people)
    designs = {role: preprocessing.design(tables, subjects[role]).of_person(job.people) for role in ROLES}
    return preprocessing, {role: Rows.of(design, job.outcomes) for role, design in designs.items()}


def _fitted(
    job: _Job,
    fold: int,
    rows: Mapping[str, Rows],
    *,
    tuned: Tuned,
    fusion: Fusion,
    own: Mapping[str, Any] | None = None,
    **further,
) -> FusedModel:
    """Return a fusion with these models, fitted on the training rows of a fold; `own` is what its kind needs alone."""
    train, validation = rows["train"], rows["validation"]
    build = partial(
        build_estimator,
        model=tuned.model,
        causes=job.task.causes,
        seed=job.seed + fold,
        threads=job.threads,
        members=tuned.members,
        **further,
    )
    fused = build_fusion(
        fusion,
        model=tuned.model,
        build=build,
        causes=job.task.causes,
        seed=job.seed + fold,
        threads=job.threads,
        **(own or {}),
    )
    return fused.fit(train.design, train.time, train.event, validation.design, validation.time, validation.event)


def _searched(fusion: Fusion) -> Fusion:
    """Return the fusion with which models are searched for."""
    match fusion.kind:
        case "late":
            return BUILT_IN["early"]
        case "joint":
            return AttentionFusion(kind="attention", width=fusion.width, modality_dropout=fusion.modality_dropout)
        case _:
            return fusion


def _tune(job: _Job, fold: int, rows: Mapping[str, Rows]) -> Tuned:
    """Return the experiment's models with the hyper-parameters that the validation rows of a fold choose.

    Late fusion fits many models on parts of the training rows: its search is that of one model of all columns. That of
    joint fusion is that of the attention fusion from which it starts.
    """
    train, validation = rows["train"], rows["validation"]
    fusion = _searched(job.fusion)

    def score(model: Model, prune: Prune | None) -> float:
        fused = _fitted(job, fold, rows, tuned=Tuned(model), fusion=fusion, prune=prune)
        return validated(fused, validation.design, times=job.task.times, time=validation.time, event=validation.event)

    arrays = [array for role in (train, validation) for array in (role.design.values, role.time, role.event)]  # noqa: PD011 - of a Design
    return tune(
        job.task.experiment["model"],
        job.model,
        job.members,
        score=score,
        seed=job.seed + fold,
        journal=job.folder / JOURNAL,
        about=(fold, fusion, repr(job.task.times), *arrays),
    )


def _fit(job: _Job, fold: int, rows: Mapping[str, Rows], preprocessing: Preprocessing) -> tuple[FusedModel, Tuned]:
    """Return the experiment's model, fitted on the training rows of a fold, and the search of its values."""
    tuned = _tune(job, fold, rows) if rows["train"].design.columns else Tuned(job.model, job.members)
    checkpoint = job.folder / CHECKPOINTS / f"fold_{fold}"
    own: dict[str, Any] = {}
    match job.fusion.kind:
        case "joint":
            own = {"recorded": job.recorded, "fold": fold, "preprocessing": preprocessing, "checkpoint": checkpoint}
        case "late":
            own = {"checkpoint": checkpoint}
    return _fitted(job, fold, rows, tuned=tuned, fusion=job.fusion, own=own, checkpoint=checkpoint), tuned


def _train_fold(job: _Job, fold: int, subjects: Mapping[str, pd.Index]) -> FoldResult:
    """Fit the preprocessing and the model on the training rows of a fold, and predict its test rows."""
    preprocessing, rows = _prepare(job, fold, subjects)
    fused, tuned = _fit(job, fold, rows, preprocessing)
    return result_of(
        job.task,
        fold,
        rows,
        preprocessing=preprocessing,
        fused=fused,
        tuned=tuned,
        fitted_on=digest_of(subjects["train"]),
    )


def _told(job: _Job, fold: int, subjects: Mapping[str, pd.Index]) -> FoldResult:
    """Train a fold, and tell the log what came of it; errors say which fold of which experiment it was."""
    name, endpoint = job.task.experiment["name"], job.task.endpoint
    try:
        result = _train_fold(job, fold, subjects)
    except DataError as error:
        where = f"endpoint {endpoint}, experiment {name}, fold {fold}, {error.where}"
        raise DataError(where, error.problem, error.remedy) from error
    told = "%s, %s: fold %d: %d training subjects, %d columns, concordance validation %.3f, test %.3f"
    counts = (result.counts["train_subjects"], result.counts["columns"])
    logger.info(told, endpoint, name, fold, *counts, *(result.metrics[metric] for metric in MEASURED))
    return result


def _recording(
    job: _Job, record: Path, context: Mapping[str, Any], *, final: bool
) -> AbstractContextManager[RunRecord]:
    """Return the run record of an experiment, written at its end."""
    experiment = job.task.experiment
    return recording(
        record,
        kind="final_experiment" if final else "experiment",
        name=experiment["name"],
        endpoint=job.task.endpoint,
        feature_sets={one.name: [column.name for column in one.columns] for one in job.sets},
        params={
            "fusion": experiment["fusion"],
            "model": experiment["model"],
            **flat(job.model.model_dump(mode="json")),
            **flat(job.fusion.model_dump(mode="json", exclude={"kind"}), "fusion."),
        },
        seed=job.seed,
        context=context,
    )


def train_experiment(
    *,
    experiment: Mapping[str, Any],
    model: Model,
    fusion: Fusion,
    tables: Mapping[str, Path],
    embeddings: Mapping[str, Path],
    outcomes: Path,
    folds: Path,
    times: list[int],
    seed: int,
    threads: int,
    predictions: Path | None,
    models: Path,
    record: Path,
    curves: Path,
    trials: Path,
    context: Mapping[str, Any],
    members: Mapping[str, Model] | None = None,
    people: Path | None = None,
    recorded: Mapping[str, RecordedFiles] | None = None,
) -> None:
    """Train one experiment on all folds and write its out-of-fold predictions.

    In each fold everything learnt (imputation, scaling, categories, penalty, model) comes from the fold's training
    rows, with validation rows for penalties and early stopping; every subject at risk is predicted once, by the fold in
    whose test rows it is, whatever modalities it lacks.

    Parameters
    ----------
    experiment : mapping
        ``name``, ``endpoint``, ``feature_sets`` (names in order), ``fusion`` and ``model`` (their names).
    model : Model
        Block of the study.
    fusion : Fusion
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
    predictions, models, record, curves, trials : path
        Files to write: prediction table (None in a final fit, which tests nobody); fitted models and preprocessing of
        all folds (`riskweave.survival.stored_models`; each fold with a digest of its training rows, see
        `riskweave.survival.fits`); run record; training curves (CSV: fold, epoch, metric, value); trials of the search
        (`riskweave.survival.tuning`).
    context : mapping
        What the record tells about the study and the rule.
    members : mapping of str to Model, optional
        Blocks of the models that an ensemble combines, by name.
    people : path, optional
        Table of the subjects: those of one person stay together where the training rows are divided, and count once
        where something is rare. Without it each subject is a person of its own.
    recorded : mapping of feature set to RecordedFiles, optional
        For joint fusion: encoders and their inputs.

    Raises
    ------
    DataError
        When a fold has no target event in its training rows, subjects at risk are not tested exactly once, an encoder
        was fitted on rows outside the training rows of its fold, no column varies, or no penalty converges.
    StudyError
        When the model's optional package is not installed.
    """
    sets = [read_set(name, tables[name], embeddings.get(name)) for name in experiment["feature_sets"]]
    rows = read_table(outcomes, OUTCOMES).set_index("subject_id")
    roles = roles_at_risk(folds=read_table(folds, FOLDS), outcomes=rows, where=str(folds))
    check_events(roles=roles, outcomes=rows, endpoint=experiment["endpoint"])
    check_encoders(sets, embeddings, roles)
    job = _Job(
        task=Task(experiment, sorted(times), max(1, int(rows["event"].max()))),
        model=model,
        members=members or {},
        fusion=fusion,
        sets=sets,
        outcomes=rows,
        people=None if people is None else read_people(people),
        recorded=recorded or {},
        seed=seed,
        threads=threads,
        folder=Path(models).parent,
    )
    with threadpool_limits(limits=threads), _recording(job, record, context, final=FINAL in roles) as run:
        results = {fold: _told(job, fold, subjects) for fold, subjects in roles.items()}
        add_folds(run, results)
        write_results(job.task, sets, results, predictions=predictions, models=models, curves=curves, trials=trials)
    forget(job.folder / JOURNAL)
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)

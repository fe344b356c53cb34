"""Train one network for all endpoints of a study: all folds in one job, predictions of each endpoint's own risk set."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from riskweave.cohort.tables import FOLDS, OUTCOMES, ROLES, read_table
from riskweave.errors import DataError
from riskweave.fusion.early import Early
from riskweave.fusion.registry import FusedModel, build_fusion
from riskweave.study.fusions import Fusion
from riskweave.study.models import MultiEndpointModel
from riskweave.survival.design import Design
from riskweave.survival.fits import digest_of
from riskweave.survival.multi_endpoint import OUTSIDE, AllEndpoints
from riskweave.survival.null import NullModel
from riskweave.survival.preprocessing import DesignMatrix
from riskweave.survival.results import MEASURED, FoldResult, Rows, Task, add_folds, flat, result_of, write_results
from riskweave.survival.roles import Roles, check_events, roles_at_risk
from riskweave.survival.scores import censored_log_likelihood
from riskweave.survival.search import Prune, forget
from riskweave.survival.sets import StoredSet, check_encoders, read_people, read_set
from riskweave.survival.tuning import JOURNAL, Tuned, tune
from riskweave.tracking.record import RunRecord, recording, write_record

__all__ = ["EndpointFiles", "train_endpoints"]

logger = logging.getLogger(__name__)

CHECKPOINTS = ".training"


@dataclass(frozen=True)
class EndpointFiles:
    """What the training reads and writes of one endpoint; see `riskweave.survival.experiment.train_experiment`.

    Attributes
    ----------
    outcomes : Path
        Table of outcomes: its subjects are the endpoint's risk set.
    times : list of int
        Days at which risks are predicted.
    predictions, models, record, curves, trials : Path
        Files to write.
    """

    outcomes: Path
    times: list[int]
    predictions: Path
    models: Path
    record: Path
    curves: Path
    trials: Path


@dataclass(frozen=True)
class _Job:
    """What all folds share; mappings are by endpoint."""

    tasks: Mapping[str, Task]
    outcomes: Mapping[str, pd.DataFrame]
    roles: Mapping[str, Roles]
    model: MultiEndpointModel
    fusion: Fusion
    sets: list[StoredSet]
    people: pd.Series | None
    seed: int
    threads: int
    folder: Path


@dataclass(frozen=True)
class _Fold:
    """The rows of a fold: those of all endpoints together by role, and each endpoint's own."""

    number: int
    preprocessing: DesignMatrix
    designs: Mapping[str, Design]
    rows: Mapping[str, Mapping[str, Rows]]
    fitted_on: str

    def outcomes(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Return time and event of a role, with a column for each endpoint, as the network takes them."""
        subjects = self.designs[role].subjects
        time = np.full((len(subjects), len(self.rows)), np.nan)
        event = np.full((len(subjects), len(self.rows)), OUTSIDE, dtype=np.int64)
        for column, rows in enumerate(self.rows.values()):
            own = subjects.get_indexer(rows[role].design.subjects)
            time[own, column], event[own, column] = rows[role].time, rows[role].event
        return time, event


def _prepare(job: _Job, number: int) -> _Fold:
    """Fit the preprocessing on everybody who is at risk for some endpoint in the training rows of a fold."""
    tested = {endpoint: roles[number] for endpoint, roles in job.roles.items() if number in roles}
    subjects = {
        role: pd.Index(sorted(set().union(*(roles[role] for roles in tested.values()))), dtype=object) for role in ROLES
    }
    tables = [feature_set.of_fold(number) for feature_set in job.sets]
    preprocessing = DesignMatrix().fit(tables, subjects["train"], job.people)
    designs = {role: preprocessing.design(tables, subjects[role]) for role in ROLES}
    rows = {
        endpoint: {
            role: Rows.of(designs[role].take(subjects[role].get_indexer(roles[role])), job.outcomes[endpoint])
            for role in ROLES
        }
        for endpoint, roles in tested.items()
    }
    return _Fold(number, preprocessing, designs, rows, digest_of(subjects["train"]))


def _null(job: _Job, fold: _Fold) -> dict[str, Early]:
    """Return the model of each endpoint that knows no column: the incidences of its training rows."""
    models = {}
    for endpoint, rows in fold.rows.items():
        train, validation, causes = rows["train"], rows["validation"], job.tasks[endpoint].causes
        models[endpoint] = Early(build=lambda causes=causes, **_: NullModel(causes=causes), causes=causes).fit(
            train.design, train.time, train.event, validation.design, validation.time, validation.event
        )
    return models


def _fitted(job: _Job, fold: _Fold, model: MultiEndpointModel, **further: Any) -> dict[str, FusedModel]:
    """Return a model for each endpoint, of one network that is fitted on the training rows of a fold."""
    if not fold.preprocessing.columns_:
        return _null(job, fold)
    causes = {endpoint: job.tasks[endpoint].causes for endpoint in fold.rows}
    seed = job.seed + fold.number
    build = partial(AllEndpoints, model, causes=causes, seed=seed, threads=job.threads, **further)
    fused = build_fusion(
        job.fusion, model=model, build=build, causes=sum(causes.values()), seed=seed, threads=job.threads
    )
    fused.fit(fold.designs["train"], *fold.outcomes("train"), fold.designs["validation"], *fold.outcomes("validation"))
    models = {}
    for endpoint, estimator in fused.estimator.models.items():
        model_of = models[endpoint] = copy(fused)
        model_of.estimator, model_of.causes = estimator, causes[endpoint]
    return models


def _tune(job: _Job, fold: _Fold) -> Tuned:
    """Return the model with the hyper-parameters that the validation rows of a fold choose.

    Of each endpoint the score is the share of the null model's censored log-likelihood that the network gains
    (McFadden's measure); that of a trial is the mean over the endpoints.
    """

    def likelihood(models: Mapping[str, FusedModel], endpoint: str) -> float:
        rows, times = fold.rows[endpoint]["validation"], job.tasks[endpoint].times
        risks = models[endpoint].predict(rows.design, times)
        return float(censored_log_likelihood(risks, times, rows.time, rows.event).mean())

    null = _null(job, fold)
    reference = {endpoint: likelihood(null, endpoint) for endpoint in fold.rows}

    def score(model: MultiEndpointModel, prune: Prune | None) -> float:
        models = _fitted(job, fold, model, prune=prune)
        return float(np.mean([1 - likelihood(models, e) / null for e, null in reference.items() if null < 0]))

    task = next(iter(job.tasks.values()))
    arrays = [array for role in ("train", "validation") for array in fold.outcomes(role)]
    return tune(
        task.experiment["model"],
        job.model,
        {},
        score=score,
        seed=job.seed + fold.number,
        journal=job.folder / JOURNAL,
        about=(
            fold.number,
            job.fusion,
            repr([(task.endpoint, task.times) for task in job.tasks.values()]),
            *(fold.designs[role].values for role in ("train", "validation")),  # noqa: PD011 - of a Design
            *arrays,
        ),
    )


def _train_fold(job: _Job, number: int) -> dict[str, FoldResult]:
    """Fit the preprocessing and the network on a fold's training rows; predict each endpoint's own test rows."""
    fold = _prepare(job, number)
    tuned = _tune(job, fold) if fold.preprocessing.columns_ else Tuned(job.model)
    models = _fitted(job, fold, tuned.model, checkpoint=job.folder / CHECKPOINTS / f"fold_{number}")
    return {
        endpoint: result_of(
            job.tasks[endpoint],
            number,
            fold.rows[endpoint],
            preprocessing=fold.preprocessing,
            fused=models[endpoint],
            tuned=tuned,
            fitted_on=fold.fitted_on,
        )
        for endpoint in fold.rows
    }


def _recording(job: _Job, record: Path, context: Mapping[str, Any]) -> AbstractContextManager[RunRecord]:
    """Return the run record of the first endpoint, written at the end of the training."""
    first, *_ = job.tasks.values()
    return recording(
        record,
        kind="experiment",
        name=first.experiment["name"],
        endpoint=first.endpoint,
        feature_sets={one.name: [column.name for column in one.columns] for one in job.sets},
        params={
            **{key: first.experiment[key] for key in ("fusion", "model")},
            "endpoints": list(job.tasks),
            **flat(job.model.model_dump(mode="json")),
            **flat(job.fusion.model_dump(mode="json", exclude={"kind"}), "fusion."),
        },
        seed=job.seed,
        context=context,
    )


def train_endpoints(
    *,
    experiment: Mapping[str, Any],
    model: MultiEndpointModel,
    fusion: Fusion,
    endpoints: Mapping[str, EndpointFiles],
    tables: Mapping[str, Path],
    embeddings: Mapping[str, Path],
    encoder_endpoint: str,
    folds: Path,
    seed: int,
    threads: int,
    context: Mapping[str, Any],
    people: Path | None = None,
) -> None:
    """Train one experiment for all endpoints at once, on all folds, and write the predictions of each endpoint.

    The training rows of a fold are everybody in its training role who is at risk for some endpoint; each endpoint's
    loss, early stopping and predictions are over its own risk set alone. The division is the same for all endpoints:
    nobody is a training row of one and a test row of another.

    Parameters
    ----------
    experiment : mapping
        ``name``, ``feature_sets`` (names in order), ``fusion`` and ``model`` (their names).
    model : MultiEndpointModel
        Block of the study.
    fusion : Fusion
        Block of the study: early or attention.
    endpoints : mapping of endpoint to EndpointFiles
        All endpoints, in the order of the network's outputs. The trials of a search, which is one for all, are in the
        run record of the first.
    tables : mapping of feature set to path
        Feature tables.
    embeddings : mapping of feature set to path
        Tables of embeddings, for the sets that have an encoder.
    encoder_endpoint : str
        Endpoint that the encoders were trained against.
    folds : path
        Table of the division.
    seed, threads : int
        Seed of the experiment, fold k uses ``seed + k``; threads of numerical libraries.
    context : mapping
        What the records tell about the study and the rule.
    people : path, optional
        Table of the subjects: those of one person count once where something is rare. Without it each subject is a
        person of its own.

    Raises
    ------
    DataError
        When a fold of an endpoint has no target event in its training rows, subjects at risk are not tested exactly
        once, an encoder was fitted on rows outside the training rows of its fold, or the training diverged.
    """
    sets = [read_set(name, tables[name], embeddings.get(name)) for name in experiment["feature_sets"]]
    outcomes = {e: read_table(files.outcomes, OUTCOMES).set_index("subject_id") for e, files in endpoints.items()}
    division = read_table(folds, FOLDS)
    roles = {e: roles_at_risk(folds=division, outcomes=rows, where=str(folds)) for e, rows in outcomes.items()}
    for endpoint, rows in outcomes.items():
        check_events(roles=roles[endpoint], outcomes=rows, endpoint=endpoint)
    check_encoders(sets, embeddings, roles[encoder_endpoint])
    first = next(iter(endpoints))
    job = _Job(
        tasks={
            e: Task({**experiment, "endpoint": e}, sorted(files.times), max(1, int(outcomes[e]["event"].max())))
            for e, files in endpoints.items()
        },
        outcomes=outcomes,
        roles=roles,
        model=model,
        fusion=fusion,
        sets=sets,
        people=None if people is None else read_people(people),
        seed=seed,
        threads=threads,
        folder=Path(endpoints[first].models).parent,
    )
    with threadpool_limits(limits=threads), _recording(job, endpoints[first].record, context) as run:
        results = _train(job)
        _write(job, endpoints, results)
        add_folds(run, results[first])
    for endpoint in [other for other in endpoints if other != first]:
        other = replace(run, endpoint=endpoint, folds=[], metrics={})
        add_folds(other, results[endpoint], trials=False)
        write_record(other, endpoints[endpoint].record)
    forget(job.folder / JOURNAL)
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)


def _train(job: _Job) -> dict[str, dict[int, FoldResult]]:
    """Return what each fold gives, by endpoint."""
    results: dict[str, dict[int, FoldResult]] = {endpoint: {} for endpoint in job.tasks}
    numbers = sorted({number for roles in job.roles.values() for number in roles})
    name = next(iter(job.tasks.values())).experiment["name"]
    for done, number in enumerate(numbers, start=1):
        try:
            made = _train_fold(job, number)
        except DataError as error:
            raise DataError(f"experiment {name}, fold {number}, {error.where}", error.problem, error.remedy) from error
        for endpoint, result in made.items():
            results[endpoint][number] = result
        found = {metric: np.nanmean([one.metrics[metric] for one in made.values()]) for metric in MEASURED}
        told = "%s: fold %d (%d of %d): %d endpoints, mean concordance validation %.3f, test %.3f"
        logger.info(told, name, number, done, len(numbers), len(made), *found.values())
    return results


def _write(job: _Job, endpoints: Mapping[str, EndpointFiles], results: Mapping[str, Mapping[int, FoldResult]]) -> None:
    for endpoint, files in endpoints.items():
        write_results(
            job.tasks[endpoint],
            job.sets,
            results[endpoint],
            predictions=files.predictions,
            models=files.models,
            curves=files.curves,
            trials=files.trials,
        )

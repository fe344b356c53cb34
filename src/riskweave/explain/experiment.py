"""Explain a trained experiment: the one function that the pipeline calls."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from riskweave.cohort.tables import FOLDS, OUTCOMES, read_table
from riskweave.errors import DataError
from riskweave.explain.effects import accumulated_effects, no_effects
from riskweave.explain.importance import permutation_importance, predict_all
from riskweave.explain.rows import Explained, Observed, units_of
from riskweave.explain.stored import StoredFold, read_models, rows_of
from riskweave.files import replacing
from riskweave.survival.predictions import read_predictions
from riskweave.survival.roles import Roles, roles_at_risk
from riskweave.survival.sets import StoredSet, check_encoders, read_people, read_set

__all__ = ["explain_experiment"]

logger = logging.getLogger(__name__)

MOST_SUBJECTS = 20_000
"""Subjects that are explained; of more, so many are drawn."""

MOST_BACKGROUND = 5_000
"""Training rows of a fold from which is learnt what goes together."""

CLOSE = 1e-5
"""Networks predict in single precision, and in batches of other sizes."""


def _drawn(subjects: pd.Index, most: int, rng: np.random.Generator) -> pd.Index:
    """Return the subjects, or as many of them, in their order."""
    if len(subjects) <= most:
        return subjects
    return subjects[np.sort(rng.choice(len(subjects), most, replace=False))]


def _explained(
    models: Mapping[int, Mapping[str, Any]],
    sets: list[StoredSet],
    roles: Roles,
    *,
    horizons: list[int],
    seed: int,
) -> tuple[list[Explained], pd.Index]:
    """Return the folds with their test rows, and the subjects in their order."""
    total = sum(len(subjects["test"]) for subjects in roles.values())
    folds, tested, start = [], [], 0
    for fold, subjects in roles.items():
        rng = np.random.default_rng([seed, fold])
        tables = [each.of_fold(fold) for each in sets]
        share = int(np.ceil(MOST_SUBJECTS * len(subjects["test"]) / total))
        test = _drawn(subjects["test"], share, rng)
        background = _drawn(subjects["train"], MOST_BACKGROUND, rng)
        folds.append(
            Explained(
                fold=fold,
                predict=StoredFold(models[fold]["preprocessing"], models[fold]["model"], tables, horizons),
                rows=rows_of(sets, tables, test),
                places=np.arange(start, start + len(test)),
                background=rows_of(sets, tables, background),
            )
        )
        tested += list(test)
        start += len(test)
    return folds, pd.Index(tested, dtype=object)


def _check_predictions(folds: list[Explained], predictions: Path, subjects: pd.Index, horizons: list[int]) -> None:
    """Refuse to explain other predictions than those that the experiment is judged by."""
    stored = read_predictions(predictions).set_index("subject_id")
    names = [f"risk_{day}" for day in horizons]
    again = predict_all(folds, [fold.rows for fold in folds], len(subjects))
    known = set(names) <= set(stored.columns) and subjects.isin(stored.index).all()
    apart = np.abs(stored.loc[subjects, names].to_numpy() - again) if known else np.full((1, 1), np.inf)
    if not (apart < CLOSE).all():
        raise DataError(
            str(predictions),
            f"{int((~(apart < CLOSE)).any(axis=1).sum())} of {len(subjects)} predictions are not what the stored "
            "models make of the feature tables",
            "Models, features and predictions are not of one run: train the experiment again",
        )


def _effects(
    folds: list[Explained], observed: Observed, sets: list[StoredSet], *, horizons: list[int], resampling: dict
) -> pd.DataFrame:
    """Return the effect curves of all columns of feature tables; those of encoders and histories have no meaning."""
    rows = folds[0].rows
    units = {(each.name, column.name): column.unit for each in sets for column in each.columns}
    tables = []
    for column in rows.columns:
        if column in rows.opaque or column in rows.encoded:
            continue
        table = accumulated_effects(folds, observed, column, horizons=horizons, **resampling)
        table.insert(2, "unit", units.get(column, ""))
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else no_effects().assign(unit="")


def _write(table: pd.DataFrame, path: Path, experiment: Mapping[str, Any]) -> None:
    table = table.copy()
    table.insert(0, "endpoint", experiment["endpoint"])
    table.insert(0, "experiment", experiment["name"])
    with replacing(Path(path)) as (partial,):
        table.to_parquet(partial, index=False)


def explain_experiment(
    *,
    experiment: Mapping[str, Any],
    models: Path,
    predictions: Path,
    tables: Mapping[str, Path],
    embeddings: Mapping[str, Path],
    outcomes: Path,
    folds: Path,
    people: Path,
    horizons: list[int],
    importance: Path,
    effects: Path,
    count: int = 200,
    repeats: int = 5,
    seed: int = 1,
    confidence: float = 0.95,
    threads: int = 1,
) -> None:
    """Explain the stored models of an experiment on the test rows of their folds.

    Of more than 20,000 subjects, so many are drawn. Nothing in the tables is of a single subject, and nothing of fewer
    than 10 people.

    Parameters
    ----------
    experiment : mapping
        ``name``, ``endpoint`` and ``feature_sets`` (names in order).
    models, predictions : path
        What its training wrote.
    tables, embeddings : mapping of feature set to path
        What it was trained on.
    outcomes, folds, people : path
        Outcomes of the endpoint, division, and table of the subjects.
    horizons : list of int
        Days at which risks are explained.
    importance, effects : path
        Tables to write: see `riskweave.explain.importance.permutation_importance` and
        `riskweave.explain.effects.accumulated_effects`, with the experiment and the endpoint.
    count, repeats : int
        Resamples behind the bands of effects; permutations of each column.
    seed : int
    confidence : float
    threads : int

    Raises
    ------
    DataError
        When models, features, predictions and division are not of one run.
    """
    horizons = sorted(set(horizons))
    sets = [read_set(name, tables[name], embeddings.get(name)) for name in experiment["feature_sets"]]
    rows = read_table(outcomes, OUTCOMES).set_index("subject_id")
    roles = roles_at_risk(folds=read_table(folds, FOLDS), outcomes=rows, where=str(folds))
    check_encoders(sets, embeddings, roles)
    stored = read_models(models, experiment=experiment, roles=roles)
    with threadpool_limits(limits=threads):
        explained, subjects = _explained(stored, sets, roles, horizons=horizons, seed=seed)
        _check_predictions(explained, predictions, subjects, horizons)
        found = rows.loc[subjects]
        whose = pd.factorize(read_people(people).loc[subjects])[0].astype(np.int64)
        observed = Observed(found["time"].to_numpy(float), found["event"].to_numpy(np.int64), whose)
        units = units_of(explained[0].rows)
        logger.info("%s: %d subjects, %d columns and groups", experiment["name"], len(subjects), len(units))
        ranked = permutation_importance(
            explained, observed, units, horizons=horizons, repeats=repeats, seed=seed, confidence=confidence
        )
        resampling = {"count": count, "seed": seed, "confidence": confidence}
        curves = _effects(explained, observed, sets, horizons=horizons, resampling=resampling)
    _write(ranked, importance, experiment)
    _write(curves, effects, experiment)

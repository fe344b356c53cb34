"""The table of the folds: each metric within the test rows of each fold, and mean differences over the folds."""

from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, read_table
from riskweave.errors import DataError
from riskweave.evaluation.folds import FoldEstimates, fold_difference, fold_estimates
from riskweave.evaluation.groups import count_shown
from riskweave.evaluation.inputs import Comparison
from riskweave.evaluation.scores import NULL_METRICS, make_panel, score, score_columns

__all__ = ["fold_table", "trained_subjects"]

COLUMNS = ("kind", "experiment", "reference", "endpoint", "metric", "horizon", "fold", "folds", "n", "events")
NUMBERS = ("estimate", "lower", "upper")


def trained_subjects(comparison: Comparison, folds: Path | None) -> np.ndarray:
    """Subjects at risk whom each fold's models were fitted on, folds in order: (folds,).

    Parameters
    ----------
    comparison : Comparison
    folds : Path or None
        Fold table of the cohort; without it all that a fold does not test count as fitted on.

    Raises
    ------
    DataError
        When the fold table has no training rows of a fold that the predictions name.
    """
    numbers, tested = np.unique(comparison.fold, return_counts=True)
    if folds is None:
        return tested.sum() - tested
    table = read_table(Path(folds), FOLDS)
    table = table[(table["role"] == "train") & table["subject_id"].isin(comparison.subject_id)]
    trained = table["fold"].value_counts().reindex(numbers)
    if trained.isna().any():
        raise DataError(
            f"{folds}, column fold",
            f"there are no training rows of fold {numbers[trained.isna().to_numpy()][0]}, which predictions name",
            "Train the experiments again on the current folds",
        )
    return trained.to_numpy(np.int64)


def _means(values: np.ndarray) -> np.ndarray:
    """Mean over the folds that have a value; NaN where none has."""
    used = np.isfinite(values).sum(axis=0)
    return np.divide(np.nansum(values, axis=0), used, out=np.full(used.shape, np.nan), where=used > 0)


def _paired(
    pair: tuple[FoldEstimates, FoldEstimates], trained: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Folds used (columns,), and mean difference with its bounds (3, columns); none over a single fold."""
    first, second = pair
    if len(first.folds) < 2:
        used = np.isfinite(first.values - second.values).sum(axis=0)  # noqa: PD011 - no pandas
        return used, np.full((3, len(used)), np.nan)
    difference = fold_difference(first, second, confidence=confidence, trained=trained)
    return difference.used, np.stack([difference.mean, difference.lower, difference.upper])


def fold_table(comparison: Comparison, *, reference: str, confidence: float, folds: Path | None = None) -> pd.DataFrame:
    """Lay out estimates of each fold, their mean, and the mean differences to the reference.

    Parameters
    ----------
    comparison : Comparison
    reference : str
    confidence : float
        Of the intervals of Nadeau and Bengio.
    folds : Path, optional
        Fold table of the cohort, for how many subjects the models were fitted on.

    Returns
    -------
    DataFrame
        kind (`fold`, `mean`, `difference`), experiment, reference, endpoint, metric, horizon, fold, folds (with a
        value), n, events, estimate, lower, upper. Folds of fewer than 10 people or people with target events have no
        estimates of their own.
    """
    found = fold_estimates(
        fold=comparison.fold, people=comparison.people, metric=lambda members: score(make_panel(comparison, members))[0]
    )
    by_experiment = np.moveaxis(found.values, 1, 0)
    own = [FoldEstimates(found.folds, found.tested, values) for values in by_experiment]
    trained, r = trained_subjects(comparison, folds), comparison.experiments.index(reference)
    counts = [count_shown(comparison, comparison.fold == number) for number in found.folds]
    whole = count_shown(comparison, np.ones(len(comparison.fold), dtype=bool), everyone=True)[:2]
    columns = score_columns(comparison.horizons)
    rows = []
    for e, experiment in enumerate(comparison.experiments):
        used, paired = _paired((own[e], own[r]), trained, confidence)
        values = by_experiment[e]
        means, filled = _means(values), np.isfinite(values).sum(axis=0)
        for c, (metric, horizon) in enumerate(columns):
            what = (comparison.endpoint, metric, horizon)
            for number, (n, events, shown), value in zip(found.folds, counts, values[:, c], strict=True):
                estimate = value if shown else np.nan
                rows.append(("fold", experiment, None, *what, number, None, n, events, estimate, np.nan, np.nan))
            rows.append(("mean", experiment, None, *what, None, filled[c], *whole, means[c], np.nan, np.nan))
            if e != r and metric not in NULL_METRICS:
                rows.append(("difference", experiment, reference, *what, None, used[c], *whole, *paired[:, c]))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *NUMBERS])
    whole_numbers = dict.fromkeys(("horizon", "fold", "folds", "n", "events"), "Int64")
    return table.astype({**whole_numbers, **dict.fromkeys(NUMBERS, "float64")})

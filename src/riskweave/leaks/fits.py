"""Columns that were scaled or imputed before the division: the test rows had a say in them."""

import numpy as np

from riskweave.leaks.evidence import FeatureColumn
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.statistics import Ranked

__all__ = ["check_fit"]

_FEWEST = 50
_STANDARD = 2e-4
"""Largest distance of the mean from 0 and of the standard deviation from 1; by chance alone 1 in 3,000 or rarer."""
_FILLED = 0.02
"""Fewest of the subjects who share a value for it to be an imputed one, and how many times the next most common."""
_SPIKE = 5
_EXACT = 1e-5


def check_fit(column: FeatureColumn, ranked: Ranked) -> list[Finding]:
    """Find static columns of mean 0 and standard deviation 1, or filled with the mean or median of the others."""
    known = column.numbers[ranked.known]
    if not column.static or column.levels is not None or len(known) < _FEWEST or len(ranked.distinct) < 10:
        return []
    remedy = (
        "Give the values as they were measured, empty where missing: each fold scales and imputes by its own training "
        "rows. A score that was standardised elsewhere may be allowed"
    )
    mean, deviations = known.mean(), (known.std(), known.std(ddof=1))
    # Standardised before imputation or on some more subjects, it would not fit so well: then it cannot be told.
    if abs(mean) <= _STANDARD and min(abs(deviation - 1) for deviation in deviations) <= _STANDARD:
        problem = (
            f"it has mean 0 and standard deviation 1 over all {count(len(known))} subjects: it was scaled over all"
        )
        return [Finding("fitted_on_everyone", column.place, problem, len(known), remedy)]
    if ranked.known.all():
        filled, what = _filled(ranked, known)
        if filled:
            problem = f"{count(filled)} subjects have exactly the {what} of the others: it was imputed over all"
            return [Finding("fitted_on_everyone", column.place, problem, filled, remedy)]
    return []


def _filled(ranked: Ranked, known: np.ndarray) -> tuple[int, str]:
    """Return how many subjects have an imputed value, and of which kind; 0 where none stands out."""
    counts = np.bincount(ranked.place[ranked.known], minlength=len(ranked.distinct))
    top = int(counts.argmax())
    most, next_most = int(counts[top]), int(np.delete(counts, top).max())
    if most < max(20, _FILLED * len(known)) or most < _SPIKE * next_most or len(counts) < 30:
        return 0, ""
    value = ranked.distinct[top]
    rest = known[known != value]
    scale = rest.std() or 1.0
    if abs(value - rest.mean()) <= _EXACT * scale:
        return most, "mean"
    # Those who truly have the median are not among the rest: as many of them may be missing on one side.
    if abs(int((rest < value).sum()) - int((rest > value).sum())) <= next_most:
        return most, "median"
    return 0, ""

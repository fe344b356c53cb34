"""Rank statistics of the gates, made from one sort of a column: linear in the rows for every further question."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

__all__ = ["Ranked", "auc", "held_out_scores", "spearman"]


@dataclass(frozen=True)
class Ranked:
    """A column of n rows, sorted once.

    Attributes
    ----------
    known : array (n,) of bool
        Rows with a value.
    place : array (n,) of int
        Place of each row's value among the distinct ones, in increasing order; -1 where there is none.
    distinct : array (k,)
        The distinct values.
    """

    known: np.ndarray
    place: np.ndarray
    distinct: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Ranked":
        """Sort a column of floats (n,), NaN where a value is missing."""
        known = ~np.isnan(values)
        distinct, inverse = np.unique(values[known], return_inverse=True)
        place = np.full(len(values), -1, dtype=np.int64)
        place[known] = inverse
        return cls(known, place, distinct)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Count the distinct values (k,) among rows, which all have one."""
        return np.bincount(self.place[rows], minlength=len(self.distinct))


def auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Return the area under the ROC curve from counts of the distinct values in increasing order.

    Parameters
    ----------
    negatives, positives : array (k,)
        How many rows without and with the event have each distinct value. Ties count half.

    Returns
    -------
    float
        Probability that a row with the event has the larger value; NaN where one side is empty.
    """
    total = negatives.sum() * positives.sum()
    if not total:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / total)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (n,); 0 where one of them does not vary."""
    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale else 0.0


def held_out_scores(levels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Score categories by the mean target of the other half of the rows with that category.

    The mean of a category's own rows would tell each row its own target where categories are many and small.

    Parameters
    ----------
    levels : array (n,) of int
        Categories, from 0.
    target : array (n,)
        What they may tell.

    Returns
    -------
    array (n,)
        Mean target of the category in the other half (halves by turns); the half's overall mean where it is not there.
    """
    half = np.arange(len(levels)) % 2
    scores = np.empty(len(levels))
    size = int(levels.max()) + 1 if len(levels) else 0
    for side in (0, 1):
        there, other = half == side, half != side
        counts = np.bincount(levels[other], minlength=size)
        sums = np.bincount(levels[other], weights=target[other], minlength=size)
        overall = target[other].mean() if other.any() else 0.0
        means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
        scores[there] = means[levels[there]]
    return scores

"""Compiled sums over subjects, for many resamples; the digits of a row depend on that row alone."""

import numpy as np

from riskweave.compiled import compiled

__all__ = ["weighted_counts", "weighted_sums"]


@compiled()
def weighted_sums(values, weights):
    """Sum of each column of values over the subjects, for many resamples.

    A matrix product would be as fast, but its digits may depend on how many resamples are computed at once.

    Parameters
    ----------
    values : (n, columns) float64 array
    weights : (resamples, n) int64 array

    Returns
    -------
    (resamples, columns) float64 array
    """
    resamples, n = weights.shape
    columns = values.shape[1]
    sums = np.zeros((resamples, columns))
    for b in range(resamples):
        for i in range(n):
            if weights[b, i] > 0:
                for c in range(columns):
                    sums[b, c] += weights[b, i] * values[i, c]
    return sums


@compiled()
def weighted_counts(cell, cells, weights):
    """Weight of the subjects in each cell, for many resamples.

    Parameters
    ----------
    cell : (n,) int64 array
        From 0.
    cells : int
    weights : (resamples, n) int64 array

    Returns
    -------
    (resamples, cells) int64 array
    """
    resamples, n = weights.shape
    counts = np.zeros((resamples, cells), np.int64)
    for b in range(resamples):
        for i in range(n):
            counts[b, cell[i]] += weights[b, i]
    return counts

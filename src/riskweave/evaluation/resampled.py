"""Rows of multiplicities: one for an estimate, many for a bootstrap, divided among threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from riskweave.evaluation.censoring import SortedOutcomes, row_weights

__all__ = ["in_threads", "weight_rows"]


def weight_rows(weights: np.ndarray | None, outcomes: SortedOutcomes) -> np.ndarray:
    """Integer weights of the subjects as given, as rows in sorted order.

    Parameters
    ----------
    weights : (n,) or (resamples, n) array of int, optional
        How often each subject counts; ones when not given.
    outcomes : SortedOutcomes

    Returns
    -------
    (resamples, n) array of int
        One row unless `weights` has several.
    """
    if weights is None or np.ndim(weights) == 1:
        return row_weights(weights, outcomes)
    weights = np.asarray(weights)
    right = weights.ndim == 2 and weights.shape[1:] == outcomes.time.shape and len(weights) > 0
    if not right or not np.issubdtype(weights.dtype, np.integer) or weights.min() < 0:
        raise ValueError("weights are non-negative integers, one for each subject, in one row or in several")
    # several times as fast as weights[:, order]: row by row, and contiguous at once
    return np.take(weights, outcomes.order, axis=1)


def in_threads(function: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, threads: int) -> np.ndarray:
    """Apply a function of rows of multiplicities, the rows divided among threads.

    The compiled sweeps let go of Python's lock, and a row's result depends on that row alone: whatever the number of
    threads, the digits are the same. Memory is that of one call, whatever the number of threads.

    Parameters
    ----------
    function : callable
        From (rows, n) weights to (rows, ...) results.
    weights : (resamples, n) array of int
    threads : int
        From 1.

    Returns
    -------
    (resamples, ...) array
    """
    parts = [part for part in np.array_split(weights, threads) if len(part)]
    if len(parts) == 1:
        return function(weights)
    with ThreadPoolExecutor(len(parts)) as pool:
        return np.concatenate(list(pool.map(function, parts)))

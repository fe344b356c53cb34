"""Resamples of subjects, the same for every experiment and every group, and their percentile intervals."""

from collections.abc import Iterator

import numpy as np

__all__ = ["percentile_interval", "resamples"]

# An interval needs nearly all of its resamples: where more than this share has no value, none is given.
MAX_UNDEFINED = 0.05


def resamples(*, subjects: int, count: int, seed: int, batch: int = 100) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples of subjects as multiplicities.

    Parameters
    ----------
    subjects : int
        Number of subjects.
    count : int
        Number of resamples.
    seed : int
        Seed: the same seed and number of subjects give the same resamples, whatever the batch.
    batch : int, default 100
        Most resamples held in memory at once.

    Yields
    ------
    (at most batch, subjects) int64 array
        How often each subject was drawn; every row sums to `subjects`.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, count, batch):
        size = min(batch, count - start)
        yield np.stack(
            [np.bincount(rng.integers(0, subjects, subjects), minlength=subjects) for _ in range(size)]
        ).astype(np.int64)


def percentile_interval(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval over the first axis.

    Parameters
    ----------
    values : (resamples, ...) float64 array
        NaN where a resample has no value, for instance no comparable pair.
    confidence : float
        Coverage, such as 0.95.

    Returns
    -------
    lower, upper : arrays of shape values.shape[1:]
        NaN where more than 5 % of the resamples have no value.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    flat = values.reshape(len(values), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    defined = np.isfinite(flat)
    for column in np.flatnonzero(defined.mean(axis=0) >= 1 - MAX_UNDEFINED):
        tail = (1 - confidence) / 2
        bounds[:, column] = np.quantile(flat[defined[:, column], column], [tail, 1 - tail])
    shape = values.shape[1:]
    return bounds[0].reshape(shape), bounds[1].reshape(shape)

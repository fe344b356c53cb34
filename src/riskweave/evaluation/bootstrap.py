"""Resamples of people, the same for every experiment and every group, and their percentile intervals.

A person with several index times is several subjects whose outcomes hang together: all of them are drawn, or none.
Drawing single subjects would take repetitions of a person for new information and make intervals too narrow.
"""

from collections.abc import Iterator

import numpy as np

__all__ = ["percentile_interval", "resamples"]

# An interval needs nearly all of its resamples: where more than this share has no value, none is given.
MAX_UNDEFINED = 0.05


def resamples(*, people: np.ndarray, count: int, seed: int, batch: int = 100) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples of people as multiplicities of their subjects.

    Parameters
    ----------
    people : (subjects,) int64 array
        The person of each subject: 0 to the number of people - 1.
    count : int
        Number of resamples.
    seed : int
        Seed: the same seed and people give the same resamples, whatever the batch.
    batch : int, default 100
        Most resamples held in memory at once.

    Yields
    ------
    (at most batch, subjects) int64 array
        How often each subject's person was drawn. Over people, every row sums to their number.

    References
    ----------
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (resampling of whole clusters).
    """
    rng = np.random.default_rng(seed)
    number = int(people.max()) + 1
    for start in range(0, count, batch):
        rows = np.empty((min(batch, count - start), len(people)), np.int64)
        for row in rows:
            row[:] = np.bincount(rng.integers(0, number, number), minlength=number)[people]
        yield rows


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

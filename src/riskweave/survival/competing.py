"""From cause-specific hazards to cumulative incidences."""

from typing import Literal

import numpy as np

__all__ = ["CELLS", "at_times", "cumulative_incidence", "one_cause"]

CELLS = 4_000_000
"""Most values of an array of hazards (subjects x causes x times) that predictions hold at once: 32 MB."""


def cumulative_incidence(
    cumulative_hazards: np.ndarray, *, within: Literal["product", "exponential"] = "exponential"
) -> np.ndarray:
    r"""Return the cumulative incidence of each cause from the cumulative hazards of all causes.

    The incidence is the product-integral of Aalen and Johansen, :math:`F_k(t) = \sum_{u \le t} S(u-)\, q_k(u)`, where
    :math:`q_k(u)` is the probability of cause k at u given that nothing happened before, and
    :math:`S(u) = S(u-) (1 - \sum_k q_k(u))`.

    Parameters
    ----------
    cumulative_hazards : ndarray of shape (n, causes, times)
        Non-decreasing along the times, at every time at which a hazard of some cause jumps.
    within : {"exponential", "product"}
        How an increment :math:`dA_k` becomes a probability. ``product``: :math:`q_k = dA_k`, with which the
        Nelson-Aalen hazards of a cohort give the Aalen-Johansen estimate. ``exponential``:
        :math:`q_k = (1 - e^{-dA}) dA_k / dA` with :math:`dA = \sum_k dA_k`, which is right for a hazard that is
        constant within an interval, cannot exceed one, and gives :math:`1 - e^{-A}` for one cause, as R's ``survfit``
        of (multi-state) Cox models and lifelines do.

    Returns
    -------
    ndarray of shape (n, causes, times)
        Cumulative incidences in [0, 1], non-decreasing in time, whose sum over the causes is at most one.

    References
    ----------
    Aalen and Johansen 1978, Scand J Stat 5:141-150; Andersen et al. 1993, Statistical Models Based on Counting
    Processes, sections II.6 and IV.4.
    """
    increments = np.diff(cumulative_hazards, axis=2, prepend=0.0)
    total = increments.sum(axis=1, keepdims=True)
    if within == "exponential":
        happens = -np.expm1(-total)
        survival = np.exp(-np.cumsum(total, axis=2))
    else:
        happens = np.minimum(total, 1.0)
        survival = np.cumprod(1.0 - happens, axis=2)
    share = np.divide(increments, total, out=np.zeros_like(increments), where=total > 0)
    before = np.concatenate([np.ones_like(survival[:, :, :1]), survival[:, :, :-1]], axis=2)
    return np.minimum(np.cumsum(before * happens * share, axis=2), 1.0)


def at_times(curves: np.ndarray, *, grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Evaluate step functions that are 0 before their first step.

    Parameters
    ----------
    curves : ndarray of shape (..., g)
        Values from each time of `grid` on.
    grid : ndarray of shape (g,)
        Times of the steps, increasing, in days.
    times : ndarray of shape (t,)
        Times at which the values are wanted, in days.

    Returns
    -------
    ndarray of shape (..., t)
    """
    position = np.searchsorted(grid, times, side="right")
    padded = np.concatenate([np.zeros_like(curves[..., :1]), curves], axis=-1)
    return padded[..., position]


def one_cause(event: np.ndarray, cause: int) -> np.ndarray:
    """Return which subjects have the event of this cause: events of other causes censor a cause-specific hazard."""
    return np.asarray(event) == cause

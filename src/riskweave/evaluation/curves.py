"""Predicted incidences between the times of the grid: piecewise constant hazards."""

from dataclasses import dataclass

import numpy as np

__all__ = ["PROBABILITY_FLOOR", "Hazards", "piecewise_hazards"]

# Forests and small networks predict incidences of exactly 0 or 1. Their logarithms are taken as those of this
# probability, in an interval of the grid or of being free of events, so that one subject cannot be infinitely wrong.
PROBABILITY_FLOOR = 1e-7


@dataclass(frozen=True)
class Hazards:
    """Hazards at the end of follow-up, or at the end of the grid where that is earlier.

    Attributes
    ----------
    within : (n,) bool array
        Whether the subject's time is within the grid; the others are as if censored at its last time.
    cumulative : (causes, n) float64 array
        Cumulative cause-specific hazard up to the time.
    rate : (causes, n) float64 array
        Cause-specific hazard at the time, per day, with the floor; of the last interval for those beyond the grid.
    """

    within: np.ndarray
    cumulative: np.ndarray
    rate: np.ndarray


def _checked(incidence: np.ndarray, times: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Incidences of all causes, (causes, n, times + 1), with 0 at time 0."""
    incidence = np.asarray(incidence, float)
    incidence = incidence[None] if incidence.ndim == 2 else incidence
    if incidence.ndim != 3 or incidence.shape[1:] != (len(event), len(times)) or not np.all(np.isfinite(incidence)):
        raise ValueError(f"incidences are finite, of shape (causes, subjects, times), found {incidence.shape}")
    if len(times) == 0 or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError("times of the grid are positive and increase")
    if event.max() > len(incidence):
        raise ValueError(f"there are events of cause {event.max()}, but incidences of {len(incidence)} causes only")
    curves = np.concatenate([np.zeros((*incidence.shape[:2], 1)), incidence], axis=2)
    if np.diff(curves, axis=2).min() < -1e-9 or curves.sum(axis=0).max() > 1 + 1e-6:
        raise ValueError("incidences start at 0 or above, do not fall over time, and sum to at most 1 over the causes")
    return curves


def piecewise_hazards(*, time: np.ndarray, event: np.ndarray, incidence: np.ndarray, times: np.ndarray) -> Hazards:
    """Cause-specific hazards of each subject at its own time.

    Between two grid times (and from 0 to the first) all cause-specific hazards are constant, so that they lead exactly
    from the incidences at the one to those at the other: the hazard of any event is -log(S2 / S1) per length of the
    interval, and that of a cause has the cause's share of the new incidence. S is one minus the sum of incidences.

    Parameters
    ----------
    time, event : (n,) arrays
        Days, and 0 censored, 1 target, 2 and up competing.
    incidence : (n, k) or (causes, n, k) array
        Predicted cumulative incidence at each of `times`: of the target, or of all causes in the order of their codes.
    times : (k,) array
        Days, > 0, increasing.

    Raises
    ------
    ValueError
        When shapes differ, incidences fall over time or sum to more than 1, or a cause that occurs has none.
    """
    time, event, times = np.asarray(time, float), np.asarray(event), np.asarray(times, float)
    curves = _checked(incidence, times, event)
    edges, each = np.concatenate([[0.0], times]), np.arange(len(time))
    within = time <= times[-1]
    end = np.minimum(np.searchsorted(times, time), len(times) - 1) + 1
    at = np.minimum(time, times[-1])
    gained = np.diff(curves, axis=2).clip(0)
    total = gained.sum(axis=0, keepdims=True)
    share = np.divide(gained, total, out=np.full_like(gained, 1 / len(gained)), where=total > 0)
    hazard = -np.diff(np.log(np.clip(1 - curves.sum(axis=0), PROBABILITY_FLOOR, 1)), axis=1)
    by_cause = share * hazard[None]
    before = np.concatenate([np.zeros((*gained.shape[:2], 1)), by_cause.cumsum(axis=2)], axis=2)[:, each, end - 1]
    length = (edges[end] - edges[end - 1])[None]
    last = by_cause[:, each, end - 1]
    cumulative = before + last * (at - edges[end - 1])[None] / length
    return Hazards(within, cumulative, np.maximum(last, PROBABILITY_FLOOR) / length)

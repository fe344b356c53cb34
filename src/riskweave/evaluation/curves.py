"""Predicted incidences between the times of the grid: piecewise constant hazards."""

from dataclasses import dataclass

import numpy as np

from riskweave.compiled import compiled

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

    def take(self, rows: np.ndarray) -> "Hazards":
        """Keep some of the subjects, by position or by mask."""
        return Hazards(self.within[rows], self.cumulative[:, rows], self.rate[:, rows])


@compiled()
def _walk(incidence, edges, time, floor):
    """Follow each subject through the grid up to its time; whole curves are checked, none is copied."""
    causes, n, k = incidence.shape
    cumulative = np.zeros((causes, n))
    rate = np.zeros((causes, n))
    falls = 0.0
    highest = 0.0
    for i in range(n):
        free = 1.0
        for j in range(k):
            length = edges[j + 1] - edges[j]
            spent = min(max(time[i] - edges[j], 0.0), length)
            here = edges[j] < time[i]
            gained = 0.0
            total = 0.0
            for c in range(causes):
                gain = incidence[c, i, j] - (incidence[c, i, j - 1] if j else 0.0)
                falls = min(falls, gain)
                gained += max(gain, 0.0)
                total += incidence[c, i, j]
            highest = max(highest, total)
            now = min(max(1.0 - total, floor), 1.0)
            hazard = max(np.log(free / now), 0.0)
            free = now
            for c in range(causes if here else 0):
                gain = max(incidence[c, i, j] - (incidence[c, i, j - 1] if j else 0.0), 0.0)
                part = hazard * (gain / gained if gained > 0 else 1.0 / causes)
                cumulative[c, i] += part * spent / length
                rate[c, i] = max(part, floor) / length
    return cumulative, rate, falls, highest


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
    incidence = np.asarray(incidence, float)
    incidence = incidence[None] if incidence.ndim == 2 else incidence
    if incidence.ndim != 3 or incidence.shape[1:] != (len(event), len(times)) or not np.all(np.isfinite(incidence)):
        raise ValueError(f"incidences are finite, of shape (causes, subjects, times), found {incidence.shape}")
    if len(times) == 0 or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError("times of the grid are positive and increase")
    if event.max() > len(incidence):
        raise ValueError(f"there are events of cause {event.max()}, but incidences of {len(incidence)} causes only")
    edges = np.concatenate([[0.0], times])
    cumulative, rate, falls, highest = _walk(incidence, edges, time, PROBABILITY_FLOOR)
    if falls < -1e-9 or highest > 1 + 1e-6:
        raise ValueError("incidences start at 0 or above, do not fall over time, and sum to at most 1 over the causes")
    return Hazards(time <= times[-1], cumulative, rate)

"""Proportional cause-specific hazards: a step function for the baseline and a log hazard ratio for each subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riskweave.survival.competing import at_times, cumulative_incidence

__all__ = ["CELLS", "Baseline", "breslow", "proportional_incidence"]

CELLS = 4_000_000
"""Most values of an array of hazards (subjects x causes x event times) that predictions hold at once: 32 MB."""


@dataclass(frozen=True)
class Baseline:
    """Cumulative hazard of a subject with log hazard ratio 0: from each of its times (days) on, one value; 0 before."""

    times: np.ndarray
    cumulative: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, cumulative: np.ndarray) -> "Baseline":
        """Keep the steps only: times at which nothing but a censoring happens tell about single subjects."""
        steps = np.diff(cumulative, prepend=0.0) > 0
        return cls(np.array(times, dtype=np.float64)[steps], np.array(cumulative, dtype=np.float64)[steps])

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard at these days."""
        return at_times(self.cumulative, grid=self.times, times=times)


def breslow(log_ratio: np.ndarray, time: np.ndarray, observed: np.ndarray) -> Baseline:
    """Return Breslow's estimate of the cumulative baseline hazard (1974, Biometrics 30:89).

    Parameters
    ----------
    log_ratio : array (n,)
        Log hazard ratios of the training rows.
    time : array (n,)
        Days.
    observed : bool array (n,)
        Whether the event happened.
    """
    times, events = np.unique(time[observed], return_counts=True)
    order = np.argsort(time, kind="stable")
    # Bounded as predictions are: a network that diverged must not overflow.
    ratio = np.exp(np.clip(np.asarray(log_ratio, dtype=np.float64), -50, 50))
    at_risk = np.cumsum(ratio[order][::-1])[::-1]
    return Baseline(times, np.cumsum(events / at_risk[np.searchsorted(time[order], times, side="left")]))


def proportional_incidence(
    log_ratios: np.ndarray, baselines: Sequence[Baseline | None], times: Sequence[float]
) -> np.ndarray:
    """Return cumulative incidences from cause-specific proportional hazards.

    Parameters
    ----------
    log_ratios : array (n, K)
        Log hazard ratio of each subject and cause.
    baselines : sequence of K Baseline or None
        None for a cause that never happens.
    times : sequence of m days

    Returns
    -------
    float64 array (n, K, m)
    """
    times = np.asarray(times, dtype=float)
    # A subject far outside the training rows must not overflow: e^50 is certainty already.
    ratios = np.exp(np.clip(log_ratios, -50, 50))
    jumps = [baseline.times for baseline in baselines if baseline is not None]
    # With one cause, 1 - exp(-A) needs the hazard at the wanted times only.
    grid = np.unique(times) if len(baselines) == 1 else np.unique(np.concatenate([*jumps, [0.0]]))
    grid = grid[grid <= times.max(initial=0.0)]
    hazards = np.stack([np.zeros(len(grid)) if one is None else one.at(grid) for one in baselines])
    chunk = max(1, CELLS // max(1, hazards.size))
    found = np.zeros((len(ratios), len(baselines), len(times)))
    for start in range(0, len(ratios), chunk):
        rows = slice(start, start + chunk)
        incidence = cumulative_incidence(ratios[rows, :, None] * hazards)
        found[rows] = at_times(incidence, grid=grid, times=times)
    return found

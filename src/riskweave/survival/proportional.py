"""Proportional cause-specific hazards: a step function for the baseline and a log hazard ratio for each subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riskweave.survival.competing import at_times

__all__ = ["Baseline", "breslow", "proportional_incidence"]


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

    See `riskweave.survival.competing.cumulative_incidence`, ``within="exponential"``. The event times are walked
    through once by compiled code (`riskweave.survival.kernel`), and nothing larger than the result is held.

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
    times = np.asarray(times, dtype=np.float64)
    # A subject far outside the training rows must not overflow: e^50 is certainty already.
    ratios = np.exp(np.clip(np.asarray(log_ratios, dtype=np.float64), -50, 50))
    if len(baselines) == 1:
        # 1 - exp(-A) needs the hazard at the wanted times only.
        hazard = np.zeros(len(times)) if baselines[0] is None else baselines[0].at(times)
        return -np.expm1(-ratios[:, :, None] * hazard)
    # numba takes a second to import: not before there is something to walk through.
    from riskweave.survival.kernel import walk

    jumps = [baseline.times for baseline in baselines if baseline is not None]
    grid = np.unique(np.concatenate([*jumps, [0.0]]))
    grid = grid[grid <= times.max(initial=0.0)]
    hazards = np.stack([np.zeros(len(grid)) if one is None else one.at(grid) for one in baselines], axis=1)
    order = np.argsort(times, kind="stable")
    until = np.searchsorted(grid, times[order], side="right")
    return walk(np.ascontiguousarray(ratios), np.diff(hazards, axis=0, prepend=0.0), until, order)

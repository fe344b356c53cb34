"""Risks of a unimodal model as one number for each cause: the standardised log cumulative hazard."""

import numpy as np

__all__ = ["HazardScale", "cumulative_hazards"]

SMALLEST = 0.01
"""Smallest cumulative hazard that is told apart, as a share of the mean one: forests predict hazards of 0."""


def cumulative_hazards(incidence: np.ndarray) -> np.ndarray:
    r"""Return the cause-specific cumulative hazards behind cumulative incidences.

    The inverse of `riskweave.survival.competing.cumulative_incidence`: with the survival
    :math:`S = 1 - \sum_k F_k`, the hazard of all causes grows by :math:`\log S(u-) - \log S(u)` between two times, and
    cause k has the share :math:`dF_k / \sum_k dF_k` of it.

    Parameters
    ----------
    incidence : ndarray of shape (n, causes, times)
        Non-decreasing in time; sums over the causes to at most 1.

    Returns
    -------
    ndarray of shape (n, causes, times)
        Finite: survival below 1e-9 counts as 1e-9.
    """
    grown = np.maximum(np.diff(incidence, axis=2, prepend=0.0), 0.0)
    total = grown.sum(axis=1, keepdims=True)
    survival = np.maximum(1.0 - np.cumsum(total, axis=2), 1e-9)
    hazard = -np.diff(np.log(survival), axis=2, prepend=0.0)
    share = np.divide(grown, total, out=np.zeros_like(grown), where=total > 0)
    return np.cumsum(share * hazard, axis=2)


class HazardScale:
    """Log cumulative hazards, averaged over some times and standardised on the training rows.

    With proportional hazards every time gives the same number up to a constant; averaging serves models whose hazards
    are not.

    Parameters
    ----------
    times : ndarray of shape (t,)
        Days, increasing.
    """

    def __init__(self, times: np.ndarray):
        self.times = np.asarray(times, dtype=float)

    def fit(self, incidence: np.ndarray) -> "HazardScale":
        """Learn the scale from cumulative incidences (n, causes, times) of training rows at the times."""
        hazards = cumulative_hazards(incidence)
        # Where nobody has a hazard yet, the floor makes all the same.
        self.smallest_ = np.maximum(SMALLEST * hazards.mean(axis=0), 1e-12)
        raw = self._raw(hazards)
        self.mean_, spread = raw.mean(axis=0), raw.std(axis=0)
        # Rounding leaves a spread where all risks are the same.
        self.spread_ = np.where(spread > 1e-9, spread, np.inf)
        return self

    def transform(self, incidence: np.ndarray) -> np.ndarray:
        """Return the scores (n, causes); 0 where all training rows had the same risk."""
        return (self._raw(cumulative_hazards(incidence)) - self.mean_) / self.spread_

    @property
    def causes(self) -> int:
        """Number of causes."""
        return len(self.mean_)

    def _raw(self, hazards: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(hazards, self.smallest_)).mean(axis=2)

"""Jackknife pseudo-observations of the cumulative incidence: what each subject adds to the Aalen-Johansen estimate."""

import numpy as np

from riskweave.compiled import compiled
from riskweave.evaluation.censoring import row_weights, sort_outcomes
from riskweave.evaluation.kernel import CENSORED, TARGET

__all__ = ["jackknife", "pseudo_observations"]


@compiled()
def _counts(kind, starts, groups, weights):
    """At risk, target events and events of any cause of each group of equal times."""
    counts = np.zeros((3, groups))
    present = weights.sum()
    for g in range(groups):
        counts[0, g] = present
        for i in range(starts[g], starts[g + 1]):
            present -= weights[i]
            if kind[i] == TARGET:
                counts[1, g] += weights[i]
            if kind[i] != CENSORED:
                counts[2, g] += weights[i]
    return counts


@compiled()
def jackknife(kind, starts, groups, weights):
    """Pseudo-observations in one sweep forward, one back and one over subjects, for many resamples.

    Who leaves in a group of equal times is missing from the risk sets up to that group and changes nothing after it. So
    the estimate without a subject is joined from the incidence with everybody's risk sets one smaller up to the group,
    the group itself, and the incidence from there on, which is that of the whole sample.

    Parameters
    ----------
    kind, starts
        As in :mod:`riskweave.evaluation.kernel`.
    groups : int
        Number of groups of equal times up to the horizon.
    weights : (resamples, n) int64 array

    Returns
    -------
    (resamples, n) float64 array
        Of one copy of each subject; 0 for who was not drawn.
    """
    resamples, n = weights.shape
    pseudo = np.zeros((resamples, n))
    free = np.ones(groups + 1)
    incidence = np.zeros(groups + 1)
    after = np.zeros(groups + 1)
    for b in range(resamples):
        at_risk, target, any_cause = _counts(kind, starts, groups, weights[b])
        for g in range(groups):
            fewer = max(at_risk[g] - 1, 1.0)
            incidence[g + 1] = incidence[g] + free[g] * target[g] / fewer
            free[g + 1] = free[g] * (1 - any_cause[g] / fewer)
        after[groups] = 0.0
        for g in range(groups - 1, -1, -1):
            risk = max(at_risk[g], 1.0)
            after[g] = target[g] / risk + (1 - any_cause[g] / risk) * after[g + 1]
        total = weights[b].sum()
        for g in range(groups):
            fewer = max(at_risk[g] - 1, 1.0)
            for i in range(starts[g], starts[g + 1]):
                if weights[b, i] > 0:
                    is_target, is_event = kind[i] == TARGET, kind[i] != CENSORED
                    without = incidence[g] + free[g] * (target[g] - is_target) / fewer
                    without += free[g] * (1 - (any_cause[g] - is_event) / fewer) * after[g + 1]
                    pseudo[b, i] = total * after[0] - (total - 1) * without
        for i in range(starts[groups], n):
            if weights[b, i] > 0:
                pseudo[b, i] = total * after[0] - (total - 1) * incidence[groups]
    return pseudo


def pseudo_observations(
    *, time: np.ndarray, event: np.ndarray, horizon: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Pseudo-observation of the target event by the horizon: n F - (n - 1) F without the subject.

    F is the Aalen-Johansen incidence of the target. Without censoring before the horizon it is 1 for who had the target
    event and 0 for the others; with censoring it can lie outside 0 and 1, but regressions on it are as those on the
    unknown outcomes. The exact leave-one-out estimate, O(n) after sorting. Assumes that censoring is independent of the
    event and of the predictors.

    Parameters
    ----------
    time, event : (n,) arrays
        Days, > 0; 0 censored, 1 target, 2 and up competing.
    horizon : float
        Days.
    weights : (n,) array of int, optional
        How often each subject counts; one copy is left out at a time.

    Returns
    -------
    (n,) float64 array
        0 for a subject of weight 0.

    References
    ----------
    Andersen et al., Biometrika 2003;90:15; Klein and Andersen, Biometrics 2005;61:223.
    """
    outcomes = sort_outcomes(time, event)
    rows = row_weights(weights, outcomes)
    groups = int(np.searchsorted(outcomes.starts, outcomes.through([horizon])[0]))
    pseudo = np.empty(len(outcomes.time))
    pseudo[outcomes.order] = jackknife(outcomes.kind, outcomes.starts, groups, rows)[0]
    return pseudo

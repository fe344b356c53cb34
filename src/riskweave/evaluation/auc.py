"""Cumulative/dynamic time-dependent area under the ROC curve."""

# ruff: noqa: PLR0917 - compiled functions take their arrays by position

import numpy as np

from riskweave.compiled import compiled
from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import row_weights, sort_outcomes
from riskweave.evaluation.kernel import COMPETING, TARGET

__all__ = ["area_under_curve", "time_dependent_auc"]


@compiled()
def area_under_curve(rank, kind, left, weights, uncensored, before):
    """Area under the ROC curve at one horizon for many resamples, each in one sweep over subjects and one over ranks.

    Parameters
    ----------
    rank : (n,) int64 array
        Dense rank of the risk at the horizon, 1 to the number of distinct risks; subjects sorted as in
        :mod:`riskweave.evaluation.kernel`.
    kind : (n,) int8 array
    left : int
        Number of subjects, in order, whom the horizon finds with an event or with an earlier censoring.
    weights : (resamples, n) int64 array
    uncensored : (resamples, n + 1) float64 array
        What :func:`riskweave.evaluation.kernel.still_uncensored` returns.
    before : int
        Number of subjects whose time is earlier than the horizon.

    Returns
    -------
    (resamples,) float64 array
        NaN without a case or without a control.
    """
    resamples, n = weights.shape
    ranks = rank.max()
    area = np.full(resamples, np.nan)
    cases = np.empty(ranks + 1)
    controls = np.empty(ranks + 1)
    for b in range(resamples):
        cases[:] = 0.0
        controls[:] = 0.0
        for i in range(left):
            if weights[b, i] > 0:
                if kind[i] == TARGET:
                    cases[rank[i]] += weights[b, i] / uncensored[b, i]
                elif kind[i] == COMPETING:
                    controls[rank[i]] += weights[b, i] / uncensored[b, i]
        for i in range(left, n):
            if weights[b, i] > 0:
                controls[rank[i]] += weights[b, i] / uncensored[b, before]
        below = 0.0
        concordant = 0.0
        all_cases = 0.0
        for r in range(1, ranks + 1):
            concordant += cases[r] * (below + 0.5 * controls[r])
            below += controls[r]
            all_cases += cases[r]
        if all_cases > 0 and below > 0:
            area[b] = concordant / (all_cases * below)
    return area


def time_dependent_auc(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizons: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve of the risk at each horizon: who has the target event by then against who has not.

    Cases have the target event at or before the horizon t and weigh 1/G(T-). Controls are free of events at t, with
    weight 1/G(t-), or had a competing event at s <= t, with weight 1/G(s-): they will never have the target event. Who
    is censored before t is neither; who is censored on day t itself is free of events on that day. G is the
    Kaplan-Meier estimate of true censoring. The area is the share of case-control pairs in which the case has the
    higher risk; equal risks count one half. 0.5 is chance (exactly, for a constant risk), 1 perfect, higher is better.
    O(n log n).

    Assumes that censoring is independent of the event and of the predictors, and that a fair share of the subjects is
    still under observation at each horizon. Tells nothing of calibration.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, > 0.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    risk : (n, k) array
        Cumulative incidence of the target event at each horizon, or anything that grows with it.
    horizons : (k,) array
        Days.
    weights : (n,) array of int, optional
        How often each subject counts.

    Returns
    -------
    (k,) float64 array
        NaN where there is no case or no control.

    References
    ----------
    Uno et al., JASA 2007;102:527; Hung and Chiang, Can J Stat 2010;38:8. With competing events: Blanche et al., Stat
    Med 2013;32:5381 (the controls of its second definition).
    """
    outcomes = sort_outcomes(time, event)
    rows = row_weights(weights, outcomes)
    horizons, risk = np.asarray(horizons, float), np.asarray(risk, float)
    if risk.shape != (len(outcomes.time), len(horizons)) or not np.all(np.isfinite(risk)):
        raise ValueError(f"risks are finite numbers, one row per subject and one column per horizon: {risk.shape}")
    uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)
    left, before = outcomes.left_by(horizons), outcomes.before(horizons)
    areas = np.empty(len(horizons))
    for h in range(len(horizons)):
        rank = np.unique(risk[outcomes.order, h], return_inverse=True)[1] + 1
        areas[h] = area_under_curve(rank, outcomes.kind, left[h], rows, uncensored, before[h])[0]
    return areas

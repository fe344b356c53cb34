"""Antolini's time-dependent concordance, for comparison with papers only."""

# ruff: noqa: PLR0917 - compiled functions take their arrays by position

import numpy as np

from riskweave.compiled import compiled
from riskweave.evaluation.censoring import row_weights, sort_outcomes
from riskweave.evaluation.kernel import CENSORED, COMPETING, TARGET, tree_add, tree_up_to

__all__ = ["antolini_c"]


@compiled()
def _presence(rank, kind, end, weights, count, tree):
    """Count, by rank, who is comparable with every event of the interval; fills the counts and the tree over them.

    That is who leaves after the interval, and who ever has a competing event: then or earlier, the target never comes.
    """
    count[:] = 0
    present = 0
    for i in range(len(rank)):
        if i >= end or kind[i] == COMPETING:
            count[rank[i]] += weights[i]
            present += weights[i]
    tree[:] = count
    for position in range(1, len(tree)):
        parent = position + (position & -position)
        if parent < len(tree):
            tree[parent] += tree[position]
    return present


@compiled()
def _interval_pairs(rank, kind, starts, weights, groups, sums):
    """Add the doubled concordant and doubled comparable pairs of the events of one interval, for each resample."""
    first, last = groups
    tree = np.zeros(rank.max() + 1, np.int64)
    count = np.zeros(rank.max() + 1, np.int64)
    for b in range(weights.shape[0]):
        w = weights[b]
        present = _presence(rank, kind, starts[last], w, count, tree)
        for g in range(last - 1, first - 1, -1):
            # an event precedes a censoring of its day, and two target events of a day are not comparable: censored
            # subjects join before the events of their day are counted, the events after
            for joining in (CENSORED, TARGET):
                if joining == TARGET:
                    for i in range(starts[g], starts[g + 1]):
                        if kind[i] == TARGET and w[i] > 0:
                            # lower risks count twice, equal risks once: halves stay integers
                            sums[b, 0] += w[i] * (2 * tree_up_to(tree, rank[i]) - count[rank[i]])
                            sums[b, 1] += w[i] * 2 * present
                for i in range(starts[g], starts[g + 1]):
                    if kind[i] == joining and w[i] > 0:
                        tree_add(tree, rank[i], w[i])
                        count[rank[i]] += w[i]
                        present += w[i]


def antolini_c(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Antolini's time-dependent concordance: for comparison with papers only, never to choose a model by.

    Pairs are of a subject with the target event and one who is still under observation then (or censored on the same
    day), or who has a competing event at any time. The share of pairs in which the first has the higher predicted
    incidence at the time of its event; equal incidences count one half, two target events of the same time are not
    comparable. The incidence at an event is that of the first grid time at or after it. Events after the last grid time
    do not count. 0.5 is chance (exactly, for a constant predictor), 1 perfect, higher is better.

    Each pair is compared at another time, so curves that cross can be rewarded although no risk of any fixed horizon is
    ordered better; it equals Harrell's concordance where the curves do not cross. Depends on how much is censored.
    O(K n log n) for K grid times.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, > 0.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    risk : (n, K) array
        Predicted cumulative incidence of the target event at each of `times`.
    times : (K,) array
        Days, increasing.
    weights : (n,) or (resamples, n) array of int, optional
        How often each subject counts, for one sample or for many.

    Returns
    -------
    float, or (resamples,) float64 array where `weights` has rows
        NaN without a comparable pair.

    References
    ----------
    Antolini et al., Stat Med 2005;24:3927. Competing events as Wolbers et al., Epidemiology 2009;20:555.
    """
    outcomes = sort_outcomes(time, event)
    risk, times = np.asarray(risk, float), np.asarray(times, float)
    if risk.shape != (len(outcomes.time), len(times)) or not np.all(np.isfinite(risk)) or np.any(np.diff(times) <= 0):
        raise ValueError(f"risks are finite, one row per subject and one column per increasing time: {risk.shape}")
    many = weights is not None and np.ndim(weights) == 2
    each = list(weights) if many else [weights]
    rows = np.concatenate([row_weights(row, outcomes) for row in each])
    # groups of equal time that end each interval (times[k - 1], times[k]]
    ends = np.searchsorted(outcomes.starts, outcomes.through(times))
    sums = np.zeros((len(rows), 2), np.int64)
    for k in range(len(times)):
        first, last = int(ends[k - 1]) if k else 0, int(ends[k])
        if np.any(outcomes.kind[outcomes.starts[first] : outcomes.starts[last]] == TARGET):
            rank = np.unique(risk[outcomes.order, k], return_inverse=True)[1] + 1
            _interval_pairs(rank, outcomes.kind, outcomes.starts, rows, (first, last), sums)
    with np.errstate(invalid="ignore"):
        result = sums[:, 0] / sums[:, 1]
    return result if many else float(result[0])

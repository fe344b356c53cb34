"""Compiled sweeps over subjects sorted by time, and the Fenwick tree that they count with.

Every function takes one row of non-negative integer weights per resample. A bootstrap resample is then a row of
multiplicities: nothing is sorted or copied again (all ones gives the estimate itself).

Subjects are sorted by time and, at equal times, target events first, then competing events, then censorings: an event
precedes a censoring of the same day. ``starts`` (groups + 1,) bounds the groups of equal time. ``kind`` is one of
``TARGET``, ``COMPETING``, ``CENSORED``.
"""

# ruff: noqa: PLR0917 - compiled functions take their arrays by position

import numpy as np

from riskweave.compiled import compiled

__all__ = [
    "CENSORED",
    "COMPETING",
    "TARGET",
    "concordance",
    "incidence",
    "squared_errors",
    "still_uncensored",
    "tree_add",
    "tree_up_to",
]

TARGET, COMPETING, CENSORED = 0, 1, 2


@compiled()
def still_uncensored(kind, starts, weights):
    """Kaplan-Meier estimate of the censoring distribution just before each subject's time, G(t-).

    Parameters
    ----------
    kind : (n,) int8 array
    starts : (groups + 1,) int64 array
    weights : (resamples, n) int64 array

    Returns
    -------
    (resamples, n + 1) float64 array
        Column i: probability of being uncensored just before the time of subject i; the last column: after all.
    """
    resamples, n = weights.shape
    probability = np.ones((resamples, n + 1))
    for b in range(resamples):
        at_risk = weights[b].sum()
        current = 1.0
        for g in range(len(starts) - 1):
            events = 0
            censored = 0
            for i in range(starts[g], starts[g + 1]):
                probability[b, i] = current
                if kind[i] == CENSORED:
                    censored += weights[b, i]
                else:
                    events += weights[b, i]
            if censored > 0:
                current *= 1.0 - censored / (at_risk - events)
            at_risk -= events + censored
        probability[b, n] = current
    return probability


@compiled()
def incidence(kind, starts, weights):
    """Aalen-Johansen cumulative incidence of the target event after each group of equal times.

    Parameters
    ----------
    kind, starts, weights
        As in :func:`still_uncensored`.

    Returns
    -------
    (resamples, n + 1) float64 array
        Column i: cumulative incidence once the first i subjects have left; column 0 is 0. Within a group of equal times
        the value is that of the end of the group, for all but its first column.
    """
    resamples, n = weights.shape
    cumulative = np.zeros((resamples, n + 1))
    for b in range(resamples):
        at_risk = weights[b].sum()
        event_free = 1.0
        current = 0.0
        for g in range(len(starts) - 1):
            target = 0
            competing = 0
            leaving = 0
            for i in range(starts[g], starts[g + 1]):
                leaving += weights[b, i]
                if kind[i] == TARGET:
                    target += weights[b, i]
                elif kind[i] == COMPETING:
                    competing += weights[b, i]
            if target + competing > 0:
                current += event_free * target / at_risk
                event_free *= 1.0 - (target + competing) / at_risk
            at_risk -= leaving
            for i in range(starts[g], starts[g + 1]):
                cumulative[b, i + 1] = current
    return cumulative


@compiled()
def tree_add(tree, position, amount):
    """Add an amount at a position (from 1) of a Fenwick tree; position 0 of the array stays zero."""
    while position < len(tree):
        tree[position] += amount
        position += position & -position


@compiled()
def tree_up_to(tree, position):
    """Sum of a Fenwick tree up to and with a position."""
    total = tree[0]  # always zero; gives the sum the type of the tree
    while position > 0:
        total += tree[position]
        position -= position & -position
    return total


@compiled()
def _any_twice(rank, ranks):
    seen = np.zeros(ranks + 1, np.bool_)
    for i in range(len(rank)):
        if seen[rank[i]]:
            return True
        seen[rank[i]] = True
    return False


@compiled()
def _against_later(rank, kind, starts, weights, uncensored, limits, ranks, tied, sums):
    """Pairs of a target event and whoever is still under observation: one sweep back in time."""
    # 32 bits: the sweep waits for memory, and two arrays of this kind stay in a core's cache up to 100,000 ranks
    tree = np.zeros(ranks + 1, np.int32)
    same = np.zeros(ranks + 1, np.int32)
    present = 0
    doubled = 0
    pairs = 0
    for g in range(len(starts) - 2, -1, -1):
        for i in range(starts[g], starts[g + 1]):
            if kind[i] != TARGET and weights[i] > 0:
                tree_add(tree, rank[i], weights[i])
                if tied:
                    same[rank[i]] += weights[i]
                present += weights[i]
        for i in range(starts[g], starts[g + 1]):
            if kind[i] == TARGET and weights[i] > 0:
                # lower risks count twice, equal risks once: halves stay integers
                points = 2 * tree_up_to(tree, rank[i])
                if tied:
                    points -= same[rank[i]]
                doubled += weights[i] * points
                pairs += weights[i] * present
                inverse = weights[i] / (uncensored[i] * uncensored[i])
                for h in range(len(limits)):
                    if i < limits[h]:
                        sums[1 + h, 0] += inverse * points
                        sums[1 + h, 1] += inverse * (2 * present)
        for i in range(starts[g], starts[g + 1]):
            if kind[i] == TARGET and weights[i] > 0:
                tree_add(tree, rank[i], weights[i])
                if tied:
                    same[rank[i]] += weights[i]
                present += weights[i]
    sums[0, 0] += doubled
    sums[0, 1] += 2 * pairs


@compiled()
def _against_competing(rank, kind, starts, weights, uncensored, limits, ranks, sums):
    """Pairs of a target event and an earlier competing event, whose subject never has the target: one sweep forward."""
    tree = np.zeros(ranks + 1, np.int64)
    same = np.zeros(ranks + 1, np.int64)
    weighted_tree = np.zeros(ranks + 1)
    weighted_same = np.zeros(ranks + 1)
    present = 0
    weighted_present = 0.0
    doubled = 0
    pairs = 0
    for g in range(len(starts) - 1):
        for i in range(starts[g], starts[g + 1]):
            if kind[i] == TARGET and weights[i] > 0 and present > 0:
                doubled += weights[i] * (2 * tree_up_to(tree, rank[i]) - same[rank[i]])
                pairs += weights[i] * present
                inverse = weights[i] / uncensored[i]
                points = 2.0 * tree_up_to(weighted_tree, rank[i]) - weighted_same[rank[i]]
                for h in range(len(limits)):
                    if i < limits[h]:
                        sums[1 + h, 0] += inverse * points
                        sums[1 + h, 1] += inverse * (2.0 * weighted_present)
        for i in range(starts[g], starts[g + 1]):
            if kind[i] == COMPETING and weights[i] > 0:
                inverse = weights[i] / uncensored[i]
                tree_add(tree, rank[i], weights[i])
                tree_add(weighted_tree, rank[i], inverse)
                same[rank[i]] += weights[i]
                weighted_same[rank[i]] += inverse
                present += weights[i]
                weighted_present += inverse
    sums[0, 0] += doubled
    sums[0, 1] += 2 * pairs


@compiled()
def concordance(rank, kind, starts, weights, uncensored, limits):
    """Harrell's and Uno's concordance in O(n log n), with a Fenwick tree over the ranks of the risk.

    The weights of a row sum to less than 2^31.

    Parameters
    ----------
    rank : (n,) int64 array
        Dense rank of the risk, 1 to the number of distinct risks; equal risks share one.
    kind, starts, weights
        As in :func:`still_uncensored`.
    uncensored : (resamples, n + 1) float64 array
        What :func:`still_uncensored` returns.
    limits : (horizons,) int64 array
        Number of subjects, in order, whose target events count in Uno's concordance (its truncation).

    Returns
    -------
    (resamples, 1 + horizons) float64 array
        Harrell's concordance and Uno's for each limit; NaN without a comparable pair.
    """
    resamples = weights.shape[0]
    ranks = rank.max()
    tied = _any_twice(rank, ranks)
    competing = np.any(kind == COMPETING)
    columns = 1 + len(limits)
    result = np.full((resamples, columns), np.nan)
    for b in range(resamples):
        sums = np.zeros((columns, 2))
        _against_later(rank, kind, starts, weights[b], uncensored[b], limits, ranks, tied, sums)
        if competing:
            _against_competing(rank, kind, starts, weights[b], uncensored[b], limits, ranks, sums)
        for c in range(columns):
            if sums[c, 1] > 0:
                result[b, c] = sums[c, 0] / sums[c, 1]
    return result


@compiled()
def squared_errors(loss, kind, first, before, weights, uncensored):
    """Brier score of the cumulative incidence at several times, weighted by the inverse probability of censoring.

    Parameters
    ----------
    loss : (n, times) float64 array
        Squared error of each risk, against what is known of the subject at each time.
    kind, weights
        As in :func:`still_uncensored`.
    first : (n,) int64 array
        First time (as a column) that finds the subject gone, by an event or an earlier censoring.
    before : (times,) int64 array
        Number of subjects whose time is earlier.
    uncensored : (resamples, n + 1) float64 array
        What :func:`still_uncensored` returns.

    Returns
    -------
    (resamples, times) float64 array
        NaN where all weights are zero.
    """
    resamples, n = weights.shape
    times = len(before)
    score = np.zeros((resamples, times))
    free = np.zeros(times)
    for b in range(resamples):
        free[:] = 0.0
        total = 0
        for i in range(n):
            if weights[b, i] == 0:
                continue
            total += weights[b, i]
            # the inner loops run over times: independent sums, so vector instructions do not change a digit
            for k in range(first[i]):
                free[k] += weights[b, i] * loss[i, k]
            if kind[i] != CENSORED:
                inverse = weights[b, i] / uncensored[b, i]
                for k in range(first[i], times):
                    score[b, k] += inverse * loss[i, k]
        for k in range(times):
            if free[k] > 0:
                score[b, k] += free[k] / uncensored[b, before[k]]
            score[b, k] = score[b, k] / total if total > 0 else np.nan
    return score

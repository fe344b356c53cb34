"""Compiled sweeps for decision curves and for influence functions; the conventions are those of the kernel."""

# ruff: noqa: PLR0917 - compiled functions take their arrays by position

import numpy as np

from riskweave.compiled import compiled
from riskweave.evaluation.kernel import CENSORED, TARGET, tree_add, tree_up_to

__all__ = ["compare_ranks", "incidence_above"]


@compiled()
def _at_risk(present, at_risk):
    """Sum the subjects of each cell into the risk sets of the thresholds that they reach."""
    total = 0
    for k in range(len(at_risk) - 1, -1, -1):
        total += present[k + 1]
        at_risk[k] = total


@compiled()
def _step(current, event_free, at_risk, target, competing, highest):
    """Aalen-Johansen at one time, for the thresholds below the highest that an event of this time reaches."""
    targets = 0
    others = 0
    for k in range(highest - 1, -1, -1):
        targets += target[k]
        others += competing[k]
        if targets + others > 0:
            leaving = (targets + others) / at_risk[k]
            if targets > 0:
                # divisions are what the sweep waits for: most times have events of one cause
                share = leaving if others == 0 else targets / at_risk[k]
                current[k] += event_free[k] * share
            event_free[k] *= 1.0 - leaving
        target[k] = 0
        competing[k] = 0


@compiled()
def _events(reached, kind, weights, first, last, target, competing):
    """Count the events of one time by the highest threshold they reach, and return the highest of all."""
    highest = 0
    for i in range(first, last):
        if kind[i] != CENSORED and weights[i] > 0 and reached[i] > 0:
            highest = max(highest, reached[i])
            if kind[i] == TARGET:
                target[reached[i] - 1] += weights[i]
            else:
                competing[reached[i] - 1] += weights[i]
    return highest


@compiled()
def incidence_above(reached, kind, starts, weights, before, through, thresholds):
    """Aalen-Johansen cumulative incidence at a horizon among subjects at or above each of several thresholds.

    One sweep serves all thresholds: a subject is in the risk sets of the thresholds that its risk reaches, and an event
    moves the estimates of those alone.

    Parameters
    ----------
    reached : (n,) int64 array
        Number of thresholds at or below the subject's risk.
    kind, starts, weights
        As in :func:`riskweave.evaluation.kernel.still_uncensored`.
    before, through : int
        Number of subjects whose time is before the horizon, and at or before it.
    thresholds : int
        Number of thresholds.

    Returns
    -------
    above : (resamples, thresholds) int64 array
        Weight of the subjects at or above each threshold.
    incidence : (resamples, thresholds) float64 array
        NaN where nobody is above the threshold, and where nobody above it is followed to the horizon while some of them
        may still be free of events.
    """
    resamples = weights.shape[0]
    above = np.zeros((resamples, thresholds), np.int64)
    incidence = np.full((resamples, thresholds), np.nan)
    target = np.zeros(thresholds, np.int64)
    competing = np.zeros(thresholds, np.int64)
    for b in range(resamples):
        # subjects by the number of thresholds they reach: one of them leaves in one step, whatever it reaches
        present = np.zeros(thresholds + 1, np.int64)
        for i in range(len(kind)):
            present[reached[i]] += weights[b, i]
        at_risk = np.zeros(thresholds, np.int64)
        _at_risk(present, at_risk)
        above[b] = at_risk
        followed = at_risk.copy()
        current = np.zeros(thresholds)
        event_free = np.ones(thresholds)
        for g in range(len(starts) - 1):
            if starts[g] == before:
                _at_risk(present, followed)
            if starts[g] >= through:
                break
            highest = _events(reached, kind, weights[b], starts[g], starts[g + 1], target, competing)
            if highest > 0:
                _at_risk(present, at_risk)
                _step(current, event_free, at_risk, target, competing, highest)
            for i in range(starts[g], starts[g + 1]):
                present[reached[i]] -= weights[b, i]
        if before == len(kind):
            followed[:] = 0
        for k in range(thresholds):
            if above[b, k] > 0 and (followed[k] > 0 or event_free[k] == 0.0):
                incidence[b, k] = current[k]
    return above, incidence


@compiled()
def compare_ranks(rank, starts, amount, asks, adds, forward):
    """For each asking subject, what has been added so far by subjects of lower rank, and by all, in one sweep of time.

    The groups of equal time are visited in order, or backwards, and each in two phases, 0 and 1. In each phase those
    ask whose phase it is, and then those add whose phase it is: so who adds in phase 0 is seen by who asks in phase 1
    of the same time, and not by who asks in phase 0. A phase of -1 means never.

    Parameters
    ----------
    rank : (n,) int64 array
        Dense, from 1.
    starts : (groups + 1,) int64 array
    amount : (n,) float64 array
        What a subject adds.
    asks, adds : (n,) int8 arrays
        Phases.
    forward : bool
        Whether time runs forward.

    Returns
    -------
    (n, 2) float64 array
        Amounts of lower rank, those of equal rank by half; and all amounts. Zero for who does not ask.
    """
    tree = np.zeros(rank.max() + 1)
    same = np.zeros(rank.max() + 1)
    found = np.zeros((len(rank), 2))
    total = 0.0
    groups = len(starts) - 1
    for step in range(groups):
        g = step if forward else groups - 1 - step
        for phase in range(2):
            for i in range(starts[g], starts[g + 1]):
                if asks[i] == phase:
                    found[i, 0] = tree_up_to(tree, rank[i]) - 0.5 * same[rank[i]]
                    found[i, 1] = total
            for i in range(starts[g], starts[g + 1]):
                if adds[i] == phase and amount[i] != 0.0:
                    tree_add(tree, rank[i], amount[i])
                    same[rank[i]] += amount[i]
                    total += amount[i]
    return found

"""Analytic variances through influence functions: no resample is drawn.

The influence of a subject is the derivative of an estimate by the subject's weight, at the weights that were observed:
what one more such subject would change. The influences of all subjects sum to 0, and the sum of their squares is the
infinitesimal jackknife's variance (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6),
here over people: the influences of a person's subjects are added first. Of a U-statistic such as the concordance it is
the Hajek projection, to first order the one-shot variance of Kang et al., Stat Med 2015;34:685. The influence of a
difference of two experiments is the difference of their influences: what the two have in common cancels, as in paired
resamples.

The weights that correct for censoring are estimated from the same subjects. That moves every term, and is part of the
influences: variances that take the weights as known are usually too large for these metrics.

All functions take times in days, events 0 censored, 1 target, 2 and up competing, risks as cumulative incidence of the
target, optional integer weights, and return estimate and influences; they cost O(n log n) or O(n) by time.
"""

import numpy as np
from scipy.stats import norm

from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes, row_weights, sort_outcomes
from riskweave.evaluation.metrics import risk_ranks, trapezoid_mean
from riskweave.evaluation.sweeps import compare_ranks

__all__ = [
    "accuracy_influence",
    "brier_influence",
    "concordance_influence",
    "incidence_influence",
    "normal_interval",
    "observed_expected_influence",
    "standard_error",
]

# phases of a sweep over time
FIRST, SECOND, NEVER = np.int8(0), np.int8(1), np.int8(-1)


def standard_error(
    influence: np.ndarray, people: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Find the standard error of an estimate, or of a difference, from the influences of subjects.

    Assumes independent people; their subjects may depend on each other. Large-sample: with few people who have target
    events, or an estimate near its bound, prefer the bootstrap.

    Parameters
    ----------
    influence : (n, ...) float64 array
        Of each subject; for a difference, of one experiment minus that of the other.
    people : (n,) int64 array, optional
        The person of each subject: 0 to the number of people - 1; each subject a person of its own when not given.
    weights : (n,) array of int, optional
        How often each subject counts; the subjects of a person count alike.

    Returns
    -------
    array of shape influence.shape[1:]
        NaN of a single person.
    """
    influence = np.asarray(influence, float)
    number = len(influence) if people is None else int(people.max()) + 1
    summed, counts = influence, np.ones(number) if weights is None else np.asarray(weights, float)
    if people is not None:
        summed = np.zeros((number, *influence.shape[1:]))
        np.add.at(summed, people, influence)
        if weights is not None:
            counts = np.zeros(number)
            counts[people] = weights
    total = counts.sum()
    squares = np.tensordot(counts, summed**2, axes=1)
    return np.sqrt(squares * total / (total - 1)) if total > 1 else np.full(influence.shape[1:], np.nan)


def normal_interval(estimate: np.ndarray, error: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of an estimate that is normal about the truth: estimate minus and plus a multiple of its error.

    Parameters
    ----------
    estimate, error : arrays of one shape
        From an influence function, and from :func:`standard_error`.
    confidence : float
        Coverage, such as 0.95.

    Returns
    -------
    lower, upper : arrays
    """
    width = norm.ppf((1 + confidence) / 2) * np.asarray(error)
    return estimate - width, estimate + width


def _through_censoring(outcomes: SortedOutcomes, row: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Influence of each sorted subject on a weighted sum, by way of the estimated censoring distribution.

    Parameters
    ----------
    outcomes : SortedOutcomes
    row : (n,) array of int
        Weights in sorted order.
    mass : (n + 1,) float64 array
        At position i what the sum holds of terms with a factor 1/G, G just before the time of sorted subject i.

    Returns
    -------
    (n,) float64 array
    """
    starts, censored = outcomes.starts, outcomes.kind == kernel.CENSORED
    leaving = np.add.reduceat(row * censored, starts[:-1]).astype(float)
    later = row.sum() - np.cumsum(np.add.reduceat(row, starts[:-1]))
    after = np.cumsum(mass[::-1])[::-1][starts[1:]]
    # a censoring lowers G for all who come later; being at risk at one raises it
    rate = np.divide(after, later, out=np.zeros(len(leaving)), where=(leaving > 0) & (later > 0))
    at_risk = later + leaving
    spent = np.cumsum(np.divide(leaving * rate, at_risk, out=np.zeros(len(leaving)), where=at_risk > 0))
    group = np.repeat(np.arange(len(leaving)), np.diff(starts))
    earlier = np.concatenate([[0.0], spent])
    return np.where(censored, rate[group] - spent[group], -earlier[group])


def _unsorted(values: np.ndarray, outcomes: SortedOutcomes) -> np.ndarray:
    placed = np.empty_like(values)
    placed[outcomes.order] = values
    return placed


def _in_phase(members: np.ndarray, phase: np.int8 = FIRST) -> np.ndarray:
    return np.where(members, phase, NEVER)


def _higher(found: np.ndarray) -> np.ndarray:
    """Amounts of higher rank in place of those of lower rank, and all amounts."""
    return np.stack([found[:, 1] - found[:, 0], found[:, 1]], axis=1)


def _pairs(outcomes: SortedOutcomes, row: np.ndarray, rank: np.ndarray, inverse: np.ndarray, limit: int) -> np.ndarray:
    """Count concordant and all pairs of each sorted subject: (4, n, 2).

    The case's pairs with who is observed longer, and with earlier competing events; then the same pairs as the others
    see them.
    """
    kind, starts = outcomes.kind, outcomes.starts
    target, competing = kind == kernel.TARGET, kind == kernel.COMPETING
    case = target & (np.arange(len(kind)) < limit)
    # at equal times a case is compared with the censored and competing ones, not with other targets
    found = compare_ranks(
        rank, starts, row.astype(float), _in_phase(case, SECOND), np.where(target, SECOND, FIRST), False
    )
    longer = found * (inverse**2)[:, None]
    found = compare_ranks(rank, starts, row * case * inverse**2, np.where(target, FIRST, SECOND), _in_phase(case), True)
    as_longer = _higher(found)
    before, as_competing = np.zeros((2, len(kind), 2))
    if competing.any():
        amount = row * inverse
        found = compare_ranks(rank, starts, amount * competing, _in_phase(case), _in_phase(competing), True)
        before = found * inverse[:, None]
        found = compare_ranks(rank, starts, amount * case, _in_phase(competing), _in_phase(case), False)
        as_competing = _higher(found) * inverse[:, None]
    return np.stack([longer, before, as_longer, as_competing])


def concordance_influence(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float | None = None,
    weights: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Harrell's concordance, or with a horizon Uno's, and the influence of each subject on it.

    Four sweeps over time with a Fenwick tree of ranks count, for each subject, the pairs of which it is the earlier
    event and those of which it is the other: O(n log n).

    Parameters
    ----------
    time, event, risk, weights
        As in :func:`riskweave.evaluation.metrics.harrell_c`.
    horizon : float, optional
        Days; the truncation of Uno's concordance. Harrell's when not given.

    Returns
    -------
    estimate : float
        As of :func:`riskweave.evaluation.metrics.harrell_c` or `uno_c`; NaN when no pair is comparable.
    influence : (n,) float64 array

    References
    ----------
    One-shot variance: Kang et al., Stat Med 2015;34:685. Uno's, with the censoring distribution estimated: Uno et al.,
    Stat Med 2011;30:1105.
    """
    outcomes = sort_outcomes(time, event)
    row = row_weights(weights, outcomes)[0]
    rank = risk_ranks(np.asarray(risk, float))[outcomes.order]
    inverse, limit = np.ones(len(row)), len(row)
    if horizon is not None:
        uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, row[None, :])[0, :-1]
        np.divide(1.0, uncensored, out=inverse, where=uncensored > 0)
        limit = int(outcomes.through([horizon])[0])
    longer, before, as_longer, as_competing = _pairs(outcomes, row, rank, inverse, limit)
    concordant, pairs = row @ (longer + before)
    if pairs == 0:
        return float("nan"), np.full(len(row), np.nan)
    estimate = concordant / pairs
    # what is beyond the estimate, of each part; the estimate's own change cancels to first order
    parts = [part[:, 0] - estimate * part[:, 1] for part in (longer, before, as_longer, as_competing)]
    change = sum(parts)
    if horizon is not None:
        mass = row * (2 * parts[0] + parts[1] + parts[3])
        change = change + _through_censoring(outcomes, row, np.append(mass, 0.0))
    return float(estimate), _unsorted(change / pairs, outcomes)


def _corrected_mean(
    outcomes: SortedOutcomes, row: np.ndarray, loss: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a sorted loss (n, times), weighted for censoring, and the influences: (times,), (n, times)."""
    uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, row[None, :])[0]
    inverse = np.divide(1.0, uncensored, out=np.zeros(len(uncensored)), where=uncensored > 0)
    first, before = outcomes.known(times)[0], outcomes.before(times)
    known, total = outcomes.kind != kernel.CENSORED, row.sum()
    estimate, influence = np.empty(len(before)), np.empty(loss.shape)
    for k, position in enumerate(before):
        gone = first <= k
        terms = loss[:, k] * np.where(gone, known * inverse[:-1], inverse[position])
        estimate[k] = row @ terms / total
        mass = np.append(np.where(gone, row * terms, 0.0), 0.0)
        mass[position] += row @ np.where(gone, 0.0, terms)
        influence[:, k] = (terms - estimate[k] + _through_censoring(outcomes, row, mass)) / total
    return estimate, influence


def brier_influence(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Brier score at several times, and the influence of each subject on it; O(n) by time.

    The integrated score's influences are the mean over time of these
    (:func:`riskweave.evaluation.metrics.trapezoid_mean`).

    Parameters
    ----------
    time, event, risk, times, weights
        As in :func:`riskweave.evaluation.metrics.brier_score`.

    Returns
    -------
    estimate : (k,) float64 array
    influence : (n, k) float64 array

    References
    ----------
    Censoring weights estimated: Gerds and Schumacher, Biom J 2006;48:1029; Blanche et al., Biometrics 2015;71:102.
    """
    outcomes = sort_outcomes(time, event)
    row = row_weights(weights, outcomes)[0]
    loss = (outcomes.known(times)[1] - np.asarray(risk, float)[outcomes.order]) ** 2
    estimate, influence = _corrected_mean(outcomes, row, loss, np.asarray(times))
    return estimate, _unsorted(influence, outcomes)


def incidence_influence(
    *, time: np.ndarray, event: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Observed cumulative incidence at several times, and the influence of each subject on it; O(n) by time.

    The Aalen-Johansen estimate is the mean of what is known of the target, weighted for censoring: its influences are
    those of such a mean. Without competing events their variance is Greenwood's, to first order.

    Parameters
    ----------
    time, event, weights
        As in :func:`riskweave.evaluation.metrics.harrell_c`.
    times : (k,) array
        Days, not beyond the last follow-up.

    Returns
    -------
    estimate : (k,) float64 array
    influence : (n, k) float64 array
    """
    outcomes = sort_outcomes(time, event)
    row = row_weights(weights, outcomes)[0]
    had_target = outcomes.known(times)[1].astype(float)
    estimate, influence = _corrected_mean(outcomes, row, had_target, np.asarray(times))
    return estimate, _unsorted(influence, outcomes)


def observed_expected_influence(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Observed over expected incidence at a horizon, and the influence of each subject on it.

    Parameters as in :func:`riskweave.evaluation.metrics.observed_expected_ratio`.

    Returns
    -------
    estimate : float
    influence : (n,) float64 array
    """
    observed, influence = incidence_influence(time=time, event=event, times=np.array([horizon]), weights=weights)
    expected = np.average(risk, weights=weights)
    total = len(influence) if weights is None else np.sum(weights)
    ratio = observed[0] / expected
    return float(ratio), (influence[:, 0] - ratio * (np.asarray(risk) - expected) / total) / expected


def accuracy_influence(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Index of prediction accuracy over the times, and the influence of each subject on it.

    The null model's incidence is the weighted mean of what is known of the target, where its Brier score is least: that
    it is estimated changes nothing to first order.

    Parameters as in :func:`riskweave.evaluation.metrics.index_of_prediction_accuracy`.

    Returns
    -------
    estimate : float
    influence : (n,) float64 array
    """
    outcomes = {"time": time, "event": event, "times": times, "weights": weights}
    observed, _ = incidence_influence(**outcomes)
    model, change = (trapezoid_mean(part, times) for part in brier_influence(**outcomes, risk=risk))
    constant = np.broadcast_to(observed, np.shape(risk))
    null, null_change = (trapezoid_mean(part, times) for part in brier_influence(**outcomes, risk=constant))
    return float(1 - model / null), -(change - model / null * null_change) / null

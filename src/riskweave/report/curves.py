"""Event and censoring curves that tell on nobody, and the length of follow-up.

A Kaplan-Meier curve drawn in full shows when each event happened, and its height times the number at risk counts them.
The curves here are given at chosen times only: between two of them, and after the last, the number of people who leave
in each way (the target, each competing event, censoring) is 0 or at least the threshold. Whatever a reader computes
from heights and numbers at risk is then such a count. The curves end where fewer than the threshold are left.

Everything is as of the last horizon: whoever is under observation and free of events for longer was followed to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from riskweave.report.disclosure import is_small

__all__ = ["Curves", "FollowUpTimes", "cumulative_incidence", "draw_curves", "follow_up", "safe_times", "survival"]

CENSORED, FREE = 0, -1
"""Ways to leave: 0 censored before the horizon, -1 followed to the horizon; 1 target, 2 and up competing events."""

NORMAL_95 = 1.959963984540054
MOST_TIMES = 80
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Curves:
    """Curves of an endpoint at safe times.

    Attributes
    ----------
    times : (k,) float64 array
        Days from the index time; the first is 0.
    incidence : dict of cause to (k, 3) array
        Aalen-Johansen estimate, lower and upper 95% bound; 1 is the target.
    event_free : (k, 3) array
        Kaplan-Meier estimate of being free of all these causes, lower and upper 95% bound.
    observed : (k,) array or None
        Reverse Kaplan-Meier estimate of not being censored yet; None where too few are censored.
    at_risk : (k,) int64 array or None
        People under observation and free of events after each time; None where it cannot be shown.
    """

    times: np.ndarray
    incidence: Mapping[int, np.ndarray]
    event_free: np.ndarray
    observed: np.ndarray | None
    at_risk: np.ndarray | None


@dataclass(frozen=True)
class FollowUpTimes:
    """Length of the observation, all times in days.

    Attributes
    ----------
    median, lower, upper : float
        Median and quartiles by the reverse Kaplan-Meier method; infinite where not reached.
    low, high : float
        Observed times: 5th and 95th percentile, or the quartiles in small cohorts; never extremes.
    share : float
        Percentile of `low` (0.05 or 0.25).
    person_years : float
        Time at risk up to the last horizon, in years.
    """

    median: float
    lower: float
    upper: float
    low: float
    high: float
    share: float
    person_years: float


def _tabulate(time: np.ndarray, kind: np.ndarray, causes: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct times, the number at risk at each, and the events of each cause (causes, times)."""
    distinct, place = np.unique(time, return_inverse=True)
    leaving = np.bincount(place, minlength=len(distinct))
    at_risk = len(time) - np.concatenate([[0], np.cumsum(leaving)[:-1]])
    events = np.array([np.bincount(place[kind == cause], minlength=len(distinct)) for cause in causes])
    return distinct, at_risk.astype(float), events.astype(float).reshape(len(causes), len(distinct))


def _bounds(estimate: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return estimate and log(-log) bounds, which stay within 0 and 1; at 0 and 1 there is no width."""
    inner = (estimate > 0) & (estimate < 1)
    safe = np.where(inner, estimate, 0.5)
    width = NORMAL_95 * np.sqrt(np.maximum(variance, 0)) / (safe * np.abs(np.log(safe)))
    one, other = safe ** np.exp(width), safe ** np.exp(-width)
    return np.stack([estimate, np.where(inner, one, estimate), np.where(inner, other, estimate)], axis=1)


def _at(values: np.ndarray, distinct: np.ndarray, times: np.ndarray, start: float) -> np.ndarray:
    """Return the value of a step function, continuous from the right, at each of some times."""
    place = np.searchsorted(distinct, times, side="right")
    return np.concatenate([[start], values])[place]


def survival(*, time: np.ndarray, kind: np.ndarray, causes: list[int], times: np.ndarray) -> np.ndarray:
    """Kaplan-Meier estimate of being free of some causes, with Greenwood's variance and log(-log) 95% bounds.

    Parameters
    ----------
    time : (n,) array
        Days to leaving.
    kind : (n,) array of int
        How: one of `causes` is an event, anything else a censoring; events come first at equal times.
    causes : list of int
    times : (k,) array
        Days.

    Returns
    -------
    (k, 3) float64 array
        Estimate, lower, upper.
    """
    distinct, at_risk, events = _tabulate(time, kind, causes)
    lost = events.sum(axis=0)
    estimate = np.cumprod(1 - lost / at_risk)
    left = at_risk - lost
    terms = np.divide(lost, at_risk * left, out=np.zeros_like(lost), where=left > 0)
    variance = estimate**2 * np.cumsum(terms)
    return _bounds(_at(estimate, distinct, times, 1.0), _at(variance, distinct, times, 0.0))


def cumulative_incidence(
    *, time: np.ndarray, kind: np.ndarray, cause: int, causes: list[int], times: np.ndarray
) -> np.ndarray:
    """Aalen-Johansen estimate of the cumulative incidence of a cause, with log(-log) 95% bounds.

    Ties are kept as they are. The variance is that of Marubini and Valsecchi (Analysing Survival Data from Clinical
    Trials, Wiley 1995, p. 341).

    Parameters
    ----------
    time, kind, times
        As in :func:`survival`.
    cause : int
        The cause.
    causes : list of int
        All causes that end the time at risk, `cause` among them; anything else is a censoring.

    Returns
    -------
    (k, 3) float64 array
        Estimate, lower, upper.
    """
    distinct, n, events = _tabulate(time, kind, causes)
    every, own = events.sum(axis=0), events[causes.index(cause)]
    before = np.concatenate([[1.0], np.cumprod(1 - every / n)[:-1]])
    estimate = np.cumsum(before * own / n)
    # sum over earlier times of (F(t) - F(s))^2 a(s) - 2 (F(t) - F(s)) c(s) + b(s), multiplied out
    left = n - every
    a = np.divide(every, n * left, out=np.zeros_like(every), where=left > 0)
    b = before**2 * own * (n - own) / n**3
    c = before * own / n**2
    variance = (
        estimate**2 * np.cumsum(a) - 2 * estimate * np.cumsum(a * estimate) + np.cumsum(a * estimate**2)
        - 2 * estimate * np.cumsum(c) + 2 * np.cumsum(c * estimate) + np.cumsum(b)
    )  # fmt: skip
    return _bounds(_at(estimate, distinct, times, 0.0), _at(variance, distinct, times, 0.0))


def _reverse(time: np.ndarray, kind: np.ndarray, censored: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct times and the probability of not being censored; events come first at equal times."""
    distinct, at_risk, lost = _tabulate(time, kind, censored)
    lost = lost.sum(axis=0)
    place = np.searchsorted(distinct, time[~np.isin(kind, censored)])
    at_risk = at_risk - np.bincount(place, minlength=len(distinct))
    ratio = np.divide(lost, at_risk, out=np.zeros_like(lost), where=at_risk > 0)
    return distinct, np.cumprod(1 - ratio)


def safe_times(ways: list[np.ndarray], *, total: int, horizon: float, threshold: int) -> np.ndarray:
    """Choose times between which 0 or at least the threshold of people leave in each way.

    Parameters
    ----------
    ways : list of arrays
        The times (days) at which people leave, one array for each way.
    total : int
        People at the start.
    horizon : float
        Last time, in days.
    threshold : int

    Returns
    -------
    (k,) float64 array
        Increasing, from 0. After each, 0 or at least the threshold leave in each way, and at least that many are left.
    """
    steps = np.arange(1, MOST_TIMES + 1) * horizon / MOST_TIMES
    # half days, so that a time with dates and no hours falls between two days
    fine = np.floor(steps) + 0.5 if horizon >= MOST_TIMES else steps
    candidates = np.unique(np.concatenate([fine[fine < horizon], [horizon]]))
    sorted_ways = [np.sort(way) for way in ways]
    gone = np.array([np.searchsorted(way, candidates, side="right") for way in sorted_ways])
    gone = gone.reshape(len(ways), len(candidates))
    all_of = np.array([len(way) for way in sorted_ways])
    chosen, before = [0.0], np.zeros(len(ways), dtype=np.int64)
    for position, day in enumerate(candidates):
        through = gone[:, position]
        counts = np.concatenate([through - before, all_of - through])
        if total - through.sum() >= threshold and not any(is_small(int(count), threshold) for count in counts):
            chosen.append(float(day))
            before = through
    return np.array(chosen)


def draw_curves(
    *,
    time: np.ndarray,
    kind: np.ndarray,
    causes: list[int],
    horizon: float,
    threshold: int,
    at_risk_shown: bool,
) -> Curves:
    """Estimate the curves of an endpoint at safe times.

    Parameters
    ----------
    time : (n,) array
        Days to leaving, at most the horizon.
    kind : (n,) array of int
        How: 1 target, 2 and up competing, 0 censored before the horizon, -1 followed to it.
    causes : list of int
        Causes that may be shown, 1 first; people who leave by another are counted as censored.
    horizon : float
        Days.
    threshold : int
    at_risk_shown : bool
        Whether the number of people who are censored may follow: without it no numbers at risk, and no censoring curve.
    """
    others = ~np.isin(kind, [*causes, FREE])
    ways = [time[kind == cause] for cause in causes] + ([time[others]] if at_risk_shown else [])
    times = safe_times(ways, total=len(time), horizon=horizon, threshold=threshold)
    merged = np.where(others, CENSORED, kind)
    observed, at_risk = None, None
    if at_risk_shown:
        distinct, uncensored = _reverse(time, merged, [CENSORED])
        observed = _at(uncensored, distinct, times, 1.0).round(4)
        leaving = np.sort(time[merged != FREE])
        at_risk = len(time) - np.searchsorted(leaving, times, side="right")
    return Curves(
        times=times,
        incidence={
            cause: cumulative_incidence(time=time, kind=merged, cause=cause, causes=causes, times=times).round(4)
            for cause in causes
        },
        event_free=survival(time=time, kind=merged, causes=causes, times=times).round(4),
        observed=observed,
        at_risk=at_risk,
    )


def follow_up(*, time: np.ndarray, event: np.ndarray, horizon: float, threshold: int) -> FollowUpTimes:
    """Describe how long people were observed.

    Median and quartiles are by the reverse Kaplan-Meier method: events end the follow-up as censorings do elsewhere
    (Schemper and Smith, Control Clin Trials 1996;17:343). They are of the whole observation, not cut at the horizon.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of observation.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    horizon : float
        Days up to which time at risk is added up.
    threshold : int
        So many people lie outside the range that is given, on either side.
    """
    distinct, uncensored = _reverse(time, np.where(event == 0, CENSORED, 1), [CENSORED])

    def reached(probability: float) -> float:
        below = np.flatnonzero(uncensored <= probability + 1e-12)
        return float(distinct[below[0]]) if len(below) else np.inf

    share = 0.05 if 0.05 * len(time) >= threshold else 0.25
    low, high = np.quantile(time, [share, 1 - share])
    years = float(np.minimum(time, horizon).sum() / DAYS_PER_YEAR)
    return FollowUpTimes(reached(0.5), reached(0.75), reached(0.25), float(low), float(high), share, years)

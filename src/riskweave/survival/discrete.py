"""Discrete time: cut points, the interval of each outcome, and cumulative incidences from the hazards of intervals."""

import numpy as np

from riskweave.errors import DataError

__all__ = ["check_events", "cumulative_incidence", "cut_points", "discretise", "null_hazards"]


def check_events(event: np.ndarray) -> None:
    """Refuse training rows of which none has an event (DataError)."""
    if not (np.asarray(event) > 0).any():
        raise DataError(
            "outcomes, column event",
            f"none of the {len(event)} training rows of a fold has an event",
            "Fewer folds, a longer time at risk or more target codes give each fold events to learn from.",
        )


def cut_points(time: np.ndarray, event: np.ndarray, *, intervals: int) -> np.ndarray:
    """Return the cut points of the time axis: quantiles of the event times, then the end of the follow-up.

    Intervals hold about the same number of events, whatever their cause. The last one reaches the end of the follow-up:
    with a last cut at the last quantile of the event times, heavily censored cohorts get pathological survival after
    it (integrated Brier score of NWTCO 0.27, against 0.12 of the Kaplan-Meier estimate).

    Parameters
    ----------
    time : array (n,)
        Days from the index time, > 0.
    event : array (n,)
        0 censored, 1 target, 2.. competing.
    intervals : int
        Intervals asked for; ties among the event times can leave fewer.

    Returns
    -------
    array (J + 1,)
        0, then strictly increasing days; interval j is ``(cuts[j], cuts[j + 1]]``.

    Raises
    ------
    DataError
        When no row has an event.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event)
    check_events(event)
    inner = np.quantile(time[event > 0], np.arange(1, intervals) / intervals)
    end = time.max()
    return np.concatenate([[0.0], np.unique(inner[inner < end]), [end]])


def discretise(time: np.ndarray, event: np.ndarray, *, cuts: np.ndarray, causes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the last interval that each row counts in, and whether its event is in it, for each cause.

    Events of other causes are censorings of a cause. Who is censored in the first half of an interval does not count in
    it, who is censored in the second half counts as having passed it (the actuarial convention to the nearest half:
    counting all or none of them would bias the hazards down or up). Events after the last cut are censored at it.

    Parameters
    ----------
    time, event : arrays (n,)
        Days (> 0) and event (0 censored, 1 target, 2.. competing).
    cuts : array (J + 1,)
        From `cut_points`.
    causes : int
        Causes K.

    Returns
    -------
    index : int64 array (n, K)
        Interval 0..J-1, or -1 for a row that tells nothing about that cause.
    observed : float32 array (n, K)
        1 where the event of that cause happened in interval `index`, else 0.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event)
    last = len(cuts) - 2
    interval = np.searchsorted(cuts[1:], time, side="left")
    inside = interval <= last
    interval = np.minimum(interval, last)
    middle = (cuts[interval] + cuts[interval + 1]) / 2
    passed = np.where(~inside | (time >= middle), interval, interval - 1)
    observed = inside[:, None] & (event[:, None] == np.arange(1, causes + 1))
    index = np.where(observed, interval[:, None], passed[:, None])
    return index.astype(np.int64), observed.astype(np.float32)


def null_hazards(index: np.ndarray, observed: np.ndarray, *, intervals: int) -> np.ndarray:
    """Return the hazards of all rows together, strictly between 0 and 1: the model that knows no covariate.

    The share of events among the rows that count in an interval, plus one row's worth of the cause's mean hazard so
    that intervals without events stay finite.

    Parameters
    ----------
    index, observed : arrays (n, K)
        From `discretise`.
    intervals : int
        Intervals J.

    Returns
    -------
    float64 array (K, J)
    """
    at_risk = (index[:, :, None] >= np.arange(intervals)).sum(axis=0)
    events = ((index[:, :, None] == np.arange(intervals)) & (observed[:, :, None] > 0)).sum(axis=0)
    mean = (events.sum(axis=1, keepdims=True) + 0.5) / (at_risk.sum(axis=1, keepdims=True) + 1)
    return (events + mean) / (at_risk + 1)


def cumulative_incidence(hazards: np.ndarray, *, cuts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the cumulative incidence of each cause at any times from discrete cause-specific hazards.

    The rate of a cause is taken as constant inside an interval: ``-log(1 - h) / width``, so that the cumulative hazard
    is interpolated linearly. With rates r_k and their sum r, the incidence of cause k grows inside an interval by
    ``r_k / r * S(start) * (1 - exp(-r * t))``, exactly. Cumulative incidences and survival sum to 1. After the last cut
    the last interval's rates go on.

    Parameters
    ----------
    hazards : array (n, K, J)
        Probabilities in [0, 1]; those that rounding took to 1 count as the largest number below it.
    cuts : array (J + 1,)
        Days.
    times : array (m,)
        Days >= 0, in any order.

    Returns
    -------
    float64 array (n, K, m)
    """
    hazards = np.minimum(np.asarray(hazards, dtype=float), np.nextafter(1.0, 0.0))
    times = np.asarray(times, dtype=float)
    hazard = -np.log1p(-hazards)
    total = hazard.sum(axis=1)
    share = np.divide(hazard, total[:, None], out=np.zeros_like(hazard), where=total[:, None] > 0)
    before = np.cumsum(total, axis=1) - total
    survival = np.exp(-before)
    growth = share * (survival * -np.expm1(-total))[:, None]
    incidence = np.cumsum(growth, axis=2) - growth
    j = np.clip(np.searchsorted(cuts[1:], times, side="left"), 0, len(cuts) - 2)
    fraction = (times - cuts[j]) / np.diff(cuts)[j]
    part = -np.expm1(-total[:, j] * fraction)
    # Rounding may take a sum of probabilities past 1 in its last digit.
    return np.minimum(incidence[:, :, j] + share[:, :, j] * (survival[:, j] * part)[:, None], 1.0)

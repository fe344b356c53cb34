"""What is computed from the events of one subject and one group of codes, for all of them at once.

Events come sorted, so that sums are made in one order: the last digit depends neither on threads nor on how the
subjects were divided for the work.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd

__all__ = ["MEANINGS", "VALUED", "Events", "Meaning", "aggregate", "ranks", "segments"]

DAYS_PER_YEAR = 365.25


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What an aggregate is.

    Attributes
    ----------
    description : str
        In words.
    unit : str
        Its unit; ``{}`` stands for the unit of the values.
    absent : float
        What subjects without such an event have.
    """

    description: str
    unit: str = "{}"
    absent: float = np.nan


MEANINGS = {
    "last": Meaning("Last value"),
    "mean": Meaning("Mean of the values"),
    "min": Meaning("Smallest value"),
    "max": Meaning("Largest value"),
    "sd": Meaning("Standard deviation of the values (n - 1)"),
    "count": Meaning("Number of events", "events", absent=0.0),
    "slope": Meaning("Least-squares slope of the values over time", "{} per year"),
    "ever": Meaning("1 when there is such an event, else 0", "", absent=0.0),
    "time_since": Meaning("Time from the last event to the index time", "days"),
    "category": Meaning("Category of the last event", ""),
}
VALUED = frozenset({"last", "mean", "min", "max", "sd", "slope"})
"""Aggregates of the values, whose unit matters."""


@dataclasses.dataclass(frozen=True)
class Events:
    """Events at or before the index time, sorted by segment (one subject and one group of codes).

    Attributes
    ----------
    segment : (n,) int64 array
        Number of the segment, from 0, increasing.
    days : (n,) float64 array
        Days from the event to the index time; NaN when undated.
    value : (n,) float64 array or None
        NaN when there is none; None when no aggregate needs values.
    category : (n,) float64 array or None
        Rank of the category in the order of the alphabet; NaN when there is none.
    """

    segment: np.ndarray
    days: np.ndarray
    value: np.ndarray | None = None
    category: np.ndarray | None = None

    def where(self, mask: np.ndarray) -> "Events":
        """Return some of the events."""
        fields = (self.segment, self.days, self.value, self.category)
        return Events(*(None if values is None else values[mask] for values in fields))


def segments(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of sorted `keys`, and for each key the place of its value among them."""
    new = np.diff(keys, prepend=keys[:1] - 1) != 0
    return keys[new], np.cumsum(new) - 1


def aggregate(events: Events, names: tuple[str, ...], count: int) -> np.ndarray:
    """Compute aggregates of all segments.

    Parameters
    ----------
    events : Events
    names : tuple of str
        Keys of `MEANINGS`, without ``ever``.
    count : int
        Number of segments; some may have no event.

    Returns
    -------
    numpy.ndarray of float64, shape (count, names)
        NaN where a segment has too few events or values: one for most, two for `sd`, two times for `slope`.
    """
    made = np.empty((count, len(names)))
    valued = events.where(~np.isnan(events.value)) if VALUED.intersection(names) else events
    for place, name in enumerate(names):
        made[:, place] = _FUNCTIONS[name](valued if name in VALUED else events, count)
    return made


def _extreme(function: np.ufunc, segment: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return the smallest or largest of the values of each segment."""
    made = np.full(count, np.nan)
    if len(segment):
        starts = np.flatnonzero(np.diff(segment, prepend=-1))
        made[segment[starts]] = function.reduceat(values, starts)
    return made


def _sums(segment: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
    """Add the values of each segment one after the other, or count them."""
    return np.bincount(segment, weights=values, minlength=count).astype(np.float64)


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def _mean(events: Events, count: int) -> np.ndarray:
    total = _sums(events.segment, events.value, count)
    mean = _divided(total, _sums(events.segment, None, count))
    # Of equal values rounding must not make another one.
    low, high = (_extreme(function, events.segment, events.value, count) for function in (np.minimum, np.maximum))
    return np.clip(mean, low, high)


def _sd(events: Events, count: int) -> np.ndarray:
    away = events.value - _mean(events, count)[events.segment]
    return np.sqrt(_divided(_sums(events.segment, away**2, count), _sums(events.segment, None, count) - 1))


def _slope(events: Events, count: int) -> np.ndarray:
    dated = events.where(~np.isnan(events.days))
    years = dataclasses.replace(dated, value=-dated.days / DAYS_PER_YEAR)
    time = years.value - _mean(years, count)[dated.segment]
    value = dated.value - _mean(dated, count)[dated.segment]
    return _divided(_sums(dated.segment, time * value, count), _sums(dated.segment, time**2, count))


def _last(events: Events, count: int) -> np.ndarray:
    """Return the value nearest to the index time, undated ones last; of several at one instant the largest."""
    days = np.where(np.isnan(events.days), np.inf, events.days)
    nearest = _extreme(np.minimum, events.segment, days, count)
    latest = days == nearest[events.segment]
    return _extreme(np.maximum, events.segment[latest], events.value[latest], count)


def _time_since(events: Events, count: int) -> np.ndarray:
    dated = events.where(~np.isnan(events.days))
    return _extreme(np.minimum, dated.segment, dated.days, count)


def _category(events: Events, count: int) -> np.ndarray:
    named = dataclasses.replace(events, value=events.category)
    return _last(named.where(~np.isnan(named.value)), count)


_FUNCTIONS: dict[str, Callable[[Events, int], np.ndarray]] = {
    "last": _last,
    "mean": _mean,
    "min": lambda events, count: _extreme(np.minimum, events.segment, events.value, count),
    "max": lambda events, count: _extreme(np.maximum, events.segment, events.value, count),
    "sd": _sd,
    "count": lambda events, count: _sums(events.segment, None, count),
    "slope": _slope,
    "time_since": _time_since,
    "category": _category,
}


def ranks(categories: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the rank of each category in the alphabet (NaN for None), and the categories in that order."""
    codes, names = pd.factorize(categories, sort=True)
    return np.where(codes < 0, np.nan, codes), list(names)

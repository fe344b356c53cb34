"""Times that are dates: what a midnight stands for; birthdays and ages.

A midnight is a date and covers its whole day. Where something ends it counts to the end of that day (`end_of`); where
the history of a moment is asked for, it does not count on the day of a moment with an hour, as it may have come after
it (`at_or_before_sql`). A moment that is a midnight is a date itself, and its date-only events are in its history.
"""

from typing import TypeVar

import numpy as np
import pandas as pd

__all__ = ["DAY", "EPOCH", "TICK", "age_at", "at_or_before_sql", "birthday", "end_of", "last_date_sql"]

# In microseconds as all times are: nanoseconds would end in the year 2262, and spans after 292 years.
DAY = pd.Timedelta(days=1).as_unit("us")
EPOCH = pd.Timestamp("1970-01-01")
TICK = pd.Timedelta(microseconds=1).as_unit("us")

Times = TypeVar("Times", pd.Series, pd.DatetimeIndex)


def end_of(times: Times) -> Times:
    """Return the last moment that a time covers: a midnight is a date and covers its whole day.

    An observation that ends on ``2020-05-01`` holds an event at ``2020-05-01 10:00``.
    """
    return times.where(times != times.dt.normalize(), times + (DAY - TICK))


def at_or_before_sql(time: str, moment: str) -> str:
    """Return the SQL condition that an event was known at a moment.

    Parameters
    ----------
    time, moment : str
        SQL of timestamps. An event of the very instant is known at it; a midnight on the day of a moment with an hour
        is not.
    """
    return f"({time} = {moment} OR ({time} < {moment} AND {time} <> date_trunc('day', {moment})))"


def last_date_sql(moment: str) -> str:
    """Return the SQL of the last instant up to which a midnight is known at a moment; see `at_or_before_sql`.

    Other times are known up to the moment itself: two comparisons, each with one side, that an ASOF join can make.
    """
    day = f"date_trunc('day', {moment})"
    return f"CASE WHEN {moment} = {day} THEN {moment} ELSE {day} - to_microseconds(1) END"


def _nth_birthday(births: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Return the day of the n-th birthday (datetime64[D]); who is born on 29 February has it on the 28th."""
    month = births.astype("datetime64[M]")
    place = births.astype("datetime64[D]") - month.astype("datetime64[D]")
    month = month + (12 * years).astype("timedelta64[M]")
    last = (month + 1).astype("datetime64[D]") - month.astype("datetime64[D]") - np.timedelta64(1, "D")
    return month.astype("datetime64[D]") + np.minimum(place, last)


def birthday(births: pd.Series, years: float) -> pd.Series:
    """Return the midnight on which people reach an age by the calendar.

    Parameters
    ----------
    births : pandas.Series of datetime64
        Missing where unknown.
    years : float
        Whole years end on the birthday; half a year on the first midnight after half of the days to the next one.

    Returns
    -------
    pandas.Series of datetime64[us]
    """
    known = births.dropna()
    values, whole = known.to_numpy("datetime64[us]"), np.full(len(known), int(years))
    low, high = _nth_birthday(values, whole), _nth_birthday(values, whole + 1)
    days = np.ceil((years - int(years)) * (high - low).astype(np.int64)).astype("timedelta64[D]")
    reached = pd.Series((low + days).astype("datetime64[us]"), index=known.index)
    return reached.reindex(births.index).astype("datetime64[us]")


def age_at(births: pd.Series, times: pd.Series) -> pd.Series:
    """Return the age in years by the calendar: birthdays that have been, and the share of the way to the next.

    Parameters
    ----------
    births, times : pandas.Series of datetime64
        With the same index. The hour of a birth does not count. Negative before the birth.

    Returns
    -------
    pandas.Series of float64
        Missing where a birth or a time is.
    """
    known = births.notna() & times.notna()
    born, when = births[known].to_numpy("datetime64[us]"), times[known].to_numpy("datetime64[us]")
    years = when.astype("datetime64[Y]").astype(np.int64) - born.astype("datetime64[Y]").astype(np.int64)
    years = years - (_nth_birthday(born, years) > when)
    low, high = (_nth_birthday(born, n).astype("datetime64[us]") for n in (years, years + 1))
    share = (when - low) / (high - low)
    return pd.Series(years + share, index=births.index[known]).reindex(births.index).astype("float64")

"""Times that are dates: what a midnight stands for."""

from typing import TypeVar

import pandas as pd

__all__ = ["DAY", "EPOCH", "end_of"]

# In microseconds as all times are: nanoseconds would end in the year 2262, and spans after 292 years.
DAY = pd.Timedelta(days=1).as_unit("us")
EPOCH = pd.Timestamp("1970-01-01")
_TICK = pd.Timedelta(microseconds=1).as_unit("us")

Times = TypeVar("Times", pd.Series, pd.DatetimeIndex)


def end_of(times: Times) -> Times:
    """Return the last moment that a time covers: a midnight is a date and covers its whole day.

    An observation that ends on ``2020-05-01`` holds an event at ``2020-05-01 10:00``.
    """
    return times.where(times != times.dt.normalize(), times + (DAY - _TICK))

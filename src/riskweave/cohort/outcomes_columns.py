"""Outcomes of endpoints that the subject table holds: two columns, or one with the days to the event."""

import logging

import numpy as np
import pandas as pd

from riskweave.cohort.times import DAY, end_of
from riskweave.errors import DataError, nearest
from riskweave.study.cohort import ColumnsEndpoint, DaysEndpoint

__all__ = ["outcomes_from_columns", "outcomes_from_days"]

_LOG = logging.getLogger(__name__)
_MOST_CODES = 127
_SHOWN = 10


def _numbers(subjects: pd.DataFrame, column: str, key: str, where: str) -> pd.Series:
    """Return a column as numbers; refuse words."""
    if column not in subjects.columns:
        problem = f"there is no column {column!r}, which {key} names; the table has: {', '.join(subjects.columns)}"
        raise DataError(where, problem, f"Correct {key} or add the column.{nearest(column, subjects.columns)}")
    place = f"{where}, column {column}"
    values = pd.to_numeric(subjects[column], errors="coerce")
    if not pd.api.types.is_numeric_dtype(subjects[column]):
        wrong = int((values.isna() & subjects[column].notna()).sum())
        problem = f"{wrong} of {len(values)} rows are no number ({key} names the column)"
        raise DataError(place, problem, "Allowed: numbers; times in days from the index time, events 0, 1, 2, ...")
    return values.astype("float64")


def _column(subjects: pd.DataFrame, column: str, key: str, where: str) -> pd.Series:
    """Return a numeric column without missing values."""
    values, place = _numbers(subjects, column, key, where), f"{where}, column {column}"
    missing = int((~np.isfinite(values)).sum())
    if missing:
        problem = f"{missing} of {len(values)} subjects have no finite value ({key} names the column)"
        raise DataError(place, problem, "Every subject needs one: for those without an event the time last observed")
    return values.astype("float64")


def _refuse_gaps(event: pd.Series, place: str) -> None:
    """Refuse codes with a gap, such as 0, 1 and 99: the number for "unknown" would become a cause."""
    counts = event.astype("int64").value_counts().sort_index()
    gaps = sorted(set(range(1, int(counts.index.max()) + 1)) - set(counts.index))
    if gaps:
        found = ", ".join(f"{code} ({number} subjects)" for code, number in counts.head(_SHOWN).items())
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        problem = f"the event codes leave out {gaps[0]}; found: {found}{more}"
        remedy = (
            "Allowed: 0 censored, 1 target, 2 and up competing, without gaps. Censor (0) subjects of unknown status at "
            "the time last known without the event, or remove them"
        )
        raise DataError(place, problem, remedy)


def outcomes_from_columns(
    subjects: pd.DataFrame, where: str, name: str, endpoint: ColumnsEndpoint
) -> tuple[pd.DataFrame, dict[str, tuple[str, pd.Series]]]:
    """Take time and event of each subject from the table.

    Parameters
    ----------
    subjects : pandas.DataFrame
        Canonical subjects, subject_id as index.
    where : str
        What messages call the table.
    name, endpoint : str, ColumnsEndpoint
        The study's block.

    Returns
    -------
    outcome : pandas.DataFrame
        Columns time (days) and event of all subjects.
    steps : dict of str to (str, pandas.Series of bool)
        Steps of the attrition: description, and who meets it.

    Raises
    ------
    DataError
        When a column is missing or holds what is no time or no event.
    """
    time = _column(subjects, endpoint.time, f"endpoints.{name}.time", where)
    event = _column(subjects, endpoint.event, f"endpoints.{name}.event", where)
    negative = int((time < 0).sum())
    if negative:
        problem = f"{negative} of {len(time)} subjects have a negative time: the event lies before the index time"
        raise DataError(f"{where}, column {endpoint.time}", problem, "Allowed: days from the index time, 0 and up")
    odd = int((~event.isin(range(_MOST_CODES + 1))).sum())
    if odd:
        problem = f"{odd} of {len(event)} subjects have an event that is no whole number from 0 to {_MOST_CODES}"
        raise DataError(
            f"{where}, column {endpoint.event}", problem, "Allowed: 0 censored, 1 target, 2 and up competing"
        )
    _refuse_gaps(event, f"{where}, column {endpoint.event}")
    if set(event.unique()) == {1, 2}:
        _LOG.warning("%s, column %s: holds 1 and 2 and no 0; 1 is read as the target event", where, endpoint.event)
    observed = time > 0
    steps = {
        "observed": ("Observed after the index time (time above 0)", observed),
        "free": ("Free of the endpoint at the index time (the table's columns are taken as they are)", observed | True),
    }
    return pd.DataFrame({"time": time, "event": event}, index=subjects.index), steps


def outcomes_from_days(
    subjects: pd.DataFrame, where: str, name: str, endpoint: DaysEndpoint
) -> tuple[pd.DataFrame, dict[str, tuple[str, pd.Series]]]:
    """Make time and event of each subject from a column of days to the event.

    Who has no event is free of it up to `until`, or up to the end of follow-up where the table has one that is earlier;
    an event after that end does not count, as in endpoints from codes.

    Parameters and results are those of `outcomes_from_columns`.

    Raises
    ------
    DataError
        When the column is missing, holds words, infinite or negative days, or when nobody has or nobody lacks an event.
    """
    key = f"endpoints.{name}.time"
    days = _numbers(subjects, endpoint.time, key, where)
    place = f"{where}, column {endpoint.time}"
    event = days.notna() & ~days.isin(endpoint.none)
    if infinite := int(np.isinf(days[event]).sum()):
        problem = f"{infinite} of {len(days)} subjects have infinitely many days ({key} names the column)"
        raise DataError(place, problem, f"Leave the cell empty where there is no event, or name the number in {key}")
    if negative := int((days[event] < 0).sum()):
        problem = f"{negative} of {len(days)} subjects have negative days to the event ({key} names the column)"
        remedy = f"If a negative number means no event, name it in endpoints.{name}.none; else correct the column"
        raise DataError(place, problem, remedy)
    if unused := [number for number in endpoint.none if not (days == number).any()]:
        _LOG.warning("endpoints.%s.none: %d of %d numbers do not occur", name, len(unused), len(endpoint.none))
    if event.all():
        problem = f"all {len(days)} subjects have the event ({key} names the column)"
        raise DataError(place, problem, f"Name the numbers that mean no event in endpoints.{name}.none")
    time = (days - (endpoint.start or 0)).where(event, float(endpoint.until))
    free = ~(event & (time <= 0))
    followup = subjects["followup_end"]
    observed = ~(followup <= subjects["index_time"])
    last = (end_of(followup) - subjects["index_time"]) / DAY
    end = ((followup - subjects["index_time"]) / DAY).fillna(np.inf)
    lost = time > last.fillna(np.inf)
    outcome = pd.DataFrame({"time": time.where(~lost, end), "event": (event & ~lost).astype("int64")})
    steps = {
        "observed": ("Observed after the index time (unknown ends of follow-up count as observed)", observed),
        "free": ("Free of the endpoint at the index time (no event by then)", free),
    }
    return outcome, steps

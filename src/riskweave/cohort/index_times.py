"""When risk is predicted: the index times of each person."""

import logging

import numpy as np
import pandas as pd
import pyarrow as pa

from riskweave.cohort.attrition import Step
from riskweave.cohort.checks import check_zone
from riskweave.cohort.convert import as_times
from riskweave.cohort.history import History, values_condition
from riskweave.cohort.times import DAY, EPOCH, birthday
from riskweave.errors import DataError, nearest
from riskweave.study.population import AgeIndex, ColumnIndex, DateIndex, EventIndex, Index

__all__ = ["find_index_times", "time_column"]

_LOG = logging.getLogger(__name__)
_KEY = "population.index"


def time_column(people: pa.Table, column: str, key: str, where: str) -> pd.Series:
    """Return a column of the subject table as times.

    Raises
    ------
    DataError
        When there is no such column, it holds no dates, or nobody has a value.
    """
    if column not in people.column_names:
        further = [name for name in people.column_names if name != "subject_id"]
        problem = f"there is no column {column!r}, which {key} names; the table has: {', '.join(further) or 'none'}"
        raise DataError(where, problem, f"Correct {key} or add the column.{nearest(column, further)}")
    values, place = people.column(column), f"{where}, column {column}"
    if pa.types.is_string(values.type):
        values, zoned = as_times(values, place)
        check_zone(zoned=zoned, subjects=people, where=place)
    if not pa.types.is_timestamp(values.type):
        problem = f"has the type {values.type} for all {people.num_rows} people ({key} names the column)"
        raise DataError(place, problem, "Allowed: dates or times, such as 2020-05-01 or 2020-05-01 13:30:00")
    times = values.to_pandas().astype("datetime64[us]")
    if times.isna().all():
        raise DataError(place, f"all {len(times)} people lack a value ({key} names the column)", "Fill the column")
    return times


def _spaced(found: pd.DataFrame, gap: pd.Timedelta, most: int | None) -> pd.DataFrame:
    """Return of each person's times the first, the first at least `gap` after that, and so on, `most` at the most.

    Parameters
    ----------
    found : pandas.DataFrame
        Columns row and time, sorted, without repetition.
    """
    rows, times = found["row"].to_numpy(np.int64), found["time"].to_numpy("datetime64[us]").astype(np.int64)
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    ends = np.r_[starts[1:], len(rows)]
    step = gap // pd.Timedelta(microseconds=1)
    # One round finds the next time of every person: as many rounds as the person with most of them needs.
    chosen, low, high, last = [starts], starts + 1, ends, times[starts]
    while len(low) and (most is None or len(chosen) < most):
        place, limit = low.copy(), high.copy()
        while (open_ := place < limit).any():
            middle = (place + limit) // 2
            early = open_ & (times[np.minimum(middle, len(times) - 1)] < last + step)
            place, limit = np.where(early, middle + 1, place), np.where(open_ & ~early, middle, limit)
        more = place < high
        place, high = place[more], high[more]
        chosen.append(place)
        low, last = place + 1, times[place]
    return found.iloc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def _from_events(index: EventIndex, numbers: list[int], history: History) -> pd.DataFrame:
    condition, parameters = values_condition(index.values)
    undated = history.query(
        f"SELECT count(*) AS n FROM hits e WHERE e.code IN (SELECT unnest(?)) AND e.time IS NULL AND {condition}",
        [numbers, *parameters],
    )
    if count := int(undated["n"].iloc[0]):
        _LOG.warning("%s: %d events of its codes have no time and are no index times", _KEY, count)
    select = "e.person, min(e.time) AS time" if index.at == "first_event" else "DISTINCT e.person, e.time"
    group = "GROUP BY e.person" if index.at == "first_event" else ""
    found = history.query(
        f"SELECT {select} FROM hits e WHERE e.code IN (SELECT unnest(?)) AND e.time IS NOT NULL AND {condition} "
        f"{group} ORDER BY 1, 2",
        [numbers, *parameters],
    )
    found = found.set_axis(["row", "time"], axis=1).astype({"row": "int64", "time": "datetime64[us]"})
    if index.at == "every_event" and len(found):
        found = _spaced(found, index.minimum_gap * DAY, index.most)
    return found.assign(time=found["time"] + index.offset * DAY)


def find_index_times(
    *,
    index: Index | None,
    people: pa.Table,
    births: pd.Series,
    history: History,
    numbers: list[int],
    where: str,
) -> tuple[pd.DataFrame, list[Step]]:
    """Find the index times of each person.

    Parameters
    ----------
    index : Index or None
        The study's block; None takes the source's column index_time, and where there is none one moment for everybody.
    people : pyarrow.Table
        The source's subject table.
    births : pandas.Series of datetime64, length n_people
        Missing where unknown.
    history : History
        With the events of the index codes gathered.
    numbers : list of int
        The index codes.
    where : str
        What messages call the subject table.

    Returns
    -------
    times : pandas.DataFrame
        Columns row (of `people`) and time, sorted, each pair once.
    steps : list of Step

    Raises
    ------
    DataError
        When a column is missing or holds no dates, or nobody has an index time.
    """
    total = people.num_rows
    if index is None and "index_time" not in people.column_names:
        times, what = pd.Series(EPOCH, index=range(total)), "With an index time (the study has no dates)"
    elif index is None or isinstance(index, ColumnIndex):
        index = index or ColumnIndex(at="column")
        times = time_column(people, index.column, f"{_KEY}.column", where) + index.offset * DAY
        what = "With an index time" if index.column == "index_time" else f"With an index time (column {index.column})"
    elif isinstance(index, AgeIndex):
        if births.isna().all():
            problem = f"the birth of none of {total} people is known (events of code MEDS_BIRTH)"
            raise DataError(f"{_KEY}.at", problem, "Give births (cohort.columns.birth_time), or another index time")
        times, what = birthday(births, index.years), "With a known birth"
    elif isinstance(index, DateIndex):
        date = pd.Timestamp(index.date)
        times, what = pd.Series(date, index=range(total)).mask(births > date), "Born by the index date"
    else:
        found = _from_events(index, numbers, history)
        what = "With an event that is an index time"
        return _with_steps(found, total, what, several=index.at == "every_event")
    times = times.astype("datetime64[us]").reset_index(drop=True)
    found = pd.DataFrame({"row": np.arange(total), "time": times})[times.notna().to_numpy()].reset_index(drop=True)
    return _with_steps(found, total, what, several=False)


def _with_steps(found: pd.DataFrame, total: int, what: str, *, several: bool) -> tuple[pd.DataFrame, list[Step]]:
    people = int(found["row"].nunique())
    if people == 0:
        problem = f"none of {total} people has an index time (step index_time: {what.lower()})"
        raise DataError(_KEY, problem, "Check the codes, values or column that give the index time")
    steps = [
        Step("subjects", "Subjects in the table", 0, total, total),
        Step("index_time", what, total - people, people, people),
    ]
    if several:
        steps.append(Step("index_times", "Index times of these people", 0, len(found), people))
    return found, steps

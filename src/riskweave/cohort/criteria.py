"""What is known of the subjects at their index times: columns derived from events, and the conditions of the study.

An event that is dated to the day does not count on the day of an index time with an hour: it may have come after it
(`riskweave.cohort.times`). The same holds at the end of a window that lies before the index time. A window that ends
after the index time takes the instants as they are: what it lets in is the future anyway, and is reported as such.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from riskweave.cohort.history import History, values_condition
from riskweave.cohort.numberlike import count_cells
from riskweave.cohort.times import at_or_before_sql, last_date_sql
from riskweave.errors import DataError, nearest
from riskweave.study.population import Criterion, DerivedColumn, Values

__all__ = ["derive_column", "meets_by_codes", "meets_by_column", "with_suffix"]

# A value that fewer people have is nobody's business, and no hint.
_FEWEST_PEOPLE = 10


def _microseconds(days: float) -> int:
    return round(days * 86_400_000_000)


def meets_by_codes(criterion: Criterion, numbers: list[int], history: History, count: int) -> np.ndarray:
    """Tell which subjects have enough of the events that a criterion asks for.

    Parameters
    ----------
    criterion : Criterion
        With codes.
    numbers : list of int
        The numbers of its codes.
    history : History
        With these events gathered, and the table `frame` (subject, person, index_time).
    count : int
        Number of subjects.

    Returns
    -------
    numpy.ndarray of bool, shape (count,)
        Events without a time count where the window has no start: they hold at any time.
    """
    condition, parameters = values_condition(criterion.values)
    hits = f"SELECT e.person, e.time FROM hits e WHERE e.code IN (SELECT unnest(?)) AND {condition}"
    if history.several and criterion.count == 1:
        statement, bounds = _once(hits, *criterion.window)
    else:
        statement, bounds = _often(hits, *criterion.window)
        bounds.append(criterion.count)
    parameters = [numbers, *parameters, *bounds]
    found = history.query(statement, parameters)
    meets = np.zeros(count, dtype=bool)
    meets[found["subject"].to_numpy(np.int64)] = True
    return meets


def _once(hits: str, low: float | None, high: float | None) -> tuple[str, list[object]]:
    """Return the statement that finds subjects with one event in the window, and its parameters after those of `hits`.

    One event nearest to an end of the window tells: nothing pairs all events of a person with all its index times.
    """
    with_hits = f"WITH h AS MATERIALIZED ({hits}) SELECT f.subject FROM frame f "
    undated = (
        " UNION SELECT f.subject FROM frame f SEMI JOIN (SELECT person FROM h WHERE time IS NULL) u USING (person)"
    )
    dated = "ASOF JOIN (SELECT person, time FROM h WHERE time IS NOT NULL) e ON f.person = e.person AND "
    if low is None and high is None:
        return with_hits + "SEMI JOIN h USING (person)", []
    if high is None:
        return with_hits + dated + "f.index_time + to_microseconds(?) <= e.time", [_microseconds(low)]
    bounds = [_microseconds(high)]
    if high > 0:
        statement = with_hits + dated + "f.index_time + to_microseconds(?) >= e.time"
    else:
        moments = _moments("index_time + to_microseconds(?)")
        bounds *= moments.count("?")
        statement = f"WITH h AS MATERIALIZED ({hits}) SELECT f.subject FROM {moments} f {_known_hits('h')}"
    if low is None:
        return statement + undated, bounds
    statement += " WHERE e.time >= f.index_time + to_microseconds(?)"
    return statement, [*bounds, _microseconds(low)]


def _moments(moment: str) -> str:
    """Return the SQL of the subjects, each twice: up to when dates and other times are known at the moment."""
    columns = "subject, person, index_time"
    return (
        f"(SELECT {columns}, TRUE AS date_only, {last_date_sql(moment)} AS moment FROM frame UNION ALL "
        f"SELECT {columns}, FALSE AS date_only, {moment} AS moment FROM frame)"
    )


def _known_hits(hits: str) -> str:
    """Return the SQL that joins to `_moments` the last of the dated hits of each kind that are known at the moment."""
    kind = "*, time = date_trunc('day', time) AS date_only"
    return (
        f"ASOF JOIN (SELECT {kind} FROM {hits} WHERE time IS NOT NULL) e "
        "ON f.person = e.person AND f.date_only = e.date_only AND f.moment >= e.time"
    )


def _often(hits: str, low: float | None, high: float | None) -> tuple[str, list[object]]:
    """Return the statement that counts events in the window, and its parameters after those of `hits`."""
    within, bounds = [], []
    if low is not None:
        within.append("e.time >= f.index_time + to_microseconds(?)")
        bounds.append(_microseconds(low))
    if high is not None:
        undated = "e.time IS NULL OR " if low is None else ""
        end = "f.index_time + to_microseconds(?)"
        ends = f"e.time <= {end}" if high > 0 else at_or_before_sql("e.time", end)
        within.append(f"({undated}{ends})")
        bounds += [_microseconds(high)] * ends.count("?")
    where = " AND ".join(within) or "TRUE"
    join = f"SELECT f.subject FROM ({hits}) e JOIN frame f ON e.person = f.person WHERE {where}"
    return f"{join} GROUP BY f.subject HAVING count(*) >= ?", bounds


def meets_by_column(column: pa.ChunkedArray, values: Values | None, where: str, people: pd.Series) -> np.ndarray:
    """Tell which subjects have a value in a column that is as a criterion asks; a missing value never is.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        One value per subject.
    values : Values or None
        None: any value.
    where : str
        What messages call the column.
    people : pandas.Series
        Whose the subjects are: a value that few people have is never told.

    Returns
    -------
    numpy.ndarray of bool

    Raises
    ------
    DataError
        When numbers are asked of a column that holds none.
    """
    found = column.to_pandas()
    given = found.notna().to_numpy()
    if values is None:
        return given
    numeric = pd.api.types.is_numeric_dtype(found)
    asks_numbers = values.above is not None or values.below is not None
    if asks_numbers and not numeric:
        raise _no_numbers(column, where)
    meets = given.copy()
    if values.above is not None:
        meets &= (found > values.above).to_numpy()
    if values.below is not None:
        meets &= (found < values.below).to_numpy()
    if values.equals:
        meets &= _equals(found, values, people, numeric=numeric, where=where)
    return meets


def _no_numbers(column: pa.ChunkedArray, where: str) -> DataError:
    """Return the error of a criterion that compares numbers with a column of another type."""
    problem = f"has the type {column.type} for all {len(column)} subjects, and the criterion compares numbers"
    remedy = "Allowed with text: values: {equals: [...]}"
    if pa.types.is_string(column.type) and (cells := count_cells(column)).plain + cells.commas + cells.cut:
        problem += f": {cells.other} of {cells.given} values are no number{cells.kinds}"
        recode = "; ".join(cells.remedies) or "leave the cell empty where the value is unknown"
        remedy = f"{recode[0].upper()}{recode[1:]}. {remedy}"
    return DataError(where, problem, remedy)


def _equals(found: pd.Series, values: Values, people: pd.Series, *, numeric: bool, where: str) -> np.ndarray:
    wanted = [value for value in values.equals if isinstance(value, str) != numeric]
    same = found.isin(wanted).to_numpy()
    if not same.any():
        kind = "numbers" if numeric else "text"
        holders = people.reset_index(drop=True).groupby(found.astype("string"), observed=True).nunique()
        common = sorted(holders.index[holders >= _FEWEST_PEOPLE])
        hint = "" if numeric else nearest(str(values.equals[0]), common)
        problem = f"none of {len(found)} subjects has one of the {len(values.equals)} values that the criterion names"
        raise DataError(where, problem, f"The column holds {kind} of {len(holders)} different values.{hint}")
    return same


def derive_column(
    column: DerivedColumn, numbers: list[int], history: History, count: int
) -> tuple[pa.Array, dict[bytes, bytes]]:
    """Return for each subject what its last matching event at or before the index time says.

    Events without a time hold at any time and come before those with one. Of several events of one instant the last in
    order of code and value is taken. Where suffixes are asked for, the codes have one (`with_suffix`).

    Parameters
    ----------
    column : DerivedColumn
        The study's block.
    numbers : list of int
        The numbers of its codes.
    history : History
        With these events gathered, and the table `frame` (subject, person, index_time).
    count : int
        Number of subjects.

    Returns
    -------
    values : pyarrow.Array, length count
        float64 for `number`, else text; null where there is no such event.
    metadata : dict
        Description, for the schema.
    """
    value = {"number": "e.number", "text": "e.words"}.get(column.take, "e.code")
    time, chosen = "coalesce(e.time, TIMESTAMP '0001-01-01')", f"e.code IN (SELECT unnest(?)) AND {value} IS NOT NULL"
    if history.several:
        statement = (
            f"WITH h AS (SELECT e.person, {time} AS time, max({{'code': e.code, 'value': {value}}}) AS said "
            f"FROM hits e WHERE {chosen} GROUP BY ALL) SELECT f.subject, arg_max(e.said['value'], e.time) AS value "
            f"FROM {_moments('index_time')} f {_known_hits('h')} GROUP BY ALL"
        )
    else:
        statement = (
            f"SELECT f.subject, max({{'time': {time}, 'code': e.code, 'value': {value}}})['value'] AS value "
            f"FROM hits e JOIN frame f ON e.person = f.person WHERE {chosen} "
            f"AND {at_or_before_sql(time, 'f.index_time')} GROUP BY ALL"
        )
    found = history.query(statement, [numbers])
    subjects, values = found["subject"].to_numpy(np.int64), found["value"]
    if column.take == "number":
        made = np.full(count, np.nan)
        made[subjects] = values.to_numpy(np.float64)
        return pa.array(made, from_pandas=True), {b"description": b"Number of the last event"}
    if column.take != "text":
        spelt = history.codes if column.take == "code" else _suffixes(history.codes.loc[numbers], column.codes)
        values = values.map(spelt)
    words = np.full(count, None, dtype=object)
    words[subjects] = values.to_numpy(object)
    return pa.array(words, pa.string(), from_pandas=True), {b"description": b"From the last event"}


def with_suffix(column: DerivedColumn, numbers: list[int], history: History) -> list[int]:
    """Return those of a column's codes that go on after the pattern; all where no suffixes are asked for."""
    if column.take != "suffix" or not numbers:
        return numbers
    suffixes = _suffixes(history.codes.loc[numbers], column.codes)
    return suffixes.index[suffixes.notna()].tolist()


def _suffixes(codes: pd.Series, patterns: list[str]) -> pd.Series:
    """Return what follows the longest prefix of each code; nothing where the code is the whole pattern."""
    prefixes = sorted((pattern.removesuffix("$") for pattern in patterns), key=len, reverse=True)

    def suffix(code: str) -> str | None:
        prefix = next(prefix for prefix in prefixes if code.startswith(prefix))
        return code[len(prefix) :] or None

    return codes.map(suffix)

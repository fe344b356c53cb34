"""Turn columns of the user's files into identifiers, times, numbers and static features, or count what cannot be.

Times
    ISO 8601 only: ``2020-05-01``, ``2020-05-01 13:30[:15[.123456]]``, with ``T`` or a space, and with a time zone
    (``Z``, ``+02:00``) in all rows or in none. Zoned times become naive UTC; times without a zone stay as they are.
"""

import datetime as dt

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.numberlike import count_cells
from riskweave.cohort.reading import InputFile
from riskweave.errors import DataError

__all__ = [
    "UNITS",
    "YEARS",
    "as_identifiers",
    "as_moments",
    "as_numbers",
    "as_static",
    "as_text",
    "as_times",
    "check_years",
    "count_true",
    "is_number",
    "relative_index",
]

YEARS = (1800, 2500)
"""First and last year of a date: others are placeholders (0001, 9999); de-identified records may be centuries off."""

UNITS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000}
"""Microseconds in each unit of times that are numbers and count from the index time."""

_CLOCK = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_ZONE = r"(Z|[+-]\d{2}(:\d{2})?)"
_ISO = rf"^\d{{4}}-\d{{2}}-\d{{2}}({_CLOCK}{_ZONE}?)?$"
_OFFSET = r"(?P<sign>[+-])(?P<hours>\d{2}):(?P<minutes>\d{2})$"
_TIME_REMEDY = (
    "Write times as 2020-05-01 or 2020-05-01 13:30:00 (ISO 8601), the time zone (Z, +02:00) in all rows or in none"
)
# How tables spell a missing value; identifiers and codes are missing only where the cell is empty.
_MISSING = pa.array(["", "NA", "N/A", "n/a", "NaN", "nan", "NaT", "null", "NULL", "None", "<NA>"])


def relative_index(unit: str) -> dt.datetime:
    """Return the index time where times are numbers in a unit that count from it: the midnight of 2000-01-01.

    Hours and minutes start a microsecond later. A midnight is a date that covers its whole day (`cohort.times`), and no
    time of a clock is a date: 24 hours are an instant, where 1 day is a day.
    """
    return dt.datetime(2000, 1, 1) + dt.timedelta(microseconds=0 if unit == "days" else 1)


def count_true(mask: pa.ChunkedArray) -> int:
    """Count the true values of a boolean column; missing ones do not count."""
    return pc.sum(mask).as_py() or 0


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a type is an integer, floating or decimal number, or a boolean."""
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(check(kind) for check in checks)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _blank_to_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text whose spellings of "missing" are null and whose blanks at both ends are gone."""
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.is_in(text, value_set=_MISSING), pa.scalar(None, pa.string()), text)


def _try_cast(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Cast text with DuckDB: what is not a value of the type becomes null (Arrow's cast stops at the first)."""
    with duckdb.connect() as connection:
        connection.register("raw", pa.table({"value": column}))
        return connection.sql(f"SELECT TRY_CAST(value AS {kind}) AS value FROM raw").to_arrow_table().column("value")


def as_identifiers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return subject identifiers as text: text is kept as it is (001 stays 001), integers become decimal strings.

    Raises
    ------
    DataError
        When identifiers are missing, or are neither text nor integers.
    """
    if not (_is_text(column.type) or pa.types.is_integer(column.type)):
        problem = f"identifiers have the type {column.type} in all {len(column)} rows"
        raise DataError(where, problem, "Store identifiers as text or as integers")
    return as_text(column.cast(pa.string()), where, what="identifier")


def as_text(column: pa.ChunkedArray, where: str, *, what: str) -> pa.ChunkedArray:
    """Return text without missing values.

    Raises
    ------
    DataError
        When the column is no text, or a value is missing or empty.
    """
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not _is_text(column.type):
        raise DataError(where, f"has the type {column.type} in all {len(column)} rows", f"Store each {what} as text")
    column = column.cast(pa.string())
    missing = len(column) - count_true(pc.greater(pc.utf8_length(column), 0))
    if missing:
        raise DataError(
            where, f"{missing} of {len(column)} rows have no {what}", f"Give each row its {what}, or remove it"
        )
    return column


def as_times(column: pa.ChunkedArray, where: str) -> tuple[pa.ChunkedArray, bool | None]:
    """Return times in microseconds, and whether they had a time zone (None where no time is given).

    Raises
    ------
    DataError
        When rows hold something else than a date or time, or only some of them a time zone.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.timestamp("us")), None
    if pa.types.is_timestamp(kind):
        # The instants of a zoned column are UTC already: taking the zone away leaves naive UTC.
        naive = column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.timestamp("us"))
        return naive, None if naive.null_count == len(naive) else kind.tz is not None
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")), None if column.null_count == len(column) else False
    if not _is_text(kind):
        raise DataError(where, f"times have the type {kind} in all {len(column)} rows", _TIME_REMEDY)
    text = _blank_to_missing(column)
    shaped = pc.if_else(pc.match_substring_regex(text, _ISO), text, pa.scalar(None, pa.string()))
    times = _try_cast(shaped, "TIMESTAMP")
    wrong = times.null_count - text.null_count
    if wrong:
        raise DataError(where, f"{wrong} of {len(column)} rows are no date or time", _TIME_REMEDY)
    zoned = count_true(pc.match_substring_regex(text, rf"{_CLOCK}{_ZONE}$"))
    given = len(text) - text.null_count
    if 0 < zoned < given:
        raise DataError(where, f"{zoned} rows have a time zone and {given - zoned} have none", _TIME_REMEDY)
    return (_to_utc(times, text), True) if zoned else (times, None if given == 0 else False)


def as_moments(column: pa.ChunkedArray, where: str, unit: str) -> tuple[pa.ChunkedArray, bool | None]:
    """Return times given as dates, or as numbers that count from the index time.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
    where : str
        What error messages call it.
    unit : str
        ``dates`` (see `as_times`), or the unit of the numbers: a key of `UNITS`. The index time is `relative_index`.

    Raises
    ------
    DataError
        See `as_times` and `as_numbers`; when dates stand where numbers should, and when numbers are centuries.
    """
    if unit == "dates":
        return as_times(column, where)
    if pa.types.is_temporal(column.type):
        problem = f"times have the type {column.type} in all {len(column)} rows"
        raise DataError(where, problem, f"With time_unit {unit} they are numbers; for dates set time_unit: dates")
    numbers = as_numbers(column, where)
    far = count_true(pc.greater(pc.abs(numbers), 100 * 366 * UNITS["days"] / UNITS[unit]))
    if far:
        problem = f"{far} of {len(numbers)} rows are more than 100 years from the index time"
        raise DataError(where, problem, f"Check that times count in {unit} from the index time")
    ticks = pc.round(pc.multiply(numbers, float(UNITS[unit]))).cast(pa.int64())
    start = int(np.datetime64(relative_index(unit), "us").astype(np.int64))
    return pc.add(ticks, start).cast(pa.timestamp("us")), None


def check_years(times: pa.ChunkedArray, where: str) -> None:
    """Refuse dates that are placeholders.

    Raises
    ------
    DataError
        When years are outside `YEARS`.
    """
    low, high = YEARS
    years = pc.year(times)
    outside = count_true(pc.or_(pc.less(years, low), pc.greater(years, high)))
    if outside:
        problem = f"{outside} of {len(times)} rows have a year outside {low} to {high}"
        raise DataError(where, problem, "Leave the cell empty where the date is unknown or still to come")


def _to_utc(times: pa.ChunkedArray, text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Subtract the offset from UTC with which the texts end (DuckDB's cast reads it and leaves it out)."""
    spelt = pc.replace_substring_regex(pc.replace_substring_regex(text, "Z$", "+00"), r"([+-]\d{2})$", r"\1:00")
    parts = pc.extract_regex(spelt, _OFFSET)
    sign, hours, minutes = (pc.struct_field(parts, name) for name in ("sign", "hours", "minutes"))
    offset = pc.add(pc.multiply(hours.cast(pa.int64()), 60), minutes.cast(pa.int64()))
    offset = pc.if_else(pc.equal(sign, "-"), pc.negate(offset), offset)
    microseconds = pc.subtract(times.cast(pa.int64()), pc.multiply(offset, 60_000_000))
    return microseconds.cast(pa.timestamp("us"))


def as_numbers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return numbers (float64) with NaN as missing.

    Raises
    ------
    DataError
        When rows hold text that is no number, or infinite values.
    """
    if pa.types.is_null(column.type):
        return column.cast(pa.float64())
    if is_number(column.type):
        numbers = column.cast(pa.float64(), safe=False)
    elif _is_text(column.type):
        text = _blank_to_missing(column)
        numbers = _try_cast(text, "DOUBLE")
        wrong = numbers.null_count - text.null_count
        if wrong:
            cells = count_cells(text)
            remedy = "Allowed: numbers with a decimal point; leave the cell empty where there is none"
            if cells.cut:
                remedy += (
                    ". Recode detection limits (<20, >89) as numbers, by one rule for all, or keep them as words: of "
                    "events in text_value"
                )
            raise DataError(where, f"{wrong} of {len(column)} rows are no number{cells.kinds}", remedy)
    else:
        raise DataError(where, f"has the type {column.type} in all {len(column)} rows", "Allowed: numbers")
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    infinite = count_true(pc.is_inf(numbers))
    if infinite:
        raise DataError(where, f"{infinite} of {len(column)} rows are infinite", "Leave the cell empty where unknown")
    return numbers


def _infer(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return a CSV's column as whole numbers, as numbers, or as text, whichever holds all of its values.

    Codes with leading zeros (007) stay text.

    Raises
    ------
    DataError
        When nearly all are numbers, and some of them have decimal commas or stand behind < or >: as text, each of them
        would be a category.
    """
    text = _blank_to_missing(column)
    cells = count_cells(text)
    if cells.misspelt:
        remedy = "; ".join([*cells.remedies, "or put a letter before each value where they are categories"])
        raise DataError(where, cells.problem, remedy[0].upper() + remedy[1:])
    if count_true(pc.match_substring_regex(text, r"^[+-]?0\w")) or text.null_count == len(text):
        return text if text.null_count < len(text) else text.cast(pa.float64())
    for kind in (pa.int64(), pa.float64()):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    return text


def as_static(column: pa.ChunkedArray, file: InputFile, name: str, zones: dict[str, bool | None]) -> pa.ChunkedArray:
    """Return a further column of the subject table as int64, float64, text or time.

    Of times it is noted in `zones` whether they have a time zone. Text stays text: whether it is a time shows when a
    study takes it for one.

    Raises
    ------
    DataError
        When it has a type of another kind (lists, binary, ...), or is text that is meant as numbers (`_infer`).
    """
    kind = column.type
    if _is_text(kind):
        return _infer(column, file.column(name))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.int64())
    if is_number(kind) or pa.types.is_null(kind):
        numbers = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times, zones[file.column(name)] = as_times(column, file.column(name))
        return times
    problem = f"has the type {kind} in all {len(column)} rows"
    raise DataError(file.column(name), problem, "Allowed: numbers, text, dates. Remove the column from the file")

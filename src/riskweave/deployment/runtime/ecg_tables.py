"""ECGs as tables (CSV): a column for each lead, named in the first row, and a column of times or a given rate."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from riskweave.deployment.runtime.reading import LEADS, ReadError, lead_name, millivolts
from riskweave.deployment.runtime.stored import grid

__all__ = ["read_table"]

FORM = (
    "A table has a first row with the names of the leads (I, II, III, aVR, aVL, aVF, V1 to V6), with the unit where it "
    "is not mV: `II (uV)`."
)
LARGEST = 50.0
"""mV off the middle that no ECG reaches at the skin: the unit must be another one."""

MOST_LINE = 65_536
"""Characters of a line: a line of separators alone would otherwise take all memory."""

_HEADING = re.compile(r"\s*(.*?)\s*(?:[(\[]\s*([^)\]]*?)\s*[)\]])?\s*")
_TIME = re.compile(r"(?=.)(?:time|t|zeit)? ?(s|sec|seconds|ms|msec|milliseconds)?")
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3}
_MISSING = {"", "nan", "na", "null", "none", "-"}
# Steps between samples, in s or ms, of rates from 50 to 10,000 Hz: the two ranges are apart.
_STEPS = (1e-4, 0.02)


def read_table(data: bytes, *, rate: float | None, most: int) -> tuple[memoryview, float]:
    """Read an ECG from a table.

    Columns are separated by commas, semicolons or tabs; with semicolons or tabs, decimals may be written with a comma.
    A unit of voltage stands behind the name of a lead (V, mV, uV, µV, nV), mV without; a unit of time behind that of
    the times (s, ms), otherwise the step between samples tells. Columns of other names are passed over.

    Parameters
    ----------
    data : bytes
        UTF-8, UTF-16 with its mark, or Latin-1.
    rate : float, optional
        Samples a second, for tables without times.
    most : int
        Rows that are read.

    Returns
    -------
    leads : memoryview of doubles (12, samples)
        In mV, in the order of `LEADS`; NaN where there is no value.
    rate : float

    Raises
    ------
    ReadError
    """
    text = _text(data)
    first = next((line for line in text[:MOST_LINE].splitlines() if line.strip()), "")
    separator = max((",", ";", "\t"), key=first.count)
    rows = _rows(text, separator)
    columns, factors, times = _columns(next(rows, []))
    values = _values(rows, [*columns.values(), *([times[0]] if times else [])], most, comma=separator != ",")
    leads = [[math.nan] * len(values)] * len(LEADS)
    for place, lead in enumerate(columns):
        leads[lead] = [row[place] * factors[place] for row in values]
    _check_unit(leads)
    if times:
        return grid(leads), _rate([row[-1] for row in values], times[1], rate)
    if rate is None:
        remedy = "Add a column `time (s)` or `time (ms)`, or give the rate."
        raise ReadError("The table tells neither times nor a sampling rate.", remedy)
    return grid(leads), float(rate)


def _text(data: bytes) -> str:
    if b"\0" in data[:4096] and data[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
        raise ReadError("This is no table of text.", f"Export the ECG as CSV or as a WFDB record. {FORM}")
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _lines(text: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        if len(line) > MOST_LINE:
            raise ReadError(f"A line of the table is longer than {MOST_LINE} characters, which no ECG's is.", FORM)
        yield line


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows that are not empty."""
    reader = csv.reader(_lines(text), delimiter=separator)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield row
    except csv.Error as error:
        raise ReadError(f"The table is damaged near line {reader.line_num}.", "Export it once more.") from error


def _columns(names: Sequence[str]) -> tuple[dict[int, int], list[float], tuple[int, float | None] | None]:
    """Return the column of each lead, their units in mV, and column and unit (in s) of the times."""
    columns: dict[int, int] = {}
    factors: list[float] = []
    times: tuple[int, float | None] | None = None
    known = {lead.lower(): place for place, lead in enumerate(LEADS)}
    for place, cell in enumerate(names):
        found = _HEADING.fullmatch(cell)
        name, unit = (lead_name(found[1]), found[2]) if found else ("", None)
        if name in known:
            if known[name] in columns:
                raise ReadError(f"The table has two columns of lead {LEADS[known[name]]}.", "Remove one of them.")
            factor = millivolts(unit) if unit else 1.0
            if factor is None:
                remedy = "Write V, mV, uV or nV behind the name: `II (uV)`."
                raise ReadError(f"The unit of lead {LEADS[known[name]]} is unknown.", remedy)
            columns[known[name]] = place
            factors.append(factor)
        elif times is None and (time := _TIME.fullmatch(name)):
            times = place, _time_unit(unit or time[1])
    if not columns:
        raise ReadError("No column of the table is named after a lead.", FORM)
    return columns, factors, times


def _time_unit(unit: str | None) -> float | None:
    """Return a unit of time in seconds; None where nothing is said."""
    if unit and unit.lower() not in _SECONDS:
        raise ReadError("The unit of the times is unknown.", "Write `time (s)` or `time (ms)`.")
    return _SECONDS[unit.lower()] if unit else None


def _values(rows: Iterator[list[str]], places: Sequence[int], most: int, *, comma: bool) -> list[list[float]]:
    """Return the numbers of these columns, row by row."""
    values = []
    width = max(places) + 1
    for number, row in enumerate(rows, start=2):
        if len(row) < width:
            problem = f"Row {number} of the table has {len(row)} columns, the first row has more."
            raise ReadError(problem, "Export the table once more; it may be cut short.")
        try:
            values.append([_number(row[place], comma=comma) for place in places])
        except ValueError as error:
            problem = f"Row {number} of the table holds something that is no number."
            raise ReadError(problem, "Leave cells without a value empty; decimals are written with a point.") from error
        if len(values) == most:
            break
    if not values:
        raise ReadError("The table has names of leads and no rows below them.", "Export it once more.")
    return values


def _number(cell: str, *, comma: bool) -> float:
    cell = cell.strip()
    if cell.lower() in _MISSING:
        return math.nan
    value = float(cell.replace(",", ".") if comma else cell)
    if not math.isfinite(value) or "_" in cell:  # Python's digit groups
        raise ValueError
    return value


def _check_unit(leads: Sequence[Sequence[float]]) -> None:
    """Refuse voltages that cannot be: without a unit they are taken for mV, and many devices write microvolts."""
    for name, lead in zip(LEADS, leads, strict=True):
        known = sorted(value for value in lead if not math.isnan(value))
        if not known or known[-1] - known[0] <= LARGEST:
            continue
        middle = _quantile(known, 0.5)
        if _quantile(sorted(abs(value - middle) for value in known), 0.95) > LARGEST:
            raise ReadError(
                f"The values of lead {name} are larger than any ECG's. Without a unit they are taken for mV.",
                f"Write the unit behind the name of each lead, such as `{name} (uV)`.",
            )


def _quantile(known: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, between two of them where it falls there."""
    place = share * (len(known) - 1)
    below = math.floor(place)
    above = min(below + 1, len(known) - 1)
    return known[below] + (place - below) * (known[above] - known[below])


def _rate(times: Sequence[float], unit: float | None, given: float | None) -> float:
    """Return the sampling rate from the times, which have to rise in equal steps."""
    steps = [later - earlier for earlier, later in pairwise(times)]
    mean = (times[-1] - times[0]) / len(steps) if steps else 0.0
    # Rounded times have unequal steps, though never of none or two samples.
    if not mean > 0 or not all(0.5 * mean < step < 1.5 * mean for step in steps):
        raise ReadError(
            "The times do not rise in equal steps: rows are missing or doubled, or the times are rounded too much.",
            "Export the recording whole; or remove the column of times and give the sampling rate.",
        )
    if unit is None:
        unit = 1.0 if _STEPS[0] <= mean <= _STEPS[1] else 1e-3
    rate = 1.0 / (mean * unit)
    if abs(rate - round(rate)) < 5e-4 * rate:
        rate = float(round(rate))
    if given is not None and abs(rate - given) > 0.01 * rate:
        problem = f"The times tell a sampling rate of {rate:.6g} Hz, and {given:.6g} Hz was given."
        raise ReadError(problem, "Leave out the rate, or correct the unit of the times.")
    return rate

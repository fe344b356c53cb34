"""Checks across the tables of a cohort: columns that the study names, subjects that the subject table lacks."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.convert import count_true, is_number
from riskweave.cohort.numberlike import count_cells
from riskweave.cohort.reading import InputFile
from riskweave.cohort.tables import SUBJECTS, facts_in, read_arrow, read_metadata
from riskweave.errors import DataError, nearest

__all__ = ["check_columns", "check_known", "check_zone", "check_zones", "zone_fact"]

# How registries write "unknown" as a number.
_PLACEHOLDERS = (99, 999, 9999, 99999, -9, -99, -999, -9999)


def check_columns(*, subjects: Path, study_columns: Mapping[str, str]) -> None:
    """Check the columns of the subject table that a study names.

    Parameters
    ----------
    subjects : path
        The canonical subject table. It remembers what messages call it: the user's file.
    study_columns : mapping of str to str
        Config key (``feature_sets.ehr.static[0]``) to column.

    Raises
    ------
    DataError
        When a column is missing, is empty for all subjects, holds dates, infinite values, placeholders such as 999, or
        numbers mixed with a few words.
    """
    table = read_arrow(subjects, SUBJECTS)
    where = read_metadata(subjects).get("where", str(subjects))
    further = [name for name in table.column_names if name not in SUBJECTS.columns.names]
    for key, name in study_columns.items():
        if name not in further:
            problem = f"there is no column {name!r}, which {key} names; the table has: {', '.join(further) or 'none'}"
            raise DataError(where, problem, f"Correct {key} or add the column.{nearest(name, further)}")
        column, place = table.column(name), f"{where}, column {name}"
        if column.null_count == len(column):
            problem = f"all {len(column)} subjects lack a value ({key} names the column)"
            raise DataError(place, problem, f"Fill the column, or remove it from {key}")
        if pa.types.is_string(column.type):
            cells = count_cells(column)
            if cells.meant_as_numbers:
                problem = f"{cells.problem} ({key} names the column)"
                remedy = "; ".join(["Leave the cell empty where the value is unknown", *cells.remedies])
                raise DataError(place, problem, remedy)
        elif not is_number(column.type):
            problem = f"has the type {column.type} for all {len(column)} subjects ({key} names the column)"
            raise DataError(place, problem, "Allowed: numbers or categories. Turn dates into numbers, such as ages")
        elif infinite := count_true(pc.is_inf(column.cast(pa.float64()))):
            raise DataError(
                place, f"{infinite} of {len(column)} values are infinite", "Leave the cell empty where unknown"
            )
        else:
            _refuse_placeholders(column, place, key)


def _refuse_placeholders(column: pa.ChunkedArray, place: str, key: str) -> None:
    """Refuse a number such as 999 of several subjects, further from all others than these are from each other."""
    numbers = pc.drop_null(column.cast(pa.float64()))
    for placeholder in _PLACEHOLDERS:
        others = numbers.filter(pc.not_equal(numbers, float(placeholder)))
        count = len(numbers) - len(others)
        if count < 2 or not len(others):
            continue
        low, high = pc.min_max(others).as_py().values()
        gap = low - placeholder if placeholder < 0 else placeholder - high
        if gap > max(high - low, 1):
            problem = (
                f"{count} of {len(numbers)} values are {placeholder}, far from all others ({key} names the column)"
            )
            raise DataError(place, problem, "Leave the cell empty where the value is unknown")


def check_zones(zones: Mapping[str, bool | None]) -> None:
    """Refuse tables of which some have time zones and others not: their times cannot be compared.

    Parameters
    ----------
    zones : mapping of str to (bool or None)
        What messages call a time column, to whether its times have a zone (None without any time).

    Raises
    ------
    DataError
        Naming a column with and a column without time zones.
    """
    zoned = [where for where, has in zones.items() if has]
    naive = [where for where, has in zones.items() if has is False]
    if zoned and naive:
        problem = f"the times have a time zone, and those of {naive[0]} have none: they cannot be compared"
        raise DataError(zoned[0], problem, "Write the time zone in all tables of the cohort, or in none")


def zone_fact(zones: Mapping[str, bool | None]) -> dict[str, str]:
    """Return what the subject table remembers of the times' zones: ``zoned`` yes or no, nothing without times.

    Parameters
    ----------
    zones : mapping of str to (bool or None)
        As for `check_zones`, which they pass.
    """
    known = [has for has in zones.values() if has is not None]
    return {"zoned": "yes" if any(known) else "no"} if known else {}


def check_zone(*, zoned: bool | None, subjects: pa.Table, where: str) -> None:
    """Refuse a column of the subject table that is text, holds times, and has zones where the other times have none.

    Parameters
    ----------
    zoned : bool or None
        Whether its times have a time zone; None without any time.
    subjects : pyarrow.Table
        The canonical subject table, which remembers whether the times of the source have (`zone_fact`).
    where : str
        What messages call the column.

    Raises
    ------
    DataError
        When they differ, or only one of them has time zones.
    """
    others = facts_in(subjects.schema).get("zoned")
    if zoned is not None and others is not None and zoned != (others == "yes"):
        have, lack = ("have a", "have none") if zoned else ("have no", "have one")
        problem = f"the times of all {len(subjects)} people {have} time zone, and the other times of the cohort {lack}"
        raise DataError(where, problem, "Write the time zone in all tables of the cohort, or in none")


def check_known(*, table: pa.Table, file: InputFile, subjects: pa.ChunkedArray) -> None:
    """Refuse rows of subjects that the subject table lacks.

    Parameters
    ----------
    table : pyarrow.Table
        With a column subject_id.
    file : InputFile
        Where it came from.
    subjects : pyarrow.ChunkedArray of str
        Identifiers of the subject table.

    Raises
    ------
    DataError
        With the number of rows and subjects, and of those that differ in leading zeros alone.
    """
    known = pc.is_in(table.column("subject_id"), value_set=subjects.combine_chunks())
    unknown = table.filter(pc.invert(known)).column("subject_id")
    if len(unknown):
        bare = pc.unique(pc.utf8_ltrim(subjects, characters="0"))
        same = count_true(pc.is_in(pc.utf8_ltrim(pc.unique(unknown), characters="0"), value_set=bare))
        hint = (
            f" {same} of them differ from a known subject in leading zeros alone: identifiers are text." if same else ""
        )
        problem = (
            f"{len(unknown)} of {table.num_rows} rows belong to {len(pc.unique(unknown))} subjects that are not in the "
            f"subject table"
        )
        raise DataError(file.column("subject_id"), problem, f"Add these subjects, or remove their rows.{hint}")

"""What every source hands over: a cohort in the canonical tables, its events as a table or as a query that is streamed.

A source is a module ``riskweave.cohort.sources.<source>`` with a function ``read_<source>(block) -> CanonicalTables``.
It need not check identifiers, codes, numbers and subjects of its events: storing them does (`riskweave.cohort.events`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from riskweave.cohort.tables import EVENTS, RECORDINGS
from riskweave.errors import DataError

__all__ = [
    "CanonicalTables",
    "EventQuery",
    "empty_events",
    "empty_manifest",
    "float_sql",
    "parquet_sql",
    "reading",
    "text_sql",
]


@dataclass(frozen=True)
class EventQuery:
    """Events that DuckDB reads when they are stored, with bounded memory, so that they are never in memory as a whole.

    Attributes
    ----------
    sql : str
        A SELECT with the columns subject_id (VARCHAR), time (TIMESTAMP, null: static), code (VARCHAR), numeric_value
        (FLOAT; see `float_sql`), text_value (VARCHAR) and unit (VARCHAR), in any order of rows.
    setup : tuple of str
        Statements that are run before it, such as ``ATTACH '...' (READ_ONLY)``.
    tables : mapping of str to pyarrow.Table
        Tables that it reads by name, besides files.
    """

    sql: str
    setup: tuple[str, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


def empty_manifest() -> pa.Table:
    """Return a manifest of recordings, images or sounds without rows."""
    return RECORDINGS.columns.empty_table()


@dataclass(frozen=True)
class CanonicalTables:
    """A cohort in the canonical tables (`riskweave.cohort.tables`).

    Attributes
    ----------
    subjects : pyarrow.Table
        SOURCE_SUBJECTS: subject_id, the source's columns, and index_time and followup_end (timestamp[us]) where it has
        them. People without an index time stay: the selection counts them.
    events : pyarrow.Table or EventQuery
        EVENTS: births are MEDS_BIRTH, deaths MEDS_DEATH.
    recordings, images, sounds : pyarrow.Table
        RECORDINGS, IMAGES, SOUNDS; without rows where the source has none.
    where : str
        What error messages call the subject table: ``cohort.subjects (subjects.csv)``.
    events_where : str
        What they call the event table.
    event_names : mapping of str to str
        What they call its columns, where the source's names are not the canonical ones.
    version : str or None
        Version of the data: of the package or data set they come from.
    date : str or None
        Date of the data (ISO 8601), where the source says it; the latest event otherwise.
    date_of : str or None
        What that date is, in words.
    dated : bool
        Whether times are dates. False where they count from an index time that is written as 2000-01-01
        (`riskweave.cohort.convert.relative_index`).
    zones : mapping of str to (bool or None)
        What messages call a time column, to whether its times had a time zone (None: no times). All or none may.
    files : tuple of str
        The files and folders read, as the study names them, relative to the working folder.
    """

    subjects: pa.Table
    events: pa.Table | EventQuery
    recordings: pa.Table
    images: pa.Table
    where: str
    sounds: pa.Table = field(default_factory=empty_manifest)
    events_where: str = "cohort.events"
    event_names: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    date: str | None = None
    date_of: str | None = None
    dated: bool = True
    zones: Mapping[str, bool | None] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def empty_events() -> pa.Table:
    """Return an event table without rows."""
    return EVENTS.columns.empty_table()


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Answer what goes wrong while DuckDB reads files: its own words, which quote values, are not passed on.

    Raises
    ------
    DataError
        Naming the kind of error alone. A mistake in the SQL is ours, and is raised as it is.
    """
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        problem = f"the rows cannot be read to their end ({type(error).__name__})"
        remedy = "Check that no file is truncated, that columns hold what they should, and that the disk is not full"
        raise DataError(where, problem, remedy) from None


def text_sql(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet_sql(paths: list[str]) -> str:
    """Return the SQL that reads Parquet files as one table; marks in their names are no wildcards."""
    special = {"[": "[[]", "*": "[*]", "?": "[?]"}
    escaped = ("".join(special.get(mark, mark) for mark in path) for path in paths)
    return f"read_parquet([{', '.join(map(text_sql, escaped))}], union_by_name = true)"


def float_sql(expression: str) -> str:
    """Return the SQL of a number as FLOAT: NaN becomes null, what is too large becomes infinite (and is refused)."""
    number = f"CAST({expression} AS DOUBLE)"
    return (
        f"CASE WHEN isnan({number}) THEN NULL WHEN abs({number}) > 3.4028234e38 THEN 'infinity'::FLOAT "
        f"ELSE CAST({expression} AS FLOAT) END"
    )

"""Store events as the canonical event table: sorted, checked and streamed, so that a hundred million need no memory.

DuckDB sorts them on disk within its memory limit. What cannot be stored is counted and refused: identifiers or codes
that are missing, infinite values, placeholder dates, events of nobody, and a table in which every row is there twice.
"""

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from riskweave.cohort.contents import ContentDigest
from riskweave.cohort.convert import YEARS
from riskweave.cohort.history import DEATH
from riskweave.cohort.sources.base import CanonicalTables, EventQuery, float_sql, reading
from riskweave.cohort.tables import EVENTS, facts_of
from riskweave.errors import DataError

__all__ = ["MEMORY", "StoredEvents", "store_events"]

MEMORY = "2GB"
"""What DuckDB may use; it sorts the rest on disk."""

_LOG = logging.getLogger(__name__)
_BATCH = 1 << 18
_ROW_GROUP = 1 << 20
_FIRST, _LAST = (f"TIMESTAMP '{year}-01-01'" for year in (YEARS[0], YEARS[1] + 1))
_EMPTY = "({0} IS NULL OR {0} = '')"


@dataclass(frozen=True)
class StoredEvents:
    """What is known about a stored event table.

    Attributes
    ----------
    rows, subjects : int
        Number of events, and of people who have any.
    repeated : int
        Number of rows that repeat another row in everything.
    sha256 : str
        Fingerprint of the content.
    latest : datetime.datetime or None
        Time of the latest dated event.
    """

    rows: int
    subjects: int
    repeated: int
    sha256: str
    latest: dt.datetime | None


@contextmanager
def _database(tables: CanonicalTables, work: Path, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database with the view `raw` (the events as they are) and the table `people`, in the order of the text.

    Raises
    ------
    DataError
        When the events cannot be read.
    """
    config = {"threads": threads, "memory_limit": MEMORY, "temp_directory": str(work / "spill")}
    with reading(tables.events_where), duckdb.connect(config=config) as connection:
        connection.execute("SET streaming_buffer_size = '64MB'")
        people = tables.subjects.column("subject_id").sort()
        places = pa.array(np.arange(len(people), dtype=np.int32))
        connection.register("people", pa.table({"place": places, "subject_id": people}))
        if isinstance(tables.events, EventQuery):
            for name, table in tables.events.tables.items():
                connection.register(name, table)
            for statement in tables.events.setup:
                connection.execute(statement)
            connection.execute(f"CREATE TEMP VIEW raw AS {tables.events.sql}")
        else:
            connection.register("raw", tables.events)
        yield connection


def _ordered(connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
    """Return the events in canonical order, with the person's place among the sorted ones; null for nobody's."""
    return connection.sql(
        "SELECT p.place AS place, CAST(r.time AS TIMESTAMP) AS time, CAST(r.code AS VARCHAR) AS code, "
        f"{float_sql('r.numeric_value')} AS numeric_value, CAST(r.text_value AS VARCHAR) AS text_value, "
        "nullif(trim(CAST(r.unit AS VARCHAR)), '') AS unit "
        "FROM raw r LEFT JOIN people p ON CAST(r.subject_id AS VARCHAR) = p.subject_id "
        "ORDER BY place NULLS FIRST, time, code, numeric_value, text_value, unit"
    ).to_arrow_reader(_BATCH)


def _spoilt(batch: pa.RecordBatch) -> bool:
    """Tell whether a batch holds something that is refused."""
    place, time, code, value = (batch.column(name) for name in ("place", "time", "code", "numeric_value"))
    years = pc.year(pc.min_max(time)["min"]).as_py(), pc.year(pc.min_max(time)["max"]).as_py()
    return (
        place.null_count > 0
        or code.null_count > 0
        or pc.min(pc.binary_length(code)).as_py() == 0
        or bool(pc.any(pc.is_inf(value)).as_py())
        or any(year is not None and not YEARS[0] <= year <= YEARS[1] for year in years)
    )


def _refuse(connection: duckdb.DuckDBPyConnection, tables: CanonicalTables) -> None:
    """Count everything that is wrong, and raise the first."""
    where = tables.events_where

    def column(name: str) -> str:
        return f"{where}, column {tables.event_names.get(name, name)}"

    nobody, no_code = _EMPTY.format("r.id"), _EMPTY.format("r.code")
    bare = "SELECT ltrim(subject_id, '0') FROM people"
    counted = connection.execute(
        f"""
        WITH r AS (SELECT CAST(subject_id AS VARCHAR) AS id, CAST(time AS TIMESTAMP) AS time,
                   CAST(code AS VARCHAR) AS code, {float_sql("numeric_value")} AS value FROM raw)
        SELECT count(*), count(*) FILTER ({nobody}), count(*) FILTER ({no_code}), count(*) FILTER (isinf(r.value)),
               count(*) FILTER (r.time < {_FIRST} OR r.time >= {_LAST}),
               count(*) FILTER (p.place IS NULL), count(DISTINCT r.id) FILTER (p.place IS NULL),
               count(DISTINCT r.id) FILTER (p.place IS NULL AND ltrim(r.id, '0') IN ({bare}))
        FROM r LEFT JOIN people p ON r.id = p.subject_id
        """
    ).fetchone()
    rows, without_id, without_code, infinite, outside, unknown, strangers, zeros = counted
    low, high = YEARS
    findings = (
        ("subject_id", without_id, f"{without_id} of {rows} rows have no identifier",
         "Give each row its identifier, or remove it"),
        ("code", without_code, f"{without_code} of {rows} rows have no code", "Give each row its code, or remove it"),
        ("numeric_value", infinite, f"{infinite} of {rows} rows are infinite", "Leave the cell empty where unknown"),
        ("time", outside, f"{outside} of {rows} rows have a year outside {low} to {high}",
         "Leave the cell empty where the date is unknown"),
        ("subject_id", unknown,
         f"{unknown} of {rows} rows belong to {strangers} subjects that are not in the subject table",
         "Add these subjects, or remove their rows." + (
             f" {zeros} of them differ from a known subject in leading zeros alone: identifiers are text."
             if zeros else "")),
    )  # fmt: skip
    for name, count, problem, remedy in findings:
        if count:
            raise DataError(column(name), problem, remedy)
    # Reached only by a source that gives other rows when it is asked again.
    raise DataError(where, f"the {rows} rows are not the same when they are read twice", "Read from files that rest")


class _Repeats:
    """Counts rows that equal the row before in everything, over the borders of batches too."""

    def __init__(self):
        self.count = self.people = 0
        self._last: pa.RecordBatch | None = None

    def update(self, batch: pa.RecordBatch) -> None:
        if self._last is not None:
            batch = pa.concat_batches([self._last, batch])
        place = batch.column("place").to_numpy(zero_copy_only=False)
        time = batch.column("time").cast(pa.int64()).fill_null(-(1 << 62)).to_numpy(zero_copy_only=False)
        same = place[1:] == place[:-1]
        self.people += int((~same).sum()) + (self._last is None)
        near = np.flatnonzero(same & (time[1:] == time[:-1]))
        if len(near):
            equal = np.ones(len(near), bool)
            for name in ("code", "numeric_value", "text_value", "unit"):
                here, before = (batch.column(name).take(pa.array(near + step)) for step in (1, 0))
                both = pc.and_(pc.is_null(here), pc.is_null(before))
                equal &= pc.or_(pc.fill_null(pc.equal(here, before), False), both).to_numpy(zero_copy_only=False)
            self.count += int(equal.sum())
        self._last = batch.slice(len(batch) - 1)


def store_events(tables: CanonicalTables, path: Path, *, work: Path, threads: int = 2) -> StoredEvents:
    """Sort, check and write the events of a cohort.

    Parameters
    ----------
    tables : CanonicalTables
        With the subjects whose events they are.
    path : Path
        Parquet file (`riskweave.cohort.tables.EVENTS`). What is written does not depend on `threads`.
    work : Path
        Folder for what does not fit into memory, on a disk with room for the events.
    threads : int
        Threads that read and sort.

    Raises
    ------
    DataError
        When identifiers or codes are missing, values infinite or dates placeholders, when events belong to nobody in
        the subject table, when at least half of the rows repeat another, and when a file cannot be read to its end.
    """
    schema = EVENTS.columns.with_metadata(facts_of(EVENTS))
    digest, repeats, rows, latest = ContentDigest(schema), _Repeats(), 0, None
    people = tables.subjects.column("subject_id").sort().combine_chunks()
    held: list[pa.RecordBatch] = []
    with _database(tables, work, threads) as connection, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        spoilt = False
        with _ordered(connection) as reader:
            for batch in reader:
                spoilt = _spoilt(batch)
                if spoilt:
                    break
                repeats.update(batch)
                newest = pc.max(batch.column("time")).as_py()
                latest = max(filter(None, (latest, newest)), default=None)
                arrays = [people.take(batch.column("place")), *batch.columns[1:]]
                held.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
                digest.update(held[-1])
                rows += len(batch)
                held = _write(writer, held)
        if spoilt:
            _refuse(connection, tables)
        _write(writer, held, rest=True)
    if rows and repeats.count * 2 >= rows:
        problem = f"{repeats.count} of {rows} rows repeat another row in everything"
        raise DataError(tables.events_where, problem, "Keep each row once: a file may be there twice")
    if repeats.count:
        _LOG.warning(
            "%s: %d of %d rows repeat another row in everything, and count again", tables.events_where,
            repeats.count, rows,
        )  # fmt: skip
    _log_after_death(path, tables.events_where, threads)
    return StoredEvents(rows, repeats.people, repeats.count, digest.hexdigest(), latest)


def _log_after_death(path: Path, where: str, threads: int) -> None:
    """Tell in the log how many stored events are dated after their person's death, and of how many people.

    A death dated to the day covers that day. The events stay: no outcome counts after death.
    """
    end = "CASE WHEN time = date_trunc('day', time) THEN time + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND ELSE time END"
    with duckdb.connect(config={"threads": threads, "memory_limit": MEMORY}) as connection:
        connection.read_parquet(str(path)).create_view("events")
        late, people = connection.execute(
            f"WITH d AS (SELECT subject_id, min({end}) AS time FROM events WHERE time IS NOT NULL "
            f"AND starts_with(code, '{DEATH}') GROUP BY subject_id) "
            "SELECT count(*), count(DISTINCT subject_id) FROM events e JOIN d USING (subject_id) WHERE e.time > d.time"
        ).fetchone()
    if late:
        _LOG.warning("%s: %d events of %d people are dated after their death", where, late, people)


def _write(writer: pq.ParquetWriter, held: list[pa.RecordBatch], *, rest: bool = False) -> list[pa.RecordBatch]:
    """Write whole row groups, and return what is left; batches need not be of one size for the same file."""
    table = pa.Table.from_batches(held, schema=writer.schema)
    whole = len(table) if rest else len(table) // _ROW_GROUP * _ROW_GROUP
    if not whole:
        return held
    writer.write_table(table.slice(0, whole), row_group_size=_ROW_GROUP)
    return table.slice(whole).to_batches()

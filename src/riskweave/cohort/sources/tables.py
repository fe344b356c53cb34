"""The user's own tables: CSV or Parquet, with manifests of recordings and images."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.checks import check_zones, keep_known
from riskweave.cohort.convert import as_identifiers, as_numbers, as_static, as_text, as_times, count_true
from riskweave.cohort.manifests import image_files, read_manifest, record_files
from riskweave.cohort.reading import InputFile, pick, read_file
from riskweave.cohort.tables import EVENTS, RECORDINGS, SUBJECTS
from riskweave.cohort.times import EPOCH, end_of
from riskweave.errors import DataError, nearest
from riskweave.study.sources import TableColumns, TablesSource

__all__ = ["CanonicalTables", "empty_events", "empty_manifest", "read_tables"]

# Dates outside are placeholders (0001-01-01, 9999-12-31); de-identified records may be shifted by centuries.
_YEARS = (1800, 2500)


@dataclass(frozen=True)
class CanonicalTables:
    """A cohort in the canonical tables.

    Attributes
    ----------
    subjects, events, recordings, images : pyarrow.Table
        See `riskweave.cohort.tables`.
    source_rows : int
        Subjects in the source.
    without_index_time : int
        Those of them that are left out because they have no index time.
    version : str or None
        Package and version that the data come from.
    where : str
        What error messages call the subject table.
    dropped_rows : dict of str to int
        For each table, its rows of subjects without an index time.
    """

    subjects: pa.Table
    events: pa.Table
    recordings: pa.Table
    images: pa.Table
    source_rows: int
    without_index_time: int
    where: str
    version: str | None = None
    dropped_rows: dict[str, int] = field(default_factory=dict)


def empty_events() -> pa.Table:
    """Return an event table without rows."""
    return EVENTS.columns.empty_table()


def empty_manifest() -> pa.Table:
    """Return a manifest of recordings or images without rows."""
    return RECORDINGS.columns.empty_table()


def _check_dates(times: pa.ChunkedArray, where: str) -> None:
    low, high = _YEARS
    years = pc.year(times)
    outside = count_true(pc.or_(pc.less(years, low), pc.greater(years, high)))
    if outside:
        problem = f"{outside} of {len(times)} rows have a year outside {low} to {high}"
        raise DataError(where, problem, "Leave the cell empty where the date is unknown or still to come")


def _identifiers(raw: pa.Table, file: InputFile, columns: TableColumns) -> pa.ChunkedArray:
    near = nearest(columns.subject_id, raw.column_names)
    remedy = f"Name the column in cohort.columns.subject_id.{near}"
    subject_id = as_identifiers(pick(raw, file, columns.subject_id, remedy=remedy), file.column(columns.subject_id))
    counts = pc.value_counts(subject_id).field("counts")
    repeated = count_true(pc.greater(counts, 1))
    if repeated:
        problem = f"{repeated} subjects occur more than once ({len(subject_id) - len(counts)} rows too many)"
        raise DataError(file.column(columns.subject_id), problem, "Give one row per subject")
    return subject_id


def _dates(
    raw: pa.Table, file: InputFile, columns: TableColumns, zones: dict[str, bool | None]
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return index time and end of follow-up; note in `zones` whether they have time zones."""
    rows, kind = raw.num_rows, pa.timestamp("us")
    if columns.index_time is None:
        # Nothing is dated: the index time is a constant, and a date of follow-up would mean nothing.
        return pa.chunked_array([pa.array([EPOCH] * rows, kind)]), pa.chunked_array([pa.nulls(rows, kind)])
    times = {}
    for key in ("index_time", "followup_end"):
        name = getattr(columns, key)
        if name is None:
            times[key] = pa.chunked_array([pa.nulls(rows, kind)])
            continue
        why = "nothing is dated" if key == "index_time" else "all endpoints come from columns"
        remedy = (
            f"Name the column in cohort.columns.{key}, or set that to null where {why}."
            f"{nearest(name, raw.column_names)}"
        )
        column = pick(raw, file, name, remedy=remedy)
        times[key], zones[file.column(name)] = as_times(column, file.column(name))
        _check_dates(times[key], file.column(name))
        if times[key].null_count == rows:
            raise DataError(file.column(name), f"all {rows} subjects lack a value", remedy)
    index, end = times["index_time"], times["followup_end"]
    early = int((end_of(end.to_pandas()) < index.to_pandas()).sum())
    if early:
        problem = f"for {early} of {rows} subjects the follow-up ends before the index time (negative follow-up)"
        raise DataError(file.column(columns.followup_end), problem, "Correct the dates, or remove these subjects")
    return index, end


def _read_subjects(
    file: InputFile, columns: TableColumns, zones: dict[str, bool | None]
) -> tuple[pa.Table, pa.ChunkedArray]:
    """Return the canonical subjects, and the identifiers of those that are left out for want of an index time."""
    raw = read_file(file)
    mapped = [name for name in (columns.subject_id, columns.index_time, columns.followup_end) if name is not None]
    subject_id = _identifiers(raw, file, columns)
    index, end = _dates(raw, file, columns, zones)
    further = [name for name in raw.column_names if name not in mapped]
    taken = [name for name in further if name in SUBJECTS.columns.names]
    if taken:
        problem = f"{len(taken)} columns have reserved names that cohort.columns gives to others: {', '.join(taken)}"
        raise DataError(file.where, problem, "Rename them in the file, or name them in cohort.columns")
    arrays = {"subject_id": subject_id, "index_time": index, "followup_end": end}
    arrays |= {name: as_static(pick(raw, file, name), file, name) for name in further}
    table = pa.table(arrays)
    undated = pc.is_null(index)
    return table.filter(pc.invert(undated)), subject_id.filter(undated)


def _read_events(file: InputFile) -> tuple[pa.Table, bool | None]:
    """Return the canonical events and whether their times have a zone. The columns of values may be absent."""
    raw = read_file(file, columns=EVENTS.columns.names)
    subject_id = as_identifiers(pick(raw, file, "subject_id"), file.column("subject_id"))
    times, zoned = as_times(pick(raw, file, "time"), file.column("time"))
    code = as_text(pick(raw, file, "code"), file.column("code"), what="code")
    values, words = pa.nulls(raw.num_rows, pa.float32()), pa.nulls(raw.num_rows, pa.string())
    if "numeric_value" in raw.column_names:
        numbers = as_numbers(pick(raw, file, "numeric_value"), file.column("numeric_value"))
        values = numbers.cast(pa.float32(), safe=False)
    if "text_value" in raw.column_names:
        words = pick(raw, file, "text_value").cast(pa.string())
    return pa.table([subject_id, times, code, values, words], names=EVENTS.columns.names), zoned


def read_tables(source: TablesSource, *, allow_empty: bool = False) -> CanonicalTables:
    """Read a cohort from the user's tables.

    Parameters
    ----------
    source : TablesSource
        The study's block `cohort`.
    allow_empty : bool
        Whether manifests without rows are accepted (a generated cohort may have no recording).

    Returns
    -------
    CanonicalTables
        Subjects without an index time are left out, with their rows in the other tables, and counted.

    Raises
    ------
    DataError
        For each file, column or row that cannot be used as it is.
    """
    zones: dict[str, bool | None] = {}
    subject_file = InputFile("cohort.subjects", Path(source.subjects))
    subjects, excluded = _read_subjects(subject_file, source.columns, zones)
    tables = {"events": empty_events(), "recordings": empty_manifest(), "images": empty_manifest()}
    files = {name: InputFile(f"cohort.{name}", Path(path)) for name in tables if (path := getattr(source, name))}
    readers = {
        "events": _read_events,
        "recordings": lambda file: read_manifest(file, files_of=record_files, allow_empty=allow_empty),
        "images": lambda file: read_manifest(file, files_of=image_files, allow_empty=allow_empty),
    }
    dropped = {}
    for name, file in files.items():
        table, zones[file.column("time")] = readers[name](file)
        tables[name], dropped[name] = keep_known(
            table=table, file=file, subjects=subjects.column("subject_id"), excluded=excluded
        )
    check_zones(zones)
    return CanonicalTables(
        subjects=subjects,
        **tables,
        source_rows=subjects.num_rows + len(excluded),
        without_index_time=len(excluded),
        where=subject_file.where,
        dropped_rows=dropped,
    )

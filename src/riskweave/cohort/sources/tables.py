"""The user's own tables: CSV or Parquet, dated, or with times that count from the index time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.convert import (
    as_identifiers,
    as_moments,
    as_numbers,
    as_static,
    as_text,
    check_years,
    count_true,
    is_number,
    relative_index,
)
from riskweave.cohort.manifests import relative
from riskweave.cohort.reading import InputFile, is_csv, parquet_schema, pick, read_file
from riskweave.cohort.sources.base import (
    CanonicalTables,
    EventQuery,
    empty_events,
    empty_manifest,
    float_sql,
    parquet_sql,
)
from riskweave.cohort.tables import EVENTS, SUBJECTS
from riskweave.errors import DataError, nearest
from riskweave.study.sources import EventColumns, TableColumns, TablesSource

__all__ = ["read_tables"]

_WHY_NULL = {
    "index_time": "the study makes it from events, or nothing is dated",
    "followup_end": "all endpoints come from columns",
}


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
    raw: pa.Table, file: InputFile, columns: TableColumns, unit: str, zones: dict[str, bool | None]
) -> dict[str, pa.ChunkedArray]:
    """Return the index time and the end of follow-up, where there are any; note in `zones` whether they have zones."""
    rows = raw.num_rows
    times: dict[str, pa.ChunkedArray] = {}
    if unit != "dates":
        times["index_time"] = pa.chunked_array([pa.array([relative_index(unit)] * rows, pa.timestamp("us"))])
    for key in ("index_time", "followup_end"):
        name = getattr(columns, key)
        # Without an index column the end of follow-up may be missing too, unless the study names it.
        absent = columns.index_time is None and name not in raw.column_names
        if name is None or (absent and name == TableColumns.model_fields[key].default):
            continue
        remedy = (
            f"Name the column in cohort.columns.{key}, or set that to null where {_WHY_NULL[key]}."
            f"{nearest(name, raw.column_names)}"
        )
        column = pick(raw, file, name, remedy=remedy)
        times[key], zones[file.column(name)] = as_moments(column, file.column(name), unit)
        check_years(times[key], file.column(name))
        if times[key].null_count == rows:
            raise DataError(file.column(name), f"all {rows} subjects lack a value", remedy)
    return times


def _births(
    raw: pa.Table, file: InputFile, source: TablesSource, subject_id: pa.ChunkedArray, zones: dict[str, bool | None]
) -> pa.Table:
    """Return the birth of each subject as an event."""
    name = source.columns.birth_time
    if name is None:
        return empty_events()
    where = file.column(name)
    column = pick(raw, file, name, remedy=f"Name it in cohort.columns.birth_time.{nearest(name, raw.column_names)}")
    times, zones[where] = as_moments(column, where, source.event_columns.time_unit)
    check_years(times, where)
    known = pc.is_valid(times)
    table = pa.table({"subject_id": subject_id, "time": times}).filter(known)
    nulls = {field.name: pa.nulls(len(table), field.type) for field in EVENTS.columns if field.nullable}
    codes = pa.array(["MEDS_BIRTH"] * len(table), pa.string())
    arrays = {**nulls, "subject_id": table["subject_id"], "time": table["time"], "code": codes}
    return pa.table([arrays[name] for name in EVENTS.columns.names], names=EVENTS.columns.names)


def _read_subjects(file: InputFile, source: TablesSource, zones: dict[str, bool | None]) -> tuple[pa.Table, pa.Table]:
    """Return the canonical subjects, and their births as events."""
    raw, columns = read_file(file), source.columns
    subject_id = _identifiers(raw, file, columns)
    times = _dates(raw, file, columns, source.event_columns.time_unit, zones)
    births = _births(raw, file, source, subject_id, zones)
    mapped = {columns.subject_id, columns.index_time, columns.followup_end, columns.birth_time}
    further = [name for name in raw.column_names if name not in mapped]
    taken = [name for name in further if name in SUBJECTS.columns.names]
    if taken:
        problem = f"{len(taken)} columns have reserved names that cohort.columns gives to others: {', '.join(taken)}"
        raise DataError(file.where, problem, "Rename them in the file, or name them in cohort.columns")
    static = {name: as_static(pick(raw, file, name), file, name, zones) for name in further}
    return pa.table({"subject_id": subject_id, **times, **static}), births


def _check_named(file: InputFile, names: EventColumns, there: list[str]) -> None:
    """Refuse a column that the study names and the file lacks; only under its default name it may be absent."""
    for key in ("numeric_value", "text_value", "unit"):
        name = getattr(names, key)
        if name not in there and name != EventColumns.model_fields[key].default:
            problem = f"there is no column {name!r}; the {len(there)} columns are: {', '.join(there)}"
            remedy = f"Correct cohort.event_columns.{key}, or remove it where there is none.{nearest(name, there)}"
            raise DataError(file.where, problem, remedy)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _streamed(file: InputFile, names: EventColumns, zones: dict[str, bool | None]) -> EventQuery | None:
    """Return the query that reads Parquet events whose columns have plain types; None for others."""
    if is_csv(file.path):
        return None
    paths, schema, rows = parquet_schema(file)
    if not rows:
        return None
    _check_named(file, names, schema.names)
    kinds = {field.name: field.type for field in schema}
    present = {key: name for key in EVENTS.columns.names if (name := getattr(names, key)) in kinds}
    relative_times = names.time_unit != "dates"

    def plain(key: str) -> bool:
        kind = kinds[present[key]]
        if key == "subject_id":
            return _is_text(kind) or pa.types.is_integer(kind)
        if key == "time":
            return not relative_times and (pa.types.is_timestamp(kind) or pa.types.is_date(kind))
        return is_number(kind) if key == "numeric_value" else _is_text(kind)

    if not {"subject_id", "time", "code"} <= set(present) or not all(map(plain, present)):
        return None
    quoted = {key: '"' + name.replace('"', '""') + '"' for key, name in present.items()}
    kind = kinds[present["time"]]
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    zones[file.column(present["time"])] = zoned
    columns = {
        "subject_id": f"CAST({quoted['subject_id']} AS VARCHAR)",
        # The microseconds of a zoned time are those of UTC.
        "time": f"make_timestamp(epoch_us(CAST({quoted['time']} AS TIMESTAMPTZ)))"
        if zoned
        else f"CAST({quoted['time']} AS TIMESTAMP)",
        "code": f"CAST({quoted['code']} AS VARCHAR)",
        "numeric_value": float_sql(quoted["numeric_value"]) if "numeric_value" in quoted else "CAST(NULL AS FLOAT)",
        "text_value": f"CAST({quoted.get('text_value', 'NULL')} AS VARCHAR)",
        "unit": f"CAST({quoted.get('unit', 'NULL')} AS VARCHAR)",
    }
    selected = ", ".join(f"{sql} AS {key}" for key, sql in columns.items())
    return EventQuery(f"SELECT {selected} FROM {parquet_sql([path.as_posix() for path in paths])}")


def _read_events(file: InputFile, names: EventColumns, zones: dict[str, bool | None]) -> pa.Table:
    """Return the canonical events, read strictly. Columns of values may be absent, unless the study names them."""
    wanted = {key: getattr(names, key) for key in EVENTS.columns.names}
    raw = read_file(file, columns=wanted.values())
    if is_csv(file.path):  # of Parquet, only the wanted columns are read: `_streamed` knows the others
        _check_named(file, names, raw.column_names)

    def column(key: str) -> tuple[pa.ChunkedArray, str]:
        name = wanted[key]
        near = nearest(name, raw.column_names)
        remedy = f"Add or rename the column, or name yours in cohort.event_columns.{key}.{near}"
        return pick(raw, file, name, remedy=remedy), file.column(name)

    subject_id = as_identifiers(*column("subject_id"))
    times, zones[file.column(wanted["time"])] = as_moments(*column("time"), names.time_unit)
    code = as_text(*column("code"), what="code")
    values = pa.nulls(raw.num_rows, pa.float32())
    texts = {"text_value": pa.nulls(raw.num_rows, pa.string()), "unit": pa.nulls(raw.num_rows, pa.string())}
    if wanted["numeric_value"] in raw.column_names:
        values = as_numbers(*column("numeric_value")).cast(pa.float32(), safe=False)
    for key in texts:
        if wanted[key] in raw.column_names:
            texts[key] = column(key)[0].cast(pa.string())
    arrays = [subject_id, times, code, values, texts["text_value"], texts["unit"]]
    return pa.table(arrays, names=EVENTS.columns.names)


def _with_births(events: pa.Table | EventQuery, births: pa.Table) -> pa.Table | EventQuery:
    if not len(births):
        return events
    if isinstance(events, pa.Table):
        return pa.concat_tables([events, births])
    rows = "SELECT subject_id, time, code, numeric_value, text_value, unit FROM"
    return EventQuery(
        f"{rows} ({events.sql}) UNION ALL {rows} births", events.setup, {**events.tables, "births": births}
    )


def read_tables(source: TablesSource) -> CanonicalTables:
    """Read a cohort from the user's tables.

    Parameters
    ----------
    source : TablesSource
        The study's block `cohort`. Its manifests and further tables are read for every source of files alike
        (`riskweave.cohort.sources.shared`).

    Returns
    -------
    CanonicalTables
        With an index time and an end of follow-up where the tables have them. Parquet events are read when they are
        stored.

    Raises
    ------
    DataError
        For each file, column or row that cannot be used as it is.
    """
    zones: dict[str, bool | None] = {}
    subject_file = InputFile("cohort.subjects", Path(source.subjects))
    subjects, births = _read_subjects(subject_file, source, zones)
    events: pa.Table | EventQuery = empty_events()
    files, events_where, names = [source.subjects], "cohort.events", source.event_columns
    if source.events is not None:
        file = InputFile("cohort.events", Path(source.events))
        events, events_where = _streamed(file, names, zones) or _read_events(file, names, zones), file.where
        files.append(source.events)
    return CanonicalTables(
        subjects=subjects,
        events=_with_births(events, births),
        recordings=empty_manifest(),
        images=empty_manifest(),
        where=subject_file.where,
        events_where=events_where,
        event_names={key: getattr(names, key) for key in EVENTS.columns.names},
        dated=names.time_unit == "dates",
        zones=zones,
        files=tuple(relative(Path(path)).as_posix() for path in files),
    )

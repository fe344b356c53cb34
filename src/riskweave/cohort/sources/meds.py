"""MEDS data sets: the Medical Event Data Standard, version 0.4, as its ecosystem writes it.

========================================  ================================================================
``data/**/*.parquet``                     events: subject_id (int64), time, code, numeric_value, text_value
``metadata/dataset.json``                 name, version and date of the data set, where there is one
``metadata/subject_splits.parquet``       subject_id and split: becomes the column `split` of the subjects
``metadata/codes.parquet``                what codes mean; codes of the data that it lacks are counted
========================================  ================================================================

Identifiers become their decimal strings. A further column `unit` is the unit of the value; other columns are left out.
The standard asks that a subject is in one shard only, and in order of time there: neither is needed here.
https://github.com/Medical-Event-Data-Standard/meds
"""

import datetime as dt
import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.manifests import relative
from riskweave.cohort.reading import InputFile, parquet_schema, pick, read_file
from riskweave.cohort.sources.base import CanonicalTables, EventQuery, empty_manifest, float_sql, parquet_sql, reading
from riskweave.errors import DataError, nearest
from riskweave.study.sources import MedsSource

__all__ = ["read_meds"]

_LOG = logging.getLogger(__name__)
_SHOWN = 5


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is None


# Column, whether the standard requires it, what its type must be, and the same in words.
_COLUMNS = (
    ("subject_id", True, pa.types.is_integer, "int64"),
    ("time", True, _is_time, "timestamp[us] without a time zone"),
    ("code", True, _is_text, "string"),
    ("numeric_value", False, lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind), "float32"),
    ("text_value", False, _is_text, "string"),
    ("unit", False, _is_text, "string"),
)


def _folder(block: MedsSource) -> Path:
    """Return the folder of the data set, which holds data/."""
    root = Path(block.path)
    where = f"cohort.path ({root.as_posix()})"
    if not root.is_dir():
        near = nearest(root.name, [other.name for other in root.parent.iterdir()]) if root.parent.is_dir() else ""
        remedy = f"Correct cohort.path: paths are relative to the folder in which snakemake runs.{near}"
        raise DataError(where, "there is no such folder", remedy)
    if not (root / "data").is_dir():
        inside = sorted(path.name for path in root.iterdir())[:_SHOWN]
        problem = f"the folder holds no folder data/; it holds: {', '.join(inside) or 'nothing'}"
        raise DataError(where, problem, "Give the folder that holds data/ and metadata/")
    return root


def _query(file: InputFile) -> tuple[EventQuery, str]:
    """Return the query of the events, and the SQL that reads all shards."""
    paths, schema, rows = parquet_schema(file)
    if not rows:
        raise DataError(file.where, f"the {len(paths)} shards have 0 rows", "Give a data set with events")
    kinds = {field.name: field.type for field in schema}
    selected = []
    for name, required, allowed, words in _COLUMNS:
        if name not in kinds:
            if required:
                pick(schema.empty_table(), file, name)
            selected.append(f"CAST(NULL AS {'FLOAT' if name == 'numeric_value' else 'VARCHAR'}) AS {name}")
            continue
        # A column without any value may have any type.
        if not (allowed(kinds[name]) or (not required and pa.types.is_null(kinds[name]))):
            problem = f"has the type {kinds[name]} in all {rows} rows"
            raise DataError(file.column(name), problem, f"Allowed in MEDS 0.4: {words}")
        if name == "numeric_value":
            selected.append(f"{float_sql(name)} AS {name}")
        else:
            selected.append(f"CAST({name} AS {'TIMESTAMP' if name == 'time' else 'VARCHAR'}) AS {name}")
    shards = parquet_sql([path.as_posix() for path in paths])
    return EventQuery(f"SELECT {', '.join(selected)} FROM {shards}"), shards


def _distinct(shards: str, column: str, kind: str, file: InputFile) -> pa.ChunkedArray:
    """Return the distinct values of a column of the shards, null left out."""
    sql = f"SELECT DISTINCT CAST({column} AS {kind}) AS value FROM {shards} WHERE {column} IS NOT NULL"
    with reading(file.where), duckdb.connect(config={"memory_limit": "1GB"}) as connection:
        return connection.sql(sql).to_arrow_table().column("value")


def _with_splits(subjects: pa.Table, root: Path) -> pa.Table:
    """Add the column `split` where the data set has splits."""
    path = root / "metadata" / "subject_splits.parquet"
    if not path.is_file():
        return subjects
    file = InputFile("cohort.path", path)
    raw = read_file(file, columns=("subject_id", "split"))
    ids, split = pick(raw, file, "subject_id").cast(pa.string()), pick(raw, file, "split").cast(pa.string())
    repeated = len(ids) - len(pc.unique(ids))
    if repeated:
        problem = f"{repeated} of {len(ids)} rows repeat another row's subject_id"
        raise DataError(file.column("subject_id"), problem, "A subject is in one split: correct the file")
    rows = pc.index_in(subjects.column("subject_id"), value_set=ids.combine_chunks())
    if rows.null_count == len(rows):
        problem = f"0 of {len(rows)} subjects of the data have a split"
        raise DataError(file.column("subject_id"), problem, "Take data/ and metadata/ from the same data set")
    if rows.null_count:
        _LOG.warning("%s: %d of %d subjects have no split", file.where, rows.null_count, len(rows))
    return subjects.append_column("split", split.take(rows))


def _check_codes(shards: str, root: Path, file: InputFile) -> None:
    """Count the codes of the data that the data set's own list of codes lacks."""
    path = root / "metadata" / "codes.parquet"
    if not path.is_file():
        return
    listed = InputFile("cohort.path", path)
    raw = read_file(listed, columns=("code",), allow_empty=True)
    known = pick(raw, listed, "code").cast(pa.string())
    codes = _distinct(shards, "code", "VARCHAR", file)
    without = len(codes) - (pc.sum(pc.is_in(codes, value_set=known.combine_chunks())).as_py() or 0)
    if without:
        _LOG.info("%s: %d of %d codes of the data are not listed", listed.where, without, len(codes))


def _metadata(root: Path) -> dict[str, Any]:
    path = root / "metadata" / "dataset.json"
    if not path.is_file():
        return {}
    where = f"cohort.path ({path.as_posix()})"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise DataError(where, "1 file is not readable JSON", "Copy it again, or remove it: it is not needed") from None
    if not isinstance(content, dict):
        raise DataError(where, "the file holds no JSON object", "Write it as MEDS 0.4 says, or remove it")
    return content


def _version(facts: dict[str, Any]) -> str | None:
    """Return name and version of the data set, of the ETL that made it, and of the standard."""
    pairs = (
        (facts.get("dataset_name"), facts.get("dataset_version")),
        (facts.get("etl_name"), facts.get("etl_version")),
        ("MEDS", facts.get("meds_version")),
    )
    named = [
        " ".join(str(part) for part in pair if part) for pair in pairs if pair[1] or (pair[0] and pair[0] != "MEDS")
    ]
    return ", ".join(named) or None


def _date(facts: dict[str, Any]) -> str | None:
    """Return the day on which the data set was made, where it says one."""
    try:
        return dt.datetime.fromisoformat(str(facts.get("created_at"))).date().isoformat()
    except ValueError:
        return None


def read_meds(block: MedsSource) -> CanonicalTables:
    """Read a MEDS data set.

    Parameters
    ----------
    block : MedsSource
        The study's block `cohort`.

    Returns
    -------
    CanonicalTables
        Everybody with an event, with the data set's own split where it has one. There is no index time and no end of
        follow-up: the study's `population` makes them. Events are read when they are stored.

    Raises
    ------
    DataError
        When the folder is no MEDS data set, a column is missing or has a type that the standard does not allow, a file
        is unreadable, or splits do not belong to the data.
    """
    root = _folder(block)
    file = InputFile("cohort.path", root / "data")
    events, shards = _query(file)
    facts = _metadata(root)
    people = _distinct(shards, "subject_id", "VARCHAR", file)
    subjects = pa.table({"subject_id": people}).sort_by("subject_id")
    _check_codes(shards, root, file)
    date = _date(facts)
    return CanonicalTables(
        subjects=_with_splits(subjects, root),
        events=events,
        recordings=empty_manifest(),
        images=empty_manifest(),
        where=f"cohort.path ({root.as_posix()})",
        events_where=file.where,
        version=_version(facts),
        date=date,
        date_of=None if date is None else "created_at in metadata/dataset.json",
        zones={file.column("time"): False},
        files=(relative(root).as_posix(),),
    )

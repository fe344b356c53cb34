"""The canonical tables of a cohort: their schemas, and the one way to read and write them.

Time is in days where it is a number, and a naive timestamp in microseconds where it is a date (UTC where the source
gave time zones). Every other stage reads these tables and none of the user's own files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from riskweave.errors import DataError, nearest
from riskweave.files import replacing

__all__ = [
    "EVENTS",
    "FINAL",
    "FOLDS",
    "IMAGES",
    "OUTCOMES",
    "RECORDINGS",
    "ROLES",
    "SOURCE_SUBJECTS",
    "SUBJECTS",
    "Rule",
    "TableSchema",
    "facts_in",
    "facts_of",
    "read_arrow",
    "read_metadata",
    "read_table",
    "write_table",
]

TIME = pa.timestamp("us")
ROLES = ("train", "validation", "test")

FINAL = 1000
"""Number of the fold of a final fit, in which nobody is tested; studies have 20 folds at most."""
_PREFIX = "riskweave."


@dataclass(frozen=True)
class Rule:
    """What the values of a column must satisfy.

    Attributes
    ----------
    column : str
        The column that is checked.
    holds : callable
        From the column to a boolean array of the same length.
    allowed : str
        The same in words, for the error message.
    """

    column: str
    holds: Callable[[pa.ChunkedArray], pa.ChunkedArray]
    allowed: str


@dataclass(frozen=True)
class TableSchema:
    """A table's contract.

    Attributes
    ----------
    name : str
        Name of the table.
    columns : pyarrow.Schema
        Required columns in order; a field that is not nullable admits no missing value.
    order : tuple of str
        Columns by which rows are sorted.
    key : tuple of str
        Columns that together occur once; empty when rows may repeat.
    extra : bool
        Whether further columns are allowed.
    rules : tuple of Rule
        Conditions on the values.
    """

    name: str
    columns: pa.Schema
    order: tuple[str, ...]
    key: tuple[str, ...] = ()
    extra: bool = False
    rules: tuple[Rule, ...] = ()


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_SUBJECT_ID = _field("subject_id", pa.string(), "Identifier of the subject, as text")


def _manifest(name: str, what: str) -> TableSchema:
    columns = [
        _SUBJECT_ID,
        _field("time", TIME, f"When the {what} was taken"),
        _field("path", pa.string(), "File, relative to the folder in which the pipeline runs"),
        _field("sha256", pa.string(), "Fingerprint of the content of the file or files"),
    ]
    return TableSchema(
        name, pa.schema(columns), order=("subject_id", "time", "path"), key=("subject_id", "time", "path")
    )


SOURCE_SUBJECTS = TableSchema(
    "source subjects",
    pa.schema([_SUBJECT_ID]),
    order=("subject_id",),
    key=("subject_id",),
    extra=True,
)

SUBJECTS = TableSchema(
    "subjects",
    pa.schema([
        _field("subject_id", pa.string(), "A person at one index time; the person's own identifier where there is one"),
        _field("person_id", pa.string(), "The person: subject_id of the source's tables (events, recordings, ...)"),
        _field("index_time", TIME, "Moment of prediction; 1970-01-01 in a study without dates"),
        _field("followup_end", TIME, "End of the observation", nullable=True),
    ]),
    order=("subject_id",),
    key=("subject_id",),
    extra=True,
)  # fmt: skip

EVENTS = TableSchema(
    "events",
    pa.schema([
        _SUBJECT_ID,
        _field("time", TIME, "When the event took place; missing for static measurements", nullable=True),
        _field("code", pa.string(), "Code of the event"),
        _field("numeric_value", pa.float32(), "Measured value", nullable=True),
        _field("text_value", pa.string(), "Value in words", nullable=True),
        _field("unit", pa.string(), "Unit of the measured value, where the source gives one", nullable=True),
    ]),
    order=("subject_id", "time", "code", "numeric_value", "text_value", "unit"),
)  # fmt: skip

RECORDINGS = _manifest("recordings", "ECG")
IMAGES = _manifest("images", "image")
SOUNDS = _manifest("sounds", "sound")

OUTCOMES = TableSchema(
    "outcomes",
    pa.schema([
        _SUBJECT_ID,
        _field("endpoint", pa.string(), "Name of the endpoint"),
        _field("time", pa.float64(), "Days from the index time to the event or to the end of observation"),
        _field("event", pa.int8(), "0 censored, 1 target, 2 and up competing events"),
    ]),
    order=("subject_id",),
    key=("subject_id",),
    rules=(
        Rule("time", lambda column: pc.and_(pc.is_finite(column), pc.greater(column, 0)), "finite days above 0"),
        Rule("event", lambda column: pc.greater_equal(column, 0), "0 censored, 1 target, 2 and up competing"),
    ),
)  # fmt: skip

FOLDS = TableSchema(
    "folds",
    pa.schema([
        _SUBJECT_ID,
        _field("fold", pa.int16(), "Number of the fold, from 0"),
        _field("role", pa.string(), "What the subject's row is for in this fold"),
    ]),
    order=("subject_id", "fold"),
    key=("subject_id", "fold"),
    rules=(
        Rule("fold", lambda column: pc.greater_equal(column, 0), "0 and up"),
        Rule("role", lambda column: pc.is_in(column, value_set=pa.array(ROLES)), ", ".join(ROLES)),
    ),
)  # fmt: skip

_REMAKE = "The file is made by the pipeline: remove it and run snakemake again"


def _conform(table: pa.Table, schema: TableSchema, where: str) -> pa.Table:
    """Bring the required columns into order and type; refuse what cannot be."""
    present = table.column_names
    repeated = sorted({name for name in present if present.count(name) > 1})
    if repeated:
        raise DataError(where, f"{len(repeated)} column names occur twice: {', '.join(repeated)}", _REMAKE)
    missing = [name for name in schema.columns.names if name not in present]
    if missing:
        problem = f"column {missing[0]!r} of the table {schema.name} is missing; present: {', '.join(present)}"
        raise DataError(where, problem, _REMAKE + "." + nearest(missing[0], present))
    extra = [name for name in present if name not in schema.columns.names]
    if extra and not schema.extra:
        allowed = ", ".join(schema.columns.names)
        raise DataError(where, f"{len(extra)} columns do not belong here: {', '.join(extra)}", f"Allowed: {allowed}")
    columns = []
    for field in schema.columns:
        column = table.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            problem = f"values of type {column.type} cannot be kept as {field.type} in {table.num_rows} rows"
            raise DataError(f"{where}, column {field.name}", problem, f"Allowed: {field.type}") from None
    fields = list(schema.columns) + [table.schema.field(name) for name in extra]
    return pa.table(columns + [table.column(name) for name in extra], schema=pa.schema(fields))


def _validate(table: pa.Table, schema: TableSchema, where: str) -> None:
    """Refuse missing values, repeated keys and values outside the rules."""
    for field in schema.columns:
        missing = table.column(field.name).null_count
        if missing and not field.nullable:
            raise DataError(
                f"{where}, column {field.name}", f"{missing} of {table.num_rows} rows have no value", _REMAKE
            )
    for rule in schema.rules:
        broken = table.num_rows - (pc.sum(rule.holds(table.column(rule.column))).as_py() or 0)
        if broken:
            problem = f"{broken} of {table.num_rows} rows have a value that is not allowed"
            raise DataError(f"{where}, column {rule.column}", problem, f"Allowed: {rule.allowed}")
    if schema.key:
        repeated = table.num_rows - table.group_by(list(schema.key)).aggregate([]).num_rows
        if repeated:
            problem = f"{repeated} of {table.num_rows} rows repeat another row's {', '.join(schema.key)}"
            raise DataError(where, problem, "Each may occur once")


def facts_of(schema: TableSchema, metadata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the metadata of a table's file: its name, and facts about the whole table."""
    return {_PREFIX + key: str(value) for key, value in {"table": schema.name, **(metadata or {})}.items()}


def write_table(
    frame: pd.DataFrame | pa.Table, path: Path, schema: TableSchema, metadata: Mapping[str, str] | None = None
) -> None:
    """Validate a table, sort it and write it as Parquet, all at once or not at all.

    Parameters
    ----------
    frame : pandas.DataFrame or pyarrow.Table, shape (n_rows, n_columns)
        The table; the index of a data frame is not kept.
    path : Path
        Parquet file; its folder is made when needed.
    schema : TableSchema
        The table's contract.
    metadata : mapping, optional
        Facts about the whole table, read back by `read_metadata`.

    Raises
    ------
    DataError
        When a column is missing, cannot be converted, or breaks the contract.
    """
    path = Path(path)
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    table = _conform(table, schema, path.name)
    _validate(table, schema, path.name)
    table = table.sort_by([(name, "ascending") for name in schema.order])
    table = table.replace_schema_metadata(facts_of(schema, metadata))
    with replacing(path) as (partial,):
        pq.write_table(table, partial, compression="zstd")


def read_arrow(path: Path, schema: TableSchema) -> pa.Table:
    """Read and validate a table without leaving Arrow; its schema keeps what `facts_in` reads.

    Raises
    ------
    DataError
        When the file is missing, is not Parquet, or breaks the contract.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), f"there is no such file (table {schema.name})", "Run the rule that makes it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        raise DataError(str(path), "the file is not readable Parquet", _REMAKE) from None
    facts = {key: value for key, value in (table.schema.metadata or {}).items() if key.startswith(_PREFIX.encode())}
    table = _conform(table, schema, str(path)).replace_schema_metadata(facts)
    _validate(table, schema, str(path))
    return table


def read_table(path: Path, schema: TableSchema) -> pd.DataFrame:
    """Read and validate a table.

    Returns
    -------
    pandas.DataFrame, shape (n_rows, n_columns)
        Required columns first, in the order of the schema.

    Raises
    ------
    DataError
        When the file is missing, is not Parquet, or breaks the contract.
    """
    return read_arrow(path, schema).to_pandas()


def facts_in(schema: pa.Schema) -> dict[str, str]:
    """Return the facts about the whole table that its schema holds (see `facts_of`)."""
    metadata = schema.metadata or {}
    facts = {key.decode(): value.decode() for key, value in metadata.items()}
    return {key.removeprefix(_PREFIX): value for key, value in facts.items() if key.startswith(_PREFIX)}


def read_metadata(path: Path) -> dict[str, str]:
    """Return the facts that `write_table` stored about the whole table."""
    return facts_in(pq.read_schema(path))

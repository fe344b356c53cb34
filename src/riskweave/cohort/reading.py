"""Read the user's own CSV and Parquet files strictly: as text first, so that nothing is guessed or silently lost.

An error names the config key, the file, the column and how many rows, never a value of a row.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from riskweave.errors import DataError, nearest

__all__ = ["InputFile", "is_csv", "parquet_schema", "pick", "read_file"]

_FORMATS = "Give a CSV file (.csv or .csv.gz, UTF-8, separated by commas) or a Parquet file (.parquet)"


@dataclass(frozen=True)
class InputFile:
    """A file of the user's, and the key of the study file that names it."""

    key: str
    path: Path

    @property
    def where(self) -> str:
        """Name of the file in error messages."""
        return f"{self.key} ({self.path.as_posix()})"

    def column(self, name: str) -> str:
        """Return what error messages call a column of the file."""
        return f"{self.where}, column {name}"


def is_csv(path: Path) -> bool:
    """Tell whether a file is read as CSV."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def _shards(file: InputFile) -> list[Path]:
    """List the files behind a path: itself, or the Parquet shards of a folder, in the order of their names."""
    path = file.path
    if path.is_dir():
        shards = sorted(shard for shard in path.rglob("*.parquet") if shard.is_file())
        if not shards:
            raise DataError(
                file.where, "the folder holds 0 Parquet files", "Give a folder with .parquet shards, or a file"
            )
        return shards
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.iterdir()]) if path.parent.is_dir() else ""
        remedy = f"Correct {file.key}: paths are relative to the folder in which snakemake runs.{near}"
        raise DataError(file.where, "there is no such file or folder", remedy)
    if not (is_csv(path) or path.suffix.lower() == ".parquet"):
        raise DataError(file.where, f"files of type {path.suffix or 'without a suffix'!r} are not read", _FORMATS)
    return [path]


def _header(file: InputFile, path: Path, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problem = f"{len(repeated)} column names occur more than once: {', '.join(repeated)}"
        raise DataError(file.where, problem, "Rename the columns: each name may occur once")
    if len(names) == 1 and is_csv(path):
        for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in names[0]:
                problem = f"the header is 1 column: the file seems to be separated by {word}"
                raise DataError(file.where, problem, "Save it separated by commas, with decimal points")


def _read_csv(file: InputFile, path: Path) -> pa.Table:
    """Read all columns as text; an empty cell is missing."""
    malformed = []

    def skip(row: pacsv.InvalidRow) -> str:
        malformed.append(row.actual_columns)
        return "skip"

    parse = pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)
    try:
        with pacsv.open_csv(path, parse_options=parse) as reader:
            names = reader.schema.names
        _header(file, path, names)
        malformed.clear()
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        table = pacsv.read_csv(path, parse_options=parse, convert_options=convert)
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        if "Empty CSV" in str(error):
            raise DataError(file.where, "the file is empty: 0 rows and no header", _FORMATS) from None
        # Arrow's own words quote the cell: they are not passed on.
        kind = "is not UTF-8 text" if "UTF8" in str(error).replace("-", "").upper() else "cannot be read as CSV"
        raise DataError(file.where, f"the file {kind}", _FORMATS) from None
    if malformed:
        problem = f"{len(malformed)} rows do not have the {len(names)} cells of the header"
        raise DataError(file.where, problem, "Correct these rows; put text that holds commas in double quotes")
    return table


def _read_parquet(file: InputFile, path: Path, columns: Collection[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as parquet:
            names = parquet.schema_arrow.names
            _header(file, path, names)
            wanted = names if columns is None else [name for name in names if name in columns]
            # Where none of the wanted columns is there, the error that follows lists those that are.
            return parquet.read(columns=wanted) if wanted else parquet.schema_arrow.empty_table()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        raise _unreadable(file, path) from None


def _unreadable(file: InputFile, path: Path) -> DataError:
    shown = "" if path == file.path else f" (shard {path.relative_to(file.path).as_posix()})"
    return DataError(file.where, f"1 file is not readable Parquet{shown}", _FORMATS)


def _unlike(file: InputFile, shards: int) -> DataError:
    problem = f"the columns of the {shards} shards have types that do not fit together"
    return DataError(file.where, problem, "Write all shards with the same schema")


def parquet_schema(file: InputFile) -> tuple[list[Path], pa.Schema, int]:
    """Return the files of a Parquet table, the columns that they have together, and their number of rows.

    Raises
    ------
    DataError
        When there is no such file, one is not Parquet, or shards do not fit together. No row is read.
    """
    shards, schemas, rows = _shards(file), [], 0
    for path in shards:
        try:
            with pq.ParquetFile(path) as parquet:
                schemas.append(parquet.schema_arrow.remove_metadata())
                rows += parquet.metadata.num_rows
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
            raise _unreadable(file, path) from None
        _header(file, path, schemas[-1].names)
    try:
        return shards, pa.unify_schemas(schemas, promote_options="permissive"), rows
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise _unlike(file, len(shards)) from None


def read_file(file: InputFile, *, columns: Collection[str] | None = None, allow_empty: bool = False) -> pa.Table:
    """Read a CSV or Parquet file, or a folder of Parquet shards.

    Parameters
    ----------
    file : InputFile
        The file and the config key that names it.
    columns : collection of str, optional
        The columns to read from Parquet; those that are absent are left out here. All when not given.
    allow_empty : bool
        Whether a table without rows is accepted.

    Returns
    -------
    pyarrow.Table, shape (n_rows, n_columns)
        A CSV's columns are all text; Parquet columns have their own types.

    Raises
    ------
    DataError
        When the file is missing, of another kind, unreadable, or empty; when shards do not fit together.
    """
    shards = _shards(file)
    if is_csv(shards[0]):
        table = _read_csv(file, shards[0])
    else:
        tables = [_read_parquet(file, shard, columns) for shard in shards]
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise _unlike(file, len(shards)) from None
    if table.num_rows == 0 and not allow_empty:
        raise DataError(
            file.where, "the table has 0 rows", f"Give a file with data, or remove {file.key} from the study"
        )
    return table


def pick(table: pa.Table, file: InputFile, name: str, *, remedy: str = "") -> pa.ChunkedArray:
    """Return a column by its name; dictionaries are decoded.

    Raises
    ------
    DataError
        When there is none, naming those that are there and the nearest.
    """
    if name not in table.column_names:
        problem = f"there is no column {name!r}; the {table.num_columns} columns are: {', '.join(table.column_names)}"
        raise DataError(
            file.where, problem, (remedy or f"Add or rename the column.{nearest(name, table.column_names)}")
        )
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return column

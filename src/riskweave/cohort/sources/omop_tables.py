"""Where the tables of an OMOP common data model lie, and the SQL that reads their columns strictly.

Tables are those of a schema of a DuckDB file, or files of a folder: CSV (.csv, .csv.gz; separated by commas, or by tabs
as the vocabularies are), Parquet, or a folder of Parquet shards for each table. Names of tables and columns may be
written in capitals.
"""

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from riskweave.cohort.sources.base import parquet_sql, text_sql
from riskweave.errors import DataError, nearest

__all__ = ["CDM_TABLES", "DATABASE", "OmopTable", "find_tables", "run", "run_rows"]

DATABASE = "omop"
"""What the DuckDB file is called once it is attached."""

CDM_TABLES = frozenset({
    "person", "observation_period", "visit_occurrence", "visit_detail", "condition_occurrence", "drug_exposure",
    "procedure_occurrence", "device_exposure", "measurement", "observation", "death", "note", "note_nlp", "specimen",
    "fact_relationship", "location", "care_site", "provider", "payer_plan_period", "cost", "drug_era", "dose_era",
    "condition_era", "episode", "episode_event", "metadata", "cdm_source", "concept", "vocabulary", "domain",
    "concept_class", "concept_relationship", "relationship", "concept_synonym", "concept_ancestor",
    "source_to_concept_map", "drug_strength", "cohort", "cohort_definition", "cohort_attribute",
    "attribute_definition",
})  # fmt: skip
"""All tables of versions 5.3 and 5.4."""

_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_DAY = r"\d{4}-\d{2}-\d{2}"
_ISO = rf"^{_DAY}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,9}})?)?)?$"
_WHOLE = r"^-?\d+(\.0+)?$"
_FLOATS = ("FLOAT", "DOUBLE", "DECIMAL")
_FORMATS = "Give a DuckDB file (.duckdb, .db), or a folder with person.csv, person.csv.gz or person.parquet and so on"
_AGAIN = "Export the table again as CSV (UTF-8, separated by commas) or Parquet"


@dataclass(frozen=True)
class OmopTable:
    """A table that was found.

    Attributes
    ----------
    name : str
        Its name in the standard.
    where : str
        What error messages call it.
    sql : str
        What stands behind FROM.
    types : mapping of str to str
        DuckDB's type of each column, by its name in small letters.
    """

    name: str
    where: str
    sql: str
    types: Mapping[str, str]

    def column(self, name: str) -> str:
        """Return what error messages call a column."""
        return f"{self.where}, column {name}"

    def raw(self, name: str) -> str:
        """Return the SQL of a column as it is, null where the table lacks it; an empty text is null."""
        if name not in self.types:
            return "NULL"
        return f"nullif(trim(\"{name}\"), '')" if self._text(name) else f'"{name}"'

    def text(self, name: str) -> str:
        """Return the SQL of a column as text; whole numbers that are stored with decimals lose them."""
        raw = self.raw(name)
        if self.types.get(name, "").startswith(_FLOATS):
            return f"coalesce(CAST({self.whole(name)} AS VARCHAR), CAST({raw} AS VARCHAR))"
        return f"CAST({raw} AS VARCHAR)"

    def whole(self, name: str) -> str:
        """Return the SQL of a column as BIGINT; null where it holds no whole number."""
        raw = self.raw(name)
        if self._text(name):
            shaped = f"CASE WHEN regexp_matches({raw}, {text_sql(_WHOLE)}) THEN {raw} END"
            return f"TRY_CAST({shaped} AS BIGINT)"
        if self.types.get(name, "").startswith(_FLOATS):
            return f"CASE WHEN {raw} = floor({raw}) THEN TRY_CAST({raw} AS BIGINT) END"
        return f"TRY_CAST({raw} AS BIGINT)"

    def number(self, name: str) -> str:
        """Return the SQL of a column as DOUBLE; null where it holds no number."""
        return f"TRY_CAST({self.raw(name)} AS DOUBLE)"

    def time(self, name: str) -> str:
        """Return the SQL of a column as TIMESTAMP; null where it holds no ISO date or time.

        Raises
        ------
        DataError
            When the column has a type that is no time, or a time zone.
        """
        raw, kind = self.raw(name), self.types.get(name, "")
        if self._text(name):
            return f"TRY_CAST(CASE WHEN regexp_matches({raw}, {text_sql(_ISO)}) THEN {raw} END AS TIMESTAMP)"
        if "TIME ZONE" in kind or "TZ" in kind:
            problem = "times have a time zone in all rows, and OMOP's are local times without one"
            raise DataError(self.column(name), problem, "Cast the column to TIMESTAMP in the local time of the records")
        if kind and not kind.startswith(("DATE", "TIMESTAMP", '"NULL"')):
            raise DataError(self.column(name), f"times have the type {kind} in all rows", "Store dates as DATE")
        return f"CAST({raw} AS TIMESTAMP)"

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table without these columns.

        Raises
        ------
        DataError
            Naming the first, those that are there, and the nearest.
        """
        for name in names:
            if name not in self.types:
                problem = f"there is no column {name!r}; the {len(self.types)} columns are: {', '.join(self.types)}"
                remedy = f"Add or rename the column: OMOP 5.3 and 5.4 are read.{nearest(name, self.types)}"
                raise DataError(self.where, problem, remedy)

    def _text(self, name: str) -> bool:
        return self.types.get(name, "").startswith("VARCHAR")


def run(connection: duckdb.DuckDBPyConnection, sql: str, where: str) -> pa.Table:
    """Return what a query of raw data finds.

    Raises
    ------
    DataError
        When the data cannot be read. DuckDB's own words, which quote values, are not passed on.
    """
    try:
        return connection.sql(sql).to_arrow_table()
    except (duckdb.DataError, duckdb.OperationalError, duckdb.InvalidInputException) as error:
        problem = f"the data cannot be read to their end ({type(error).__name__})"
        remedy = f"Rows may have another number of cells than the header, or a file is truncated. {_AGAIN}"
        raise DataError(where, problem, remedy) from None


def run_rows(connection: duckdb.DuckDBPyConnection, sql: str, where: str) -> list[tuple]:
    """Return what a query of raw data finds as rows; raises as `run`."""
    columns = run(connection, sql, where).columns
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def find_tables(
    connection: duckdb.DuckDBPyConnection, path: Path, schema: str, wanted: Sequence[str]
) -> tuple[dict[str, OmopTable], tuple[str, ...]]:
    """Find tables by their names in the standard.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Where a DuckDB file is attached, as `omop`.
    path : Path
        DuckDB file, or folder of CSV or Parquet files.
    schema : str
        Schema in the DuckDB file.
    wanted : sequence of str
        Names of the tables.

    Returns
    -------
    tables : dict of str to OmopTable
        Those that are there. A table without rows that an import turned into one row of column names (column0,
        column1, ...) counts as not there.
    setup : tuple of str
        Statements that another connection runs before it reads them.

    Raises
    ------
    DataError
        When path or schema is wrong, a table is there twice, its name is misspelt, or a file cannot be read.
    """
    where = f"cohort.path ({path.as_posix()})"
    if path.is_dir():
        sources, setup = _in_folder(path, where), ()
    elif path.is_file():
        setup = (f"ATTACH {text_sql(path.as_posix())} AS {DATABASE} (READ_ONLY)",)
        sources = _in_database(connection, setup[0], schema, where)
    else:
        near = nearest(path.name, [other.name for other in path.parent.iterdir()]) if path.parent.is_dir() else ""
        remedy = f"Correct cohort.path: it is relative to the folder in which snakemake runs.{near}"
        raise DataError(where, "there is no such file or folder", remedy)
    _refuse_misspelt(sources, wanted, where)
    tables = {}
    for name in wanted:
        if name in sources:
            found = _described(connection, name, sources[name], f"{where}, table {name}")
            if not _only_names(connection, found):
                tables[name] = found
    return tables, setup


def _refuse_misspelt(sources: Mapping[str, str], wanted: Sequence[str], where: str) -> None:
    """Refuse a name that is none of the standard's and resembles a table that is not there."""
    lacking = [name for name in wanted if name not in sources]
    for other in sorted(set(sources) - CDM_TABLES):
        if near := nearest(other, lacking) if len(other) > 5 else "":
            problem = f"{other!r} is no table of OMOP, and the table that it resembles is not there"
            raise DataError(where, problem, f"Rename or remove it.{near}")


def _in_database(connection: duckdb.DuckDBPyConnection, attach: str, schema: str, where: str) -> dict[str, str]:
    try:
        connection.execute(attach)
    except duckdb.Error:
        problem = "the file cannot be opened as a DuckDB database"
        raise DataError(where, problem, f"Close other programs that write to it. {_FORMATS}") from None
    listed = f"SELECT schema_name, {{0}}_name FROM duckdb_{{0}}s() WHERE database_name = '{DATABASE}' AND NOT internal"
    names = connection.execute(f"{listed.format('table')} UNION ALL {listed.format('view')}").fetchall()
    schemas = sorted({row[0] for row in names})
    if schema not in schemas:
        problem = f"there is no table in a schema {schema!r}; schemas with tables: {', '.join(schemas) or 'none'}"
        raise DataError(where, problem, f"Correct cohort.schema_name.{nearest(schema, schemas)}")
    return {table.lower(): f'{DATABASE}."{place}"."{table}"' for place, table in names if place == schema}


def _in_folder(folder: Path, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)
        shards = sorted(path.rglob("*.parquet")) if path.is_dir() else []
        if not shards and (suffix is None or not path.is_file()):
            continue
        name = (path.name if shards else path.name[: -len(suffix)]).lower()
        if name in found:
            raise DataError(where, f"2 files hold the table {name}: {path.name} and another", "Keep one of them")
        if shards or suffix == ".parquet":
            found[name] = parquet_sql([shard.as_posix() for shard in shards or [path]])
        elif name in CDM_TABLES or nearest(name, CDM_TABLES):
            found[name] = _csv_sql(path, f"{where}, file {path.name}")
    if not found:
        raise DataError(where, "the folder holds 0 CSV or Parquet files", _FORMATS)
    return found


def _csv_sql(path: Path, where: str) -> str:
    """Return the SQL that reads a CSV with all columns as text."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8-sig") as lines:
            header = next(iter(lines), "").rstrip("\r\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise DataError(where, "the file cannot be read as CSV", _AGAIN) from None
    mark = "\t" if "\t" in header else ","
    names = next(csv.reader([header], delimiter=mark), [])
    if not names:
        raise DataError(where, "the file is empty: 0 rows and no header", f"{_AGAIN}, or remove it")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problem = f"{len(repeated)} column names occur more than once: {', '.join(repeated)}"
        raise DataError(where, problem, "Rename the columns: each name may occur once")
    if len(names) == 1 and (";" in header or "|" in header):
        problem = "the header is 1 column: the file seems to be separated by semicolons or bars"
        raise DataError(where, problem, _AGAIN)
    # The vocabularies as Athena distributes them are separated by tabs, with quotes that quote nothing.
    quote = "''" if mark == "\t" else "'\"'"
    columns = ", ".join(f"{text_sql(name.strip())}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({text_sql(path.as_posix())}, header = true, delim = {text_sql(mark)}, quote = {quote}, "
        f"escape = {quote}, nullstr = '', auto_detect = false, columns = {{{columns}}})"
    )


def _described(connection: duckdb.DuckDBPyConnection, name: str, sql: str, where: str) -> OmopTable:
    rows = run_rows(connection, f"DESCRIBE SELECT * FROM {sql}", where)
    return OmopTable(name, where, sql, {row[0].lower(): row[1] for row in rows})


def _only_names(connection: duckdb.DuckDBPyConnection, table: OmopTable) -> bool:
    """Tell whether an import took the header of a table without rows for its only row."""
    if not all(name.startswith("column") and name[6:].isdigit() for name in table.types):
        return False
    rows = run_rows(connection, f"SELECT * FROM {table.sql} LIMIT 2", table.where)
    return len(rows) == 1 and all(isinstance(cell, str) and cell.upper() == cell for cell in rows[0])

"""MIMIC-IV's raw tables as views of DuckDB: found, read as text, converted, and checked by one pass over each file.

Tables are CSV or Parquet. Copies that a spreadsheet has saved write dates as month/day/year, which is read too; zeros
at the beginning of ICD codes are gone in such copies, which is told and cannot be mended.
"""

import csv
import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import duckdb

from riskweave.cohort.reading import InputFile
from riskweave.cohort.sources.base import float_sql, parquet_sql, text_sql
from riskweave.cohort.sources.mimic_iv_tables import TABLES, RawTable
from riskweave.errors import DataError, nearest

__all__ = ["FoundTable", "check_table", "find_tables", "header_of", "time_sql", "view_sql"]

_LOG = logging.getLogger(__name__)
_SUFFIXES = (".csv.gz", ".csv", ".parquet")
_REQUIRED = ("patients", "admissions")
_AGAIN = "Copy or download the file again and compare its checksum"
_MONTH_FIRST = "['%m/%d/%Y %H:%M:%S', '%m/%d/%Y %H:%M', '%m/%d/%Y']"
_TIMES = "Write times as 2180-05-06 22:23:00 (or as 5/6/2180 22:23, month first), without a time zone"
# No ICD-9-CM code is shorter: three digits for a diagnosis, two and a decimal for a procedure.
_SHORTEST = 3
_OLDEST = 91


@dataclass(frozen=True)
class FoundTable:
    """A table of MIMIC-IV, its file, and the types that the file gives its columns (VARCHAR throughout in a CSV)."""

    table: RawTable
    file: InputFile
    types: dict[str, str]

    @property
    def name(self) -> str:
        """Name of its view."""
        return f"mimic_{self.table.name}"


def find_tables(root: Path) -> dict[str, FoundTable]:
    """Find the tables in a folder with hosp/ and icu/, or in a folder that holds the tables themselves.

    Raises
    ------
    DataError
        When the folder, patients or admissions is missing, a table is there twice, columns are missing, ICD codes were
        numbers, or times have a time zone.
    """
    if not root.is_dir():
        remedy = "Correct cohort.path: it is relative to the folder in which snakemake runs"
        raise DataError(f"cohort.path ({root.as_posix()})", "there is no such folder", remedy)
    found = {}
    for table in TABLES:
        names = [name for name in (table.name, table.alias) if name]
        folders = [root / table.module, root]
        paths = [path for folder in folders for name in names for path in _candidates(folder, name)]
        if len(paths) > 1:
            shown = ", ".join(path.relative_to(root).as_posix() for path in paths)
            raise DataError(
                f"cohort.path ({root.as_posix()})",
                f"{len(paths)} files hold the table {table.name}: {shown}",
                "Keep one",
            )
        if paths:
            found[table.name] = _described(table, InputFile("cohort.path", paths[0]))
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        problem = f"the table {missing[0]} is missing; {len(found)} tables of MIMIC-IV are there"
        remedy = "Give the folder with hosp/ and icu/, or with files such as patients.csv.gz"
        raise DataError(f"cohort.path ({root.as_posix()})", problem, remedy)
    return found


def _candidates(folder: Path, name: str) -> list[Path]:
    return [path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]


def header_of(file: InputFile) -> list[str]:
    """Return the column names of a CSV.

    Raises
    ------
    DataError
        When it cannot be read, is empty, or is separated by something else than commas.
    """
    opened = gzip.open if file.path.name.endswith(".gz") else open
    try:
        with opened(file.path, "rt", newline="", encoding="utf-8-sig") as lines:
            names = next(csv.reader(lines), [])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error):
        raise DataError(file.where, "the file cannot be read as CSV", _AGAIN) from None
    if not names:
        raise DataError(file.where, "the file is empty: 0 rows and no header", _AGAIN)
    mark = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if mark:
        words = {";": "semicolons", "\t": "tabs", "|": "bars"}
        problem = f"the header is 1 column: the file seems to be separated by {words[mark]}"
        raise DataError(file.where, problem, "Keep the tables as PhysioNet distributes them, separated by commas")
    return names


def _described(table: RawTable, file: InputFile) -> FoundTable:
    if file.path.suffix == ".parquet":
        try:
            with duckdb.connect() as connection:
                rows = connection.execute(f"DESCRIBE FROM {parquet_sql([str(file.path)])}").fetchall()
        except duckdb.Error:
            raise DataError(file.where, "the file is not readable Parquet", _AGAIN) from None
        types = {row[0]: row[1] for row in rows}
    else:
        types = dict.fromkeys(header_of(file), "VARCHAR")
    missing = [name for name in table.columns if name not in types]
    if missing:
        problem = f"there is no column {missing[0]!r}; the {len(types)} columns are: {', '.join(types)}"
        remedy = f"MIMIC-IV 2.0 and later are read.{nearest(missing[0], types)}"
        raise DataError(file.where, problem, remedy)
    if "icd_code" in table.texts and types["icd_code"] != "VARCHAR":
        problem = f"codes have the type {types['icd_code']}: zeros at their beginning are lost"
        raise DataError(file.column("icd_code"), problem, "Read the original with icd_code as text, and write it again")
    zoned = [name for name in table.times if "TZ" in types[name] or "TIME ZONE" in types[name]]
    if zoned:
        raise DataError(file.column(zoned[0]), "times have a time zone, which MIMIC-IV's times do not", _TIMES)
    return FoundTable(table, file, types)


def _scan(found: FoundTable) -> str:
    path = str(found.file.path)
    if found.file.path.suffix == ".parquet":
        return parquet_sql([path])
    columns = ", ".join(f"{text_sql(name)}: 'VARCHAR'" for name in found.types)
    return (
        f"read_csv({text_sql(path)}, header = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', "
        f"auto_detect = false, columns = {{{columns}}})"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def time_sql(name: str, kind: str) -> str:
    """Return the SQL of a time that a column of the given type holds; null where it holds none."""
    column = _quoted(name)
    if kind != "VARCHAR":
        return f"TRY_CAST({column} AS TIMESTAMP)"
    return f"coalesce(TRY_CAST({column} AS TIMESTAMP), try_strptime({column}, {_MONTH_FIRST}))"


def view_sql(found: FoundTable) -> str:
    """Return the statement that makes the view of a table: its columns as text, TIMESTAMP and FLOAT."""
    table, types = found.table, found.types
    selects = [
        f"CAST(TRY_CAST({_quoted(name)} AS BIGINT) AS VARCHAR) AS {name}" for name in ("subject_id", *table.identifiers)
    ]
    selects += [f"{time_sql(name, types[name])} AS {name}" for name in table.times]
    selects += [f"{float_sql(f'TRY_CAST({_quoted(name)} AS DOUBLE)')} AS {name}" for name in table.numbers]
    selects += [f"nullif(trim(CAST({_quoted(name)} AS VARCHAR)), '') AS {name}" for name in table.texts]
    return f"CREATE TEMP VIEW {found.name} AS SELECT {', '.join(selects)} FROM {_scan(found)}"


def _counts(found: FoundTable) -> dict[str, tuple[str, str, str]]:
    """Return what is counted in a table: SQL of what is wrong in a row, the column, and the words for it."""
    counts = {}
    for name in ("subject_id", *found.table.identifiers):
        given, optional = _quoted(name), name not in ("subject_id", "hadm_id")
        wrong = f"TRY_CAST({given} AS BIGINT) IS NULL" + (f" AND {given} IS NOT NULL" if optional else "")
        counts[f"id {name}"] = (wrong, name, "are no whole number")
    for name in found.table.times:
        given = _quoted(name)
        if found.types[name] == "VARCHAR":
            zoned = rf"length({given}) > 10 AND regexp_matches({given}, '(Z|[+-]\d\d(:?\d\d)?)$')"
            counts[f"zone {name}"] = (zoned, name, "have a time zone")
        wrong = f"{given} IS NOT NULL AND {time_sql(name, found.types[name])} IS NULL"
        counts[f"time {name}"] = (wrong, name, "are no date or time")
    for name in found.table.numbers:
        given = _quoted(name)
        counts[f"number {name}"] = (
            f"{given} IS NOT NULL AND TRY_CAST({given} AS DOUBLE) IS NULL",
            name,
            "are no number",
        )
        infinite = f"isinf(TRY_CAST({given} AS DOUBLE))"
        counts[f"infinite {name}"] = (infinite, name, "are infinite")
    return counts


def check_table(connection: duckdb.DuckDBPyConnection, found: FoundTable) -> None:
    """Read a table once and count what cannot be used; the views of patients and admissions are there.

    Raises
    ------
    DataError
        For a file that cannot be read to its end, values of another kind than the column's, people that patients lacks,
        stays that admissions lacks, repeated people and stays, and ages that MIMIC-IV does not write.
    """
    table, file = found.table, found.file
    counts = _counts(found)
    filters = [f"count(*) FILTER ({wrong})" for wrong, _, _ in counts.values()]
    try:
        rows, *numbers = connection.execute(f"SELECT count(*), {', '.join(filters)} FROM {_scan(found)}").fetchall()[0]
    except duckdb.Error as error:
        # DuckDB's own words quote the row: they are not passed on.
        kind = (
            "has rows without the cells of the header, or text in broken quotes"
            if "CSV" in str(error)
            else "is damaged"
        )
        raise DataError(file.where, f"the file cannot be read to its end: it {kind}", _AGAIN) from None
    if rows == 0 and table.name in _REQUIRED:
        raise DataError(file.where, "the table has 0 rows", _AGAIN)
    for (_, column, problem), number in zip(counts.values(), numbers, strict=True):
        if number:
            remedy = (
                _TIMES if "time" in problem else "Keep the tables as PhysioNet distributes them; empty where unknown"
            )
            raise DataError(file.column(column), f"{number} of {rows} rows {problem}", remedy)
    _check_keys(connection, found, rows)
    _check_values(connection, found, rows)


def _check_keys(connection: duckdb.DuckDBPyConnection, found: FoundTable, rows: int) -> None:
    table, file = found.table, found.file
    key = {"patients": "subject_id", "admissions": "hadm_id"}.get(table.name)
    if key:
        distinct = connection.execute(f"SELECT count(DISTINCT {key}) FROM {found.name}").fetchall()[0][0]
        if distinct < rows:
            problem = f"{rows - distinct} of {rows} rows repeat another row's {key}"
            raise DataError(file.column(key), problem, "Each occurs once: remove the rows that were added twice")
    links = [("subject_id", "patients", "people")] if table.name != "patients" else []
    links += [("hadm_id", "admissions", "stays")] if table.keyed else []
    for column, other, what in links:
        unknown, distinct = connection.execute(
            f"SELECT count(*), count(DISTINCT {column}) FROM {found.name} ANTI JOIN mimic_{other} USING ({column})"
        ).fetchall()[0]
        if unknown:
            problem = f"{unknown} of {rows} rows belong to {distinct} {what} that the table {other} lacks"
            raise DataError(file.column(column), problem, f"Take all tables from one version, and {other} whole")


def _check_values(connection: duckdb.DuckDBPyConnection, found: FoundTable, rows: int) -> None:
    table, file = found.table, found.file
    if table.name == "patients":
        wrong = f"anchor_age IS NULL OR anchor_year IS NULL OR NOT anchor_age BETWEEN 0 AND {_OLDEST}"
        number = connection.execute(f"SELECT count(*) FROM {found.name} WHERE {wrong}").fetchall()[0][0]
        if number:
            problem = f"{number} of {rows} people have no age from 0 to {_OLDEST}"
            raise DataError(file.column("anchor_age"), problem, f"MIMIC-IV writes {_OLDEST} for everybody over 89")
    if "icd_code" in table.texts:
        short = f"length(icd_code) < {_SHORTEST} AND icd_version = '9'"
        number = connection.execute(f"SELECT count(*) FROM {found.name} WHERE {short}").fetchall()[0][0]
        if number:
            _LOG.warning(
                "%s: %d of %d ICD-9 codes are shorter than the classification allows: a spreadsheet has taken zeros "
                "from the beginning of codes, of these and perhaps of longer ones. Take the original table",
                file.where, number, rows,
            )  # fmt: skip

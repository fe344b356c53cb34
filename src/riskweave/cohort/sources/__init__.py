"""From a source to the canonical tables: the stage "ingest"."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from riskweave import __version__
from riskweave.cohort.manifests import relative
from riskweave.cohort.sources.nafld import read_nafld
from riskweave.cohort.sources.synthetic import read_synthetic, synthetic_tables
from riskweave.cohort.sources.tables import CanonicalTables, read_tables
from riskweave.cohort.tables import EVENTS, IMAGES, RECORDINGS, SUBJECTS, TableSchema, read_arrow, write_table
from riskweave.errors import DataError
from riskweave.study.sources import Cohort, TablesSource

__all__ = ["content_sha256", "ingest"]

_TABLES = {"subjects": SUBJECTS, "events": EVENTS, "recordings": RECORDINGS, "images": IMAGES}


class _Digest:
    """A file that keeps the sha256 of what is written to it and nothing else."""

    closed = False

    def __init__(self):
        self.sha256 = hashlib.sha256()

    def write(self, data) -> int:
        self.sha256.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


def content_sha256(table: pa.Table) -> str:
    """Return the sha256 of a table's content, written as CSV with its types.

    Where files lie is no content (column path): their own sha256 is.
    """
    table = table.drop_columns(["path"]) if "path" in table.column_names else table
    digest = _Digest()
    digest.write(json.dumps([(field.name, str(field.type)) for field in table.schema]).encode())
    pacsv.write_csv(table, pa.PythonFile(digest, mode="w"))
    return digest.sha256.hexdigest()


def _files(source: TablesSource) -> list[str]:
    given = (source.subjects, source.events, source.recordings, source.images)
    return [relative(Path(path)).as_posix() for path in given if path is not None]


def _describe(cohort: Cohort, tables: CanonicalTables, files: list[str], stored: Mapping[str, pa.Table]) -> dict:
    described = {
        name: {
            "rows": table.num_rows,
            "subjects": len(table.column("subject_id").unique()),
            "sha256": content_sha256(table),
        }
        for name, table in stored.items()
    }
    together = "\n".join(f"{name} {facts['sha256']}" for name, facts in described.items())
    return {
        "source": cohort.source,
        "fingerprint": hashlib.sha256(together.encode()).hexdigest(),
        "tables": described,
        "version": tables.version or f"riskweave {__version__}",
        "files": files,
        "excluded": {"subjects_without_index_time": tables.without_index_time, "rows_of_those": tables.dropped_rows},
    }


def _read(cohort: Cohort, synthetic: Path | None) -> tuple[CanonicalTables, list[str]]:
    match cohort.source:
        case "tables":
            return read_tables(cohort), _files(cohort)
        case "synthetic":
            if synthetic is None or not Path(synthetic).is_dir():
                where = f"cohort (source synthetic, folder {synthetic})"
                raise DataError(where, "the generated cohort is not there", "Run the rule that generates it")
            return read_synthetic(synthetic), _files(synthetic_tables(synthetic))
        case _:
            return read_nafld(), []


def ingest(*, cohort: Cohort, output: Path, synthetic: Path | None = None) -> None:
    """Read and check a source, and write the canonical tables and `data.json`.

    Parameters
    ----------
    cohort : Cohort
        The study's block.
    output : Path
        Folder for subjects, events, recordings and images (Parquet; all four, some without rows) and data.json: source,
        fingerprint (sha256 over the content of all tables, wherever their files lie), rows, subjects and sha256 of each
        table, version, the files as configured, and what was left out.
    synthetic : Path, optional
        The generator's folder, for source synthetic.

    Raises
    ------
    DataError
        For data that cannot be used as they are. Nothing is written then.
    """
    tables, files = _read(cohort, synthetic)
    output = Path(output)
    facts = {
        "where": tables.where,
        "source_rows": str(tables.source_rows),
        "without_index_time": str(tables.without_index_time),
    }
    stored: dict[str, pa.Table] = {}
    for name, schema in _TABLES.items():
        stored[name] = _store(getattr(tables, name), output / f"{name}.parquet", schema, facts)
    text = json.dumps(_describe(cohort, tables, files, stored), indent=2) + "\n"
    partial = output / ".data.json.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, output / "data.json")


def _store(table: pa.Table, path: Path, schema: TableSchema, facts: Mapping[str, str]) -> pa.Table:
    write_table(table, path, schema, facts if schema is SUBJECTS else None)
    return read_arrow(path, schema)

"""The raw files that a study reads, and their fingerprint by content.

Snakemake compares times of change, and contents of small files only. Raw tables and thousands of recordings are
neither: a fingerprint of their content makes an edit rerun what depends on it, and a `touch` rerun nothing.
"""

import csv
import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from riskweave.errors import StudyError
from riskweave.study.cohort import TablesSource

__all__ = ["fingerprint", "raw_files"]

CHUNK = 1 << 20


def _manifest_paths(manifest: Path) -> list[str]:
    """Return the `path` column of a manifest; nothing where there is none, which reading the table answers properly."""
    if manifest.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(manifest, columns=["path"])["path"].to_pylist()
        except (pa.ArrowException, KeyError):
            return []
    with manifest.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        return [row["path"] for row in csv.DictReader(lines) if row.get("path")]


def _listed(manifest: Path) -> list[Path]:
    """Return the files behind a manifest: a path names a file, or a WFDB record, which is several files of one stem."""
    files: set[Path] = set()
    for name in _manifest_paths(manifest):
        path = manifest.parent / name
        files.update([path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*")))
    return sorted(files)


def raw_files(cohort: TablesSource) -> dict[str, list[Path]]:
    """Return the raw files of each table that the study names.

    Parameters
    ----------
    cohort : TablesSource
        The cohort block of a study.

    Returns
    -------
    dict of str to list of Path
        For each configured table (`subjects`, `events`, `recordings`, `images`) its file or files; the first is the
        table or manifest itself. Files that a manifest names and that do not exist are left out here: reading the
        manifest reports them all at once.

    Raises
    ------
    StudyError
        When a configured table does not exist; names key and path.
    """
    found: dict[str, list[Path]] = {}
    for key in ("subjects", "events", "recordings", "images"):
        configured = getattr(cohort, key)
        if configured is None:
            continue
        path = Path(configured)
        if path.is_dir() and key == "events":
            found[key] = sorted(path.rglob("*.parquet"))
        elif path.is_file():
            found[key] = [path, *(_listed(path) if key in ("recordings", "images") else [])]
        else:
            raise StudyError(
                f"cohort.{key}: there is no file {configured!r}. Paths are relative to the folder snakemake runs in"
            )
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(files: Iterable[Path], cache: Path) -> str:
    """Return one sha256 over the names and contents of files.

    Parameters
    ----------
    files : iterable of Path
    cache : Path
        SQLite file that remembers the digest of each file by its size and time of change, so that unchanged files are
        read once. It may be deleted at any time.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    connection = sqlite3.connect(cache, timeout=60)
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS digest (path TEXT PRIMARY KEY, size, changed, sha256)")
        known = {row[0]: row[1:] for row in connection.execute("SELECT path, size, changed, sha256 FROM digest")}
        fresh = []
        for path in sorted(files):
            status, key = path.stat(), str(path.absolute())
            state = (status.st_size, status.st_mtime_ns)
            entry = known.get(key)
            digest = entry[2] if entry is not None and tuple(entry[:2]) == state else _sha256(path)
            if entry is None or tuple(entry) != (*state, digest):
                fresh.append((key, *state, digest))
            total.update(f"{path.name}\0{digest}\n".encode())
        connection.executemany("REPLACE INTO digest VALUES (?, ?, ?, ?)", fresh)
        connection.commit()
    finally:
        connection.close()
    return total.hexdigest()

"""The raw files that a study reads, and their fingerprint by content.

Snakemake compares times of change, and contents of small files only. Raw tables and thousands of recordings are
neither: a fingerprint of their content makes an edit rerun what depends on it, and a `touch` rerun nothing.
"""

import contextlib
import csv
import gzip
import hashlib
import os
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from riskweave.errors import StudyError
from riskweave.study.features import FeatureSet
from riskweave.study.sources import Cohort, FileSource, MedsSource, MimicSource, OmopSource, TablesSource

__all__ = ["digests", "fingerprint", "raw_files", "weights_file"]

CHUNK = 1 << 20


def _manifest_paths(manifest: Path) -> list[str]:
    """Return the `path` column of a manifest; nothing where there is none, which reading the table answers properly.

    The suffixes are those that `riskweave.cohort.reading` accepts.
    """
    name = manifest.name.lower()
    names: list[object] = []
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        with contextlib.suppress(pa.ArrowException, KeyError, OSError):
            names = pq.read_table(manifest, columns=["path"])["path"].to_pylist()
    elif name.endswith((".csv", ".csv.gz")):
        opened = gzip.open if name.endswith(".gz") else open
        with (
            contextlib.suppress(csv.Error, OSError, EOFError, zlib.error),
            opened(manifest, "rt", newline="", encoding="utf-8-sig", errors="replace") as lines,
        ):
            names.extend(row.get("path") for row in csv.DictReader(lines))
    return [name for name in names if isinstance(name, str) and name]


def _stems(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a folder by their name without its last suffix."""
    files = defaultdict(list)
    with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                files[os.path.splitext(entry.name)[0]].append(folder / entry.name)
    return files


def _add_record(
    record: Path, listings: dict[Path, dict[str, list[Path]]], headers: set[Path], files: set[Path]
) -> None:
    """Add the files of a WFDB record: those of its name, and those that its header names, its segments' included.

    The header's format is that of https://physionet.org/physiotools/wag/header-5.htm; a header that is none names
    files that do not exist, and reading the manifest reports it.
    """
    header = Path(f"{record}.hea")
    if header in headers:
        return
    headers.add(header)
    folder = record.parent
    if folder not in listings:
        listings[folder] = _stems(folder)
    files.update(listings[folder].get(record.name, []))
    if not os.path.isfile(header):
        return
    text = header.read_bytes().decode("latin-1")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    segmented = bool(lines) and "/" in lines[0][0]
    for name in dict.fromkeys(line[0] for line in lines[1:]):
        if segmented and name != "~":
            _add_record(folder / name, listings, headers, files)
        elif os.path.isfile(folder / name):
            files.add(folder / name)


def _listed(manifest: Path, *, records: bool) -> list[Path]:
    """Return the files behind a manifest, whose paths name files, or WFDB records with or without the suffix .hea."""
    names = dict.fromkeys(_manifest_paths(manifest))
    if not records:
        return sorted({path for name in names if os.path.isfile(path := manifest.parent / name)})
    files: set[Path] = set()
    listings: dict[Path, dict[str, list[Path]]] = {}
    headers: set[Path] = set()
    for name in names:
        _add_record(manifest.parent / name.removesuffix(".hea"), listings, headers, files)
    return sorted(files)


_TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".json")


def _inside(folder: Path) -> list[Path]:
    """Return the tables in a folder and below it, in the order of their names."""
    tables = (path for path in folder.rglob("*") if path.name.lower().endswith(_TABLE_SUFFIXES))
    return sorted(path for path in tables if path.is_file())


def _in_folder(folder: Path, parts: Iterable[str]) -> list[Path]:
    """Return the tables in those parts of a folder that exist; of the folder itself where none does."""
    found = [folder / part for part in parts if (folder / part).exists()]
    return [path for part in found for path in (_inside(part) if part.is_dir() else [part])] or _inside(folder)


def _given(key: str, configured: str, kind: str) -> Path:
    path = Path(configured)
    if not (path.is_dir() if kind == "folder" else path.exists()):
        raise StudyError(
            f"{key}: there is no {kind} {configured!r}. Paths are relative to the folder snakemake runs in"
        )
    return path


def _source_files(cohort: FileSource) -> dict[str, list[Path]]:
    """Return the files of a source's own tables."""
    match cohort:
        case TablesSource():
            subjects = _given("cohort.subjects", cohort.subjects, "file")
            found = {"subjects": [subjects]}
            if cohort.events is not None:
                events = _given("cohort.events", cohort.events, "file")
                found["events"] = sorted(events.rglob("*.parquet")) if events.is_dir() else [events]
            return found
        case MedsSource():
            return {"meds": _in_folder(_given("cohort.path", cohort.path, "folder"), ("data", "metadata"))}
        case OmopSource():
            path = _given("cohort.path", cohort.path, "file or folder")
            return {"omop": _inside(path) if path.is_dir() else [path]}
        case MimicSource():
            found = {"mimic_iv": _in_folder(_given("cohort.path", cohort.path, "folder"), ("hosp", "icu"))}
            for key, names in (("ecg", "record_list.csv*"), ("cxr", "mimic-cxr-*.csv*")):
                if (configured := getattr(cohort, key)) is not None:
                    found[key] = sorted(_given(f"cohort.{key}", configured, "folder").glob(names))
            return found
    return {}


def raw_files(cohort: Cohort) -> dict[str, list[Path]]:
    """Return the raw files of each table that the study names.

    Parameters
    ----------
    cohort : Cohort
        The cohort block of a study.

    Returns
    -------
    dict of str to list of Path
        For each configured table (`subjects`, `events`, `recordings`, `images`, `sounds`, `further[0]`, ..., or `meds`,
        `omop`, `mimic_iv`, `ecg`, `cxr` for a whole source) its file or files; of a manifest, the manifest itself comes
        first. Files that a manifest names and that do not exist are left out here: reading the manifest reports them
        all at once. Of MIMIC-IV-ECG and MIMIC-CXR-JPG the lists count, which say what there is: nobody edits the
        hundreds of thousands of files behind them, and reading them has a fingerprint of each. Empty for sources
        without files.

    Raises
    ------
    StudyError
        When a configured file or folder does not exist; names key and path.
    """
    if not isinstance(cohort, FileSource):
        return {}
    found = _source_files(cohort)
    for key in ("recordings", "images", "sounds"):
        if (configured := getattr(cohort, key)) is not None:
            manifest = _given(f"cohort.{key}", configured, "file")
            found[key] = [manifest, *_listed(manifest, records=key == "recordings")]
    for number, configured in enumerate(cohort.further):
        key = f"further[{number}]"
        found[key] = [_given(f"cohort.{key}", configured, "file")]
    return found


def weights_file(name: str, block: FeatureSet) -> Path | None:
    """Return the file of weights that the encoder of a feature set starts from; None where it starts from none.

    Parameters
    ----------
    name : str
        Name of the feature set.
    block : FeatureSet
        Its block of the study.

    Raises
    ------
    StudyError
        When the block names weights and there is no such file; names key and path.
    """
    weights = getattr(getattr(block, "encoder", None), "weights", "none")
    if weights == "none":
        return None
    if not os.path.isfile(weights):
        raise StudyError(
            f"feature_sets.{name}.encoder.weights: there is no file {weights!r}. Give the path of a local file with a "
            "state dict, relative to the folder snakemake runs in, or none to start without: nothing is downloaded"
        )
    return Path(weights)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digests(files: Iterable[Path], cache: Path | None = None) -> dict[Path, str]:
    """Return the sha256 of the content of each file.

    Parameters
    ----------
    files : iterable of Path
    cache : Path, optional
        SQLite file that remembers the digest of each file by its size and time of change, so that unchanged files are
        read once. It may be deleted at any time. Without it every file is read.
    """
    if cache is None:
        return {path: _sha256(path) for path in files}
    found = {}
    cache.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(cache, timeout=60)
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS digest (path TEXT PRIMARY KEY, size, changed, sha256)")
        known = {row[0]: row[1:] for row in connection.execute("SELECT path, size, changed, sha256 FROM digest")}
        fresh = []
        for path in sorted(files):
            status, key = path.stat(), str(path.absolute())
            state = (status.st_size, status.st_mtime_ns)
            entry = known.get(key)
            found[path] = entry[2] if entry is not None and tuple(entry[:2]) == state else _sha256(path)
            if entry is None or tuple(entry) != (*state, found[path]):
                fresh.append((key, *state, found[path]))
        connection.executemany("REPLACE INTO digest VALUES (?, ?, ?, ?)", fresh)
        connection.commit()
    finally:
        connection.close()
    return found


def fingerprint(files: Iterable[Path], cache: Path) -> str:
    """Return one sha256 over the names and contents of files.

    Parameters
    ----------
    files : iterable of Path
    cache : Path
        See `digests`.
    """
    total = hashlib.sha256()
    for path, digest in digests(files, cache).items():
        total.update(f"{path.name}\0{digest}\n".encode())
    return total.hexdigest()

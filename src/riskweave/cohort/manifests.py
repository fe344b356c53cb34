"""Manifests of recordings, images and sounds: the files they name must be there, and get a fingerprint."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.convert import as_identifiers, as_moments, as_text
from riskweave.cohort.reading import InputFile, pick, read_file
from riskweave.errors import DataError

__all__ = ["read_manifest", "record_files", "relative", "single_file", "with_fingerprints"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20


class _HeaderError(Exception):
    """A WFDB header that does not name its signals' files."""


def relative(path: Path) -> Path:
    """Return a path relative to the working folder: results hold no absolute paths."""
    return Path(os.path.relpath(path))


def single_file(path: Path) -> list[Path]:
    """Return the file behind a path of a manifest of images or sounds."""
    return [path]


def record_files(path: Path) -> list[Path]:
    """Return the files of a WFDB record: its header, then the signal files that the header names, each once.

    Parameters
    ----------
    path : Path
        The record without a suffix.

    Notes
    -----
    The header's format is that of https://physionet.org/physiotools/wag/header-5.htm: a record line
    ``name[/segments] signals ...`` and a line for each signal (or segment), which begins with its file (or record).
    """
    header = path.with_name(path.name + ".hea")
    if not header.is_file() or header.stat().st_size == 0:
        return [header]
    text = header.read_bytes().decode("latin-1")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or len(lines[0]) < 2 or not lines[0][1].isdigit():
        raise _HeaderError
    name, count = lines[0][0], int(lines[0][1])
    if "/" in name:
        segments = [line[0] for line in lines[1:] if line[0] != "~"]
        nested = [file for segment in segments for file in record_files(path.with_name(segment))]
        return list(dict.fromkeys([header, *nested]))
    if count == 0 or len(lines) - 1 < count:
        raise _HeaderError
    return list(dict.fromkeys([header, *(path.with_name(line[0]) for line in lines[1 : count + 1])]))


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()


def _fingerprints(paths: list[Path], files_of: Callable[[Path], list[Path]], where: str) -> list[str]:
    """Return a sha256 for each path, over the content of its files; refuse missing, empty and malformed files.

    Errors name the row of the manifest and no path, which often holds the patient's number.
    """
    groups, malformed, missing, empty = [], [], [], []
    for row, path in enumerate(paths, start=1):
        try:
            group = files_of(path)
        except _HeaderError:
            malformed.append(row)
            continue
        missing += [row for file in group if not file.is_file()]
        empty += [row for file in group if file.is_file() and file.stat().st_size == 0]
        groups.append(group)
    findings = (
        (missing, "do not exist", "Paths are relative to the manifest; a WFDB record is named without its suffix"),
        (empty, "are empty (0 bytes)", "Copy them again, or remove their rows"),
        (malformed, "have a header that is not WFDB", "Write the headers anew, or remove their rows"),
    )
    for found, problem, remedy in findings:
        if found:
            first = f"first in row {found[0]}, the header not counted"
            raise DataError(where, f"{len(found)} files of {len(paths)} rows {problem}, {first}", remedy)
    step = max(1, len(groups) // 10)
    digests = []
    for number, group in enumerate(groups, start=1):
        digests.append(_fingerprint(group))
        if number % step == 0:
            _LOG.info("%s: read %d of %d", where, number, len(groups))
    return digests


def _refuse_repeats(table: pa.Table, file: InputFile) -> None:
    """Refuse a file that is listed for several subjects (it would leak between folds) or twice for one."""
    owners = table.group_by("path").aggregate([("subject_id", "count_distinct")])
    shared = int(pc.sum(pc.greater(owners.column("subject_id_count_distinct"), 1)).as_py() or 0)
    if shared:
        problem = f"{shared} files are listed for more than one subject"
        raise DataError(file.column("path"), problem, "A file belongs to one subject: correct the manifest")
    repeated = table.num_rows - table.group_by(["path", "time"]).aggregate([]).num_rows
    if repeated:
        raise DataError(file.where, f"{repeated} of {table.num_rows} rows repeat another row", "Keep each row once")


def read_manifest(
    file: InputFile, *, files_of: Callable[[Path], list[Path]], allow_empty: bool = False, unit: str = "dates"
) -> tuple[pa.Table, bool | None]:
    """Read a manifest (subject_id, time, path) and fingerprint the files it names.

    Parameters
    ----------
    file : InputFile
        CSV or Parquet; paths in it are relative to the folder that holds it.
    files_of : callable
        From a path to the files behind it: `record_files` or `single_file`.
    allow_empty : bool
        Whether a manifest without rows is accepted.
    unit : str
        ``dates``, or the unit of numbers that count from the index time (`riskweave.cohort.convert.as_moments`).

    Returns
    -------
    table : pyarrow.Table, shape (n_rows, 4)
        Columns subject_id, time, path (relative to the working folder), sha256.
    zoned : bool or None
        Whether its times had a time zone.

    Raises
    ------
    DataError
        When columns, identifiers, times or paths are missing, a file is missing, empty or listed for several subjects.
    """
    raw = read_file(file, columns=("subject_id", "time", "path"), allow_empty=allow_empty)
    subject_id, time, path = (pick(raw, file, name) for name in ("subject_id", "time", "path"))
    if raw.num_rows == 0:
        kinds = (pa.string(), pa.timestamp("us"), pa.string(), pa.string())
        return pa.table([pa.array([], kind) for kind in kinds], names=["subject_id", "time", "path", "sha256"]), None
    subject_id = as_identifiers(subject_id, file.column("subject_id"))
    times, zoned = as_moments(time, file.column("time"), unit)
    if times.null_count:
        problem = f"{times.null_count} of {raw.num_rows} rows have no time"
        raise DataError(file.column("time"), problem, "Give each row its time, or remove it")
    named = as_text(path, file.column("path"), what="path").to_pylist()
    listed = pa.table({"subject_id": subject_id, "time": times, "path": named})
    return with_fingerprints(listed, file, files_of=files_of), zoned


def with_fingerprints(listed: pa.Table, file: InputFile, *, files_of: Callable[[Path], list[Path]]) -> pa.Table:
    """Return a manifest of the files that a list names.

    Parameters
    ----------
    listed : pyarrow.Table, shape (n_rows, 3)
        Columns subject_id, time, path; paths are relative to the folder that holds the list.
    file : InputFile
        The list.
    files_of : callable
        From a path to the files behind it: `record_files` or `single_file`.

    Returns
    -------
    pyarrow.Table, shape (n_rows, 4)
        Columns subject_id, time, path (relative to the working folder), sha256.

    Raises
    ------
    DataError
        When a file is missing, empty, malformed, or listed twice or for several subjects.
    """
    named = listed.column("path").to_pylist()
    if files_of is record_files:
        named = [name.removesuffix(".hea") for name in named]
    paths = [file.path.parent / name for name in named]
    shown = pa.array([relative(path).as_posix() for path in paths], pa.string())
    table = pa.table({"subject_id": listed.column("subject_id"), "time": listed.column("time"), "path": shown})
    _refuse_repeats(table, file)
    digests = _fingerprints(paths, files_of, file.where)
    return table.append_column("sha256", pa.array(digests, pa.string()))

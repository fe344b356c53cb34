"""Files that are whole or not there: written beside their place under another name, flushed to the disk, renamed."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from riskweave.errors import ResourceError

__all__ = ["place", "replacing", "replacing_in", "storage_problem", "write_text"]

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free room on that disk, or move the project to a larger one"),
    errno.EDQUOT: ("your quota on that disk is used up", "Delete what you no longer need, or ask for a larger quota"),
    errno.EFBIG: ("it is larger than files may be here", "Ask for a larger limit (`ulimit -f`)"),
    errno.EROFS: ("the disk can only be read", "Ask why: disks become read-only when they fail"),
    errno.EIO: ("the disk or the network file system failed", "Check that it is there, or ask who looks after it"),
    errno.ESTALE: ("the network file system lost it", "Check that the file system is mounted again on this machine"),
    errno.ENOTCONN: ("the network file system is gone", "Check that the file system is mounted again on this machine"),
    errno.ETIMEDOUT: ("the network file system does not answer", "Check that its server can be reached"),
}

_NO_ROOM = 1 << 20
"""Bytes below which a disk counts as full, where a library fails to write and does not say why."""


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a path beside each of `paths` to write to; they take the places of `paths` only when the block succeeds.

    The one way in which outputs are written. The new files are flushed to the disk before they are renamed, so that
    neither a kill nor a power cut leaves half a file under the name of a whole one. Earlier files stay as they were
    when the block fails, and nothing else is left. A killed block leaves the file beside; the next one replaces it.

    Parameters
    ----------
    *paths : Path
        Files; their folders are made when they are missing. Each is replaced at once; of several, a kill between two
        renames leaves some new and some old, which Snakemake knows as an unfinished job and makes again.

    Raises
    ------
    ResourceError
        When the disk is full, a quota is used up, or a network file system is gone.
    """
    paths = tuple(Path(path) for path in paths)
    partial = tuple(path.with_name(f".{path.name}.partial") for path in paths)
    try:
        with _explained(*paths):
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            place(dict(zip(partial, paths, strict=True)))
    finally:
        for source in partial:
            # On a file system that is gone, the first error is the one to tell.
            with contextlib.suppress(OSError):
                source.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_in(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for many files; they take their places in `folder` when the block succeeds, pages last.

    Raises
    ------
    ResourceError
        As `replacing`.
    """
    folder = Path(folder)
    made = folder / ".partial"
    # What a killed job left.
    shutil.rmtree(made, ignore_errors=True)
    try:
        with _explained(folder):
            made.mkdir(parents=True)
            yield made
            files = sorted(path for path in made.rglob("*") if path.is_file())
            files.sort(key=lambda path: path.suffix == ".html")
            place({path: folder / path.relative_to(made) for path in files})
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _explained(*paths: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        problem = None if isinstance(error, ResourceError) else storage_problem(error, *paths)
        if problem is None:
            raise
        raise problem from error


def place(moves: dict[Path, Path]) -> None:
    """Flush finished files to the disk, and give them their names, in their order."""
    for source in moves:
        _flush(source)
    for source, target in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    for folder in {path.parent for path in moves.values()}:
        _flush(folder)


def storage_problem(error: Exception, *paths: Path) -> ResourceError | None:
    """Return an error that says what to do where `error` comes from the disk or the network file system, else None.

    Parameters
    ----------
    error : Exception
        Raised while writing. Some libraries raise a `RuntimeError` or give no number when a disk is full: then the
        room that is left decides.
    *paths : Path
        The files that were being written, outputs of ours whose names may be told.
    """
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, OSError | RuntimeError) and any(map(_without_room, paths)):
        number = errno.ENOSPC
    if number not in _CAUSES:
        return None
    problem, remedy = _CAUSES[number]
    names = ", ".join(str(_told(path)) for path in paths) or "a file that the job reads or writes"
    return ResourceError(names, f"{problem}; what was there before is kept", f"{remedy}; then run snakemake again")


def write_text(text: str, path: Path) -> None:
    """Write text as UTF-8, whole or not at all."""
    with replacing(Path(path)) as (partial,):
        partial.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk; quotas and network errors may show only then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems flush files and refuse to flush folders.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _without_room(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(Path(path).parent).free < _NO_ROOM
    return False


def _told(path: Path) -> Path:
    """Return the name that a user knows of a file that is written beside its place."""
    name = path.name
    while name.startswith(".") and name.endswith(".partial"):
        name = name[1:].removesuffix(".partial")
    return path.with_name(name)

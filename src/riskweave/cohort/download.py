"""Fetch the files of a checksum list, or copy them from a folder, and verify each: nothing is fetched unasked.

``python -m riskweave.cohort.download SOURCE FOLDER [--checksums FILE] [--only PATTERN ...]``

SOURCE is the address of a folder (http, https) or a folder on this machine. The list has the form of PhysioNet's
SHA256SUMS.txt: a sha256 and a path in each line, relative to the source. A file that is there and right is not fetched
again; one that broke off goes on where it stopped. Data that need credentials are fetched with a user's own tool; then
this module verifies them where they lie (SOURCE and FOLDER the same).
"""

import argparse
import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from riskweave.errors import DataError

__all__ = ["Fetched", "download", "main", "read_checksums"]

NAME = "SHA256SUMS.txt"
_CHUNK = 1 << 20
_LINE = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(.+?)\s*$")
_RETRIES = 4
_TIMEOUT = 60
_AGAIN = "Run the command again: what is complete is not fetched again"


@dataclass(frozen=True)
class Fetched:
    """What was done: numbers of files that were fetched or copied, and that were there already."""

    fetched: int
    kept: int


def read_checksums(path: Path) -> dict[str, str]:
    """Read a checksum list.

    Returns
    -------
    dict of str to str
        Path, relative to the source with forward slashes, to sha256 in small letters.

    Raises
    ------
    DataError
        When the file is missing or empty, a line has another form, a path leaves the folder, or one has two checksums.
    """
    where = f"checksum list {Path(path).name}"
    if not Path(path).is_file():
        raise DataError(where, "there is no such file", f"Give a list in the form of {NAME} with --checksums")
    lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    found = [_LINE.match(line) for line in lines]
    wrong = sum(match is None for match in found)
    if wrong or not found:
        problem = f"{wrong} of {len(lines)} lines are no checksum and path"
        raise DataError(where, problem, f"Each line holds a sha256 and a path, as in PhysioNet's {NAME}")
    pairs = {(match[2], match[1].lower()) for match in found if match}
    outside = sum(_outside(name) for name, _ in pairs)
    if outside:
        raise DataError(where, f"{outside} of {len(pairs)} paths leave the folder", "Paths are relative, without ..")
    sums = dict(pairs)
    if len(sums) < len(pairs):
        raise DataError(where, f"{len(pairs) - len(sums)} paths have two checksums", "Give one for each file")
    return dict(sorted(sums.items()))


def _outside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_address(source: str) -> bool:
    return urllib.parse.urlsplit(source).scheme in ("http", "https")


def _fetch(address: str, partial: Path, name: str) -> None:
    """Fetch a file, from where an earlier attempt stopped; try again when the connection breaks."""
    for attempt in range(_RETRIES):
        try:
            _fetch_rest(address, partial)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:  # Nothing is left of it: the checksum tells whether it is whole.
                    return
                if error.code < 500 or attempt == _RETRIES - 1:
                    problem = f"the server answers {error.code} {error.reason}"
                    remedy = "Check the address; data under a licence need your own login, which is not passed on here"
                    raise DataError(f"file {name}", problem, remedy) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            if attempt == _RETRIES - 1:
                problem = f"the connection failed {_RETRIES} times"
                raise DataError(f"file {name}", problem, _AGAIN) from None
        else:
            return
        time.sleep(0.2 * 2**attempt)


def _fetch_rest(address: str, partial: Path) -> None:
    start = partial.stat().st_size if partial.is_file() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        # A server that cannot resume sends the whole file.
        mode = "ab" if answer.status == 206 else "wb"
        with partial.open(mode) as file:
            shutil.copyfileobj(answer, file, _CHUNK)
        length = answer.headers.get("Content-Length")
        if length is not None and partial.stat().st_size < int(length) + (start if mode == "ab" else 0):
            raise http.client.IncompleteRead(b"")


def _bring(source: str, name: str, partial: Path) -> None:
    if _is_address(source):
        _fetch(f"{source.rstrip('/')}/{urllib.parse.quote(name)}", partial, name)
        return
    origin = Path(source) / name
    if not origin.is_file():
        raise DataError(f"file {name}", "it is in the list, and the folder lacks it", "Check the folder")
    shutil.copyfile(origin, partial)


def _complete(source: str, name: str, target: Path, checksum: str) -> None:
    """Bring a file and put it in its place once its checksum is right."""
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.is_file()
    _bring(source, name, partial)
    if _sha256(partial) != checksum and resumed and _is_address(source):
        # What an earlier attempt left may be of another version.
        partial.unlink()
        _bring(source, name, partial)
    if _sha256(partial) != checksum:
        partial.unlink()
        problem = "its content does not have the checksum of the list, and was removed"
        raise DataError(f"file {name}", problem, "Check that list and files are of the same version, and try again")
    os.replace(partial, target)


def download(source: str, folder: Path, *, checksums: Path | None = None, only: Sequence[str] = ()) -> Fetched:
    """Bring the files of a checksum list into a folder, and verify each.

    Parameters
    ----------
    source : str
        Address of a folder (http, https), or a folder.
    folder : Path
        Where the files are put, under their paths in the list. Files that are there with another content are replaced;
        where `folder` is the source, they are refused.
    checksums : Path, optional
        The list. Without it, SHA256SUMS.txt of the source is fetched first.
    only : sequence of str
        Patterns such as ``hosp/*.csv.gz``; a file is taken when its path matches one. All when empty.

    Returns
    -------
    Fetched

    Raises
    ------
    DataError
        When the list cannot be used, a pattern matches nothing, a file cannot be had, or a checksum is wrong.
    """
    folder = Path(folder)
    if not _is_address(source) and not Path(source).is_dir():
        problem = "it is no folder, and no address that starts with http:// or https://"
        raise DataError(f"source {source}", problem, "Correct the source")
    if checksums is None:
        folder.mkdir(parents=True, exist_ok=True)
        checksums = folder / NAME
        if _is_address(source) or not checksums.is_file():
            partial = folder / f".{NAME}.partial"
            partial.unlink(missing_ok=True)
            _bring(source, NAME, partial)
            os.replace(partial, checksums)
    sums = read_checksums(checksums)
    idle = [pattern for pattern in only if not any(fnmatch(name, pattern) for name in sums)]
    if idle:
        problem = f"{len(idle)} of {len(only)} patterns match none of its {len(sums)} files: {', '.join(idle)}"
        raise DataError(f"checksum list {Path(checksums).name}", problem, "Correct --only")
    wanted = {name: sums[name] for name in sums if not only or any(fnmatch(name, pattern) for pattern in only)}
    same = not _is_address(source) and folder.resolve() == Path(source).resolve()
    fetched = kept = 0
    for name, checksum in wanted.items():
        target = folder / name
        if target.is_file() and _sha256(target) == checksum:
            kept += 1
        elif same:
            problem = "its content does not have the checksum of the list" if target.is_file() else "it is missing"
            raise DataError(f"file {name}", f"{problem} (file {kept + 1} of {len(wanted)})", "Fetch it again")
        else:
            _complete(source, name, target, checksum)
            fetched += 1
    return Fetched(fetched, kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when something is wrong, with one line that says what."""
    parser = argparse.ArgumentParser(prog="python -m riskweave.cohort.download", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="address of a folder (http, https), or a folder")
    parser.add_argument("folder", type=Path, help="where the files are put")
    parser.add_argument("--checksums", type=Path, help=f"checksum list; {NAME} of the source when not given")
    parser.add_argument("--only", nargs="+", default=[], help="patterns of paths, such as 'hosp/*.csv.gz'")
    given = parser.parse_args(arguments)
    try:
        done = download(given.source, given.folder, checksums=given.checksums, only=given.only)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{done.fetched} files fetched, {done.kept} were there; all have their checksums\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

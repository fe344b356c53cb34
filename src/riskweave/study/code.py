"""Which source files a workflow script depends on, so that editing one reruns exactly the jobs that execute it."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from riskweave.files import write_text

__all__ = ["NOT_RESULTS", "code_of"]

PACKAGE = "riskweave"

NOT_RESULTS = tuple(
    f"riskweave.{name}"
    for name in ("devices", "tracking", "jobs", "failures", "processes", "folder_lock", "outdated", "errors", "files")
)
"""What jobs use without any result depending on it: on which GPU they are, how a run is recorded, where it logs, how it
fails and ends, what it finds outdated, how an error is worded, how a file takes its place."""


@cache
def _remembered(memory: Path | None) -> dict[str, list[str]]:
    """Return what a file remembers of sources read before, by digest; nothing where it is not there or broken."""
    try:
        found = {} if memory is None else json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _reader() -> str:
    """Return this module's text: what another one has read is not taken over."""
    return Path(__file__).read_text(encoding="utf-8")


def _names(path: Path, package: str, memory: Path | None) -> list[str]:
    """Return the dotted names of this package that a source file imports.

    To parse all of the package takes a third of the time in which snakemake starts: a source whose content is
    remembered is not parsed again.
    """
    text = path.read_text(encoding="utf-8")
    remembered, digest = _remembered(memory), hashlib.sha256(f"{_reader()}\0{package}\0{text}".encode()).hexdigest()
    if digest not in remembered:
        remembered[digest] = sorted({name for name in _imported(text, path, package) if name.split(".")[0] == PACKAGE})
    return remembered[digest]


def _imported(text: str, path: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a source imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _file_of(name: str, source: Path) -> Path | None:
    """Return the file of a module of this package, or None when the name is no module."""
    path = source.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _direct(path: Path, source: Path, memory: Path | None) -> tuple[tuple[str, Path], ...]:
    """Return the (name, file) of each module of this package that a file imports, parent packages included."""
    inside = path.is_relative_to(source)
    package = ".".join(path.parent.relative_to(source).parts) if inside else ""
    found = {}
    for name in _names(path, package, memory):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            file = _file_of(module, source)
            if file is not None:
                found[module] = file
    return tuple(found.items())


def code_of(
    script: Path, source: Path, implementations: Iterable[str] = (), *, memory: Path | None = None
) -> list[str]:
    """Return the script and every module of the package that it imports, directly or through others.

    Parameters
    ----------
    script : Path
        A workflow script.
    source : Path
        The folder that holds the package (``src``).
    implementations : iterable of str
        Dotted names of modules that the script imports by name, which reading its source does not show.
    memory : Path, optional
        File that remembers what sources import, by their content. It may be deleted at any time.

    Returns
    -------
    list of str
        Paths as given (relative when `script` and `source` are), sorted, the script first. Modules that no result
        depends on (tracking, logging, the wording of errors) are left out.

    Raises
    ------
    FileNotFoundError
        When the script or an implementation does not exist.
    """
    files: dict[str, Path] = {}
    pending = [script]
    before = len(_remembered(memory))
    for name in implementations:
        file = _file_of(name, source)
        if file is None:
            raise FileNotFoundError(f"there is no module {name} in {source}")
        files[name] = file
        pending.append(file)
    while pending:
        for name, file in _direct(pending.pop(), source, memory):
            ignored = any(name == other or name.startswith(f"{other}.") for other in NOT_RESULTS)
            if name not in files and not ignored:
                files[name] = file
                pending.append(file)
    if memory is not None and len(_remembered(memory)) > before:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(_remembered(memory)), memory)
    return [str(script), *sorted(str(file) for file in set(files.values()))]

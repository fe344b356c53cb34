"""Which source files a workflow script depends on, so that editing one reruns exactly the jobs that execute it."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

__all__ = ["NOT_RESULTS", "code_of"]

PACKAGE = "riskweave"

NOT_RESULTS = tuple(
    f"riskweave.{name}"
    for name in ("devices", "tracking", "jobs", "failures", "processes", "folder_lock", "outdated", "errors", "files")
)
"""What jobs use without any result depending on it: on which GPU they are, how a run is recorded, where it logs, how it
fails and ends, what it finds outdated, how an error is worded, how a file takes its place."""


def _imported(path: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a source file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _file_of(name: str, source: Path) -> Path | None:
    """Return the file of a module of this package, or None when the name is no module."""
    path = source.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _direct(path: Path, source: Path) -> tuple[tuple[str, Path], ...]:
    """Return the (name, file) of each module of this package that a file imports, parent packages included."""
    inside = path.is_relative_to(source)
    package = ".".join(path.parent.relative_to(source).parts) if inside else ""
    found = {}
    for name in _imported(path, package):
        parts = name.split(".")
        if parts[0] != PACKAGE:
            continue
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            file = _file_of(module, source)
            if file is not None:
                found[module] = file
    return tuple(found.items())


def code_of(script: Path, source: Path, implementations: Iterable[str] = ()) -> list[str]:
    """Return the script and every module of the package that it imports, directly or through others.

    Parameters
    ----------
    script : Path
        A workflow script.
    source : Path
        The folder that holds the package (``src``).
    implementations : iterable of str
        Dotted names of modules that the script imports by name, which reading its source does not show.

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
    for name in implementations:
        file = _file_of(name, source)
        if file is None:
            raise FileNotFoundError(f"there is no module {name} in {source}")
        files[name] = file
        pending.append(file)
    while pending:
        for name, file in _direct(pending.pop(), source):
            ignored = any(name == other or name.startswith(f"{other}.") for other in NOT_RESULTS)
            if name not in files and not ignored:
                files[name] = file
                pending.append(file)
    return [str(script), *sorted(str(file) for file in set(files.values()))]

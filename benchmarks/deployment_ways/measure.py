"""Processes, their memory, and what packages weigh."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MEGA = 1e6


class Worker:
    """A process that prints lines of JSON; times count from its start.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        Added to this process's own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        # A file, not a pipe: nobody reads what a process says beside its answers until it fails.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        self.command, self.began = command, time.perf_counter()
        self.process = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **environment},
        )

    def told(self) -> dict[str, Any]:
        """Return what the process says next."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"{' '.join(map(str, self.command))[:200]} failed:\n{self.errors.read()[-3000:]}")

    def ask(self, line: str) -> dict[str, Any]:
        """Return what the process answers to a line."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.told()

    def cpu(self) -> float:
        """Return the time in seconds that processors worked for it."""
        return cpu_seconds(self.process.pid)

    def seconds(self) -> float:
        """Return the time since the start."""
        return time.perf_counter() - self.began

    def memory(self) -> float:
        """Return the resident memory in MB."""
        return _status(self.process.pid, "VmRSS") / 1e3

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    """Return the time that processors worked for a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def proportional_kilobytes(pid: int) -> float:
    """Return the memory of a process, of shared pages its share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def descendants(name: str, value: Callable[[int], float]) -> float:
    """Return the sum of a value over this process's descendants whose name starts so."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = _status(int(path.name), "PPid")
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    total = 0.0
    for pid in own:
        # A process may end at any time.
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                total += value(pid)
    return total


def folder_bytes(paths: Iterable[Path]) -> int:
    """Return the size of files, and of all files in folders."""
    total = 0
    for path in paths:
        files = path.rglob("*") if path.is_dir() else [path]
        total += sum(each.stat().st_size for each in files if each.is_file() and each.suffix != ".pyc")
    return total


class Packages:
    """The installed packages: which files are whose, and how large they are."""

    def __init__(self):
        self.files: dict[str, list[Path]] = {}
        self.owner: dict[str, str] = {}
        self.site = Path(os.path.realpath(metadata.distribution("numpy").locate_file("")))
        for each in metadata.distributions(path=[str(self.site)]):
            files = [self.site / file for file in each.files or [] if file.suffix != ".pyc" and ".." not in file.parts]
            self.files[each.name] = files
            self.owner |= dict.fromkeys(map(str, files), each.name)

    def of(self, loaded: Iterable[str]) -> set[str]:
        """Return the packages that own any of these files."""
        return {self.owner[path] for file in loaded if (path := os.path.realpath(file)) in self.owner}

    def bytes(self, names: Iterable[str]) -> int:
        """Return how large packages are together."""
        return sum(path.stat().st_size for name in names for path in self.files[name] if path.is_file())

    def link(self, names: set[str], folder: Path) -> None:
        """Put links to these packages, and to no others, into a folder."""
        parts = {name: {file.relative_to(self.site).parts for file in files} for name, files in self.files.items()}
        tops: dict[str, set[str]] = {}
        for name, files in parts.items():
            for file in files:
                tops.setdefault(file[0], set()).add(name)
        for top, owners in tops.items():
            if owners <= names:
                (folder / top).symlink_to(self.site / top)
            elif owners & names:
                # A name that several packages share: only what is theirs.
                (folder / top).mkdir()
                seconds = {
                    file[1] for name in owners & names for file in parts[name] if file[0] == top and len(file) > 1
                }
                for second in seconds:
                    (folder / top / second).symlink_to(self.site / top / second)


def python(*arguments: str) -> list[str]:
    """Return a command of this Python."""
    return [sys.executable, *arguments]


def quantiles(ms: Sequence[float]) -> tuple[float, float, float]:
    """Return the best, the median and the 99th percentile."""
    return float(np.min(ms)), float(np.median(ms)), float(np.quantile(ms, 0.99))

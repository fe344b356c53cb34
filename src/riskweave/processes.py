"""Which processes belong to a run of the workflow, whether they live, and an end for jobs whose run is gone.

All of it rests on Linux's `/proc`; elsewhere nothing is known, nothing ends, and nothing is taken for dead.
"""

import contextlib
import ctypes
import itertools
import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "ancestors", "end_with_parent", "end_with_run", "is_run", "jobs_left", "orphaned"]

_PROC = Path("/proc")
_SCRIPTS = ".snakemake/scripts/"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Process:
    """A process, told apart from all others that were or will be: process ids are given again.

    Attributes
    ----------
    host, machine, boot : str
        Name of the machine, its id (empty where it has none) and that of its start.
    namespace : str
        Where the process id counts: containers have their own.
    pid, started : int
        Process id, and the start of the process in clock ticks since the machine's.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return a running process of this machine, or None where there is none or nothing is known."""
        started = _stat(pid)[1]
        if started is None:
            return None
        boot, machine = _read(_PROC / "sys/kernel/random/boot_id"), _read(Path("/etc/machine-id"))
        return cls(socket.gethostname(), machine, boot, _namespace(), pid, started)

    def alive(self) -> bool | None:
        """Return whether it runs; None where that cannot be known from here.

        So it is on another machine, in a container, and of another user's where `/proc` hides them (``hidepid``).
        """
        here = Process.of(os.getpid())
        if here is None or (self.host, self.machine) != (here.host, here.machine):
            return None
        if self.boot != here.boot:
            return False
        if self.namespace != here.namespace:
            return None
        if not _told(self.pid):
            # Hidden or gone: the kernel tells them apart, but of one that is hidden not since when it runs.
            return None if _exists(self.pid) else False
        return _stat(self.pid)[1] == self.started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink(_PROC / "self/ns/pid")
    return ""


def _told(pid: int) -> list[str]:
    """Return what `/proc` tells of a process after its name; nothing of one that is gone, or hidden."""
    # The name, in parentheses, may hold anything.
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields if len(fields) >= 20 else []


def _stat(pid: int) -> tuple[int | None, int | None]:
    """Return the parent of a process and its start; of one that ended and only waits to be told of, neither."""
    fields = _told(pid)
    if not fields or fields[0] in "ZX":
        return None, None
    return int(fields[1]), int(fields[19])


def _words(pid: int) -> list[str]:
    return _read(_PROC / str(pid) / "cmdline").split("\0")


def ancestors(pid: int) -> list[int]:
    """Return the parent of a process, its parent, and so on, as far as can be seen."""
    found: list[int] = []
    parent = _stat(pid)[0]
    while parent:
        found.append(parent)
        parent = _stat(parent)[0]
    return found


def is_run(pid: int) -> bool:
    """Return whether a process looks like the snakemake command: a user's, or what a scheduler starts for a job.

    Not all do: snakemake may be started under a profiler, by a script or in a notebook. Such runs are known by the
    notes that they leave (`riskweave.folder_lock.known_runs`).
    """
    words = _words(pid)[:6]
    by_name = any(Path(word).name == "snakemake" for word in words[:2])
    as_module = any(pair == ("-m", "snakemake") for pair in itertools.pairwise(words))
    return by_name or as_module or any(word.endswith("snakemake/__main__.py") for word in words[:4])


def _runs_above(pid: int, runs: Sequence[Process]) -> list[int]:
    """Return the processes above one that look like a run, or are one of the known runs."""
    here = Process.of(os.getpid())
    known = {
        (run.pid, run.started) for run in runs if here and (run.boot, run.namespace) == (here.boot, here.namespace)
    }
    return [above for above in ancestors(pid) if (above, _stat(above)[1]) in known or is_run(above)]


def jobs_left(folder: Path, runs: Sequence[Process] = ()) -> list[int]:
    """Return the jobs of workflow runs in a folder that still run although their run is gone.

    Parameters
    ----------
    folder : Path
        Where snakemake runs.
    runs : sequence of Process
        The runs that are known there.
    """
    folder, found = Path(folder).resolve(), []
    for path in _PROC.glob("[0-9]*"):
        pid = int(path.name)
        with contextlib.suppress(OSError):
            if (path / "cwd").resolve(strict=True) != folder or not any(_SCRIPTS in word for word in _words(pid)):
                continue
            if _stat(pid)[1] is not None and not _runs_above(pid, runs):
                found.append(pid)
    return sorted(found)


def orphaned(script: str, runs: Sequence[Process]) -> bool:
    """Return whether this process is a job whose run ended before the job began to watch it.

    Parameters
    ----------
    script : str
        ``sys.argv[0]``: Snakemake's copy of a workflow script, for a job.
    runs : sequence of Process
        The runs that are known in the folder (`riskweave.folder_lock.known_runs`). Where none of them counts process
        ids as this process does, it is in a container: that no run is above it says nothing then.
    """
    if _SCRIPTS not in script or _runs_above(os.getpid(), runs):
        return False
    here = Process.of(os.getpid())
    return here is not None and any((run.boot, run.namespace) == (here.boot, here.namespace) for run in runs)


def end_with_run(runs: Sequence[Process] = ()) -> bool:
    """End this process, and all that it started, as soon as a run above it ends.

    A run that is killed cannot tell its jobs: they would train on, beside the same jobs of the next run. Where no
    run is above this process, as in a notebook or a test, nothing happens.

    Parameters
    ----------
    runs : sequence of Process
        The runs that are known in the folder; others are told by their command (`is_run`).

    Returns
    -------
    bool
        Whether there is a run to end with.
    """
    above = _runs_above(os.getpid(), runs)
    if not above:
        return False
    watched = []
    for run in above:
        try:
            watched.append(os.pidfd_open(run))
        except ProcessLookupError:
            _end()
        except OSError:  # an old kernel, or one that does not allow it
            return False
    _children_end_too()
    threading.Thread(target=_watch, args=(watched,), name="end with the run", daemon=True).start()
    return True


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends, or end now if it is gone already.

    Parameters
    ----------
    parent : int
        Id of the process that started this one, from its main thread.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(watched: list[int]) -> None:
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    poll.poll()
    _end()


def _end() -> None:
    """Kill what this process started, and this process: nothing may be written any more."""
    parents = {int(path.name): _stat(int(path.name))[0] for path in _PROC.glob("[0-9]*")}
    ends, before = {os.getpid()}, 0
    while len(ends) > before:
        before = len(ends)
        ends |= {pid for pid, parent in parents.items() if parent in ends}
    for pid in ends - {os.getpid()}:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


_forked_by_main = threading.local()


def _children_end_too() -> None:
    """Let the kernel kill the processes of pools with the one that forked them, which may be killed on its own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def before() -> None:
        # The kernel means the thread that forked, not its process: those of other threads would end with a pool's.
        _forked_by_main.value = threading.current_thread() is threading.main_thread()

    def after() -> None:
        if getattr(_forked_by_main, "value", False):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    os.register_at_fork(before=before, after_in_child=after)

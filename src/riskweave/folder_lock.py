"""Snakemake's lock of a folder, when the run that held it was killed.

Snakemake's lock files do not say who holds them, so that after a kill the next run is refused until somebody types
`--unlock`, which removes the lock of a living run as well. Here each run leaves a note of which process it is. A lock
is removed when a run that may have made it is dead, and none that may have made it lives or cannot be seen from here.
"""

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from riskweave.files import write_text
from riskweave.outdated import mark_outdated
from riskweave.processes import Process, jobs_left

__all__ = ["NOTES", "began", "claim_folder", "known_runs"]

NOTES = Path(".snakemake/riskweave/runs")
"""Where the notes are, below the folder in which snakemake runs."""

_WAIT = 30.0
"""Seconds that jobs of a dead run are given to end; they do so by themselves (`riskweave.processes.end_with_run`)."""


def claim_folder(folder: Path = Path(), *, wait: float = _WAIT) -> list[str]:
    """Note that this process is a run in a folder, and remove locks of dead runs.

    To be called before Snakemake locks the folder. Dry runs and the like call it too; they make no lock, and are told
    apart by the order in which notes and locks were made.

    Parameters
    ----------
    folder : Path
        Where snakemake runs.
    wait : float
        Seconds to wait for jobs of a dead run to end, before its lock is removed.

    Returns
    -------
    list of str
        What the user should know: locks removed, or kept and why.
    """
    notes = Path(folder) / NOTES
    me = Process.of(os.getpid())
    if me is None:
        return []
    try:
        notes.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(notes):
            before = _noted(notes)
            # First of all: by its note this run's jobs know it, whatever its command looks like.
            own = notes / f"{me.host}-{me.pid}-{me.started}.json"
            write_text(json.dumps(asdict(me)) + "\n", own)
            atexit.register(_forget, own, me.pid)
            said = _clean(Path(folder), before, wait)
            # A run that is at work, or may be, has removed what its jobs are making.
            if all(run.alive() is False for run, _, _ in before) and (again := mark_outdated(folder)):
                said.append(
                    f"A job that was to be done again failed or was killed: {len(again)} files that were made from its "
                    "former output are made again."
                )
    except OSError as error:
        return [f"Locks of killed runs cannot be looked for in {notes} ({error.strerror}); see `snakemake --unlock`."]
    return said


def began(folder: Path = Path()) -> float:
    """Return when this run began, by the clock of the folder's file system; 0 where it left no note."""
    me = Process.of(os.getpid())
    return max((made / 1e9 for run, made, _ in _noted(Path(folder) / NOTES) if run == me), default=0.0)


def known_runs(folder: Path = Path()) -> list[Process]:
    """Return the runs that left a note in a folder, living or dead."""
    return [run for run, _, _ in _noted(Path(folder) / NOTES)]


def _forget(note: Path, pid: int) -> None:
    """Remove the note of a run that ends, but not when a child that it forked ends."""
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            note.unlink()


@contextlib.contextmanager
def _one_at_a_time(notes: Path) -> Iterator[None]:
    """Keep two runs that start together from taking each other's locks for old ones."""
    with (notes / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _noted(notes: Path) -> list[tuple[Process, float, Path]]:
    """Return run, time and file of each note. A file is whole or not there; one of another version counts as none."""
    found = []
    for path in sorted(notes.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append((Process(**json.loads(path.read_text(encoding="utf-8"))), path.stat().st_mtime_ns, path))
    return found


def _clean(folder: Path, noted: list[tuple[Process, float, Path]], wait: float) -> list[str]:
    """Remove the locks and notes of dead runs; return what to say."""
    runs = [(run, made, path, run.alive()) for run, made, path in noted]
    said, removed = [], []
    for lock in sorted((folder / ".snakemake" / "locks").glob("*.lock")):
        with contextlib.suppress(FileNotFoundError):  # its run has just ended
            # A run notes itself before it locks: later notes are not of the run that made the lock.
            locked = lock.stat().st_mtime_ns
            makers = [run for run in runs if run[1] <= locked]
            elsewhere = [run for run, _, _, alive in makers if alive is None]
            if elsewhere and not any(alive for _, _, _, alive in makers):
                said = [_elsewhere(elsewhere)]
            elif makers and all(alive is False for _, _, _, alive in makers):
                removed.append(lock)
    if removed and (left := [*_wait_for_jobs(folder, [run for run, *_ in runs], wait), *_slurm_jobs(folder)]):
        problem = f"A run here was killed, and {len(left)} of its jobs still run or wait ({', '.join(left)})."
        return [f"{problem} Its lock stays until they have ended: wait, or end them."]
    # Notes of dead runs are of use only beside a note that cannot be judged.
    for path in [*removed, *(path for _, _, path, alive in runs if alive is False and not said)]:
        path.unlink(missing_ok=True)
    if removed:
        said.append("The last run here was killed; its lock is removed, and its unfinished jobs are done again.")
    return said


def _elsewhere(runs: list[Process]) -> str:
    where = ", ".join(sorted(f"{run.host} (process {run.pid})" for run in runs))
    return (
        f"This folder is locked, perhaps by a run on {where}, which cannot be seen from here. Should it be refused: "
        "make sure that no run is left there, then type `snakemake --unlock`."
    )


def _wait_for_jobs(folder: Path, runs: list[Process], wait: float) -> list[str]:
    end = time.monotonic() + wait
    while (left := jobs_left(folder, runs)) and time.monotonic() < end:
        time.sleep(0.1)
    return [f"process {pid}" for pid in left]


def _slurm_jobs(folder: Path) -> list[str]:
    """Return the Slurm jobs that work in a folder: they survive the run that submitted them, which knows of them alone.

    Nothing where there is no Slurm, or its controller does not answer.
    """
    if shutil.which("squeue") is None:
        return []
    command = ["squeue", "--me", "--noheader", "--format=%i %Z"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    jobs = (line.split(" ", 1) for line in answer.splitlines() if " " in line)
    return [f"Slurm job {number}" for number, place in jobs if Path(place.strip()).resolve() == folder.resolve()]

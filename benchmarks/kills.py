"""Kill a study at random moments, resume it each time, and compare what it leaves with an undisturbed run's.

    python benchmarks/kills.py --study config/config.yaml --kills 20 --seed 1

A kill is SIGKILL to the process group of the run, to the snakemake process alone, or to one job; in turn. A run that
lost a job goes on with the others until the next kill. Once it is dead or has failed, a plain `snakemake` follows, as a
user would type it; the last one runs to the end. Checked:
every prediction table is the same byte for byte; no other declared output differs but those that say when and how
long (listed with the reason); no table or model that has its name after a kill is unreadable; no job outlives its run.
"""

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from riskweave.processes import jobs_left
from riskweave.survival.stored_models import load_models

REPOSITORY = Path(__file__).parents[1]
PARTS = ("LICENSE", "Snakefile", "config", "envs", "profiles", "src", "workflow")
KINDS = ("process group", "snakemake", "job")
MARK = ".made-by-kills"

TIMED = {
    "run.json": "a record of when, how long and on what",
    "runs.csv": "ids that the store gave, and digests of records",
    "collected.json": "counts of stored and unchanged runs",
    "index.html": "shows digests of records, and ids",
    "inputs.csv": "digests of records",
    "tripod.csv": "how long trainings took",
}
"""Outputs that name times or ids, which two undisturbed runs differ in too."""


def make_anew(folder: Path) -> None:
    """Make an empty folder, in place of that of an earlier benchmark; refuse to remove anything else."""
    if folder.exists() and not (folder / MARK).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SystemExit(f"{folder} is there, and this benchmark did not make it: name another --folder, or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def project(folder: Path, study: Path) -> Path:
    """Copy the pipeline into a folder of its own, with a study."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            # With what numba has compiled, which an undisturbed run would otherwise spend half a minute on.
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / part)
    shutil.copy2(study, folder / "config/config.yaml")
    return folder


def start(folder: Path, log: Path) -> subprocess.Popen:
    """Start snakemake in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    with log.open("a") as said:
        command = [sys.executable, "-m", "snakemake"]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True)


def jobs_of(run: int) -> list[int]:
    """Return the Python processes of the jobs that a run has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_text().split("\0")
            group = os.getpgid(int(path.name))
        except OSError:
            continue
        # Python, and not the shell around it, in which the whole command is one word.
        if group == run and any(Path(word).parent.name == "scripts" for word in words[1:3] if word.endswith(".py")):
            found.append(int(path.name))
    return sorted(found)


def kill(run: subprocess.Popen, kind: str, dice: random.Random) -> str:
    """Kill, and return what was killed: a run without a job at this moment is killed itself.

    A run that loses a job goes on with the others.
    """
    jobs = jobs_of(run.pid)
    if kind == "job" and jobs:
        os.kill(dice.choice(jobs), signal.SIGKILL)
        return kind
    if kind == "process group":
        os.killpg(run.pid, signal.SIGKILL)
    else:
        kind = "snakemake"
        run.kill()
    run.wait()
    return kind


def unreadable(results: Path) -> list[str]:
    """Return the tables, models and records that have their names and cannot be read whole."""
    found = []
    readers = {".parquet": pq.read_table, ".zip": load_models, ".json": lambda path: json.loads(path.read_text())}
    for path in sorted(results.rglob("*")):
        if path.suffix in readers and not path.name.startswith("."):
            try:
                readers[path.suffix](path)
            except Exception as error:
                found.append(f"{path.relative_to(results)}: {type(error).__name__}")
    return found


def differences(one: Path, other: Path) -> dict[str, str]:
    """Return the outputs that differ, with the reason where it is known."""
    skipped = {"logs", "benchmarks", "mlflow"}
    names = {
        path.relative_to(root)
        for root in (one, other)
        for path in root.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(root).parts)
    }
    found = {}
    for name in sorted(names):
        if not ((one / name).is_file() and (other / name).is_file()):
            found[str(name)] = "only in one of them"
        elif not filecmp.cmp(one / name, other / name, shallow=False):
            found[str(name)] = TIMED.get(name.name, "")
    return found


def report(calm: Path, stormy: Path) -> list[str]:
    """Print how two finished studies differ; return the outputs that differ without a known reason."""
    found = differences(calm / "results", stormy / "results")
    tables = len(list((calm / "results").rglob("predictions.parquet")))
    print(f"prediction tables: {tables}, differing: {sum(name.endswith('predictions.parquet') for name in found)}")
    print(f"all outputs that differ: {len(found)}")
    for name, reason in found.items():
        print(f"  {name}: {reason or 'NOT EXPLAINED'}", flush=True)
    return [name for name, reason in found.items() if not reason]


def finish(folder: Path, log: Path) -> float:
    """Run to the end; return the seconds."""
    began = time.monotonic()
    if start(folder, log).wait():
        raise SystemExit(f"a run failed that was not killed: see {log}")
    return time.monotonic() - began


@dataclass
class Storm:
    """What kills led to."""

    killed: Counter = field(default_factory=Counter)
    halves: list[str] = field(default_factory=list)
    outlived: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, folder: Path) -> None:
        """Note what a dead run has left: what is half-written, and jobs that are there after 5 s."""
        left = time.monotonic() + 5
        while jobs_left(folder) and time.monotonic() < left:
            time.sleep(0.05)
        self.outlived += len(jobs_left(folder))
        self.halves += unreadable(folder / "results")


def disturbed(calm: Path, folder: Path, log: Path, *, kills: int, seconds: float, seed: int) -> Storm:
    """Kill and resume, then run to the end."""
    dice, storm = random.Random(seed), Storm()
    run = start(folder, log)
    while sum(storm.killed.values()) < kills:
        # Each resumed run starts where the one before was: later kills meet later jobs.
        end = time.monotonic() + dice.uniform(0.02, 0.3) * seconds
        while time.monotonic() < end and run.poll() is None:
            time.sleep(0.05)
        if run.poll() == 0:
            # What the kills so far have led to is compared before it goes.
            storm.wrong += report(calm, folder)
            print("the run had ended: the further kills start from nothing", flush=True)
            shutil.rmtree(folder / "results")
        elif run.poll() is None:
            number = sum(storm.killed.values())
            what = kill(run, KINDS[number % len(KINDS)], dice)
            storm.killed[what] += 1
            print(f"kill {number + 1}: {what}", flush=True)
        if run.poll() is not None:
            storm.look(folder)
            run = start(folder, log)
    if run.wait():
        storm.look(folder)
        finish(folder, log)
    storm.wrong += report(calm, folder)
    return storm


def main() -> int:
    """Run the benchmark; return 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--study", type=Path, default=REPOSITORY / "config/config.yaml")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    folder = Path(tempfile.gettempdir()) / "riskweave-kills"
    parser.add_argument(
        "--folder", type=Path, default=folder, help="made anew; that of an earlier benchmark is removed"
    )
    given = parser.parse_args()
    make_anew(given.folder)
    calm, stormy = (project(given.folder / name, given.study) for name in ("undisturbed", "killed"))
    seconds = finish(calm, given.folder / "undisturbed.log")
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    log = given.folder / "killed.log"
    storm = disturbed(calm, stormy, log, kills=given.kills, seconds=seconds, seed=given.seed)
    kinds = ", ".join(f"{what} {count}" for what, count in sorted(storm.killed.items()))
    print(f"kills: {sum(storm.killed.values())} ({kinds})")
    print(f"half-written files under their names: {len(storm.halves)}; jobs that outlived their run: {storm.outlived}")
    return int(bool(storm.wrong or storm.halves or storm.outlived))


if __name__ == "__main__":
    raise SystemExit(main())

"""Runs that are killed: their jobs end, their lock goes, and a living run's stays. Real snakemake, real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from riskweave.folder_lock import NOTES, claim_folder, known_runs
from riskweave.processes import Process, end_with_run, is_run, jobs_left, orphaned

SNAKEFILE = """
from riskweave.folder_lock import claim_folder

for line in claim_folder():
    print(line)

rule train:
    output: "a.txt"
    log: "logs/a.log"
    script: "train.py"
"""

TRAIN = """
import os, subprocess, sys, time
from multiprocessing import get_context
from pathlib import Path
from riskweave.files import write_text
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    started = subprocess.Popen(["sleep", "600"])
    worker = get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    Path("pids").write_text(f"{os.getpid()} {started.pid} {worker.pid}")
    while not Path("go").exists():
        time.sleep(0.02)
    write_text("trained", Path(snakemake.output[0]))
    worker.kill()
    started.kill()
"""

workflow = pytest.mark.workflow


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "train.py").write_text(TRAIN)
    started = []
    yield tmp_path, started
    for process in started:
        process.kill()
        process.wait()


def run(folder, *arguments) -> subprocess.Popen:
    """Start snakemake; what it says goes into a file, as jobs would keep a pipe open."""
    root, started = folder
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete", *arguments]
    with (root / f"said{len(started)}").open("w") as said:
        started.append(subprocess.Popen(command, cwd=root, stdout=said, stderr=said))
    return started[-1]


def said(folder, process: subprocess.Popen) -> str:
    root, started = folder
    process.wait()
    return (root / f"said{started.index(process)}").read_text()


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def pids(folder) -> list[int]:
    path = folder[0] / "pids"
    found = until(lambda: path.exists() and path.read_text().split())
    path.unlink()
    return [int(pid) for pid in found]


def gone(pid: int) -> bool:
    return Process.of(pid) is None


@workflow
def test_a_killed_run_leaves_no_job_and_the_next_one_just_works(folder):
    first = run(folder)
    processes = pids(folder)
    assert not any(map(gone, processes))
    first.kill()
    first.wait()
    until(lambda: all(map(gone, processes)), 10)
    assert list((folder[0] / ".snakemake/locks").glob("*.lock"))
    (folder[0] / "go").touch()
    again = run(folder)
    told = said(folder, again)
    assert again.returncode == 0, told
    assert "its lock is removed" in told
    assert (folder[0] / "a.txt").read_text() == "trained"
    assert known_runs(folder[0]) == []


@workflow
def test_a_living_run_keeps_its_lock_and_a_killed_job_leaves_no_children(folder):
    first = run(folder)
    job, started, worker = pids(folder)
    second = run(folder)
    told = said(folder, second)
    assert second.returncode != 0
    assert "Unlocking" not in told
    assert "LockException" in told
    assert not gone(job)
    os.kill(job, signal.SIGKILL)
    os.kill(started, signal.SIGKILL)
    first.wait()
    assert first.returncode != 0
    until(lambda: gone(worker), 10)
    assert json.loads((folder[0] / "logs/a.failure.json").read_text())["kind"] == "killed"


def note(folder: Path, run: Process, *, name: str = "other") -> Path:
    path = folder / NOTES / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(run)))
    return path


def lock(folder: Path) -> Path:
    time.sleep(0.02)  # the clock of a file system ticks in steps
    path = folder / ".snakemake/locks/0.input.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a.txt\n")
    time.sleep(0.02)
    return path


@pytest.fixture
def me() -> Process:
    return Process.of(os.getpid())


def test_a_process_id_that_is_given_again_is_not_the_run(tmp_path, me):
    noted = note(tmp_path, replace(me, started=me.started - 1))
    locked = lock(tmp_path)
    assert "its lock is removed" in claim_folder(tmp_path)[0]
    assert not locked.exists()
    assert not noted.exists()
    assert known_runs(tmp_path) == [me]


def test_after_a_restart_of_the_machine_nothing_of_before_lives(tmp_path, me):
    note(tmp_path, replace(me, boot="an earlier one"))
    locked = lock(tmp_path)
    claim_folder(tmp_path)
    assert not locked.exists()


@pytest.mark.parametrize("change", [{"host": "node17"}, {"machine": "another"}, {"namespace": "pid:[1]"}])
def test_what_cannot_be_seen_from_here_is_left_and_told(tmp_path, me, change):
    noted = note(tmp_path, replace(me, pid=1, **change))
    locked = lock(tmp_path)
    (told,) = claim_folder(tmp_path)
    assert "snakemake --unlock" in told
    assert replace(me, **change).host in told
    assert locked.exists()
    assert noted.exists()


def test_a_process_that_is_hidden_is_not_taken_for_dead(tmp_path, me, monkeypatch):
    """As where `/proc` is mounted with ``hidepid=2``: other users' processes are not in it."""
    hidden = tmp_path / "proc"
    hidden.mkdir()
    for name in ("sys", "self", str(os.getpid())):
        (hidden / name).symlink_to(Path("/proc") / name)
    other = subprocess.Popen(["sleep", "600"])
    noted = note(tmp_path, Process.of(other.pid))
    locked = lock(tmp_path)
    monkeypatch.setattr("riskweave.processes._PROC", hidden)
    try:
        (told,) = claim_folder(tmp_path)
    finally:
        other.kill()
        other.wait()
    assert f"{me.host} (process {other.pid})" in told
    assert "snakemake --unlock" in told
    assert locked.exists()
    assert noted.exists()
    assert "its lock is removed" in claim_folder(tmp_path)[0]
    assert not locked.exists()


def test_what_ended_and_waits_to_be_told_of_is_dead():
    ended = subprocess.Popen(["sleep", "600"])
    run = Process.of(ended.pid)
    assert run.alive()
    ended.kill()
    try:
        until(lambda: run.alive() is False, 10)
    finally:
        ended.wait()


def test_a_living_owner_keeps_its_lock_whoever_died(tmp_path, me):
    note(tmp_path, me, name="living")
    note(tmp_path, replace(me, started=1), name="dead")
    locked = lock(tmp_path)
    assert claim_folder(tmp_path) == []
    assert locked.exists()


def test_a_dry_run_that_came_later_does_not_keep_a_dead_runs_lock(tmp_path, me):
    note(tmp_path, replace(me, started=1), name="dead")
    locked = lock(tmp_path)
    note(tmp_path, me, name="dry run")
    claim_folder(tmp_path)
    assert not locked.exists()


def test_a_lock_of_nobody_known_is_left(tmp_path):
    locked = lock(tmp_path)
    assert claim_folder(tmp_path) == []
    assert locked.exists()


def test_a_job_of_a_dead_run_that_does_not_end_keeps_the_lock(tmp_path, me):
    script = tmp_path / ".snakemake/scripts/tmp1.train.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time\ntime.sleep(600)\n")
    note(tmp_path, replace(me, started=1))
    locked = lock(tmp_path)
    job = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    try:
        until(lambda: jobs_left(tmp_path) == [job.pid], 20)
        (told,) = claim_folder(tmp_path, wait=0.2)
    finally:
        job.kill()
        job.wait()
    assert f"process {job.pid}" in told
    assert locked.exists()
    claim_folder(tmp_path)
    assert not locked.exists()


def test_slurm_jobs_that_survive_their_run_keep_its_lock(tmp_path, me, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    squeue = programs / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '17 {tmp_path}'\necho '18 /another/folder'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    note(tmp_path, replace(me, started=1))
    locked = lock(tmp_path)
    (told,) = claim_folder(tmp_path)
    assert "1 of its jobs still run or wait (Slurm job 17)" in told
    assert locked.exists()
    squeue.write_text("#!/bin/sh\nexit 1\n")  # the controller is down
    claim_folder(tmp_path)
    assert not locked.exists()


API = """
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, ResourceSettings

if __name__ == "__main__":
    with SnakemakeApi(OutputSettings()) as api:
        run = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        run.dag().execute_workflow(executor="local")
"""


@workflow
@pytest.mark.parametrize("way", ["a script", "an option of Python"])
def test_jobs_know_their_run_however_it_was_started(folder, way):
    root, started = folder
    (root / "api.py").write_text(API)
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = {"a script": ["api.py"], "an option of Python": ["-X", "dev", snakemake, "--cores", "1"]}[way]
    with (root / "said0").open("w") as file:
        started.append(subprocess.Popen([sys.executable, *command], cwd=root, stdout=file, stderr=file))
    processes = pids(folder)
    assert not is_run(started[0].pid)
    assert jobs_left(root, known_runs(root)) == []
    started[0].kill()
    started[0].wait()
    until(lambda: all(map(gone, processes)), 10)
    again = run(folder, "--dry-run")
    assert "its lock is removed" in said(folder, again)


def test_a_run_has_its_note_before_it_looks_at_others(tmp_path, me, monkeypatch):
    seen = []
    monkeypatch.setattr("riskweave.folder_lock._clean", lambda *_: seen.extend(known_runs(tmp_path)) or [])
    claim_folder(tmp_path)
    assert seen == [me]


def test_only_the_snakemake_command_is_a_run(tmp_path):
    for name, arguments in {"snakemake": [], "python": ["snakemake.txt"]}.items():
        command = tmp_path / name
        command.write_text("#!/bin/sh\nsleep 600\n")
        command.chmod(0o755)
        process = subprocess.Popen([str(command), *arguments])
        try:
            until(lambda process=process: str(tmp_path) in Path(f"/proc/{process.pid}/cmdline").read_text())
            assert is_run(process.pid) == (name == "snakemake")
        finally:
            process.kill()
            process.wait()


def test_where_no_run_is_above_nothing_is_watched(me):
    assert not is_run(os.getpid())
    assert not end_with_run()
    assert not orphaned("train.py", [me])


def test_a_job_that_starts_after_its_run_ended_is_an_orphan(me):
    script = "/project/.snakemake/scripts/tmp1.train.py"
    assert orphaned(script, [replace(me, pid=1, started=1)])
    # In a container, which counts processes for itself, the run cannot be seen.
    assert not orphaned(script, [replace(me, namespace="pid:[1]")])
    assert not orphaned(script, [])

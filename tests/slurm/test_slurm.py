"""The small study through a real Slurm of one node with a fake GPU, whose node is lost in the middle of it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster, cluster, missing, wait_until

sys.path.append(str(Path(__file__).parents[1] / "workflow"))

from small_project import SMALL, Project, copy_project

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

PROFILE = [
    "--workflow-profile", "slurm", "--slurm-init-seconds-before-status-checks", "1",
    # This cluster keeps no accounts, and its node is this machine.
    "--slurm-status-command", "squeue", "--slurm-no-account", "--cores", "2", "--latency-wait", "5",
]  # fmt: skip
MINUTES = 30


@dataclass(frozen=True)
class Ran:
    """What a study through Slurm left: its folder, Snakemake's output, and each of Slurm's jobs."""

    project: Project
    output: str
    jobs: list[dict[str, str]]


@pytest.fixture(scope="module")
def slurm():
    """Return a running cluster; its folder is gone at the end. Not in pytest's: a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="riskweave-slurm-"))
    try:
        with cluster(folder / "cluster") as found:
            yield found
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def local(ran, tmp_path_factory) -> Project:
    """Return a project with the predictions of the same study, made without Slurm."""
    project = copy_project(tmp_path_factory.mktemp("local"), SMALL)
    done = project.snakemake(*(f"results/small/experiments/{path}" for path in predictions(ran.project)))
    assert done.returncode == 0, done.stderr[-5000:]
    return project


def training(project: Project) -> bool:
    """Tell whether the training of an encoder has begun: it logs its device first."""
    logs = (project.results / "logs/train_encoder").rglob("*.log")
    return any("devices as Slurm gave them" in path.read_text() for path in logs)


def lose_node(slurm: Cluster) -> None:
    """Take the node down while an encoder is trained, and bring it back."""
    slurm.command("scontrol", "update", f"NodeName={slurm.node}", "State=DOWN", "Reason=test")
    wait_until(lambda: slurm.state().startswith("down"), "a node that is down")
    time.sleep(5)
    slurm.command("scontrol", "update", f"NodeName={slurm.node}", "State=RESUME")


@pytest.fixture(scope="module")
def ran(slurm, tmp_path_factory) -> Ran:
    """Run the study; the node is lost once."""
    project = copy_project(tmp_path_factory.mktemp("cluster"), SMALL)
    log = project.root / "snakemake.log"
    environment = {**os.environ, **slurm.environment, "PYTHONPATH": str(project.root / "src")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *PROFILE],
            cwd=project.root, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or training(project), "the training of an encoder", 60 * MINUTES)
        assert process.poll() is None, log.read_text()[-5000:]
        lose_node(slurm)
        code = process.wait(60 * MINUTES)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    output = log.read_text()
    assert code == 0, output[-8000:] + slurm.logs()
    return Ran(project, output, slurm.history())


def predictions(project: Project) -> dict[str, bytes]:
    """Return the bytes of each experiment's predictions."""
    folder = project.results / "experiments"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("predictions.parquet")}


def of_rule(ran: Ran, rule: str) -> list[dict[str, str]]:
    return [job for job in ran.jobs if job["comment"].startswith(rule)]


def test_predictions_are_those_of_a_run_without_slurm(ran, local):
    assert len(predictions(local)) == 11
    assert predictions(ran.project) == predictions(local)


def test_the_lost_node_failed_jobs_that_were_done_again(ran):
    lost = [job for job in ran.jobs if job["state"] == "NODE_FAIL"]
    assert lost
    assert all(any(other["state"] == "COMPLETED" for other in of_rule(ran, job["comment"])) for job in lost)
    assert "SLURM status is: 'NODE_FAIL'" in ran.output or "due to a node failure" in ran.output


def test_encoders_have_the_gpu_and_others_have_none(ran):
    logs = list((ran.project.results / "logs/train_encoder").rglob("*.log"))
    assert len(logs) == 4
    assert all("devices as Slurm gave them: 0" in path.read_text() for path in logs)
    wanted = {job["comment"]: (job["gpu"], job["partition"]) for job in ran.jobs}
    for comment, asked in wanted.items():
        network = "train_encoder" in comment or "logistic_hazard" in comment
        assert asked == (("gres:gpu:1", "gpu") if network else ("N/A", "cpu")), comment


def test_small_jobs_went_together(ran):
    assert len({job["comment"] for job in of_rule(ran, "rule_find_leaks")}) == 0
    assert len({job["comment"] for job in of_rule(ran, "rule_cohort")}) == 1
    assert len({job["comment"] for job in ran.jobs}) < 30


def test_memory_and_time_are_limited(ran):
    assert all(job["memory"] not in {"0", "N/A"} and job["time"] not in {"UNLIMITED", "N/A"} for job in ran.jobs)

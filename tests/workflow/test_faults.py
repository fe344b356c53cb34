"""What kills and failing trainings leave: whole files, the others compared, and all made whole by a plain snakemake."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from small_project import REPOSITORY, SMALL, Project, copy_project, environment_of

pytestmark = pytest.mark.workflow

FOREST = "src/riskweave/survival/forest.py"
FAILURE = 'raise DataError("features.parquet, column bmi", "12 values are negative", "Correct them")'
CONTAINED = ("--sdm", "apptainer", "--apptainer-args=--nv")


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """Return the file of a study of health records alone, with a network whose training has many epochs."""
    study = yaml.safe_load(SMALL.read_text())
    study["cohort"].pop("also")
    study.pop("fusions")
    study["feature_sets"] = {name: study["feature_sets"][name] for name in ("age_sex", "ehr")}
    network = study["models"]["logistic_hazard"] | {"training": {"epochs": 40, "batch_size": 8, "patience": 40}}
    study["models"] = {"cox": study["models"]["cox"], "forest": study["models"]["forest"], "logistic_hazard": network}
    study["experiments"] = {
        "age_sex": {"feature_sets": ["age_sex"], "models": ["cox"]},
        "ehr": {"feature_sets": ["ehr"], "models": ["forest", "logistic_hazard"]},
    }
    study["objectives"]["ehr_adds"]["experiment"] = "ehr.forest"
    file = tmp_path_factory.mktemp("study") / "mini.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


def board(project) -> dict[str, str]:
    """Return the experiments of the leaderboard, and why those are missing that are."""
    with (project.results / "evaluation/mace/leaderboard.csv").open(newline="") as file:
        return {row["experiment"]: row.get("missing", "") for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def apptainer(tmp_path_factory):
    """Put a command in the way that looks like Apptainer's and runs what it is given outside of any container."""
    folder = tmp_path_factory.mktemp("bin")
    calls = folder / "calls"
    script = f"""#!/bin/bash
if [ "$1" = --version ]; then echo "apptainer version 1.3.4"; exit; fi
echo "$*" >> {calls}
while [ "$1" != bash ] && [ "$1" != sh ]; do shift; done
exec "$@"
"""
    for name in ("apptainer", "singularity"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield calls


@pytest.fixture(scope="module")
def failed(mini, apptainer, tmp_path_factory):
    """Return a project of which one training fails, run in containers, what was said, and the calls of containers."""
    project = copy_project(tmp_path_factory.mktemp("failed"), mini)
    (project.root / "riskweave.sif").touch()
    write_into_forest(project, "from riskweave.errors import DataError", FAILURE)
    return project, project.snakemake(*CONTAINED), apptainer


@pytest.fixture
def again(failed, tmp_path):
    """Return a copy of the project, as the failure left it, that a test may change."""
    return Project(shutil.copytree(failed[0].root, tmp_path / "project", copy_function=shutil.copy2))


def write_into_forest(project, *lines: str) -> None:
    """Let the training of forests do something first."""
    told = "".join(f"\n        {line}" for line in lines)
    before, _, after = (REPOSITORY / FOREST).read_text().partition("    def fit(")
    head, docstring, body = after.split('"""', 2)
    (project.root / FOREST).write_text(f'{before}    def fit({head}"""{docstring}"""{told}{body}')


def test_a_failed_training_does_not_keep_the_others_from_being_compared(failed):
    project, done, calls = failed
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "train_experiment mace ehr.forest: " in said
    assert "Experiments missing from what was compared: 1" in said
    found = board(project)
    assert set(found) == {"age_sex.cox", "ehr.logistic_hazard", "ehr.forest"}
    assert "column bmi: 12 values are negative" in found["ehr.forest"]
    page = (project.results / "report/index.html").read_text()
    assert "This report is not whole" in page
    assert "column bmi: 12 values are negative" in page
    assert "not judged" in (project.results / "evaluation/objectives.csv").read_text()
    assert (
        "Missing, since their training failed: ehr.forest"
        in (project.results / "evaluation/mace/leaderboard.svg").read_text()
    )
    # The comparison ran in containers too, and did nothing again.
    ran = Counter(re.findall(r"\.(\w+)\.py$", calls.read_text(), flags=re.MULTILINE))
    assert (ran["synthesise_cohort"], ran["train_experiment"], ran["report_study"]) == (1, 3, 1)
    assert all("--nv" in call for call in calls.read_text().splitlines())
    # What only the comparison reads goes after it.
    kept = {path.name for path in (project.root / ".snakemake/riskweave").iterdir()}
    assert not [name for name in kept if name.startswith(("left_out", "config"))]


def test_after_a_failed_training_a_plan_and_a_comparison_know_where_jobs_run(again):
    plan = again.snakemake("--quiet", "all", *CONTAINED, "--", "plan").stdout
    assert re.findall(r"^  train_\w+ mace, ([\w.]+):", plan, flags=re.MULTILINE) == ["ehr.forest"], plan
    # Without containers all would run again, and the comparison would do so as well. By time alone what was compared
    # without the failed experiment is up to date.
    for path in (again.results / "evaluation/mace").glob("leaderboard.*"):
        path.unlink()
    done = again.snakemake("--rerun-triggers", "mtime", "--", "evaluate")
    assert "Experiments missing from what was compared: 1" in done.stdout + done.stderr


def test_a_failed_training_of_a_stopped_run_is_blamed_for_nothing(again):
    write_into_forest(again, "import time", "from pathlib import Path", 'Path("begun").touch()', "time.sleep(300)")
    command = [sys.executable, "-m", "snakemake", *CONTAINED]
    with (again.root / "said").open("w") as said:
        environment = environment_of(again.root)
        run = subprocess.Popen(command, cwd=again.root, env=environment, stdout=said, stderr=said, process_group=0)
    try:
        end = time.monotonic() + 120
        while not (again.root / "begun").exists() and run.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert (again.root / "begun").exists()
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait(timeout=120) != 0
    finally:
        run.kill()
    told = (again.root / "said").read_text()
    assert "The run was stopped: nothing is compared" in told
    assert "What failed, and why" not in told
    assert "Going on with" not in told


def test_a_failed_training_that_is_mended_makes_all_whole(again):
    shutil.copy2(REPOSITORY / FOREST, again.root / FOREST)
    done = again.snakemake(*CONTAINED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert board(again) == dict.fromkeys(board(again), "")
    assert "This report is not whole" not in (again.results / "report/index.html").read_text()
    assert not list((again.results / "logs").rglob("*.failure.json"))
    assert again.planned(*CONTAINED) == []


def test_the_benchmark_of_kills_removes_no_folder_of_others(tmp_path):
    (tmp_path / "mine").write_text("kept")
    command = [sys.executable, REPOSITORY / "benchmarks/kills.py", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "this benchmark did not make it" in done.stderr
    assert (tmp_path / "mine").read_text() == "kept"


def test_kills_change_no_prediction_and_leave_nothing_half_written(mini, tmp_path):
    """Three kills: of the process group, of snakemake, of a job; the benchmark compares with an undisturbed run."""
    script = REPOSITORY / "benchmarks/kills.py"
    done = subprocess.run(
        [sys.executable, "-B", script, "--study", mini, "--kills", "3", "--seed", "2", "--folder", tmp_path / "kills"],
        env=environment_of(REPOSITORY), capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prediction tables: 3, differing: 0" in done.stdout
    assert "half-written files under their names: 0; jobs that outlived their run: 0" in done.stdout

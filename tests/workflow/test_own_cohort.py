"""The walkthrough of docs/own-cohort.md, block by block, as a reader would follow it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_project import REPOSITORY, Project, copy_project, environment_of

pytestmark = pytest.mark.workflow

PAGE = REPOSITORY / "docs/own-cohort.md"


def blocks() -> list[tuple[str, str, str]]:
    """Return (language, title, content) of each fenced block of the page."""
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(found) >= 6
    return found


def run(command: str, root: Path) -> None:
    """Run a shell block with this interpreter's environment in place of `.venv/bin`."""
    here = f"{Path(sys.executable).parent}/"
    done = subprocess.run(
        command.replace(".venv/bin/", here), shell=True, cwd=root, env=environment_of(root), capture_output=True,
        text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, command + done.stdout[-3000:] + done.stderr[-5000:]


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """Return a project in which every block of the page was carried out."""
    root = tmp_path_factory.mktemp("reader")
    copy_project(root, REPOSITORY / "config/config.yaml")
    for language, title, content in blocks():
        if title:
            path = root / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        elif language == "sh":
            run(content, root)
    return root


def test_the_page_ends_with_a_leaderboard_of_all_subsets(followed):
    board = pd.read_csv(followed / "results/mine/evaluation/infarction/leaderboard.csv")
    subsets = "clinical", "ecg", "image", "clinical+ecg", "clinical+image", "ecg+image", "clinical+ecg+image"
    assert sorted(board["experiment"]) == sorted(f"{subset}.cox" for subset in subsets)
    planted = board.set_index("experiment").loc["clinical.cox"]
    assert planted["harrell_c"] > 0.6


def test_the_files_that_the_page_names_exist(followed):
    named = re.findall(r"`(results/mine/[^`]+)`", PAGE.read_text())
    assert len(named) >= 4
    for name in named:
        assert (followed / name).exists(), name


def test_leading_zeros_of_identifiers_survive(followed):
    subjects = pd.read_parquet(followed / "results/mine/cohort/source/subjects.parquet")
    assert subjects["subject_id"].iloc[0] == "001"


def test_raw_files_count_by_content(followed):
    def planned() -> str:
        done = Project(followed).snakemake("--configfile", "config/studies/mine.yaml", "--dry-run")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    for path in (followed / "data").rglob("*"):
        os.utime(path)
    assert "Nothing to be done" in planned()
    signal = followed / "data/ecg/e001.dat"
    content = signal.read_bytes()
    signal.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "Read and check the source tables." in planned()
    signal.write_bytes(content)
    assert "Nothing to be done" in planned()


def test_endpoint_from_columns(followed):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"subject_id": [f"{i:02d}" for i in range(90)], "age": random.normal(60, 10, 90).round(1)})
    frame["arm"] = random.choice(["a", "b"], len(frame))
    frame["days"] = random.exponential(1500 * np.exp(-0.08 * (frame["age"] - 60))).clip(1, 3000).round()
    frame["status"] = (frame["days"] < 3000).astype(int)
    frame.to_csv(followed / "data/trial.csv", index=False)
    run(".venv/bin/snakemake --configfile config/studies/columns.yaml", followed)
    board = pd.read_csv(followed / "results/columns/evaluation/death/leaderboard.csv")
    assert board["harrell_c"].iloc[0] > 0.65

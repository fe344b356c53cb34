"""docs/r.md: the calculation that it shows gives the leaderboard's concordance, and its paths are the pipeline's."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_study import evaluated, write_study
from lifelines.utils import concordance_index

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of a study of 300 people, and its leaderboard as Parquet and CSV."""
    folder = tmp_path_factory.mktemp("study")
    leaderboard = Path(evaluated(write_study(folder, n=300))["leaderboard"])
    for kind in (".parquet", ".csv"):
        shutil.copy(leaderboard.with_suffix(kind), folder / f"board{kind}")
    return folder


def test_competing_events_moved_behind_everybody_give_the_concordance_of_the_leaderboard(folder):
    board = pd.read_parquet(folder / "board.parquet").set_index("experiment")
    predictions = pd.read_parquet(folder / "true.cox.parquet")
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    both = predictions.merge(outcomes, on=["subject_id", "endpoint"])
    risk = both[f"risk_{board['horizon'].iloc[0]}"]
    competing = both["event"] > 1
    assert competing.sum() > 20
    time = np.where(competing, both["time"].max() + 1, both["time"])
    again = concordance_index(time, -risk, both["event"] == 1)
    assert board.loc["true.cox", "harrell_c"] == pytest.approx(again, abs=1e-12)


def why_not():
    """Say what the page's code needs and this machine lacks."""
    missing = [command for command in ("Rscript", "duckdb") if shutil.which(command) is None]
    if missing:
        return f"no {' and no '.join(missing)} here"
    return "" if in_r("library(survival)").returncode == 0 else "R has no package survival here"


def in_r(code, **options):
    command = [shutil.which("Rscript"), "--vanilla", "-e", code]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, **options)


def test_the_code_of_the_page_runs_in_r_and_gives_the_concordance_of_the_leaderboard(folder, tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    places = {
        "true.cox.parquet": "experiments/mace/true.cox/predictions.parquet",
        "outcomes.parquet": "cohort/outcomes/mace.parquet",
        "board.csv": "evaluation/mace/leaderboard.csv",
    }
    for name, place in places.items():
        (tmp_path / "results/demo" / place).parent.mkdir(parents=True)
        shutil.copy(folder / name, tmp_path / "results/demo" / place)
    code = "\n".join(re.findall(r"```r\n(.+?)```", (ROOT / "docs/r.md").read_text(encoding="utf-8"), flags=re.DOTALL))
    code = code.replace('"mi"', '"mace"').replace('"ehr.cox"', '"true.cox"')
    done = in_r(f"options(digits = 15)\n{code}\nstopifnot(both$subject_id == sprintf('%05d', 0:299))", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again, listed = (float(line.split()[1]) for line in done.stdout.splitlines()[-2:])
    board = pd.read_parquet(folder / "board.parquet").set_index("experiment")
    assert again == pytest.approx(board.loc["true.cox", "harrell_c"], abs=1e-12)
    assert listed == pytest.approx(again, abs=5.1e-7), "CSV files have six digits"


def test_the_paths_are_those_of_the_tables_page():
    page = (ROOT / "docs/r.md").read_text(encoding="utf-8")
    calls = re.findall(r"file\.path\(results, (.+?)\)\)", page)
    shown = {
        call.replace('"', "").replace("paste0(endpoint, .parquet", "<endpoint>.parquet").replace(", ", "/")
        for call in calls
    }
    shown = {re.sub(r"(?<=/)(endpoint|experiment)(?=/)", r"<\1>", path) for path in shown}
    tables = (ROOT / "docs/tables.md").read_text(encoding="utf-8")
    tables = tables.replace("leaderboard.{parquet,csv}", "leaderboard.csv")
    assert len(shown) == 3
    assert [path for path in shown if f"`{path}`" not in tables] == []

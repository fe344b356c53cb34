"""docs/r.md: the calculation that it shows gives the leaderboard's concordance, and its paths are the pipeline's."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_study import evaluated, write_study
from lifelines.utils import concordance_index

ROOT = Path(__file__).parents[2]


def test_competing_events_moved_behind_everybody_give_the_concordance_of_the_leaderboard(tmp_path):
    study = write_study(tmp_path, n=300)
    board = pd.read_parquet(evaluated(study)["leaderboard"]).set_index("experiment")
    predictions = pd.read_parquet(tmp_path / "true.cox.parquet")
    outcomes = pd.read_parquet(tmp_path / "outcomes.parquet")
    both = predictions.merge(outcomes, on=["subject_id", "endpoint"])
    risk = both[f"risk_{board['horizon'].iloc[0]}"]
    competing = both["event"] > 1
    assert competing.sum() > 20
    time = np.where(competing, both["time"].max() + 1, both["time"])
    again = concordance_index(time, -risk, both["event"] == 1)
    assert board.loc["true.cox", "harrell_c"] == pytest.approx(again, abs=1e-12)


def test_the_paths_are_those_of_the_tables_page():
    page = (ROOT / "docs/r.md").read_text(encoding="utf-8")
    calls = re.findall(r"file\.path\(results, (.+?)\)\)", page)
    shown = {
        call.replace('"', "").replace("paste0(endpoint, .parquet", "<endpoint>.parquet").replace(", ", "/")
        for call in calls
    }
    shown = {re.sub(r"(?<=/)(endpoint|experiment)(?=/)", r"<\1>", path) for path in shown}
    tables = (
        (ROOT / "docs/tables.md")
        .read_text(encoding="utf-8")
        .replace("leaderboard.{parquet,csv}", "leaderboard.parquet")
    )
    assert len(shown) == 3
    assert [path for path in shown if f"`{path}`" not in tables] == []

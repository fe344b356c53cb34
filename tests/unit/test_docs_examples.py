"""What docs/examples.md and docs/sources/mimic_iv.md show is what runs."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from riskweave.study.study import load_study

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def within(shown, whole) -> bool:
    """Tell whether all that a block shows stands in the study, with the same values."""
    if isinstance(shown, dict):
        return isinstance(whole, dict) and all(key in whole and within(shown[key], whole[key]) for key in shown)
    return shown == whole


def test_series_of_the_challenge_become_one_table(tmp_path, monkeypatch):
    """The script of the page, on files in the format in which the challenge distributes them."""
    monkeypatch.chdir(tmp_path)
    Path("set-a").mkdir()
    Path("data/physionet2012").mkdir(parents=True)
    head = "Time,Parameter,Value\n00:00,RecordID,{0}\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n"
    Path("set-a/132539.txt").write_text(head.format(132539) + "00:07,GCS,15\n47:37,HR,71.5\n")
    Path("set-a/132540.txt").write_text(head.format(132540) + "01:11,,\n48:00,Temp,36.9\n")
    (script,) = blocks("examples.md", "python")
    exec(compile(script, "docs/examples.md", "exec"), {})
    made = pd.read_parquet("data/physionet2012/set_a_long.parquet")
    assert list(made) == ["RecordID", "minutes", "Parameter", "Value"]
    assert made["RecordID"].tolist() == [132539] * 5 + [132540] * 4
    assert made["minutes"].tolist() == [0, 0, 0, 7, 2857, 0, 0, 0, 2880]
    assert made["Value"].tolist() == [54, 0, -1, 15, 71.5, 54, 0, -1, 36.9]
    assert "RecordID" not in set(made["Parameter"])


@pytest.mark.parametrize(
    ("page", "study", "number"), [("examples.md", "physionet2012", 0), ("sources/mimic_iv.md", "mimic_iv", 1)]
)
def test_settings_are_those_of_the_study(page, study, number):
    path = ROOT / f"config/studies/{study}.yaml"
    assert load_study(path).study == study
    assert within(yaml.safe_load(blocks(page, "yaml")[number]), yaml.safe_load(path.read_text()))


def test_studies_of_the_page_are_there():
    page = (ROOT / "docs/examples.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(\w+\.yaml)`", page, flags=re.MULTILINE):
        assert load_study(ROOT / "config/studies" / name)

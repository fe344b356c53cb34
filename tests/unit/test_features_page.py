"""The examples of docs/features.md are studies that can be run, and its worked example gives the numbers it shows."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from riskweave.cohort.tables import EVENTS, SUBJECTS, write_table
from riskweave.modalities.base import read_features
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.features import EhrFeatures
from riskweave.study.sources import TablesSource

PAGE = (Path(__file__).parents[2] / "docs/features.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml([^\n]*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
SETS = [(name, block) for title, text in BLOCKS if not title for name, block in yaml.safe_load(text).items()]


@pytest.mark.parametrize(("name", "block"), SETS, ids=[name for name, _ in SETS])
def test_feature_sets_are_valid(name, block):
    assert re.fullmatch("[a-z_]+", name)
    EhrFeatures.model_validate(block)


def test_other_blocks_are_valid():
    others = [yaml.safe_load(text) for title, text in BLOCKS if title]
    assert [TablesSource.model_validate(block).further for block in others] == [["data/polygenic_scores.csv"]]


def _tables():
    """Return the tables of the page as data frames of text."""
    found = re.findall(r"(?:^\|.*\|\n)+", PAGE, flags=re.MULTILINE)
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()] for table in found]
    return [pd.DataFrame(table[2:], columns=table[0]).replace("", None) for table in rows]


def test_the_worked_example(tmp_path):
    events, expected = _tables()[:2]
    events["time"] = pd.to_datetime(events["time"])
    events["numeric_value"] = events["numeric_value"].astype("float32")
    write_table(events[EVENTS.columns.names], tmp_path / "events.parquet", EVENTS)
    people = expected[["subject_id"]].assign(person_id=expected["subject_id"], followup_end=pd.NaT)
    people = people.assign(index_time=pd.Timestamp("2020-06-01 12:00"), age=expected["age"].astype(float))
    write_table(people, tmp_path / "subjects.parquet", SUBJECTS)
    aggregate_events(
        subjects=tmp_path / "subjects.parquet",
        events=tmp_path / "events.parquet",
        features=EhrFeatures.model_validate(dict(SETS)["record"]),
        output=tmp_path / "features.parquet",
    )
    made, columns = read_features(tmp_path / "features.parquet")
    assert list(made) == list(expected)
    for column in columns:
        if column.kind == "categorical":
            assert made[column.name].tolist() == expected[column.name].tolist()
        else:
            shown = expected[column.name].astype(float)
            np.testing.assert_allclose(made[column.name], shown, rtol=1e-6, err_msg=column.name)
    units = {column.name: column.unit for column in columns}
    assert units["glucose:last"] == "mmol/L"
    assert {column.implausible for column in columns if column.name == "glucose:last@365d"} == {1}

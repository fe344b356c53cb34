import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from riskweave.errors import DataError
from riskweave.survival.predictions import prediction_frame, read_predictions, risk_columns, write_predictions


def frame(**changes):
    risks = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.0, 1.0], [0.0, 0.0]], [[0.5, 0.5], [0.1, 0.2]]])
    table = prediction_frame(
        subjects=pd.Index(["003", "001", "002"]),
        experiment="ehr.cox",
        endpoint="mace",
        fold=1,
        modalities=["ehr+ecg", "", "ehr"],
        linear_predictor=None,
        risks=risks,
        times=[365, 730],
    )
    return table.assign(**changes)


def test_round_trip_is_sorted_and_exact(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_predictions(frame(), path)
    found = read_predictions(path)
    expected = frame().sort_values("subject_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert risk_columns(found) == {1: {365: "risk_365", 730: "risk_730"}, 2: {365: "risk_c2_365", 730: "risk_c2_730"}}
    schema = pq.read_schema(path)
    assert schema.field("fold").type == "int16"
    assert schema.field("linear_predictor").nullable
    assert b"competing cause 2 at day 365" in schema.field("risk_c2_365").metadata[b"description"]
    assert pq.read_table(path)["linear_predictor"].null_count == 3
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.parquet"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject_id": ["001", "001", "002"]}, "1 rows repeat a subject"),
        ({"risk_365": [0.1, -0.1, np.nan]}, r"2 subjects have risks of cause 1 outside \[0, 1\]"),
        ({"risk_730": [0.05, 1.0, 0.5]}, "1 subjects have risks of cause 1 that fall in time"),
        ({"risk_c2_730": [0.9, 0.0, 0.2]}, "1 subjects have risks that sum to more than 1"),
        ({"risk_c2_900": 0.9}, "cause 2 has other days"),
        ({"modalities": [None, "ehr", ""]}, "column modalities: 1 rows are empty"),
        ({"note": "x"}, "the columns note are unknown"),
    ],
)
def test_tables_that_break_the_contract_are_not_written(tmp_path, changes, problem):
    with pytest.raises(DataError, match=problem):
        write_predictions(frame(**changes), tmp_path / "predictions.parquet")
    assert not list(tmp_path.iterdir())


def test_missing_columns_and_files_are_named(tmp_path):
    with pytest.raises(DataError, match="the columns fold, linear_predictor are missing"):
        write_predictions(frame().drop(columns=["fold", "linear_predictor"]), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="there is no such prediction table"):
        read_predictions(tmp_path / "p.parquet")

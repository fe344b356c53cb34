"""What a study can ask of dated events: windows, units, ranges, categories, treatments, scores, who has a row."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.tables import EVENTS, SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.features import EhrFeatures

INDEX = pd.Timestamp("2020-06-01 12:00")
FIELDS = ["subject_id", "days", "code", "numeric_value", "unit", "text_value"]


def write(folder, events, people="abcd", subjects=None):
    """Write a cohort; events are (person, days from the index, code, value, unit, text), the last ones optional."""
    rows = [tuple(event) + (None,) * (len(FIELDS) - len(event)) for event in events]
    frame = pd.DataFrame(rows, columns=FIELDS).astype({"numeric_value": "float32"})
    frame["time"] = (INDEX + pd.to_timedelta(frame.pop("days"), "D")).astype("datetime64[us]")
    write_table(frame[EVENTS.columns.names], folder / "events.parquet", EVENTS)
    if subjects is None:
        subjects = pd.DataFrame({"subject_id": list(people), "person_id": list(people), "index_time": INDEX})
    write_table(subjects.assign(followup_end=pd.NaT), folder / "subjects.parquet", SUBJECTS)


def make(folder, *blocks, **more):
    arguments = {"threads": 1} | {name: more.pop(name) for name in ("threads", "chunk_events") if name in more}
    aggregate_events(
        subjects=folder / "subjects.parquet",
        events=folder / "events.parquet",
        features=EhrFeatures(modality="ehr", events=list(blocks), **more),
        output=folder / "features.parquet",
        **arguments,
    )
    frame, columns = read_features(folder / "features.parquet")
    return frame.set_index("subject_id"), {column.name: column for column in columns}


def listed(series):
    return [None if pd.isna(value) else value for value in series]


def test_several_windows_are_the_single_ones_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    events = [
        (person, -float(days), f"LAB//{code}", value, "g/L")
        for person, days, code, value in zip(
            rng.choice(list("abcd"), 400), rng.uniform(0, 900, 400), rng.choice(["A", "B"], 400), rng.normal(5, 1, 400),
            strict=True,
        )
    ]  # fmt: skip
    write(tmp_path, [*events, ("a", None, "LAB//A", 4.0, "g/L")])
    block = {"codes": ["LAB//A"], "aggregates": ["last", "sd", "count", "ever", "slope"]}
    together, columns = make(tmp_path, block | {"windows": [30, 365, None]})
    assert list(together)[:6] == [
        "LAB//A:last@30d", "LAB//A:sd@30d", "LAB//A:count@30d", "LAB//A:ever@30d", "LAB//A:slope@30d",
        "LAB//A:last@365d",
    ]  # fmt: skip
    assert columns["LAB//A:sd@365d"].unit == "g/L"
    assert columns["LAB//A:slope"].unit == "g/L per year"
    assert columns["LAB//A:count"].unit == "events"
    for window in (30, 365, None):
        alone, _ = make(tmp_path, block | {"window": window})
        pd.testing.assert_frame_equal(together[list(alone)], alone, check_exact=True)


def test_blocks_computed_together_are_what_they_are_alone(tmp_path):
    rng = np.random.default_rng(1)
    codes = rng.choice(["LAB//A", "LAB//B", "LAB//AB", "DX//1"], 300)
    events = [
        (person, -float(days), code, value)
        for person, days, code, value in zip(
            rng.choice(list("abcd"), 300), rng.uniform(0, 900, 300), codes, rng.normal(5, 1, 300), strict=True
        )
    ]
    write(tmp_path, events)
    blocks = [
        {"codes": ["LAB//A"], "aggregates": ["mean", "last"], "range": (4, 6)},
        {"codes": ["LAB//B"], "aggregates": ["last", "mean"]},
        {"codes": ["LAB//"], "aggregates": ["mean", "last"], "name": "any"},
        {"codes": ["LAB//A$", "DX//"], "aggregates": ["last", "mean"], "by_code": True, "minimum_subjects": 1,
         "unit": "u"},
    ]  # fmt: skip
    exact = blocks.pop()
    together, _ = make(tmp_path, *blocks)
    alone = [make(tmp_path, block)[0] for block in blocks]
    pd.testing.assert_frame_equal(together, pd.concat(alone, axis=1), check_exact=True)
    frame, _ = make(tmp_path, exact)
    assert list(frame) == ["DX//1:last", "DX//1:mean", "LAB//A:last", "LAB//A:mean"]


def test_units_are_converted(tmp_path):
    events = [
        ("a", -3, "LAB//GLU", 90.0, "mg/dL"),
        ("a", -2, "LAB//GLU", 6.0, "mmol/L"),
        ("b", -2, "LAB//GLU", 5.0, None),
        ("c", -2, "LAB//GLU", 108.0, " mg/dL "),
    ]
    write(tmp_path, events)
    block = {"codes": ["LAB//GLU"], "aggregates": ["mean", "last"], "unit": "mmol/L", "convert": {"mg/dL": 1 / 18}}
    frame, columns = make(tmp_path, block)
    # Without a unit: taken to be in mmol/L.
    np.testing.assert_allclose(frame["LAB//GLU:mean"], [5.5, 5.0, 6.0, np.nan])
    assert columns["LAB//GLU:mean"].unit == "mmol/L"
    bare, _ = make(tmp_path, block | {"convert": {"mg/dL": 1 / 18, "": 2}})
    assert bare.loc["b", "LAB//GLU:mean"] == 10


MIXED = [
    ("a", -3, "LAB//GLU", 90.0, "mg/dL"),
    ("a", -4, "LAB//GLU", 95.0, "mg/dL"),
    ("b", -2, "LAB//GLU", 6.0, "mmol/L"),
    ("c", -2, "LAB//GLU", 7.0, None),
    ("d", -2, "LAB//HBA1C", 7.0, "%"),
    ("d", 5, "LAB//HBA1C", 50.0, "mmol/mol"),
]


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (
            {},
            "code 'LAB//GLU' has 1 values of 1 subjects in no unit; code 'LAB//GLU' has 2 values of 1 subjects in "
            "mg/dL; code 'LAB//GLU' has 1 values of 1 subjects in mmol/L: values in several units",
        ),
        ({"unit": "mmol/L"}, "code 'LAB//GLU' has 2 values of 1 subjects in mg/dL: the block knows 'mmol/L' alone"),
        (
            {"unit": "g/L", "convert": {"mg/dl": 0.01, "mmol/L": 0.18}},
            "in mg/dL: the block knows 'g/L', 'mg/dl', 'mmol/L' alone",
        ),
        ({"by_code": True, "minimum_subjects": 1}, "'LAB//GLU'"),
        ({"codes": ["LAB//HBA1C", "LAB//GLU$"]}, "code 'LAB//HBA1C' has 1 values of 1 subjects in %"),
    ],
)
def test_mixed_units_stop_the_run(tmp_path, block, told):
    write(tmp_path, MIXED)
    with pytest.raises(DataError, match=r"events\.parquet, column unit") as error:
        make(tmp_path, {"codes": ["LAB//GLU"], "aggregates": ["last", "count"], **block})
    assert told in str(error.value)
    assert "`convert`" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "subjects.parquet"]


def test_units_matter_only_where_values_do(tmp_path):
    write(tmp_path, MIXED)
    frame, columns = make(tmp_path, {"codes": ["LAB//GLU"], "aggregates": ["count", "ever", "time_since"]})
    assert frame["LAB//GLU:count"].tolist() == [2, 1, 1, 0]
    assert columns["LAB//GLU:time_since"].unit == "days"
    # Units after the index time, and of codes that too few have, are not looked at.
    few = {"codes": ["LAB//"], "by_code": True, "aggregates": ["last"], "minimum_subjects": 1}
    write(tmp_path, MIXED[-2:])
    assert make(tmp_path, few)[1]["LAB//HBA1C:last"].unit == "%"


def test_implausible_values_are_events_without_a_value(tmp_path, caplog):
    events = [
        ("a", -3, "VITAL//SBP", 120.0),
        ("a", -2, "VITAL//SBP", 1200.0),
        ("b", -2, "VITAL//SBP", 0.0),
        ("c", -2, "VITAL//SBP", 60.0),
        ("c", -400, "VITAL//SBP", -5.0),
        ("d", -2, "VITAL//SBP", 250.0),
    ]
    write(tmp_path, events)
    block = {"codes": ["VITAL//SBP"], "name": "sbp", "aggregates": ["last", "count"], "range": (60, 250), "window": 365}
    with caplog.at_level("INFO", logger="riskweave"):
        frame, columns = make(tmp_path, block)
    assert listed(frame["sbp:last@365d"]) == [120, None, 60, 250]
    assert frame["sbp:count@365d"].tolist() == [2, 1, 1, 1]
    assert columns["sbp:last@365d"].implausible == 2
    assert columns["sbp:count@365d"].implausible is None
    assert columns["sbp:last@365d"].description.endswith("values within 60 to 250")
    assert "sbp: 2 values outside 60 to 250 are left out" in caplog.text
    # After conversion: the range is in `unit`.
    converted, _ = make(tmp_path, block | {"range": (8, 33.4), "unit": "kPa", "convert": {"": 0.1333}})
    np.testing.assert_allclose(converted["sbp:last@365d"], [15.996, np.nan, np.nan, 33.325], rtol=1e-6)


def test_categories(tmp_path):
    events = [
        ("a", -300, "SMOKING//CURRENT"),
        ("a", -3, "SMOKING//FORMER"),
        ("b", -3, "SMOKING", None, None, "never"),
        ("b", -3, "SMOKING", None, None, "current "),
        ("c", None, "SMOKING//NEVER"),
        ("c", 1, "SMOKING//CURRENT"),
        ("d", -3, "SMOKING"),
    ]
    write(tmp_path, events)
    block = {"codes": ["SMOKING"], "name": "smoking", "aggregates": ["category", "count"]}
    for chunk in (1, 1000):
        frame, columns = make(tmp_path, block, chunk_events=chunk)
        # b: two of one instant, the last in the alphabet; d: neither text nor a rest of the code.
        assert listed(frame["smoking:category"]) == ["FORMER", "never", "NEVER", None]
        assert frame["smoking:count"].tolist() == [2, 2, 1, 1]
        assert columns["smoking:category"].kind == "categorical"
    windowed, _ = make(tmp_path, block | {"windows": [100, None]})
    assert listed(windowed["smoking:category@100d"]) == ["FORMER", "never", None, None]
    with pytest.raises(DataError, match="would be missing for all 4 subjects: smoking:category"):
        make(tmp_path, block | {"codes": ["SMOKING//CURRENT$"]})


def test_treatments_and_scores_as_feature_sets_of_those_who_have_them(tmp_path):
    events = [
        ("a", -300, "ATC//C10AA05"),
        ("a", -20, "ATC//C10AA05"),
        ("b", -50, "ATC//B01AC06"),
        ("c", 50, "ATC//C10AA05"),
        ("d", -5, "LAB//GLU", 5.0),
    ]
    subjects = pd.DataFrame({"subject_id": list("abcd"), "person_id": list("abcd"), "index_time": INDEX})
    subjects["prs_cad"] = [np.nan, 0.3, -1.1, np.nan]
    write(tmp_path, events, subjects=subjects)
    drugs = {
        "codes": ["ATC//C10"],
        "name": "statins",
        "aggregates": ["ever", "count", "time_since"],
        "windows": [90, 365],
    }
    frame, _ = make(tmp_path, drugs)
    assert frame["statins:count@365d"].tolist() == [2, 0, 0, 0]
    assert listed(frame["statins:time_since@90d"]) == [20, None, None, None]
    measured, _ = make(tmp_path, drugs, rows="measured")
    assert list(measured.index) == ["a"]
    score, _ = make(tmp_path, static=["prs_cad"], rows="measured")
    assert score["prs_cad"].to_dict() == {"b": 0.3, "c": -1.1}
    both, _ = make(tmp_path, drugs, static=["prs_cad"], rows="measured")
    assert list(both.index) == ["a", "b", "c"]


def test_each_subject_of_a_person_has_its_own_history(tmp_path):
    subjects = pd.DataFrame(
        {
            "subject_id": ["p1@1", "p1@2", "p10@1", "p10@2", "q"],
            "person_id": ["p1", "p1", "p10", "p10", "q"],
            "index_time": [INDEX - pd.Timedelta(days=days) for days in (100, 0, 100, 0, 0)],
        }
    )
    events = [
        ("p1", -150, "LAB//A", 1.0),
        ("p1", -50, "LAB//A", 2.0),
        ("p10", -50, "LAB//A", 5.0),
        ("q", -1, "LAB//A", 7.0),
    ]
    for chunk in (1, 1000):
        write(tmp_path, events, subjects=subjects)
        frame, _ = make(tmp_path, {"codes": ["LAB//A"], "aggregates": ["last", "time_since"]}, chunk_events=chunk)
        # As text "p10@1" comes before "p1@1", though "p1" comes before "p10".
        assert list(frame.index) == ["p10@1", "p10@2", "p1@1", "p1@2", "q"]
        assert listed(frame["LAB//A:last"]) == [None, 5, 1, 2, 7]
        assert listed(frame["LAB//A:time_since"]) == [None, 50, 50, 50, 1]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder, rng, n = tmp_path_factory.mktemp("many"), np.random.default_rng(5), 15_000
    people = [f"{number:04d}" for number in range(700)]
    codes = rng.choice(["LAB//A", "LAB//B", *(f"DX//{number:02d}" for number in range(40))], n)
    lab = np.char.startswith(codes.astype(str), "LAB")
    frame = pd.DataFrame(
        {
            "subject_id": rng.choice(people, n),
            "time": (INDEX - pd.to_timedelta(rng.integers(0, 2000, n), "D")).astype("datetime64[us]"),
            "code": codes,
            "numeric_value": np.where(lab, rng.lognormal(3, 2, n), np.nan).astype("float32"),
            "text_value": None,
            "unit": np.where(lab, rng.choice(["x", "y"], n), None),
        }
    )
    write_table(frame, folder / "events.parquet", EVENTS)
    subjects = pd.DataFrame({"subject_id": people, "person_id": people, "index_time": INDEX})
    write_table(subjects.assign(followup_end=pd.NaT), folder / "subjects.parquet", SUBJECTS)
    return folder


def test_the_same_bytes_whatever_the_threads_and_chunks(many):
    blocks = [
        {"codes": ["LAB//"], "name": "labs", "aggregates": ["mean", "sd", "slope", "last"], "windows": [365, None],
         "unit": "x", "convert": {"y": 0.37}},
        {"codes": ["DX//"], "by_code": True, "aggregates": ["ever", "category"]},
        {"codes": ["DX//0"], "aggregates": ["category"]},
    ]  # fmt: skip
    history = [{"codes": ["DX//"], "aggregate": "count"}]
    digests = set()
    for threads, chunk in ((1, 10**9), (2, 10**9), (3, 7000), (1, 333)):
        make(many, *blocks, history=history, threads=threads, chunk_events=chunk)
        digests.add(hashlib.sha256((many / "features.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert pq.read_metadata(many / "features.parquet").num_rows == 700
    assert sorted(path.name for path in many.iterdir()) == ["events.parquet", "features.parquet", "subjects.parquet"]


def test_wide_tables_are_written_in_several_row_groups(many, monkeypatch):
    block = {"codes": ["DX//", "LAB//"], "by_code": True, "aggregates": ["count"]}
    whole, _ = make(many, block)
    monkeypatch.setattr("riskweave.modalities.ehr.table._CELLS", 100 * whole.shape[1])
    parts, _ = make(many, block)
    assert pq.read_metadata(many / "features.parquet").num_row_groups == 7
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)
    events = pd.read_parquet(many / "events.parquet")
    expected = pd.crosstab(events["subject_id"], events["code"]).reindex(whole.index, fill_value=0)
    np.testing.assert_array_equal(whole.to_numpy(), expected.to_numpy())


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("DX//0$", "no event at or before the index time has a code that is 'DX//0'"),
        ("DXX//", "starts with 'DXX//'. Did you mean 'DX//"),
    ],
)
def test_patterns_that_match_nothing(many, pattern, told):
    with pytest.raises(DataError) as error:
        make(many, {"codes": [pattern], "aggregates": ["ever"]})
    assert told in str(error.value)


def test_a_window_without_any_event_is_an_error(tmp_path):
    write(tmp_path, [("a", -50, "DX//1")])
    with pytest.raises(DataError, match="anybody has in the 30 days up to the index time"):
        make(tmp_path, {"codes": ["DX//1"], "aggregates": ["ever"], "windows": [30, 365]})

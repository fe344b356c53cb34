"""The people of a study as patients of a bundle: what the pipeline counts of their events, and nothing older."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.tables import EVENTS, SUBJECTS, write_table
from riskweave.deployment import patients
from riskweave.deployment.patients import Source, patients_of
from riskweave.modalities.ehr.aggregates import VALUED
from riskweave.study.deployment import _VALUED
from riskweave.study.ehr import EventFeatures

INDEX = pd.Timestamp("2020-06-01 12:00")
BLOCKS = [
    EventFeatures(
        codes=["LAB//K$"], aggregates=["last"], unit="mmol/L", convert={"mg/dL": 0.25, "": 2.0}, range=(2, 8)
    ),
    EventFeatures(codes=["LAB//NA"], aggregates=["mean"], window=30),
]
SCHEMA = {
    "inputs": [
        {"name": "age", "kind": "number"},
        {"name": "site", "kind": "category", "categories": [{"name": "a"}, {"name": "other"}]},
        {"name": "LAB//K", "kind": "events", "codes": ["LAB//K$"], "window": None},
        {"name": "LAB//NA", "kind": "events", "codes": ["LAB//NA"], "window": 30},
        {"name": "stay", "kind": "events", "codes": ["LAB//NA//2", "ICD10//I"], "window": 365},
    ]
}
EVERYTHING = [
    ("p1", 3, "LAB//K", 4.0, "mmol/L"),
    ("p1", 5000, "LAB//K", 20.0, "mg/dL"),
    ("p1", 7, "LAB//K", 3.0, None),  # 6 mmol/L
    ("p1", 8, "LAB//K", 5.0, None),  # 10 mmol/L
    ("p1", 4, "LAB//K", 40.0, "mg/dL"),  # 10 mmol/L
    ("p1", None, "LAB//K", 5.0, "mmol/L"),
    ("p1", 29.5, "LAB//NA//1", 140.0, None),
    ("p1", 30, "LAB//NA//1", 141.0, None),
    ("p1", 300, "LAB//NA//2", 142.0, None),
    ("p1", None, "LAB//NA//1", 143.0, None),
    ("p1", -1, "LAB//K", 4.5, "mmol/L"),
    ("p1", 2, "LAB//KX", 4.0, "mmol/L"),
    ("p3", 1, "ICD10//I10", None, None),
    ("p3", 366, "ICD10//I10", None, None),
]


def write(folder, rows, subjects):
    table = pd.DataFrame(rows, columns=["subject_id", "days", "code", "numeric_value", "unit"])
    table["time"] = INDEX - pd.to_timedelta(table["days"].astype(float), unit="D")
    table["text_value"] = None
    write_table(table.drop(columns="days"), folder / "events.parquet", EVENTS)
    write_table(subjects, folder / "subjects.parquet", SUBJECTS)
    return Source(folder / "subjects.parquet", folder / "events.parquet", None, None, {}, BLOCKS)


@pytest.fixture
def source(tmp_path):
    names = ["p1", "p2", "p3"]
    subjects = {"subject_id": names, "person_id": names, "index_time": INDEX, "followup_end": pd.NaT}
    return write(
        tmp_path, EVERYTHING, pd.DataFrame({**subjects, "age": [61.0, np.nan, 55.0], "site": ["a", "rare", None]})
    )


def read(source, names=("p1", "p2", "p3")):
    return {name: patient for name, patient, *_ in patients_of(SCHEMA, source, pd.Index(names))}


def test_events_are_those_that_the_pipeline_counts(source):
    found = read(source)
    events = {
        (each["code"], each["days_before"]): (each.get("value"), each.get("unit")) for each in found["p1"]["events"]
    }
    assert events == {
        ("LAB//K", 3.0): (4.0, "mmol/L"),
        ("LAB//K", 5000.0): (20.0, "mg/dL"),
        ("LAB//K", 7.0): (6.0, ""),  # as the block converts it: without a unit a bundle reads its own
        ("LAB//K", 8.0): (None, None),  # implausible: an event without a value
        ("LAB//K", 4.0): (None, None),
        ("LAB//K", None): (5.0, "mmol/L"),
        ("LAB//NA//1", 29.5): (140.0, ""),
        ("LAB//NA//2", 300.0): (142.0, ""),  # too old for one input, not for the other
    }
    assert found["p2"]["events"] == []
    assert [(each["code"], each["days_before"]) for each in found["p3"]["events"]] == [("ICD10//I10", 1.0)]


def test_values_are_those_that_a_user_can_give(source):
    found = read(source)
    assert found["p1"]["values"] == {"age": 61.0, "site": "a"}
    assert found["p2"]["values"] == {"site": "other"}
    assert found["p3"]["values"] == {"age": 55.0}


def test_some_subjects_can_be_asked_for(source):
    assert list(read(source, ["p3"])) == ["p3"]


def test_people_come_in_order_however_many_events_are_read_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        (f"p{rng.integers(0, 60):02}", float(rng.integers(0, 4000)), rng.choice(["LAB//K", "LAB//NA//1"]), 4.0, None)
        for _ in range(900)
    ]
    # Two index times of each person.
    names = [f"p{number:02}.{time}" for number in range(60) for time in (1, 2)]
    index = [INDEX - pd.Timedelta(days=1000 * (name[-1] == "1")) for name in names]
    subjects = pd.DataFrame(
        {"subject_id": names, "person_id": [name[:3] for name in names], "index_time": index, "followup_end": pd.NaT}
    )
    source = write(tmp_path, rows, subjects.assign(age=1.0, site="a"))
    schema = {"inputs": SCHEMA["inputs"][:4]}
    at_once = list(patients_of(schema, source, pd.Index(names)))
    monkeypatch.setattr(patients, "EVENTS_AT_ONCE", 40)
    assert list(patients_of(schema, source, pd.Index(names))) == at_once
    assert [name for name, *_ in at_once] == sorted(names)
    expected = sum(
        days >= 1000 * (time == 1) and (code == "LAB//K" or days - 1000 * (time == 1) < 30)
        for _, days, code, *_ in rows
        for time in (1, 2)
    )
    assert sum(len(patient["events"]) for _, patient, *_ in at_once) == expected


def test_the_study_and_the_pipeline_mean_the_same_aggregates():
    assert _VALUED == VALUED

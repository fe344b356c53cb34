"""Several index times of a person stay in one fold and one role."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.folds import assign_folds, divide_everybody
from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, read_metadata, read_table, write_table
from riskweave.errors import DataError
from riskweave.study.cohort import Folds

PEOPLE = 300


@pytest.fixture
def visits(tmp_path):
    """Write people with one to six index times and an outcome of each; return the subjects."""
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 7, PEOPLE)
    person = np.repeat([f"p{i:03d}" for i in range(PEOPLE)], counts)
    number = np.concatenate([np.arange(1, count + 1) for count in counts]).astype(str)
    subjects = pd.DataFrame({
        "subject_id": np.char.add(np.char.add(person, "@"), number),
        "person_id": person,
        "index_time": pd.Timestamp("2020-01-01"),
        "followup_end": pd.Timestamp("2022-01-01"),
        "centre": np.repeat(rng.choice(list("abcdefghijklmnop"), PEOPLE), counts),
        "ward": rng.choice(list("xyz"), len(person)),
    })  # fmt: skip
    write_table(subjects, tmp_path / "subjects.parquet", SUBJECTS)
    event = rng.choice([0, 1, 2], len(person), p=[0.8, 0.15, 0.05])
    outcome = pd.DataFrame({"subject_id": subjects["subject_id"], "endpoint": "mi", "time": 5.0, "event": event})
    write_table(outcome.sample(frac=0.9, random_state=1), tmp_path / "outcomes.parquet", OUTCOMES)
    return subjects.assign(event=event)


def divide(tmp_path, **settings):
    paths = {name: tmp_path / f"{name}.parquet" for name in ("subjects", "outcomes")}
    assign_folds(**paths, folds=Folds(**settings), output=tmp_path / "folds.parquet")
    return read_table(tmp_path / "folds.parquet", FOLDS)


@pytest.mark.parametrize("settings", [{}, {"strategy": "group", "group": "centre", "count": 4}])
def test_a_person_has_one_role_in_each_fold(tmp_path, visits, settings):
    folds = divide(tmp_path, **settings).merge(visits, on="subject_id")
    assert len(folds) == len(visits) * settings.get("count", 5)
    assert folds.groupby(["fold", "person_id"])["role"].nunique().max() == 1
    tests = folds[folds["role"] == "test"]
    assert tests.groupby("person_id")["fold"].nunique().max() == 1
    assert sorted(tests["subject_id"]) == sorted(visits["subject_id"])
    if settings:
        assert tests.groupby("centre")["fold"].nunique().max() == 1


def test_people_with_the_event_are_balanced(tmp_path, visits):
    at_risk = read_table(tmp_path / "outcomes.parquet", OUTCOMES).set_index("subject_id")["event"]
    had = visits["subject_id"].map(at_risk).eq(1).groupby(visits["person_id"]).any()
    tests = divide(tmp_path, count=5).query("role == 'test'").merge(visits, on="subject_id")
    by_fold = tests.drop_duplicates("person_id").groupby("fold")["person_id"].agg(lambda ids: had[ids].sum())
    assert by_fold.max() - by_fold.min() <= 1


def test_a_person_in_two_groups_is_refused(tmp_path, visits):
    mixed = visits.groupby("person_id")["ward"].nunique().gt(1).sum()
    with pytest.raises(DataError, match=rf"{mixed} of {PEOPLE} people have subjects in several groups \(column ward"):
        divide(tmp_path, strategy="group", group="ward", count=2)


def final(tmp_path, **settings):
    """Return the division for a final fit, and how its validation rows were drawn."""
    paths = {name: tmp_path / f"{name}.parquet" for name in ("subjects", "outcomes")}
    divide_everybody(**paths, folds=Folds(**settings), validation=0.2, output=tmp_path / "final.parquet")
    drawn_by = read_metadata(tmp_path / "final.parquet")["validation"]
    return read_table(tmp_path / "final.parquet", FOLDS), drawn_by


def test_a_final_fit_holds_out_whole_groups_where_the_folds_do(tmp_path, visits):
    folds, drawn_by = final(tmp_path, strategy="group", group="centre", count=4)
    merged = folds.merge(visits, on="subject_id")
    assert drawn_by == "group"
    assert sorted(merged["subject_id"]) == sorted(visits["subject_id"])
    assert merged.groupby("centre")["role"].nunique().max() == 1
    assert set(merged["role"]) == {"train", "validation"}
    held_out = merged.drop_duplicates("person_id")["role"].eq("validation").mean()
    assert 0.1 < held_out < 0.3
    assert merged[merged["event"] == 1].groupby("role").size().min() > 0


def test_a_final_fit_of_two_large_groups_holds_out_people(tmp_path, visits):
    halves = visits.assign(centre=np.where(visits["centre"] < "i", "north", "south"))
    write_table(halves.drop(columns="event"), tmp_path / "subjects.parquet", SUBJECTS)
    folds, drawn_by = final(tmp_path, strategy="group", group="centre", count=2)
    assert drawn_by == "stratified"
    merged = folds.merge(halves, on="subject_id")
    assert merged.groupby("person_id")["role"].nunique().max() == 1
    assert merged.groupby("centre")["role"].nunique().min() == 2

"""Several index times of a person stay in one fold and one role."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.folds import assign_folds
from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, read_table, write_table
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

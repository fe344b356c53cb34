"""Outcomes, attrition and folds against calculations by hand."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.attrition import Step, read_attrition, write_attrition
from riskweave.cohort.folds import assign_folds
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.tables import EVENTS, FOLDS, OUTCOMES, SUBJECTS, read_metadata, read_table, write_table
from riskweave.study.cohort import CodesEndpoint, ColumnsEndpoint, Folds

INDEX = pd.Timestamp("2020-01-01")


def days(number) -> pd.Timestamp:
    return INDEX + pd.Timedelta(days=number)


def write_cohort(tmp_path, people: dict[str, tuple], **columns) -> None:
    """Write subjects (id: end of follow-up in days, then (code, day) pairs)."""
    ends = [days(end[0]) if end[0] is not None else pd.NaT for end in people.values()]
    subjects = pd.DataFrame({"subject_id": list(people), "person_id": list(people), "index_time": INDEX})
    subjects = subjects.assign(followup_end=ends, **columns)
    write_table(subjects, tmp_path / "subjects.parquet", SUBJECTS)
    write_attrition([Step("subjects", "All", 0, len(people), len(people))], tmp_path / "selected.csv")
    rows = [(name, days(day), code, None, None, None) for name, (_, *events) in people.items() for code, day in events]
    events = pd.DataFrame(rows, columns=EVENTS.columns.names)
    write_table(events, tmp_path / "events.parquet", EVENTS)


def define(tmp_path, endpoint) -> tuple[dict, pd.DataFrame]:
    define_outcomes(
        subjects=tmp_path / "subjects.parquet",
        events=tmp_path / "events.parquet",
        selected=tmp_path / "selected.csv",
        name="mi",
        endpoint=endpoint,
        outcomes=tmp_path / "outcomes.parquet",
        attrition=tmp_path / "attrition.csv",
    )
    outcome = read_table(tmp_path / "outcomes.parquet", OUTCOMES).set_index("subject_id")
    assert (outcome["endpoint"] == "mi").all()
    found = {
        name: (time, event) for name, time, event in zip(outcome.index, outcome["time"], outcome["event"], strict=True)
    }
    return found, pd.read_csv(tmp_path / "attrition.csv")


CODES = CodesEndpoint(kind="codes", target=["I21", "I22"], competing=["MEDS_DEATH", "TX"], horizons=[100])


def test_first_event_after_index_counts(tmp_path):
    write_cohort(
        tmp_path,
        {
            "censored": (500, ("I10", -5), ("I10", 40)),
            "target": (500, ("I21.9", 60), ("I22", 30), ("I21", 90)),
            "dies_first": (500, ("MEDS_DEATH", 50), ("I21", 60)),
            "dies_the_same_day": (500, ("MEDS_DEATH", 50), ("I21", 50.4)),
            "transplant_first": (500, ("TX", 20), ("MEDS_DEATH", 50)),
            "transplant_before": (500, ("TX", -20), ("MEDS_DEATH", 50)),
            "tie_of_competing": (500, ("TX", 50), ("MEDS_DEATH", 50)),
            "after_follow_up": (100, ("I21", 101)),
            "last_day": (100, ("I21", 100.5)),
            "prevalent": (500, ("I21", -3), ("I21", 100)),
            "prevalent_today": (500, ("I22", 0)),
            "later_the_same_day": (500, ("I22", 0.25)),
            "not_observed": (0, ("I21", 20)),
            "unknown_end": (None, ("I21", 20)),
            "ends_with_death": (None, ("MEDS_DEATH", 70), ("I21", 90)),
            "target_before_death": (None, ("I21", 60), ("MEDS_DEATH", 70)),
        },
    )
    found, attrition = define(tmp_path, CODES)
    assert found == {
        "censored": (500, 0),
        "target": (30, 1),
        "dies_first": (50, 2),
        "dies_the_same_day": (50.4, 1),
        "transplant_first": (20, 3),
        "transplant_before": (50, 2),
        "tie_of_competing": (50, 2),
        "after_follow_up": (100, 0),
        "last_day": (100.5, 1),
        "later_the_same_day": (0.25, 1),
        "ends_with_death": (70, 2),
        "target_before_death": (60, 1),
    }
    assert attrition["step"].tolist() == ["subjects", "observed", "free", "at_risk"]
    assert attrition["excluded"].tolist() == [0, 2, 2, 0]
    assert attrition["remaining"].tolist() == attrition["people"].tolist() == [16, 14, 12, 12]


def test_nobody_is_at_risk_after_death(tmp_path):
    """Death that the study does not count as competing still ends the observation."""
    write_cohort(tmp_path, {"a": (500, ("MEDS_DEATH", 50), ("I21", 60)), "b": (500, ("I21", 3)), "c": (500,)})
    found, _ = define(tmp_path, CodesEndpoint(kind="codes", target=["I21"], horizons=[100]))
    assert found == {"a": (50, 0), "b": (3, 1), "c": (500, 0)}


def test_deaths_that_count_as_censored_are_told(tmp_path, caplog):
    people = {
        "dies": (500, ("MEDS_DEATH//CV", 50)),
        "dies_without_end": (None, ("MEDS_DEATH", 70)),
        "dies_after_target": (500, ("I21", 3), ("MEDS_DEATH", 4)),
        "dies_after_follow_up": (100, ("MEDS_DEATH", 200)),
        "prevalent": (500, ("I21", -3), ("MEDS_DEATH", 4)),
        "transplant": (500, ("TX", 20), ("MEDS_DEATH", 50)),
    }
    write_cohort(tmp_path, people)
    found, _ = define(tmp_path, CodesEndpoint(kind="codes", target=["I21"], competing=["TX"], horizons=[100]))
    assert found["dies_without_end"] == (70, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "endpoints.mi.competing: 2 of 5 subjects at risk die" in caplog.text
    assert "add MEDS_DEATH to competing" in caplog.text
    caplog.clear()
    competing = ["TX", "MEDS_DEATH"]
    define(tmp_path, CodesEndpoint(kind="codes", target=["I21"], competing=competing, horizons=[50]))
    assert caplog.text == ""


def test_subjects_kept_because_they_died_are_told(tmp_path, caplog):
    people = {"a": (500, ("I21", 50)), "b": (None, ("MEDS_DEATH", 50)), "c": (None,), "d": (None,)}
    write_cohort(tmp_path, people)
    endpoint = CodesEndpoint(kind="codes", target=["I21"], competing=["MEDS_DEATH"], horizons=[50])
    found, _ = define(tmp_path, endpoint)
    assert found == {"a": (50, 1), "b": (50, 2)}
    assert (
        "column followup_end): of 3 subjects without a value 2 are excluded and the 1 who died are kept" in caplog.text
    )


def test_steps_of_the_selection_come_first(tmp_path):
    write_cohort(tmp_path, {"a": (500, ("I21", 50)), "b": (500,)})
    before = [Step("subjects", "All", 0, 5, 5), Step("index_time", "With an index time", 3, 2, 2)]
    write_attrition(before, tmp_path / "selected.csv")
    _, attrition = define(tmp_path, CodesEndpoint(kind="codes", target=["I21"], horizons=[100]))
    assert attrition["remaining"].tolist() == [5, 2, 2, 2, 2]
    assert read_attrition(tmp_path / "attrition.csv")[:2] == before


def test_unmatched_code_among_several_is_told(tmp_path, caplog):
    write_cohort(tmp_path, {"a": (500, ("I21", 50)), "b": (500,)})
    define(tmp_path, CodesEndpoint(kind="codes", target=["I21", "I99"], horizons=[100]))
    assert "'I99' matches no event" in caplog.text


def test_columns_endpoint(tmp_path):
    people = dict.fromkeys("abcd", (None,))
    write_cohort(tmp_path, people, years=[10.0, 0.0, 3.5, 400.0], died=[1, 1, 2, 0])
    endpoint = ColumnsEndpoint(kind="columns", time="years", event="died", horizons=[100])
    found, attrition = define(tmp_path, endpoint)
    assert found == {"a": (10, 1), "c": (3.5, 2), "d": (400, 0)}
    assert attrition["remaining"].tolist() == [4, 3, 3, 3]


def write_outcomes(tmp_path, *, count=400, at_risk=360, seed=0, centres=4):
    rng = np.random.default_rng(seed)
    ids = [f"s{number:04d}" for number in range(count)]
    subjects = pd.DataFrame(
        {
            "subject_id": ids,
            "person_id": ids,
            "index_time": INDEX,
            "followup_end": days(500),
            "centre": rng.choice([f"c{i}" for i in range(centres)], count),
        }
    )
    write_table(subjects, tmp_path / "subjects.parquet", SUBJECTS)
    outcome = pd.DataFrame({"subject_id": ids[:at_risk], "endpoint": "mi", "time": rng.uniform(1, 500, at_risk)})
    outcome["event"] = rng.choice([0, 1, 2], at_risk, p=[0.6, 0.3, 0.1]).astype("int8")
    write_table(outcome, tmp_path / "outcomes.parquet", OUTCOMES)
    return subjects.set_index("subject_id"), outcome.set_index("subject_id")


def divide(tmp_path, **settings) -> pd.DataFrame:
    output = tmp_path / "folds.parquet"
    arguments = {"subjects": tmp_path / "subjects.parquet", "outcomes": tmp_path / "outcomes.parquet"}
    assign_folds(**arguments, folds=Folds(**settings), output=output)
    return read_table(output, FOLDS)


def test_stratified_folds(tmp_path):
    subjects, outcome = write_outcomes(tmp_path)
    folds = divide(tmp_path, count=5, validation=0.25)
    assert (folds.groupby("subject_id")["fold"].nunique() == 5).all()
    tests = folds[folds["role"] == "test"]
    assert sorted(tests["subject_id"]) == sorted(subjects.index)  # each subject is tested once, at risk or not
    events = outcome["event"].reindex(subjects.index).fillna(-1)
    for event, members in events.groupby(events):
        per_fold = tests[tests["subject_id"].isin(members.index)]["fold"].value_counts()
        assert per_fold.max() - per_fold.min() <= 1, event
    for _, part in folds.groupby("fold"):
        rest = part[part["role"] != "test"].assign(event=lambda rows: rows["subject_id"].map(events))
        share = (rest["role"] == "validation").groupby(rest["event"]).mean()
        assert share.to_numpy() == pytest.approx(0.25, abs=0.03)


def test_same_seed_same_bytes(tmp_path):
    write_outcomes(tmp_path)
    contents = []
    for seed in (1, 1, 2):
        divide(tmp_path, seed=seed)
        contents.append((tmp_path / "folds.parquet").read_bytes())
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(("centres", "validation_by"), [(4, "stratified"), (24, "group")])
def test_groups_stay_together(tmp_path, centres, validation_by):
    subjects, outcome = write_outcomes(tmp_path, centres=centres)
    folds = divide(tmp_path, strategy="group", group="centre", count=4, validation=0.2)
    folds["centre"] = folds["subject_id"].map(subjects["centre"])
    for _, part in folds.groupby("fold"):
        groups = {role: set(rows["centre"]) for role, rows in part.groupby("role")}
        assert not groups["test"] & (groups["train"] | groups["validation"])
        assert bool(groups["train"] & groups["validation"]) == (validation_by == "stratified")
        share = (part["role"] == "validation").sum() / (part["role"] != "test").sum()
        assert share == pytest.approx(0.2, abs=0.1)
        for _, rows in part.groupby("role"):
            assert (rows["subject_id"].map(outcome["event"]) == 1).any()
    assert read_metadata(tmp_path / "folds.parquet")["validation"] == validation_by


def test_rare_competing_cause_does_not_stop_the_division(tmp_path):
    _, outcome = write_outcomes(tmp_path, at_risk=398)
    outcome["event"] = outcome["event"].where(outcome["event"] != 2, 0)
    outcome.iloc[0, outcome.columns.get_loc("event")] = 2
    write_table(outcome.reset_index(), tmp_path / "outcomes.parquet", OUTCOMES)
    folds = divide(tmp_path, count=5)
    assert len(folds) == 2000

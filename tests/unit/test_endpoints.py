"""Endpoints of the cohort language, by hand: time at risk, recurrence, causes of several codes, days to the event."""

# ruff: noqa: E501 - a case is one line, and the messages that it expects are sentences

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.attrition import Step, write_attrition
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.tables import EVENTS, OUTCOMES, SUBJECTS, read_table, write_table
from riskweave.errors import DataError
from riskweave.study.cohort import CodesEndpoint, DaysEndpoint

INDEX = pd.Timestamp("2020-01-01")


def day(number):
    return INDEX + pd.Timedelta(days=number)


def define(folder, endpoint, subjects, events=()):
    """Define outcomes of (subject, person, index day, last day) and events (person, code, day)."""
    rows = [(name, person, day(index), pd.NaT if end is None else day(end)) for name, person, index, end in subjects]
    frame = pd.DataFrame(rows, columns=SUBJECTS.columns.names)
    return define_frame(folder, endpoint, frame, events)


def define_frame(folder, endpoint, frame, events=()):
    frame = frame.assign(followup_end=pd.to_datetime(frame["followup_end"]).astype("datetime64[us]"))
    write_table(frame, folder / "subjects.parquet", SUBJECTS, {"where": "people.csv"})
    rows = [(person, day(number), code, None, None, None) for person, code, number in events]
    write_table(pd.DataFrame(rows, columns=EVENTS.columns.names), folder / "events.parquet", EVENTS)
    write_attrition([Step("subjects", "All", 0, len(frame), len(frame))], folder / "selected.csv")
    define_outcomes(
        subjects=folder / "subjects.parquet",
        events=folder / "events.parquet",
        selected=folder / "selected.csv",
        name="mi",
        endpoint=endpoint,
        outcomes=folder / "outcomes.parquet",
        attrition=folder / "attrition.csv",
    )
    made = read_table(folder / "outcomes.parquet", OUTCOMES)
    found = {row.subject_id: (row.time, row.event) for row in made.itertuples()}
    return found, pd.read_csv(folder / "attrition.csv").set_index("step")


def test_until_ends_the_time_at_risk(tmp_path):
    subjects = [(name, name, 0, 500) for name in "abcd"]
    events = [("a", "I21", 100), ("b", "I21", 100.5), ("c", "MEDS_DEATH", 200), ("d", "I21", 20)]
    endpoint = CodesEndpoint(kind="codes", target=["I21"], competing=["MEDS_DEATH"], horizons=[100], until=100)
    found, _ = define(tmp_path, endpoint, subjects, events)
    assert found == {"a": (100, 1), "b": (100, 0), "c": (100, 0), "d": (20, 1)}


def test_a_death_after_until_is_no_censored_death(tmp_path, caplog):
    endpoint = CodesEndpoint(kind="codes", target=["I21"], horizons=[50], until=100)
    define(tmp_path, endpoint, [("a", "a", 0, 500), ("b", "b", 0, 500)], [("a", "I21", 9), ("b", "MEDS_DEATH", 300)])
    assert caplog.text == ""


@pytest.mark.parametrize(("recurrent", "expected"), [(False, {"b": (50, 0)}), (True, {"a": (30, 1), "b": (50, 0)})])
def test_recurrent_events(tmp_path, recurrent, expected):
    endpoint = CodesEndpoint(kind="codes", target=["I21"], recurrent=recurrent, horizons=[20])
    people = [("a", "a", 0, 50), ("b", "b", 0, 50), ("c", "c", 0, 50)]
    events = [("a", "I21", -10), ("a", "I21", 30), ("c", "I21", 7)]
    found, steps = define(tmp_path, endpoint, people, events)
    assert found == expected | {"c": (7, 1)}
    assert steps.loc["free", "excluded"] == (0 if recurrent else 1)


def test_codes_in_brackets_are_one_cause_and_a_dollar_is_exact(tmp_path):
    endpoint = CodesEndpoint(kind="codes", target=["I21$"], competing=["TX", ["C34", "MEDS_DEATH"]], horizons=[10])
    subjects = [(name, name, 0, 90) for name in "abcde"]
    events = [("a", "I21", 5), ("b", "I21.4", 5), ("c", "C34.1", 6), ("d", "MEDS_DEATH", 7), ("e", "TX", 8)]
    found, _ = define(tmp_path, endpoint, subjects, events)
    assert found == {"a": (5, 1), "b": (90, 0), "c": (6, 3), "d": (7, 3), "e": (8, 2)}


def test_each_index_time_has_its_own_past_and_future(tmp_path):
    subjects = [("a@1", "a", 0, 400), ("a@2", "a", 100, 400), ("a@3", "a", 200, 400), ("b@1", "b", 50, 60)]
    events = [("a", "I21", 150), ("a", "I21", 300), ("b", "I21", 40)]
    first = CodesEndpoint(kind="codes", target=["I21"], horizons=[10])
    found, steps = define(tmp_path, first, subjects, events)
    assert found == {"a@1": (150, 1), "a@2": (50, 1)}
    assert steps.loc["at_risk", ["remaining", "people"]].tolist() == [2, 1]
    found, _ = define(tmp_path, first.model_copy(update={"recurrent": True}), subjects, events)
    assert found == {"a@1": (150, 1), "a@2": (50, 1), "a@3": (100, 1), "b@1": (10, 0)}


def test_death_of_one_cause_against_any_death(tmp_path):
    endpoint = CodesEndpoint(kind="codes", target=["MEDS_DEATH//CV"], competing=["MEDS_DEATH"], horizons=[5])
    events = [("a", "MEDS_DEATH//CV", 5), ("b", "MEDS_DEATH", 6)]
    found, _ = define(tmp_path, endpoint, [("a", "a", 0, 90), ("b", "b", 0, 90)], events)
    assert found == {"a": (5, 1), "b": (6, 2)}
    none_left = endpoint.model_copy(update={"target": ["MEDS_DEATH"], "competing": ["MEDS_DEATH//CV"]})
    with pytest.raises(DataError, match="all 1 codes of competing event 2 are codes of the target too"):
        define(tmp_path, none_left, [("a", "a", 0, 90), ("b", "b", 0, 90)], events)


def test_deaths_dated_to_the_index_day_come_after_the_index_time(tmp_path):
    """Index times at 10:00; six of nine deaths have the date of that day and no hour, as have ends of follow-up."""
    index, later = 10 / 24, 14 / 24 - 1e-6 / 86400
    subjects = [(f"s{i}", f"s{i}", index, 0 if i < 3 else None if i < 5 else 400) for i in range(10)]
    deaths = [(f"s{i}", "MEDS_DEATH", 0 if i < 6 else 20 + i) for i in range(9)]
    events = [*deaths, ("s0", "I21", 0.5), ("s9", "I21", 30)]
    expected = {f"s{i}": (pytest.approx(later, abs=1e-12), 1) for i in range(6)}
    expected |= {f"s{i}": (pytest.approx(20 + i - index), 1) for i in range(6, 9)} | {"s9": (400 - index, 0)}
    target = CodesEndpoint(kind="codes", target=["MEDS_DEATH"], horizons=[20])
    found, steps = define(tmp_path, target, subjects, events)
    assert found == expected
    assert steps["excluded"].tolist() == [0, 0, 0, 0]
    competing = CodesEndpoint(kind="codes", target=["I21"], competing=["MEDS_DEATH"], horizons=[20])
    infarctions = {"s0": (pytest.approx(2 / 24), 1), "s9": (pytest.approx(30 - index), 1)}
    found, _ = define(tmp_path, competing, subjects, events)
    assert found == {name: (time, 2 * event) for name, (time, event) in expected.items()} | infarctions
    censoring = CodesEndpoint(kind="codes", target=["I21"], horizons=[20])
    found, _ = define(tmp_path, censoring, subjects, events)
    assert found == {name: (time, 0) for name, (time, _) in expected.items()} | infarctions


def test_a_death_with_a_date_covers_its_day_among_competing_events(tmp_path):
    endpoint = CodesEndpoint(kind="codes", target=["I21"], competing=["MEDS_DEATH", "I63"], horizons=[5])
    subjects = [(name, name, 0, 90) for name in "abcde"]
    events = [
        *[("a", "MEDS_DEATH", 7), ("a", "I63", 7 + 10 / 24)],  # an hour comes before the day's end
        *[("b", "MEDS_DEATH", 7), ("b", "I63", 7)],  # two dates: the cause named first
        *[("c", "MEDS_DEATH", 7.5), ("c", "I63", 7.75)],
        *[("d", "MEDS_DEATH", 7), ("d", "I63", 7.25), ("d", "I21", 7.5)],
        ("e", "I21", 6),
    ]
    found, _ = define(tmp_path, endpoint, subjects, events)
    assert found == {"a": (7 + 10 / 24, 3), "b": (7, 2), "c": (7.5, 2), "d": (7.25, 3), "e": (6, 1)}


def people_with(days, **columns):
    """Return subjects with a column of days, all of one index time."""
    names = [f"s{i}" for i in range(len(days))]
    frame = pd.DataFrame({"subject_id": names, "person_id": names, "index_time": INDEX, "followup_end": pd.NaT})
    return frame.assign(survival=days, **columns)


DAYS = DaysEndpoint(kind="days", time="survival", none=[-1], start=2, until=30, horizons=[28])


def test_days_to_the_event(tmp_path):
    days = [-1, np.nan, 1, 2, 3, 32, 32.5, 400]
    found, steps = define_frame(tmp_path, DAYS, people_with(days))
    assert found == {"s0": (30, 0), "s1": (30, 0), "s4": (1, 1), "s5": (30, 1), "s6": (30, 0), "s7": (30, 0)}
    assert steps["excluded"].tolist() == [0, 0, 2, 0]
    found, _ = define_frame(tmp_path, DAYS.model_copy(update={"start": None}), people_with(days))
    assert found["s2"] == (1, 1)
    assert found["s4"] == (3, 1)


def test_days_end_with_the_follow_up_where_it_is_known(tmp_path):
    frame = people_with([10, 20, -1, -1, 5])
    frame = frame.assign(followup_end=[day(9), day(12), day(7), pd.NaT, day(0)])
    found, steps = define_frame(tmp_path, DAYS, frame)
    # s0: day 10 of the column is day 8; s1: day 18 is after the last contact; s4 is not observed at all.
    assert found == {"s0": (8, 1), "s1": (12, 0), "s2": (7, 0), "s3": (30, 0)}
    assert steps.loc["observed", "excluded"] == 1


@pytest.mark.parametrize(
    ("days", "changes", "expected"),
    [
        ([5, -1, -9], {}, "people.csv, column survival: 1 of 3 subjects have negative days to the event (endpoints.mi.time names the column). If a negative number means no event, name it in endpoints.mi.none"),
        ([5, 7, 9], {}, "all 3 subjects have the event (endpoints.mi.time names the column). Name the numbers that mean no event in endpoints.mi.none"),
        ([5, np.inf, -1], {}, "1 of 3 subjects have infinitely many days"),
        (["5", "never", "-1"], {}, "1 of 3 rows are no number (endpoints.mi.time names the column)"),
        ([5, 7, -1], {"time": "survial"}, "there is no column 'survial', which endpoints.mi.time names"),
        ([1, 2, -1], {}, "endpoints.mi: 0 of the 1 subjects at risk have the target event"),
    ],
)  # fmt: skip
def test_days_refused(tmp_path, days, changes, expected):
    with pytest.raises(DataError) as caught:
        define_frame(tmp_path, DAYS.model_copy(update=changes), people_with(days))
    assert expected in str(caught.value)

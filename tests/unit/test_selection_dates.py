"""What the selection makes of dates without an hour, of birthdays, and of ends of follow-up; all by hand."""

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from reference_selection import Person
from test_cohort_selection import day, person, select, write_people

from riskweave.cohort.attrition import write_attrition
from riskweave.cohort.codes import matches
from riskweave.cohort.history import History, open_history
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.tables import OUTCOMES, read_table
from riskweave.cohort.times import age_at, birthday
from riskweave.errors import DataError
from riskweave.study.cohort import CodesEndpoint

LAB = "LAB//CREA"


def at(*events, index=None, name="a"):
    """Return a person; events are (time, code, value)."""
    made = [(time, code, value, None) for time, code, value in events]
    return Person(name, {"index_time": index, "followup_end": day(3000)}, made)


def met(folder, people, window, *, count=1, index=None):
    """Return who meets a criterion on laboratory values; one person always does."""
    always = at(*[(None, LAB, 1.0)] * 2, (day(-900), LAB, 1.0), (day(-800), "VISIT", None), index=day(0), name="z")
    always.events += [(day(-900 + n, 12), LAB, 1.0, None) for n in range(950)]
    write_people(folder, [*people, always])
    population = {"include": [{"name": "lab", "codes": [LAB], "window": window, "count": count}]}
    table, _ = select(folder, population | ({"index": index} if index else {}))
    return [name for name in table.index if not name.startswith("z")]


VISITS = {"at": "every_event", "codes": ["VISIT"]}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("index", [None, VISITS], ids=["one", "several"])
def test_a_date_on_the_day_of_an_index_time_with_an_hour_meets_nothing(tmp_path, count, index):
    noon, name = day(0, 12), "a" if index is None else "a@1"
    times = {"same day": day(0), "hour before": day(0, 11), "same instant": noon, "day before": day(-1)}
    for what, time in times.items():
        one = at(*[(time, LAB, 1.0)] * count, (noon, "VISIT", None), (day(40), "VISIT", None), index=noon)
        expected = [] if what == "same day" else [name]
        # Each end, and whether the window is open or closed, is a statement of its own.
        assert [n for n in met(tmp_path, [one], [-5, 0], count=count, index=index) if n == name] == expected, what
        assert [n for n in met(tmp_path, [one], [None, 0], count=count, index=index) if n == name] == expected, what


@pytest.mark.parametrize("index", [None, VISITS], ids=["one", "several"])
def test_a_date_is_in_the_history_of_a_midnight_and_of_later_days(tmp_path, index):
    first = at((day(0), LAB, 1.0), (day(0), "VISIT", None), (day(1, 9), "VISIT", None), index=day(0))
    assert met(tmp_path, [first], [-1.5, 0], index=index) == (["a"] if index is None else ["a@1", "a@2"])


def test_the_end_of_a_window_before_the_index_time_is_read_alike(tmp_path):
    dated, timed = (
        at((time, LAB, 1.0), index=day(30, 12), name=name) for time, name in ((day(0), "a"), (day(0, 11), "b"))
    )
    assert met(tmp_path, [dated, timed], [None, -30]) == ["b"]
    assert met(tmp_path, [dated, timed], [-31, -29]) == ["a", "b"]


def test_the_last_event_in_a_window_is_found_behind_a_date_of_its_day(tmp_path):
    """The date comes before 18:00 of its day, though it ends later: 18:00 is what the window's start is asked of."""
    one = at((day(0), LAB, 1.0), (day(0, 18), LAB, 1.0), (day(2, 12), "VISIT", None), (day(60), "VISIT", None))
    assert met(tmp_path, [one], [-2, 0], index=VISITS) == ["a@1"]


@pytest.mark.parametrize("index", [None, VISITS], ids=["one", "several"])
def test_a_derived_column_is_not_read_from_a_date_of_the_index_day(tmp_path, index):
    visits = [(day(0, 12), "VISIT", None), (day(3), "VISIT", None)]
    people = [
        at((day(-1, 8), LAB, 1.5), (day(0), LAB, 9.0), *visits, index=day(0, 12), name="a"),
        at((None, LAB, 0.5), (day(0), LAB, 9.0), *visits, index=day(0, 12), name="b"),
        at((day(0), LAB, 2.0), (day(0, 12), LAB, 3.0), *visits, index=day(0, 12), name="c"),
        at((day(0), LAB, 4.0), (day(0), "VISIT", None), (day(3), "VISIT", None), index=day(0), name="d"),
    ]
    write_people(tmp_path, people)
    columns = {"lab": {"codes": [LAB], "take": "number"}}
    table, _ = select(tmp_path, {"columns": columns} | ({"index": index} if index else {}))
    first = table["lab"] if index is None else table["lab"].filter(like="@1")
    assert first.tolist() == [1.5, 0.5, 3.0, 4.0]
    if index:  # three days later the date is known
        assert table["lab"].filter(like="@2").tolist() == [9.0, 9.0, 3.0, 4.0]


@pytest.mark.parametrize("index", [{"at": "date", "date": "2020-01-01"}, {"at": "age", "years": 40}])
def test_nobody_is_at_risk_before_anybody_observes_them(tmp_path, index):
    birth = (dt.datetime(1980, 1, 1), "MEDS_BIRTH", None)
    people = [
        at(birth, (day(-5), LAB, 1.0), name="before"),
        at(birth, (day(0), LAB, 1.0), name="same"),
        at(birth, (day(0, 1), LAB, 1.0), name="hour"),
        at(birth, (day(700), LAB, 1.0), name="late"),
        at(birth, (day(700), "MEDS_DEATH", None), name="dead"),
        at(birth, name="never"),
    ]
    write_people(tmp_path, people)
    table, steps = select(tmp_path, {"index": index})
    assert table.index.tolist() == ["before", "same"]
    assert [(step.step, step.excluded) for step in steps if step.step == "entry"] == [("entry", 4)]


def test_without_dated_events_nobody_has_to_enter(tmp_path):
    birth, death = (dt.datetime(1980, 1, 1), "MEDS_BIRTH", None), (day(9), "MEDS_DEATH", None)
    write_people(tmp_path, [at(birth, (None, "SEX//F", None)), at(birth, death, name="b")])
    table, steps = select(tmp_path, {"index": {"at": "date", "date": "2020-01-01"}})
    assert len(table) == 2
    assert "entry" not in [step.step for step in steps]


def outcomes_within(folder, people, days):
    write_people(folder, people)
    _, steps = select(folder, {"followup": {"days": days}})
    write_attrition(steps, folder / "selected.csv")
    define_outcomes(
        subjects=folder / "made" / "subjects.parquet",
        events=folder / "events.parquet",
        selected=folder / "selected.csv",
        name="mi",
        endpoint=CodesEndpoint(kind="codes", target=["MI"], horizons=[5]),
        outcomes=folder / "outcomes.parquet",
        attrition=folder / "attrition.csv",
    )
    return read_table(folder / "outcomes.parquet", OUTCOMES).set_index("subject_id")


def test_days_of_follow_up_end_at_an_instant(tmp_path):
    hours = {"a": 9.6, "b": 0, "c": -1}
    people = [person(name, (365 + hour / 24, "MI"), followup_end=day(900)) for name, hour in hours.items()]
    # With an hour the limit comes in the middle of the last contact's day.
    noon = {"index_time": day(0, 12), "followup_end": day(365)}
    people += [person("d", (365.75, "MI"), **noon), person("e", (365.25, "MI"), **noon)]
    found = outcomes_within(tmp_path, people, 365)
    assert found["event"].to_dict() == {"a": 0, "b": 1, "c": 1, "d": 0, "e": 1}
    assert found["time"].tolist() == pytest.approx([365, 365, 365 - 1 / 24, 365, 364.75], abs=1e-9)


def test_a_value_that_few_people_have_is_no_hint(tmp_path):
    people = [person(f"p{n}", (-1, "X"), site="north") for n in range(10)]
    people += [person(f"q{n}", (-1, "X"), site="noort clinic of one family") for n in range(9)]
    write_people(tmp_path, people)

    def hint(value):
        criterion = {"name": "x", "column": "site", "values": {"equals": [value]}}
        with pytest.raises(DataError) as caught:
            select(tmp_path, {"include": [criterion]})
        return str(caught.value)

    assert "The column holds text of 2 different values. Did you mean 'north'?" in hint("nort")
    assert hint("noort clinic of one famly").endswith("The column holds text of 2 different values.")


def test_a_value_of_many_visits_of_one_person_is_no_hint(tmp_path):
    visits = [(n, "VISIT") for n in range(20)]
    write_people(tmp_path, [person("a", *visits, site="north"), person("b", *visits, site="south")])
    criterion = {"name": "x", "column": "site", "values": {"equals": ["nort"]}}
    with pytest.raises(DataError) as caught:
        select(tmp_path, {"index": VISITS, "include": [criterion]})
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("index", [None, {"at": "column"}, {"at": "column", "offset": 3}])
def test_negative_follow_up_is_refused_where_the_source_has_both_times(tmp_path, index):
    write_people(tmp_path, [person("a", (-5, "X")), person("b", (-5, "X"), followup_end=day(-1))])
    with pytest.raises(DataError) as caught:
        select(tmp_path, {"index": index})
    expected = "for 1 of 2 subjects the follow-up ends before the index time (negative follow-up). Correct the dates"
    assert f"people.csv, column followup_end: {expected}" in str(caught.value)


def test_an_end_before_an_index_time_of_the_study_is_a_step(tmp_path):
    write_people(tmp_path, [person("a", (-5, "X")), person("b", (-5, "X"), followup_end=day(-9))])
    table, steps = select(tmp_path, {"index": {"at": "first_event", "codes": ["X"]}})
    assert table.index.tolist() == ["a"]
    assert {step.step: step.excluded for step in steps}["followup"] == 1


def test_a_birthday_is_one_by_the_calendar(tmp_path):
    births = pd.Series(pd.to_datetime(["1950-03-01 10:00", "1960-02-29 00:00", "1951-12-31 23:59", None]).as_unit("us"))
    assert birthday(births, 18).dt.strftime("%Y-%m-%d").tolist()[:3] == ["1968-03-01", "1978-02-28", "1969-12-31"]
    # Half of the 366 days from 28 February 1980 (1960 + 20) to the next birthday, and half of 365 rounded up.
    half = birthday(births, 20.5)
    assert half.iloc[1] == pd.Timestamp("1980-02-29") + pd.Timedelta(days=183)
    assert half.iloc[0] == pd.Timestamp("1970-03-01") + pd.Timedelta(days=183)
    assert half.isna().tolist() == [False, False, False, True]
    people = [
        at((birth, "MEDS_BIRTH", None), (birth, LAB, 1.0), name=name)
        for name, birth in zip("abc", births, strict=False)
    ]
    write_people(tmp_path, people)
    table, _ = select(tmp_path, {"index": {"at": "age", "years": 18}})
    assert table["age"].tolist() == [18.0, 18.0, 18.0]


@pytest.mark.parametrize("years", [0, 18, 40, 59.5, 64.1])
def test_the_age_at_a_birthday_is_reached(years):
    rng = np.random.default_rng(1)
    births = pd.Series(pd.Timestamp("1900-01-01") + pd.to_timedelta(rng.integers(0, 40000 * 24, 3000), unit="h"))
    births = births.astype("datetime64[us]")
    reached = birthday(births, years)
    assert (reached == reached.dt.normalize()).all()
    assert (age_at(births, reached) >= years).all()
    assert (age_at(births, reached - pd.Timedelta(days=1)) < years).all()
    if years == int(years):
        expected = [birth.to_pydatetime().date() + relativedelta(years=years) for birth in births]
        assert reached.dt.date.tolist() == expected


def test_suffix_comes_from_the_last_event_that_has_one(tmp_path):
    events = [(-9, "SEX//F"), (-3, "SEX//")]
    write_people(tmp_path, [person("a", *events), person("b", (-3, "SEX//M"))])
    table, _ = select(tmp_path, {"columns": {"sex": {"codes": ["SEX//"]}}})
    assert table["sex"].tolist() == ["F", "M"]


@pytest.mark.parametrize("pattern", ["SEX//F$", "SEX//F"])
def test_a_whole_code_has_no_suffix(tmp_path, pattern):
    write_people(tmp_path, [person("a", (-9, "SEX//F"))])
    with pytest.raises(DataError) as caught:
        select(tmp_path, {"columns": {"sex": {"codes": [pattern]}}})
    expected = (
        "population.columns.sex: no such event has a suffix: all 1 codes are the whole pattern. Take code, number"
    )
    assert expected in str(caught.value)


def test_codes_are_found_as_a_scan_finds_them():
    rng = np.random.default_rng(3)
    made = {"".join(rng.choice(list("A/b$é"), rng.integers(1, 6))) for _ in range(400)}
    codes = duckdb.execute("SELECT unnest(?) AS code ORDER BY code", [sorted(made)]).fetch_df()["code"]
    history = History(duckdb.connect(), codes)
    for pattern in [*(f"{code}$" for code in made), *made, "A", "zz", "A/$", ""]:
        assert history.numbers([pattern]) == codes.index[matches(codes, [pattern])].tolist(), pattern
    several = ["A", "A/", "b$", "/b"]
    assert history.numbers(several) == history.find(several, "x") == codes.index[matches(codes, several)].tolist()
    assert History(duckdb.connect(), codes[:0]).numbers(["A"]) == []


def test_the_threads_of_a_rule_are_those_of_its_query(tmp_path):
    write_people(tmp_path, [person("a", (-9, "X"))])
    with open_history(tmp_path / "events.parquet", tmp_path / "scratch", threads=1) as history:
        assert history.query("SELECT current_setting('threads') AS n")["n"].tolist() == [1]

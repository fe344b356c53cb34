"""The NAFLD cohort against its published counts, and against the same data as R's package survival holds them."""

import pandas as pd
import pytest

from riskweave.cohort.checks import check_columns
from riskweave.cohort.ingest import ingest
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.selection import select_cohort
from riskweave.cohort.sources.nafld import INDEX_DATE, MACE
from riskweave.cohort.tables import EVENTS, OUTCOMES, SUBJECTS, read_table
from riskweave.study.cohort import CodesEndpoint
from riskweave.study.population import Population
from riskweave.study.sources import NafldSource


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nafld")
    static = {"feature_sets.static[0]": "age", "feature_sets.static[1]": "sex", "feature_sets.static[2]": "bmi"}
    ingest(cohort=NafldSource(source="nafld"), output=folder / "source")
    select_cohort(
        subjects=folder / "source" / "subjects.parquet",
        events=folder / "source" / "events.parquet",
        population=Population(),
        output=folder / "subjects.parquet",
        attrition=folder / "attrition.csv",
    )
    check_columns(subjects=folder / "subjects.parquet", study_columns=static)
    return folder


def outcomes(folder, name, target, competing=()):
    endpoint = CodesEndpoint(kind="codes", target=list(target), competing=list(competing), horizons=[1825, 3650])
    define_outcomes(
        subjects=folder / "subjects.parquet",
        events=folder / "source" / "events.parquet",
        selected=folder / "attrition.csv",
        name=name,
        endpoint=endpoint,
        outcomes=folder / f"{name}.parquet",
        attrition=folder / f"{name}.csv",
    )
    attrition = pd.read_csv(folder / f"{name}.csv").set_index("step")["remaining"].to_dict()
    return read_table(folder / f"{name}.parquet", OUTCOMES), attrition


def test_published_counts(cohort):
    mace, attrition = outcomes(cohort, "mace", MACE, ["MEDS_DEATH"])
    assert attrition == {
        "subjects": 17549,
        "index_time": 17549,
        "alive": 17549,
        "followup": 17549,
        "observed": 17549,
        "free": 15557,
        "at_risk": 15557,
    }
    assert len(mace) == 15557
    assert (mace["event"] == 1).sum() == 1058
    death, attrition = outcomes(cohort, "death", ["MEDS_DEATH"])
    assert attrition["at_risk"] == 17549
    assert (death["event"] == 1).sum() == 1364


def test_events(cohort):
    events = read_table(cohort / "source" / "events.parquet", EVENTS)
    kinds = events["code"].str.split("//").str[0].value_counts().to_dict()
    assert kinds == {"LAB": 400_123, "DX": 34_340, "MEDS_DEATH": 1364}
    subjects = read_table(cohort / "subjects.parquet", SUBJECTS)
    assert subjects["age"].between(18, 98).all()
    assert set(subjects["sex"]) == {"male", "female"}
    labs = set(events["subject_id"][events["code"].str.startswith("LAB")])
    assert len(set(subjects["subject_id"]) - labs) == 1883


def test_outcomes_equal_a_calculation_in_days(cohort, real_data):
    """First MACE code after day 0, death competing, straight from the days of the original tables."""
    folder = real_data / "nafld_ehr"
    people = pd.read_parquet(folder / "nafld1.parquet").set_index("id")
    codes = pd.read_parquet(folder / "nafld3.parquet")
    codes = codes[codes["event"].isin(["MI", "stroke", "heart failure", "cardiac arrest"])]
    first = codes.groupby("id")["days"].min().reindex(people.index)
    free = ~(first <= 0)
    hit = first <= people["futime"]
    time = first.where(hit, people["futime"])[free].astype(float)
    event = hit.astype(int).where(hit, 2 * people["status"])[free]
    mace, _ = outcomes(cohort, "mace_again", MACE, ["MEDS_DEATH"])
    mace = mace.set_index(mace["subject_id"].astype(int)).loc[time.index]
    assert (mace["time"] == time).all()
    assert (mace["event"] == event).all()
    subjects = read_table(cohort / "subjects.parquet", SUBJECTS)
    assert (subjects["index_time"] == INDEX_DATE).all()

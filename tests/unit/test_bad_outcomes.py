"""Bad endpoints, folds and canonical tables: each is answered with file, column, count and remedy."""

# ruff: noqa: E501 - a case is one line, and the messages that it expects are sentences

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.attrition import Step, write_attrition
from riskweave.cohort.checks import check_columns
from riskweave.cohort.folds import assign_folds
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.tables import EVENTS, FOLDS, OUTCOMES, SUBJECTS, read_table, write_table
from riskweave.errors import DataError
from riskweave.study.cohort import CodesEndpoint, ColumnsEndpoint, Folds


def write_cohort(tmp_path: Path, *, count: int = 40, **columns) -> dict[str, Path]:
    ids = [f"s{number:03d}" for number in range(count)]
    index = pd.Timestamp("2020-01-01")
    write_attrition([Step("subjects", "All", 0, count, count)], tmp_path / "selected.csv")
    frame = {
        "subject_id": ids,
        "person_id": ids,
        "index_time": index,
        "followup_end": index + pd.Timedelta(days=400),
        **columns,
    }
    write_table(pd.DataFrame(frame), tmp_path / "subjects.parquet", SUBJECTS)
    times = [index + pd.Timedelta(days=30)] * 10 + [index + pd.Timedelta(days=60)] * 5
    codes = ["ICD10//I21.0"] * 10 + ["MEDS_DEATH"] * 5
    events = pd.DataFrame({"subject_id": ids[:15], "time": times, "code": codes}).assign(
        numeric_value=1.0, text_value=None, unit=None
    )
    write_table(events, tmp_path / "events.parquet", EVENTS)
    return {"subjects": tmp_path / "subjects.parquet", "events": tmp_path / "events.parquet"}


def endpoint_refused(tmp_path: Path, endpoint) -> str:
    with pytest.raises(DataError) as caught:
        define_outcomes(
            subjects=tmp_path / "subjects.parquet",
            events=tmp_path / "events.parquet",
            selected=tmp_path / "selected.csv",
            name="mi",
            endpoint=endpoint,
            outcomes=tmp_path / "outcomes.parquet",
            attrition=tmp_path / "attrition.csv",
        )
    assert not (tmp_path / "outcomes.parquet").exists()
    assert not (tmp_path / "attrition.csv").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target": ["ICD10//I12"]}, "endpoints.mi.target: 'ICD10//I12' matches no event among the 2 codes of the cohort; nearest: ICD10//I21.0. Correct"),
        ({"target": ["icd10//i21"]}, "endpoints.mi.target: 'icd10//i21' matches no event"),
        ({"competing": ["MEDS_DETH"]}, "endpoints.mi.competing: 'MEDS_DETH' matches no event among the 2 codes of the cohort; nearest: MEDS_DEATH. Correct"),
        ({"horizons": [365, 1825]}, "endpoints.mi.horizons: horizon 1825 days lies beyond the longest of 40 observations, 400.0 days. Shorten"),
    ],
)  # fmt: skip
def test_endpoint_from_codes(tmp_path, settings, expected):
    write_cohort(tmp_path)
    given = {"target": ["ICD10//I21"], "horizons": [365], **settings}
    assert expected in endpoint_refused(tmp_path, CodesEndpoint(kind="codes", **given))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"time": None}, "endpoints.mi.target (events, column time): 10 events of 10 subjects have no time. Date"),
        ({"time": pd.Timestamp("2019-01-01")}, "5 of 40 subjects died before their index time. Correct"),
        (
            {"time": pd.Timestamp("2030-01-01")},
            "endpoints.mi: 0 of the 40 subjects at risk have the target event within",
        ),
    ],
)
def test_events_of_an_endpoint(tmp_path, changes, expected):
    paths = write_cohort(tmp_path)
    events = read_table(paths["events"], EVENTS).assign(**changes).astype({"time": "datetime64[us]"})
    write_table(events, paths["events"], EVENTS)
    endpoint = CodesEndpoint(kind="codes", target=["ICD10//I21"], horizons=[365])
    assert expected in endpoint_refused(tmp_path, endpoint)


def test_follow_up_unknown_for_all(tmp_path):
    write_cohort(tmp_path, followup_end=pd.Series([pd.NaT] * 40, dtype="datetime64[us]"))
    message = endpoint_refused(tmp_path, CodesEndpoint(kind="codes", target=["ICD10//I21"], horizons=[365]))
    assert "column followup_end): all 40 subjects lack an end of follow-up. Give the column" in message


YEARS, DIED = np.arange(1.0, 41.0), np.tile([0, 1], 20)


@pytest.mark.parametrize(
    ("years", "died", "expected"),
    [
        (YEARS - 5, DIED, "column years: 4 of 40 subjects have a negative time: the event lies before the index time. Allowed"),
        (np.where(YEARS > 38, np.nan, YEARS), DIED, "column years: 2 of 40 subjects have no finite value (endpoints.mi.time names the column). Every"),
        (YEARS, np.where(YEARS > 38, np.nan, DIED), "column died: 2 of 40 subjects have no finite value (endpoints.mi.event"),
        (YEARS, DIED / 2, "column died: 20 of 40 subjects have an event that is no whole number from 0 to 127. Allowed: 0 censored, 1 target"),
        (YEARS, -DIED, "column died: 20 of 40 subjects have an event that is no whole number"),
        (YEARS, np.where(YEARS > 38, 99, DIED), "column died: the event codes leave out 2; found: 0 (19 subjects), 1 (19 subjects), 99 (2 subjects). Allowed: 0 censored, 1 target, 2 and up competing, without gaps. Censor (0)"),
        (YEARS, 2 * DIED, "column died: the event codes leave out 1; found: 0 (20 subjects), 2 (20 subjects). Allowed"),
        (YEARS, 0 * DIED, "endpoints.mi: 0 of the 40 subjects at risk have the target event within their follow-up. Check"),
        (YEARS, np.where(DIED == 1, "yes", "no"), "column died: 40 of 40 rows are no number (endpoints.mi.event names the column). Allowed"),
        (YEARS / 365.25, DIED, "endpoints.mi.horizons: horizon 30 days lies beyond the longest of 40 observations, 0.1 days"),
    ],
)  # fmt: skip
def test_endpoint_from_columns(tmp_path, years, died, expected):
    write_cohort(tmp_path, years=years, died=died)
    endpoint = ColumnsEndpoint(kind="columns", time="years", event="died", horizons=[30])
    assert expected in endpoint_refused(tmp_path, endpoint)


def test_endpoint_column_missing(tmp_path):
    write_cohort(tmp_path, years=YEARS, died=DIED)
    message = endpoint_refused(tmp_path, ColumnsEndpoint(kind="columns", time="year", event="died", horizons=[30]))
    assert "there is no column 'year', which endpoints.mi.time names" in message
    assert "Did you mean 'years'" in message


CENTRES = np.repeat(["north", "south", "east", "west"], 10)


@pytest.mark.parametrize(
    ("settings", "events", "expected"),
    [
        ({"count": 20}, 5, "folds.count: 5 subjects have the target event, too few for 20 folds with at least one each. Allowed here: 2 to 5 folds"),
        ({"count": 2}, 1, "folds.count: 1 subjects have the target event, too few for 2 folds"),
        ({"count": 2, "validation": 0.2}, 2, "the validation rows of fold 0 hold 4 subjects and 0 of the 2 target events (single-class fold). Take fewer"),
        ({"count": 5, "strategy": "group", "group": "centre"}, 12, "folds.group: column centre holds 4 groups, fewer than the 5 folds. Allowed for folds.count: 2 to 4"),
        ({"count": 4, "strategy": "group", "group": "center"}, 12, "folds.group: there is no column 'center' in the subject table; it has: centre, partly. Correct folds.group or add the column. Did you mean 'centre'"),
        ({"count": 2, "strategy": "group", "group": "partly"}, 12, "folds.group: 20 of 40 subjects have no group (column partly of the subject table). Give"),
        ({"count": 4, "strategy": "group", "group": "centre"}, 12, "hold 10 subjects and 0 of the 12 target events (single-class fold). Take fewer folds"),
    ],
)  # fmt: skip
def test_folds(tmp_path, settings, events, expected):
    paths = write_cohort(tmp_path, centre=CENTRES, partly=[None, "x"] * 20)
    ids = read_table(paths["subjects"], SUBJECTS)["subject_id"]
    outcome = pd.DataFrame({"subject_id": ids, "endpoint": "mi", "time": YEARS, "event": (np.arange(40) < events) * 1})
    write_table(outcome, tmp_path / "outcomes.parquet", OUTCOMES)
    with pytest.raises(DataError) as caught:
        assign_folds(
            subjects=paths["subjects"],
            outcomes=tmp_path / "outcomes.parquet",
            folds=Folds(**settings),
            output=tmp_path / "folds.parquet",
        )
    assert expected in str(caught.value)
    assert not (tmp_path / "folds.parquet").exists()


def test_check_columns_reads_the_canonical_table(tmp_path):
    paths = write_cohort(tmp_path, age=np.where(YEARS > 38, np.inf, YEARS))
    check_columns(subjects=paths["subjects"], study_columns={})
    with pytest.raises(DataError, match="column age: 2 of 40 values are infinite"):
        check_columns(subjects=paths["subjects"], study_columns={"feature_sets.base.static[0]": "age"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"role": "tset"},
            "column role: 2 of 2 rows have a value that is not allowed. Allowed: train, validation, test",
        ),
        ({"fold": [0, 0]}, "1 of 2 rows repeat another row's subject_id, fold"),
        ({"fold": "x"}, "column fold: values of type string cannot be kept as int16"),
        ({"role": [None, "test"]}, "column role: 1 of 2 rows have no value"),
        ({"more": 1}, "1 columns do not belong here: more. Allowed: subject_id, fold, role"),
    ],
)
def test_canonical_tables_are_validated(tmp_path, changes, expected):
    frame = pd.DataFrame({"subject_id": ["a", "a"], "fold": [0, 1], "role": "test"}).assign(**changes)
    with pytest.raises(DataError) as caught:
        write_table(frame, tmp_path / "folds.parquet", FOLDS)
    assert expected in str(caught.value)
    frame.to_parquet(tmp_path / "made_elsewhere.parquet")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "made_elsewhere.parquet", FOLDS)
    assert expected in str(caught.value)


def test_canonical_table_missing_or_broken(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / "folds.parquet", FOLDS)
    (tmp_path / "folds.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not readable Parquet"):
        read_table(tmp_path / "folds.parquet", FOLDS)
    pd.DataFrame({"subject_id": ["a"], "fold": [1]}).to_parquet(tmp_path / "folds.parquet")
    with pytest.raises(DataError, match="column 'role' of the table folds is missing; present: subject_id, fold"):
        read_table(tmp_path / "folds.parquet", FOLDS)

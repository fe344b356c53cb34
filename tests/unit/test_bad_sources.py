"""Further bad inputs of all sources: each is answered with where, what, how many and what to do, and nothing is kept.

No message holds an identifier or a value of a row.
"""
# The lines of the tables of mistakes are as long as their messages.
# ruff: noqa: E501

import gzip
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mimic_folder import MIMIC, write_cxr, write_ecg, write_mimic
from pydantic import TypeAdapter

from riskweave.cohort.checks import check_columns
from riskweave.cohort.ingest import ingest
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.selection import select_cohort
from riskweave.errors import DataError
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.cohort import CodesEndpoint
from riskweave.study.features import EhrFeatures
from riskweave.study.population import Population
from riskweave.study.sources import Cohort

PRIVATE = ("10000001", "10000002", "20000001", "p-007", "p-008", "41.7", "BLACK")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(output: str = "out", **block) -> None:
    ingest(cohort=TypeAdapter(Cohort).validate_python(block), output=Path(output))


def answered(expected: str, **block) -> None:
    """Reading the source is refused with this text; nobody's number is told, and nothing is written."""
    with pytest.raises(DataError) as caught:
        read("refused", **block)
    message = str(caught.value)
    assert expected in message
    assert not any(secret in message for secret in PRIVATE)
    assert caught.value.remedy
    assert not Path("refused").exists()


# --- mimic_iv -------------------------------------------------------------------------------------------------------


def edited(table: str, old: str, new: str) -> dict[str, str]:
    """Return a table of MIMIC-IV in which a text is replaced."""
    module = next(name for name in MIMIC if name.endswith(f"/{table}"))
    assert old in MIMIC[module]
    return {table: MIMIC[module].replace(old, new)}


MIMIC_MISTAKES = {
    "no patients": ({"patients": None}, "cohort.path (mimic): the table patients is missing; 18 tables of MIMIC-IV are there. Give the folder with hosp/ and icu/"),
    "MIMIC-IV 1.0": (edited("admissions", ",race,", ",ethnicity,"), "cohort.path (mimic/hosp/admissions.csv.gz): there is no column 'race'; the 16 columns are: subject_id, hadm_id"),
    "semicolons": ({"patients": MIMIC["hosp/patients"].replace(",", ";")}, "(mimic/hosp/patients.csv.gz): the header is 1 column: the file seems to be separated by semicolons"),
    "no rows": ({"patients": MIMIC["hosp/patients"].split("\n")[0] + "\n"}, "(mimic/hosp/patients.csv.gz): the table has 0 rows"),
    "no header": ({"omr": ""}, "(mimic/hosp/omr.csv.gz): the file is empty: 0 rows and no header"),
    "time zone": (edited("labevents", "2182-01-10 08:30:00", "2182-01-10 08:30:00+01:00"), "(mimic/hosp/labevents.csv.gz), column charttime: 1 of 2 rows have a time zone. Write times as 2180-05-06 22:23:00"),
    "day first": (edited("procedures_icd", "2182-01-10", "31/1/2182"), "procedures_icd.csv.gz), column chartdate: 1 of 1 rows are no date or time. Write times as 2180-05-06 22:23:00 (or as 5/6/2180 22:23, month first)"),
    "decimal comma": (edited("labevents", ",0.35,0.35,", ',"0,35","0,35",'), "labevents.csv.gz), column valuenum: 1 of 2 rows are no number. Keep the tables as PhysioNet distributes them"),
    "inf": (edited("chartevents", "96,96,bpm", "96,inf,bpm"), "(mimic/icu/chartevents.csv.gz), column valuenum: 1 of 2 rows are infinite"),
    "age >89": (edited("patients", "M,91,", "M,>89,"), "patients.csv.gz), column anchor_age: 1 of 3 rows are no number"),
    "age of MIMIC-III": (edited("patients", "M,91,", "M,300,"), "patients.csv.gz), column anchor_age: 1 of 3 people have no age from 0 to 91. MIMIC-IV writes 91 for everybody over 89"),
    "person twice": ({"patients": MIMIC["hosp/patients"] + "10000003,F,31,2140,2008 - 2010,\n"}, "patients.csv.gz), column subject_id: 1 of 4 rows repeat another row's subject_id. Each occurs once"),
    "stay twice": ({"admissions": MIMIC["hosp/admissions"] + MIMIC["hosp/admissions"].split("\n")[1] + "\n"}, "admissions.csv.gz), column hadm_id: 1 of 4 rows repeat another row's hadm_id"),
    "stay unknown": (edited("diagnoses_icd", "20000003", "20000009"), "diagnoses_icd.csv.gz), column hadm_id: 1 of 3 rows belong to 1 stays that the table admissions lacks. Take all tables from one version"),
    "person unknown": (edited("transfers", "10000001", "19999999"), "transfers.csv.gz), column subject_id: 1 of 1 rows belong to 1 people that the table patients lacks"),
    "identifier in words": (edited("services", "10000001", "p-007"), "services.csv.gz), column subject_id: 1 of 1 rows are no whole number"),
    "cells missing": (edited("omr", "10000001,2179-04-30,1,BMI (kg/m2),23.6", "10000001,2179-04-30"), "(mimic/hosp/omr.csv.gz): the file cannot be read to its end: it has rows without the cells of the header"),
    "dates of a placeholder": (edited("omr", "2179-04-30", "9999-12-31"), "cohort.path (mimic), column time: 4 of 61 rows have a year outside 1800 to 2500"),
}  # fmt: skip


@pytest.mark.parametrize("case", MIMIC_MISTAKES)
def test_mimic_tables(case):
    changed, expected = MIMIC_MISTAKES[case]
    write_mimic(Path("mimic"), **changed)
    answered(expected, source="mimic_iv", path="mimic")


def test_mimic_folder_that_is_not_there():
    answered("cohort.path (mimic): there is no such folder. Correct cohort.path", source="mimic_iv", path="mimic")


def test_mimic_table_in_two_files():
    write_mimic(Path("mimic"))
    Path("mimic/hosp/omr.csv").write_text(MIMIC["hosp/omr"])
    expected = "cohort.path (mimic): 2 files hold the table omr: hosp/omr.csv.gz, hosp/omr.csv. Keep one"
    answered(expected, source="mimic_iv", path="mimic")


def test_mimic_download_that_broke_off():
    write_mimic(Path("mimic"))
    path = Path("mimic/hosp/labevents.csv.gz")
    rows = "\n".join(f"{n},10000001,,{n},50912,P,2180-05-07 06:00:00,,{n * 7919 % 997},,,,,,," for n in range(50_000))
    whole = gzip.compress((MIMIC["hosp/labevents"] + rows).encode())
    path.write_bytes(whole[: len(whole) // 2])
    expected = "(mimic/hosp/labevents.csv.gz): the file cannot be read to its end"
    answered(expected, source="mimic_iv", path="mimic")


def as_parquet(name: str, change) -> None:
    write_mimic(Path("mimic"))
    old = Path(f"mimic/hosp/{name}.csv.gz")
    frame = pd.read_csv(old, dtype={"icd_code": str})
    change(frame).to_parquet(old.with_name(f"{name}.parquet"), index=False)
    old.unlink()


def test_mimic_codes_that_became_numbers():
    as_parquet("diagnoses_icd", lambda frame: frame.assign(icd_code=[389, 214, 2102]))
    expected = "diagnoses_icd.parquet), column icd_code: codes have the type BIGINT: zeros at their beginning are lost"
    answered(expected, source="mimic_iv", path="mimic")


def test_mimic_times_with_a_zone():
    zoned = pd.to_datetime(["2182-01-10 08:01:00"]).tz_localize("America/New_York")
    as_parquet("services", lambda frame: frame.assign(transfertime=zoned))
    expected = "services.parquet), column transfertime: times have a time zone, which MIMIC-IV's times do not"
    answered(expected, source="mimic_iv", path="mimic")


def test_mimic_parquet_cut_off():
    as_parquet("services", lambda frame: frame)
    path = Path("mimic/hosp/services.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    expected = "cohort.path (mimic/hosp/services.parquet): the file is not readable Parquet. Copy or download"
    answered(expected, source="mimic_iv", path="mimic")


def test_ecg_folder_without_its_list():
    write_mimic(Path("mimic"))
    Path("ecg").mkdir()
    expected = "cohort.ecg (ecg): there is no file record_list.csv. Correct cohort.ecg: give the folder that holds"
    answered(expected, source="mimic_iv", path="mimic", ecg="ecg")


def test_ecg_that_was_not_downloaded():
    write_mimic(Path("mimic"))
    write_ecg(Path("ecg"))
    next(Path("ecg").rglob("40000002.dat")).unlink()
    expected = "cohort.ecg (ecg/record_list.csv): 1 files of 2 rows do not exist, first in row 2"
    answered(expected, source="mimic_iv", path="mimic", ecg="ecg")


def test_ecgs_of_other_people():
    write_mimic(Path("mimic"))
    path = write_ecg(Path("ecg")) / "record_list.csv"
    path.write_text(path.read_text().replace("\n10000001,", "\n18888888,"))
    expected = "(ecg/record_list.csv): none of the 3 rows belongs to a person of the table patients"
    answered(expected, source="mimic_iv", path="mimic", ecg="ecg")


def test_radiograph_without_a_time():
    write_mimic(Path("mimic"))
    path = write_cxr(Path("cxr")) / "mimic-cxr-2.0.0-metadata.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace(",101.0,", ",noon,", 1)
    path.write_bytes(gzip.compress(text.encode()))
    expected = "metadata.csv.gz): 1 of 4 rows have no date and time that can be read"
    answered(expected, source="mimic_iv", path="mimic", cxr="cxr")


def test_radiograph_list_of_another_table():
    write_mimic(Path("mimic"))
    path = write_cxr(Path("cxr")) / "mimic-cxr-2.0.0-metadata.csv.gz"
    path.write_bytes(gzip.compress(b"dicom_id,subject_id,study_id,split\n"))
    expected = "there is no column 'ViewPosition'; the 4 columns are: dicom_id, subject_id, study_id, split"
    answered(expected, source="mimic_iv", path="mimic", cxr="cxr")


# --- tables ---------------------------------------------------------------------------------------------------------

PEOPLE = "subject_id,index_time,followup_end,age,weight\n" + "".join(
    f"p-{n:03d},2020-01-01,2022-01-01,{40 + n},{60 + n}.5\n" for n in range(30)
)
EVENTS = "subject_id,time,code,numeric_value,unit\n" + "".join(
    f"p-{n:03d},2019-{1 + n % 12:02d}-03,LAB//GLUCOSE,{5 + n / 10},mmol/L\n" for n in range(30)
)


def write_tables(people: str = PEOPLE, events: str = EVENTS) -> dict:
    Path("people.csv").write_text(people)
    Path("events.csv").write_text(events)
    return {"source": "tables", "subjects": "people.csv", "events": "events.csv"}


def relative(people: str, events: str, unit: str) -> dict:
    block = write_tables(people, events)
    return {**block, "columns": {"index_time": None, "followup_end": None}, "event_columns": {"time_unit": unit}}


TABLE_MISTAKES = {
    "decimal comma": (PEOPLE, EVENTS.replace(",5.1,", ',"5,1",'), "cohort.events (events.csv), column numeric_value: 1 of 30 rows are no number (1 with a decimal comma). Allowed: numbers with a decimal point"),
    "below the detection limit": (PEOPLE, EVENTS.replace(",5.1,", ",<5,"), "column numeric_value: 1 of 30 rows are no number (1 top-coded or cut off, such as >89 or <20). Allowed: numbers with a decimal point; leave the cell empty where there is none. Recode detection limits (<20, >89) as numbers, by one rule for all, or keep them as words: of events in text_value"),
    "top-coded age": (PEOPLE.replace(",68,", ",>89,"), EVENTS, "cohort.subjects (people.csv), column age: 1 of 30 values are no number (1 top-coded or cut off, such as >89 or <20), though the others are. Recode what stands behind < or > (90 for >89, the limit for <20); or put a letter before each value where they are categories"),
    "weight with decimal commas": (re.sub(r"(\d+)\.5\n", r'"\1,5"\n', PEOPLE), EVENTS, "column weight: 30 of 30 values are no number (30 with a decimal comma). Write numbers with a decimal point, no thousands separators; or put a letter"),
    "infinite": (PEOPLE, EVENTS.replace(",5.1,", ",inf,"), "cohort.events (events.csv), column numeric_value: 1 of 30 rows are infinite"),
    "wrong delimiter": (PEOPLE, EVENTS.replace(",", "\t"), "cohort.events (events.csv): the header is 1 column: the file seems to be separated by tabs"),
    "identifiers read as numbers": (PEOPLE.replace("p-", "0"), EVENTS.replace("p-0", ""), "cohort.events (events.csv), column subject_id: 30 of 30 rows belong to 30 subjects that are not in the subject table. Add these subjects, or remove their rows. 30 of them differ from a known subject in leading zeros alone"),
    "some times with a zone": (PEOPLE, EVENTS.replace("2019-02-03,", "2019-02-03 10:00+01:00,"), "cohort.events (events.csv), column time: 3 rows have a time zone and 27 have none"),
    "seconds since 1970": (PEOPLE, EVENTS.replace("2019-02-03", "1549152000"), "cohort.events (events.csv), column time: 3 of 30 rows are no date or time"),
    "all rows twice": (PEOPLE, EVENTS + EVENTS.split("\n", 1)[1], "cohort.events (events.csv): 30 of 60 rows repeat another row in everything. Keep each row once"),
    "no code": (PEOPLE, EVENTS.replace("LAB//GLUCOSE,5.1", ",5.1"), "cohort.events (events.csv), column code: 1 of 30 rows have no code"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE_MISTAKES)
def test_tables(case):
    people, events, expected = TABLE_MISTAKES[case]
    answered(expected, **write_tables(people, events))


def test_last_contact_before_the_index():
    read(**write_tables(PEOPLE.replace("2022-01-01", "2019-06-01", 4)))
    expected = (
        r"column followup_end: for 4 of 30 subjects the follow-up ends before the index time \(negative follow-up\)"
    )
    with pytest.raises(DataError, match=rf"^cohort.subjects \(people.csv\), {expected}"):
        select_cohort(
            subjects=Path("out/subjects.parquet"),
            events=Path("out/events.parquet"),
            population=Population(),
            output=Path("subjects.parquet"),
            attrition=Path("attrition.csv"),
        )
    assert not Path("subjects.parquet").exists()


RELATIVE_PEOPLE = "subject_id,sex\n1,F\n2,M\n"
RELATIVE_MISTAKES = {
    "beyond range": ("1,-5,HR,90\n2,99999999999,HR,80\n", "minutes", "column time: 1 of 2 rows"),
    "dates": ("1,2019-01-03,HR,90\n2,-7,HR,80\n", "minutes", "column time: 1 of 2 rows"),
    "clock": ("1,07:30,HR,90\n2,08:00,HR,80\n", "hours", "column time: 2 of 2 rows"),
}


@pytest.mark.parametrize("case", RELATIVE_MISTAKES)
def test_relative_times(case):
    rows, unit, expected = RELATIVE_MISTAKES[case]
    answered(expected, **relative(RELATIVE_PEOPLE, "subject_id,time,code,numeric_value\n" + rows, unit))


STATIC_MISTAKES = {
    "a word among ages": (PEOPLE.replace(",68,", ",fifty,"), "age", "cohort.subjects (people.csv), column age: 1 of 30 values are no number, though the others are"),
    "999 for unknown": (PEOPLE.replace(",68,", ",999,").replace(",69,", ",999,"), "age", "cohort.subjects (people.csv), column age: 2 of 30 values are 999, far from all others (feature_sets.ehr.static[0] names the column). Leave the cell empty"),
    "-9 for unknown": (PEOPLE.replace(",68,", ",-9,").replace(",69,", ",-9,"), "age", "column age: 2 of 30 values are -9, far from all others"),
    "-999 for unknown": (PEOPLE.replace("68.5", "-999").replace("69.5", "-999"), "weight", "column weight: 2 of 30 values are -999, far from all others"),
}  # fmt: skip


@pytest.mark.parametrize("case", STATIC_MISTAKES)
def test_static_columns(case):
    people, column, expected = STATIC_MISTAKES[case]
    read(**write_tables(people))
    select_cohort(
        subjects=Path("out/subjects.parquet"),
        events=Path("out/events.parquet"),
        population=Population(),
        output=Path("subjects.parquet"),
        attrition=Path("attrition.csv"),
    )
    columns = {"feature_sets.ehr.static[0]": column}
    with pytest.raises(DataError) as caught:
        check_columns(subjects=Path("subjects.parquet"), study_columns=columns)
    assert expected in str(caught.value)


def test_numbers_that_mean_something_are_no_placeholders():
    """99 among other ages, a single 999, and flags that are all 99 apart from one another stay."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({
        "subject_id": [f"p-{n:03d}" for n in range(200)],
        "age": np.r_[generator.integers(30, 98, 190), np.full(10, 99)],
        "dose": np.r_[generator.integers(1, 5000, 197), 999, 999, 999],
        "once": np.r_[generator.normal(size=199), 999],
    })  # fmt: skip
    frame.to_csv("people.csv", index=False)
    block = {"source": "tables", "subjects": "people.csv", "columns": {"index_time": None, "followup_end": None}}
    read(**block)
    select_cohort(
        subjects=Path("out/subjects.parquet"),
        events=Path("out/events.parquet"),
        population=Population(),
        output=Path("subjects.parquet"),
        attrition=Path("attrition.csv"),
    )
    check_columns(subjects=Path("subjects.parquet"), study_columns={"a": "age", "b": "dose", "c": "once"})


# --- what is asked of the events ------------------------------------------------------------------------------------


@pytest.fixture
def cohort():
    """Return the paths of a cohort's subjects and events."""
    read(**write_tables())
    select_cohort(
        subjects=Path("out/subjects.parquet"),
        events=Path("out/events.parquet"),
        population=Population(),
        output=Path("subjects.parquet"),
        attrition=Path("attrition.csv"),
    )
    return {"subjects": Path("subjects.parquet"), "events": Path("out/events.parquet")}


def test_features_of_codes_that_match_nothing(cohort):
    block = EhrFeatures(modality="ehr", events=[{"codes": ["LAB//GLUKOSE"], "aggregates": ["last"]}])
    with pytest.raises(DataError, match=r"no event at or before the index time has a code .*LAB//GLUKOSE"):
        aggregate_events(**cohort, features=block, output=Path("features.parquet"))
    assert not Path("features.parquet").exists()


def test_values_in_two_units():
    read(**write_tables(events=EVENTS.replace("5.1,mmol/L", "91.8,mg/dL").replace("5.2,mmol/L", "93.6,mg/dL")))
    select_cohort(
        subjects=Path("out/subjects.parquet"),
        events=Path("out/events.parquet"),
        population=Population(),
        output=Path("subjects.parquet"),
        attrition=Path("attrition.csv"),
    )
    paths = {"subjects": Path("subjects.parquet"), "events": Path("out/events.parquet")}
    block = {"codes": ["LAB//GLUCOSE"], "aggregates": ["mean"]}
    for unit, expected in (({}, "values in several units"), ({"unit": "mmol/L"}, "the block knows")):
        features = EhrFeatures(modality="ehr", events=[{**block, **unit}])
        with pytest.raises(DataError) as caught:
            aggregate_events(**paths, features=features, output=Path("features.parquet"))
        assert expected in str(caught.value)
        assert "mg/dL" in str(caught.value)
        assert "column unit" in str(caught.value)


def test_endpoint_of_codes_that_match_nothing(cohort):
    endpoint = CodesEndpoint(kind="codes", target=["ICD10//I21"], horizons=[365])
    with pytest.raises(DataError, match=r"I21.*(match|starts|found)|no event"):
        define_outcomes(
            **cohort,
            selected=Path("attrition.csv"),
            name="mi",
            endpoint=endpoint,
            outcomes=Path("outcomes.parquet"),
            attrition=Path("mi.csv"),
        )
    assert not Path("outcomes.parquet").exists()


def test_lost_zeros_are_a_warning(caplog):
    write_mimic(Path("mimic"), **edited("diagnoses_icd", ",0389,9", ",38,9"))
    with caplog.at_level(logging.WARNING):
        read(source="mimic_iv", path="mimic")
    assert "1 of 3 ICD-9 codes are shorter than the classification allows" in caplog.text


# --- shards of one table --------------------------------------------------------------------------------------------


def test_shard_cut_off():
    block = write_tables()
    Path("shards").mkdir()
    for number in range(2):
        table = pa.table({"subject_id": ["p-001"], "time": pa.array([0], pa.timestamp("us")), "code": ["A"]})
        pq.write_table(table, f"shards/{number}.parquet")
    path = Path("shards/1.parquet")
    path.write_bytes(path.read_bytes()[:50])
    answered("cohort.events (shards): 1 file is not readable Parquet (shard 1.parquet)", **block | {"events": "shards"})


def test_times_that_are_text_in_one_shard():
    block = write_tables()
    Path("shards").mkdir()
    for number, times in enumerate((pa.array([0], pa.timestamp("us")), pa.array(["1970-01-01"]))):
        table = pa.table({"subject_id": ["p-001"], "time": times, "code": ["A"]})
        pq.write_table(table, f"shards/{number}.parquet")
    answered("cohort.events (shards): the columns of the 2 shards", **block | {"events": "shards"})


def test_public_cohort_that_nobody_ships():
    with pytest.raises(Exception, match=r"whas5000.*whas500|no public cohort"):
        read("refused", source="public", name="whas5000")
    assert not Path("refused").exists()

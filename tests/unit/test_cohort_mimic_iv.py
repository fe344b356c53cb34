"""The source mimic_iv: tables as distributed, against rows written by hand, and the open demo against pandas."""

import json
import logging
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import wfdb
from mimic_folder import MIMIC, write_cxr, write_ecg, write_mimic
from PIL import Image

from riskweave.cohort.ingest import ingest
from riskweave.cohort.sources.mimic_iv import read_mimic_iv
from riskweave.cohort.tables import EVENTS as EVENTS_TABLE
from riskweave.cohort.tables import IMAGES, RECORDINGS, SOURCE_SUBJECTS, read_table
from riskweave.study.raw import raw_files
from riskweave.study.sources import MimicSource

COLUMNS = ["subject_id", "time", "code", "numeric_value", "text_value", "unit"]

EVENTS = [
    ("10000001", "2128-01-01", "MEDS_BIRTH", None, None, None),
    ("10000001", "2179-04-30", "BMI (kg/m2)", 23.6, None, "kg/m2"),
    ("10000001", "2179-04-30", "Blood Pressure//DIASTOLIC", 84, None, "mmHg"),
    ("10000001", "2179-04-30", "Blood Pressure//SYSTOLIC", 128, None, "mmHg"),
    ("10000001", "2179-04-30", "eGFR", None, ">60", None),
    ("10000001", "2180-05-06 19:17", "ED_REGISTRATION", None, None, None),
    ("10000001", "2180-05-06 22:23", "HOSPITAL_ADMISSION//URGENT//TRANSFER FROM HOSPITAL", None, None, None),
    ("10000001", "2180-05-06 22:23", "INSURANCE//Medicaid", None, None, None),
    ("10000001", "2180-05-06 22:23", "LANGUAGE//English", None, None, None),
    ("10000001", "2180-05-06 22:23", "RACE//WHITE", None, None, None),
    ("10000001", "2180-05-06 23:30", "ED_OUT", None, None, None),
    ("10000001", "2180-05-07", "HCPCS//Hospital observation", None, None, None),
    ("10000001", "2180-05-07 06:00", "LAB//RESULT//50912//mg/dL", None, "___", "mg/dL"),
    ("10000001", "2180-05-07 17:15", "DIAGNOSIS//ICD//9//0389", None, None, None),
    ("10000001", "2180-05-07 17:15", "HOSPITAL_DISCHARGE//HOME", None, None, None),
    ("10000001", "2182-01-10", "PROCEDURE//ICD//10//0270346", None, None, None),
    ("10000001", "2182-01-10 08:00", "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM", None, None, None),
    ("10000001", "2182-01-10 08:00", "ICU_ADMISSION//Coronary Care Unit (CCU)", None, None, None),
    ("10000001", "2182-01-10 08:00", "INSURANCE//Medicaid", None, None, None),
    ("10000001", "2182-01-10 08:00", "LANGUAGE//English", None, None, None),
    ("10000001", "2182-01-10 08:00", "RACE//WHITE", None, None, None),
    ("10000001", "2182-01-10 08:00", "TRANSFER_TO//admit//Coronary Care Unit (CCU)", None, None, None),
    ("10000001", "2182-01-10 08:01", "SERVICE//CMED", None, None, None),
    ("10000001", "2182-01-10 08:10", "LAB//220045//bpm", 96, None, "bpm"),
    ("10000001", "2182-01-10 08:10", "LAB//220048//UNK", None, "AF (Atrial Fibrillation)", None),
    ("10000001", "2182-01-10 08:20", "INFUSION_START//221906", 0.1, None, "mcg/kg/min"),
    ("10000001", "2182-01-10 08:20", "SUBJECT_WEIGHT_AT_INFUSION//KG", 71.5, None, "kg"),
    ("10000001", "2182-01-10 09:00", "MEDICATION//START//Aspirin", None, None, None),
    ("10000001", "2182-01-10 09:00", "NDC//00904404073", None, None, None),
    ("10000001", "2182-01-10 09:00", "PRESCRIPTION//START//Aspirin", 81, None, "mg"),
    ("10000001", "2182-01-10 09:00", "PRESCRIPTION//START//Heparin", 25_000, None, "UNIT"),
    ("10000001", "2182-01-10 09:30", "PROCEDURE//START//225792", None, None, None),
    ("10000001", "2182-01-10 10:00", "MEDICATION//Aspirin//Administered", None, None, None),
    ("10000001", "2182-01-10 10:15", "LAB//RESULT//51003//ng/mL", 0.35, None, "ng/mL"),
    ("10000001", "2182-01-10 10:30", "PROCEDURE//END//225792", None, None, None),
    ("10000001", "2182-01-10 12:20", "INFUSION_END//221906", 2.4, None, "mg"),
    ("10000001", "2182-01-10 14:00", "SUBJECT_FLUID_OUTPUT//226559//mL", 250, None, "mL"),
    ("10000001", "2182-01-11 09:00", "PRESCRIPTION//START//Oxycodone", None, "1-2", "TAB"),
    ("10000001", "2182-01-11 20:00", "ICU_DISCHARGE//Coronary Care Unit (CCU)", None, None, None),
    ("10000001", "2182-01-12 09:00", "DIAGNOSIS//ICD//10//I214", None, None, None),
    ("10000001", "2182-01-12 09:00", "DRG//HCFA//247//PERC CARDIOVASC PROC", None, None, None),
    ("10000001", "2182-01-12 09:00", "HOSPITAL_DISCHARGE//UNK", None, None, None),
    ("10000001", "2182-01-12 09:00", "MEDICATION//STOP//Aspirin", None, None, None),
    ("10000001", "2182-01-12 09:00", "PRESCRIPTION//STOP//Aspirin", None, None, None),
    ("10000001", None, "GENDER//F", None, None, None),
    ("10000002", "2059-01-01", "MEDS_BIRTH", None, None, None),
    ("10000002", "2151-03-01 01:00", "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM", None, None, None),
    ("10000002", "2151-03-01 01:00", "INSURANCE//Medicare", None, None, None),
    ("10000002", "2151-03-01 01:00", "LANGUAGE//English", None, None, None),
    ("10000002", "2151-03-01 01:00", "MARITAL_STATUS//WIDOWED", None, None, None),
    ("10000002", "2151-03-01 01:00", "RACE//WHITE", None, None, None),
    ("10000002", "2151-03-02 05:00", "MICROBIOLOGY//CULTURE//BLOOD CULTURE", None, None, None),
    ("10000002", "2151-03-04 09:00", "MICROBIOLOGY//ANTIBIOTIC//AMPICILLIN//R", None, "ESCHERICHIA COLI", None),
    ("10000002", "2151-03-04 09:00", "MICROBIOLOGY//ANTIBIOTIC//CEFTRIAXONE//S", None, "ESCHERICHIA COLI", None),
    ("10000002", "2151-03-04 09:00", "MICROBIOLOGY//ORGANISM//ESCHERICHIA COLI", None, None, None),
    ("10000002", "2151-03-09 06:30", "DIAGNOSIS//ICD//10//I2102", None, None, None),
    ("10000002", "2151-03-09 06:30", "HOSPITAL_DISCHARGE//DIED", None, None, None),
    ("10000002", "2151-03-09 06:30", "MEDS_DEATH", None, None, None),
    ("10000002", None, "GENDER//M", None, None, None),
    ("10000003", "2110-01-01", "MEDS_BIRTH", None, None, None),
    ("10000003", None, "GENDER//F", None, None, None),
]


def read(path, **further):
    return read_mimic_iv(MimicSource(source="mimic_iv", path=str(path), **further))


def events_of(tables) -> pd.DataFrame:
    with duckdb.connect() as connection:
        for statement in tables.events.setup:
            connection.execute(statement)
        frame = connection.sql(
            f"SELECT * FROM ({tables.events.sql}) ORDER BY subject_id, time NULLS LAST, code, text_value"
        ).df()
    assert list(frame) == COLUMNS
    return frame


def expected() -> pd.DataFrame:
    frame = pd.DataFrame(EVENTS, columns=COLUMNS)
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601").astype("datetime64[us]")
    frame["numeric_value"] = frame["numeric_value"].astype("float32")
    return frame


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.astype({"numeric_value": "float32"}), wanted, check_dtype=False, rtol=1e-6, check_column_type=False
    )


def test_every_row_of_every_table_becomes_its_events(tmp_path):
    tables = read(write_mimic(tmp_path / "mimiciv-3.1"))
    same(events_of(tables), expected())
    assert tables.version == "MIMIC-IV 3.1"


def test_people_and_the_end_of_their_follow_up(tmp_path):
    subjects = read(write_mimic(tmp_path)).subjects.to_pandas().set_index("subject_id")
    assert list(subjects) == ["followup_end", "gender", "anchor_year_group"]
    ends = subjects["followup_end"]
    # Alive: a year after the last discharge. Died: at death or later, which death itself ends. No stay: unknown.
    assert ends["10000001"] == pd.Timestamp("2183-01-12 09:00")
    assert ends["10000002"] == pd.Timestamp("2152-03-09 06:30")
    assert pd.isna(ends["10000003"])
    assert subjects["gender"].tolist() == ["F", "M", "F"]


def test_parquet_tables_in_one_folder_read_the_same(tmp_path):
    """As exports write them: whole numbers and numbers with missing values instead of text, no hosp/ and icu/."""
    write_mimic(tmp_path / "csv")
    kinds = {"icd_code": str, "icd_version": str, "ndc": "float64", "dose_val_rx": str}
    for name in MIMIC:
        frame = pd.read_csv(tmp_path / "csv" / f"{name}.csv.gz", dtype=kinds)
        file = name.split("/")[1].replace("hcpcsevents", "hcpcsevent")
        frame.to_parquet(tmp_path / f"{file}.parquet", index=False)
    same(events_of(read(tmp_path)), expected())


def test_dates_that_a_spreadsheet_has_saved(tmp_path):
    table = "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version\n10000001,20000002,1,{},0270346,10\n"
    for written in ("1/10/2182", "1/10/2182 0:00", "01/10/2182 00:00:00"):
        tables = read(write_mimic(tmp_path, procedures_icd=table.format(written)))
        same(events_of(tables), expected())


def test_lost_zeros_of_codes_are_told(tmp_path, caplog):
    table = "subject_id,hadm_id,seq_num,icd_code,icd_version\n10000001,20000001,1,88,9\n10000001,20000002,1,0389,9\n"
    with caplog.at_level(logging.WARNING):
        read(write_mimic(tmp_path, diagnoses_icd=table))
    assert "1 of 2 ICD-9 codes are shorter than the classification allows" in caplog.text
    assert "88" not in caplog.text.replace("icd.csv", "")


def test_only_patients_and_admissions_are_needed(tmp_path):
    others = {name.split("/")[1]: None for name in MIMIC if name not in ("hosp/patients", "hosp/admissions")}
    codes = events_of(read(write_mimic(tmp_path, **others)))["code"]
    assert set(codes.str.split("//").str[0]) == {
        "GENDER", "MEDS_BIRTH", "MEDS_DEATH", "HOSPITAL_ADMISSION", "HOSPITAL_DISCHARGE", "ED_REGISTRATION", "ED_OUT",
        "INSURANCE", "LANGUAGE", "MARITAL_STATUS", "RACE",
    }  # fmt: skip


def test_what_only_the_future_knows_is_not_read(tmp_path):
    """hospital_expire_flag and lengths of stay are outcomes: no event and no column holds them."""
    tables = read(write_mimic(tmp_path))
    queried = " ".join((*tables.events.setup, tables.events.sql)).replace("hospital_expire_flag': 'VARCHAR'", "")
    assert "hospital_expire_flag" not in queried
    assert "los" not in queried.replace("'los': 'VARCHAR'", "").replace('"', " ").replace(",", " ").split()


def test_ecgs_join_by_subject_and_time(tmp_path):
    tables = read(write_mimic(tmp_path / "mimic"), ecg=str(write_ecg(tmp_path / "ecg")))
    found = tables.recordings.to_pandas()
    assert list(found) == RECORDINGS.columns.names
    assert found["subject_id"].tolist() == ["10000001", "10000001"]
    assert found["time"].tolist() == [pd.Timestamp("2180-05-06 20:01"), pd.Timestamp("2182-01-10 07:55")]
    assert found["sha256"].nunique() == 2
    signal, fields = wfdb.rdsamp(found["path"][0])
    assert signal.shape == (5000, 12)
    assert fields["fs"] == 500
    assert fields["sig_name"][:2] == ["I", "II"]


def test_radiographs_join_by_subject_and_time(tmp_path):
    tables = read(write_mimic(tmp_path / "mimic"), cxr=str(write_cxr(tmp_path / "cxr")))
    found = tables.images.to_pandas()
    assert list(found) == IMAGES.columns.names
    # The lateral view and the other person are left out; 101.0 is a minute and a second past midnight.
    assert found["time"].tolist() == [pd.Timestamp("2180-05-06 00:01:01"), pd.Timestamp("2182-01-10 21:30:14")]
    with Image.open(found["path"][0]) as image:
        assert np.asarray(image).shape == (64, 56)


@pytest.fixture(scope="module")
def demo(real_data):
    folder = real_data / "mimic4_demo"
    if not folder.is_dir():
        pytest.skip("real data: no folder mimic4_demo")
    tables = read(folder)
    return folder, tables.subjects.to_pandas().set_index("subject_id"), events_of(tables)


def raw(folder, name, *times):
    frame = pd.read_parquet(folder / f"{name}.parquet")
    for column in times:
        frame[column] = pd.to_datetime(frame[column])
    return frame.assign(subject_id=frame["subject_id"].astype(str))


def test_demo_people(demo):
    folder, subjects, events = demo
    assert len(subjects) == 100
    patients = raw(folder, "patients", "dod").set_index("subject_id")
    stays = raw(folder, "admissions", "admittime", "dischtime", "deathtime")
    deaths = events[events["code"] == "MEDS_DEATH"].set_index("subject_id")["time"]
    assert len(deaths) == 31
    in_hospital = stays.dropna(subset="deathtime").set_index("subject_id")["deathtime"]
    assert len(in_hospital) == 15
    assert (deaths[in_hospital.index] == in_hospital).all()
    elsewhere = deaths.drop(in_hospital.index)
    assert (elsewhere == patients["dod"].loc[elsewhere.index]).all()
    # Every known death lies within the follow-up that survivors have, and that is a year from the last discharge.
    last = stays.groupby("subject_id")["dischtime"].max()
    assert (deaths.dt.normalize() <= subjects["followup_end"].loc[deaths.index]).all()
    alive = subjects.index.difference(deaths.index)
    assert (subjects["followup_end"].loc[alive] == last.loc[alive] + pd.DateOffset(years=1)).all()


def test_demo_ages_agree_with_mimics_own_formula(demo):
    folder, _, events = demo
    patients = raw(folder, "patients").set_index("subject_id")
    stays = raw(folder, "admissions", "admittime").set_index("subject_id")
    birth = events[events["code"] == "MEDS_BIRTH"].set_index("subject_id")["time"]
    year, people = stays["admittime"].dt.year.to_numpy(), stays.index
    own = patients["anchor_age"].loc[people].to_numpy() + year - patients["anchor_year"].loc[people].to_numpy()
    ours = year - birth.loc[people].dt.year.to_numpy()
    np.testing.assert_array_equal(ours, own)
    assert ours.max() > 89


def test_demo_diagnoses_are_dated_at_discharge(demo):
    folder, _, events = demo
    diagnoses = raw(folder, "diagnoses_icd").merge(raw(folder, "admissions", "dischtime")[["hadm_id", "dischtime"]])
    code = "DIAGNOSIS//ICD//" + diagnoses["icd_version"].astype(str) + "//" + diagnoses["icd_code"]
    wanted = sorted(zip(diagnoses["subject_id"], diagnoses["dischtime"], code, strict=True))
    found = events[events["code"].str.startswith("DIAGNOSIS//")]
    assert sorted(zip(found["subject_id"], found["time"], found["code"], strict=True)) == wanted
    assert len(wanted) == 4506


def test_demo_month_first_dates_and_measurements(demo):
    folder, _, events = demo
    outputs = raw(folder, "outputevents")
    found = events[events["code"].str.startswith("SUBJECT_FLUID_OUTPUT//")]
    assert len(found) == len(outputs) == 9362
    times = pd.to_datetime(outputs["charttime"], format="%m/%d/%Y %H:%M")
    assert sorted(times) == sorted(found["time"])
    pressures = raw(folder, "omr")["result_value"].str.extract(r"^(\d+)/(\d+)$").dropna().astype(float)
    for place, which in enumerate(("SYSTOLIC", "DIASTOLIC")):
        values = events.loc[events["code"].str.endswith(f"//{which}"), "numeric_value"]
        assert sorted(values) == sorted(pressures[place])


def test_all_of_it_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {"path": "mimic", "ecg": "ecg", "cxr": "cxr"}
    write_mimic(Path("mimic"))
    write_ecg(Path("ecg"))
    write_cxr(Path("cxr"))
    ingest(cohort=MimicSource(source="mimic_iv", **folders, release="3.1"), output=Path("out"))
    tables = {
        name: read_table(Path(f"out/{name}.parquet"), schema)
        for name, schema in (
            ("subjects", SOURCE_SUBJECTS), ("events", EVENTS_TABLE), ("recordings", RECORDINGS), ("images", IMAGES)
        )
    }  # fmt: skip
    assert {name: len(table) for name, table in tables.items()} == {
        "subjects": 3, "events": len(EVENTS), "recordings": 2, "images": 2,
    }  # fmt: skip
    assert tables["images"]["path"].str.startswith("cxr/files/p10/p10000001/s5").all()
    data = json.loads(Path("out/data.json").read_text())
    assert data["version"] == "3.1"
    assert data["files"] == ["mimic", "ecg", "cxr"]
    assert sorted(raw_files(MimicSource(source="mimic_iv", **folders))) == ["cxr", "ecg", "mimic_iv"]

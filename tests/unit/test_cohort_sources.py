"""From raw files to the canonical tables: nothing is guessed, lost or made up on the way."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.ingest import ingest
from riskweave.cohort.manifests import record_files
from riskweave.cohort.selection import select_cohort
from riskweave.cohort.tables import EVENTS, IMAGES, RECORDINGS, SOURCE_SUBJECTS, read_metadata, read_table
from riskweave.errors import DataError
from riskweave.study.population import Population
from riskweave.study.sources import SyntheticSource, TableColumns, TablesSource


def write_text(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def tables(tmp_path: Path, *subjects: str, **other) -> TablesSource:
    return TablesSource(source="tables", subjects=write_text(tmp_path / "subjects.csv", *subjects), **other)


def made(tmp_path: Path, cohort, **arguments) -> dict[str, pd.DataFrame]:
    output = tmp_path / "source"
    ingest(cohort=cohort, output=output, **arguments)
    schemas = {"subjects": SOURCE_SUBJECTS, "events": EVENTS, "recordings": RECORDINGS, "images": IMAGES}
    return {name: read_table(output / f"{name}.parquet", schema) for name, schema in schemas.items()}


HEADER = "subject_id,index_time,followup_end,age,sex,site"


def test_csv_is_read_as_written(tmp_path):
    cohort = tables(
        tmp_path,
        HEADER,
        "002,2020-05-01,2021-05-01,61.5,f,07",
        "001,2020-05-02 13:30,2021-05-02T00:00:00,55,m,10",
        "NA,2020-05-03,,NA,m,11",
    )
    found = made(tmp_path, cohort)
    subjects = found["subjects"]
    assert subjects["subject_id"].tolist() == ["001", "002", "NA"]
    assert subjects["index_time"].tolist() == [
        pd.Timestamp("2020-05-02 13:30"),
        pd.Timestamp("2020-05-01"),
        pd.Timestamp("2020-05-03"),
    ]
    assert subjects["followup_end"].isna().tolist() == [False, False, True]
    assert subjects["age"].tolist()[:2] == [55, 61.5]
    assert pd.isna(subjects["age"][2])
    assert subjects["site"].tolist() == ["10", "07", "11"]  # a code with a leading zero is no number
    assert [len(found[name]) for name in ("events", "recordings", "images")] == [0, 0, 0]


def test_parquet_and_csv_give_the_same_cohort(tmp_path):
    lines = [HEADER, "a,2020-05-01,2021-05-01,61.5,f,1", "b,2020-05-02,2021-05-02,55,m,2"]
    made(tmp_path, tables(tmp_path, *lines))
    first = json.loads((tmp_path / "source" / "data.json").read_text())
    frame = pd.read_csv(tmp_path / "subjects.csv", parse_dates=["index_time", "followup_end"])
    frame["sex"] = frame["sex"].astype("category")
    frame.iloc[::-1].to_parquet(tmp_path / "subjects.parquet")
    made(tmp_path, TablesSource(source="tables", subjects=str(tmp_path / "subjects.parquet")))
    second = json.loads((tmp_path / "source" / "data.json").read_text())
    assert first["fingerprint"] == second["fingerprint"]
    assert first["tables"]["subjects"]["rows"] == 2


def test_column_mapping_and_zones(tmp_path):
    columns = TableColumns(subject_id="patient", index_time="visit", followup_end="last_seen")
    cohort = tables(
        tmp_path,
        "patient,visit,last_seen,age",
        "7,2020-05-01T01:00:00+02:00,2021-05-01T00:00:00Z,50",
        columns=columns,
        events=write_text(tmp_path / "events.csv", "subject_id,time,code", "7,2020-04-30T23:00:00Z,X", "7,,Y"),
    )
    found = made(tmp_path, cohort)
    # 01:00 in a zone two hours ahead is 23:00 UTC of the day before, the moment of the event.
    assert found["subjects"]["index_time"][0] == found["events"]["time"][0] == pd.Timestamp("2020-04-30 23:00")
    assert found["events"]["code"].tolist() == ["X", "Y"]
    assert found["events"]["time"].isna().tolist() == [False, True]


def test_zoned_parquet_becomes_utc(tmp_path):
    zoned = pd.to_datetime(["2020-07-01 12:00", "2020-01-01 12:00"]).tz_localize("Europe/Berlin")
    pd.DataFrame({"subject_id": [1, 2], "index_time": zoned, "followup_end": zoned + pd.Timedelta(days=9)}).to_parquet(
        tmp_path / "s.parquet"
    )
    subjects = made(tmp_path, TablesSource(source="tables", subjects=str(tmp_path / "s.parquet")))["subjects"]
    assert subjects["index_time"].tolist() == [pd.Timestamp("2020-07-01 10:00"), pd.Timestamp("2020-01-01 11:00")]


ZONED_EVENTS = ("subject_id,time,code", "1,2020-05-01T10:00:00Z,A", "2,2020-05-01T10:00:00Z,A")


def with_visit(folder, visits, events):
    """Return a block whose subject table has the further column visit, which is no column that cohort.columns maps."""
    frame = pd.DataFrame({"subject_id": ["1", "2"], "visit": visits})
    frame.to_parquet(folder / "s.parquet")
    events = write_text(folder / "e.csv", *events)
    columns = TableColumns(index_time=None, followup_end=None)
    return TablesSource(source="tables", subjects=str(folder / "s.parquet"), events=events, columns=columns)


def index_by_visit(folder, cohort):
    """Ingest, and take the column visit as index time."""
    made(folder, cohort)
    tables = {name: folder / "source" / f"{name}.parquet" for name in ("subjects", "events")}
    population = Population.model_validate({"index": {"at": "column", "column": "visit"}})
    select_cohort(**tables, population=population, output=folder / "subjects.parquet", attrition=folder / "steps.csv")
    return pd.read_parquet(folder / "subjects.parquet")["index_time"].tolist()


@pytest.mark.parametrize(("zone", "mark"), [(None, "Z"), ("Europe/Berlin", "")])
def test_a_further_column_with_another_zone_than_the_events_is_refused(tmp_path, zone, mark):
    visits = pd.to_datetime(["2020-05-01 12:00", "2020-05-02 12:00"]).tz_localize(zone)
    events = [line.replace("Z", mark) for line in ZONED_EVENTS]
    with pytest.raises(DataError, match="they cannot be compared") as caught:
        made(tmp_path, with_visit(tmp_path, visits, events))
    assert "column visit" in str(caught.value)


def test_a_text_column_as_index_time_has_the_zone_of_the_events(tmp_path):
    zoned = ["2020-05-01T12:00:00+02:00", "2020-05-02T12:00:00+02:00"]
    naive = [visit.removesuffix("+02:00") for visit in zoned]
    local = [line.replace("Z", "") for line in ZONED_EVENTS]
    assert index_by_visit(tmp_path, with_visit(tmp_path, zoned, ZONED_EVENTS))[0] == pd.Timestamp("2020-05-01 10:00")
    assert index_by_visit(tmp_path, with_visit(tmp_path, naive, local))[0] == pd.Timestamp("2020-05-01 12:00")
    with pytest.raises(
        DataError, match="column visit: the times of all 2 people have no time zone, and the other times"
    ):
        index_by_visit(tmp_path, with_visit(tmp_path, naive, ZONED_EVENTS))
    with pytest.raises(DataError, match="the times of all 2 people have a time zone, and the other"):
        index_by_visit(tmp_path, with_visit(tmp_path, zoned, local))


def test_study_without_dates(tmp_path):
    cohort = tables(tmp_path, "subject_id,years,died", "1,3,0", "2,4,1", columns=TableColumns(index_time=None))
    assert made(tmp_path, cohort)["subjects"].columns.tolist() == ["subject_id", "years", "died"]


def test_people_without_index_time_stay_for_the_selection_to_count(tmp_path):
    cohort = tables(
        tmp_path,
        HEADER,
        "1,2020-05-01,2021-05-01,61,f,1",
        "2,,2021-05-01,61,f,1",
        events=write_text(tmp_path / "e.csv", "subject_id,time,code", "1,2020-01-01,A", "2,2020-01-01,A", "2,,B"),
    )
    found = made(tmp_path, cohort)
    assert found["subjects"]["index_time"].isna().tolist() == [False, True]
    assert found["events"]["subject_id"].tolist() == ["1", "2", "2"]
    assert read_metadata(tmp_path / "source" / "subjects.parquet")["where"].startswith("cohort.subjects (")


def test_meds_shards(tmp_path):
    meds = pytest.importorskip("meds")
    schema = meds.DataSchema.schema()
    for number, shard in enumerate(([2, 1], [11])):
        rows = {
            "subject_id": pa.array(shard, pa.int64()),
            "time": pa.array([pd.Timestamp("2020-01-01")] * len(shard), pa.timestamp("us")),
            "code": pa.array(["LAB//x"] * len(shard)),
            "numeric_value": pa.array([1.5] * len(shard), pa.float32()),
            "text_value": pa.array([None] * len(shard), schema.field("text_value").type),
        }
        (tmp_path / "data" / "train").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(rows), tmp_path / "data" / "train" / f"{number}.parquet")
    lines = [HEADER, *(f"{i},2020-05-01,2021-05-01,61,f,1" for i in (1, 2, 11))]
    events = made(tmp_path, tables(tmp_path, *lines, events=str(tmp_path / "data")))["events"]
    assert events["subject_id"].tolist() == ["1", "11", "2"]  # decimal strings, sorted as text
    assert events["numeric_value"].tolist() == [1.5] * 3
    assert pq.read_schema(tmp_path / "source" / "events.parquet").field("numeric_value").type == pa.float32()


def manifests(tmp_path: Path) -> TablesSource:
    (tmp_path / "ecg").mkdir(parents=True)
    (tmp_path / "ecg" / "r1.hea").write_text(
        "r1 2 500 4\nr1.dat 16 200 16 0 0 0 0 I\nr1.dat 16 200 16 0 0 0 0 II\n#Age: 1\n"
    )
    (tmp_path / "ecg" / "r1.dat").write_bytes(b"0123456789abcdef")
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(b"pixels")
    return tables(
        tmp_path,
        HEADER,
        "1,2020-05-01,2021-05-01,61,f,1",
        recordings=write_text(tmp_path / "ecg" / "recordings.csv", "subject_id,time,path", "1,2020-04-01,r1"),
        images=write_text(tmp_path / "img" / "images.csv", "subject_id,time,path", "1,2020-04-01,a.png"),
    )


def test_manifests_fingerprint_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = made(tmp_path, manifests(tmp_path))
    recording, image = found["recordings"].iloc[0], found["images"].iloc[0]
    content = (tmp_path / "ecg" / "r1.hea").read_bytes() + (tmp_path / "ecg" / "r1.dat").read_bytes()
    assert recording["sha256"] == hashlib.sha256(content).hexdigest()
    assert image["sha256"] == hashlib.sha256(b"pixels").hexdigest()
    assert (recording["path"], image["path"]) == ("ecg/r1", "img/a.png")


def test_fingerprint_follows_the_content_and_not_the_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints = []
    for folder in ("a", "b/c"):
        made(tmp_path / folder, manifests(tmp_path / folder))
        text = (tmp_path / folder / "source" / "data.json").read_text()
        assert str(tmp_path) not in text
        prints.append(json.loads(text)["fingerprint"])
    assert prints[0] == prints[1]
    (tmp_path / "a" / "ecg" / "r1.dat").write_bytes(b"0123456789abcdeX")
    ingest(
        cohort=TablesSource(
            source="tables",
            subjects=str(tmp_path / "a" / "subjects.csv"),
            recordings=str(tmp_path / "a" / "ecg" / "recordings.csv"),
            images=str(tmp_path / "a" / "img" / "images.csv"),
        ),
        output=tmp_path / "again",
    )
    assert json.loads((tmp_path / "again" / "data.json").read_text())["fingerprint"] != prints[0]


def test_same_input_same_bytes(tmp_path):
    cohort = manifests(tmp_path)
    for output in ("one", "two"):
        ingest(cohort=cohort, output=tmp_path / output)
    for name in ("subjects.parquet", "events.parquet", "recordings.parquet", "images.parquet", "data.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_files_of_a_multi_segment_record(tmp_path):
    (tmp_path / "m.hea").write_text("m/2 1 500 8\ns1 4\n~ 2\ns2 4\n")
    for name in ("s1", "s2"):
        (tmp_path / f"{name}.hea").write_text(f"{name} 1 500 4\n{name}.mat 16+24 1000 16 0 0 0 0 I\n")
    names = [path.name for path in record_files(tmp_path / "m")]
    assert names == ["m.hea", "s1.hea", "s1.mat", "s2.hea", "s2.mat"]


def test_real_records(real_data):
    wfdb = pytest.importorskip("wfdb")
    headers = sorted((real_data / "ecg12_chapman_cpsc").glob("*.hea"))
    for header in headers[::10]:
        record = header.with_suffix("")
        files = record_files(record)
        assert {path.name for path in files} == {header.name, *wfdb.rdheader(str(record)).file_name}
        assert all(path.is_file() for path in files)


def test_synthetic_source_reads_the_generators_folder(tmp_path):
    manifests(tmp_path / "demo")
    for name, folder in (("recordings.csv", "ecg"), ("images.csv", "img")):
        lines = (
            (tmp_path / "demo" / folder / name).read_text().replace(",r1", ",ecg/r1").replace(",a.png", ",img/a.png")
        )
        (tmp_path / "demo" / name).write_text(lines)
    (tmp_path / "demo" / "data").mkdir()
    pd.DataFrame({"subject_id": [1], "time": pd.to_datetime(["2020-01-01"]), "code": ["A"]}).to_parquet(
        tmp_path / "demo" / "data" / "0.parquet"
    )
    found = made(tmp_path, SyntheticSource(source="synthetic"), synthetic=tmp_path / "demo")
    assert {name: len(frame) for name, frame in found.items()} == dict.fromkeys(found, 1)

"""The user's own tables beyond dates in CSV: Parquet events as a stream, relative times, births, further tables."""

import json
import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from riskweave.cohort.contents import ContentDigest, content_sha256
from riskweave.cohort.events import store_events
from riskweave.cohort.ingest import ingest
from riskweave.cohort.sources.base import CanonicalTables, EventQuery, empty_manifest
from riskweave.cohort.sources.tables import read_tables
from riskweave.cohort.tables import EVENTS, SOURCE_SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.study.raw import raw_files
from riskweave.study.sources import EventColumns, TableColumns, TablesSource

UNDATED = TableColumns(index_time=None)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def source(**given) -> TablesSource:
    return TablesSource(source="tables", **{"subjects": "subjects.csv", **given})


def made(cohort: TablesSource, output: str = "out") -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    ingest(cohort=cohort, output=Path(output))
    subjects = read_table(Path(output) / "subjects.parquet", SOURCE_SUBJECTS)
    events = read_table(Path(output) / "events.parquet", EVENTS)
    return subjects, events, json.loads((Path(output) / "data.json").read_text())


def refused(cohort: TablesSource) -> str:
    with pytest.raises(DataError) as caught:
        ingest(cohort=cohort, output=Path("refused"))
    assert not Path("refused").exists()
    assert list(Path().glob(".*")) == []  # nothing half-made stays
    return str(caught.value)


DATED = ("subject_id,index_time,followup_end,born", "01,2020-05-01,2021-05-01,1950-01-01", "02,2020-05-01,2021-05-01,")


def test_names_and_units_of_events():
    write("subjects.csv", *DATED)
    write("events.csv", "patient,when,item,result,uom,comment", "01,2020-01-01,GLU,5.5,mmol/L,", "02,,SMOKER,,,never")
    columns = EventColumns(
        subject_id="patient", time="when", code="item", numeric_value="result", text_value="comment", unit="uom"
    )
    events = made(source(events="events.csv", event_columns=columns))[1]
    assert events.iloc[0].tolist() == ["01", pd.Timestamp("2020-01-01"), "GLU", 5.5, None, "mmol/L"]
    assert events["text_value"].tolist() == [None, "never"]
    message = refused(source(events="events.csv", event_columns=columns.model_copy(update={"code": "items"})))
    assert "there is no column 'items'" in message
    assert "name yours in cohort.event_columns.code. Did you mean 'item'?" in message


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("key", ["numeric_value", "text_value", "unit"])
def test_a_column_of_events_that_the_study_names_is_there(kind, key):
    write("subjects.csv", *DATED)
    events = pd.DataFrame(
        {"subject_id": ["01"], "time": [pd.Timestamp("2020-01-01")], "code": ["A"], "my_column": ["1"]}
    )
    events.to_csv("events.csv", index=False)
    events.to_parquet("events.parquet")
    misspelt = EventColumns(**{key: "my_colum"})
    assert refused(source(events=f"events.{kind}", event_columns=misspelt)) == (
        f"cohort.events (events.{kind}): there is no column 'my_colum'; the 4 columns are: subject_id, time, code, "
        f"my_column. Correct cohort.event_columns.{key}, or remove it where there is none. Did you mean 'my_column'?"
    )
    assert made(source(events=f"events.{kind}"))[1][key].isna().all()  # under its default name it may be absent


def test_text_that_is_no_number_stays_text():
    ages = ["10-20", "20-30", "30-40"] * 4
    columns = {
        "band": ages,
        "side": ["<65", ">=65"] * 6,  # categories: no number stands without a sign
        "code": ["007", "012", "100"] * 4,
        "some": ["1", "2", "3", "4", ">4", "x", "y", "z", "1", "2", "3", "4"],  # three of twelve are no number at all
    }
    ids = [f"{number:02d}" for number in range(12)]
    pd.DataFrame({"subject_id": ids, "followup_end": "2021-05-01", **columns}).to_csv("subjects.csv", index=False)
    write("more.csv", "subject_id,age", *(f"{name},{40 + place}" for place, name in enumerate(ids[1:])), "00,>89")
    subjects = made(source(columns=UNDATED))[0]
    assert {name: subjects[name].tolist() for name in columns} == columns
    assert refused(source(columns=UNDATED, further=["more.csv"])).startswith(
        "cohort.further[0] (more.csv), column age: 1 of 12 values are no number (1 top-coded or cut off, such as"
    )


def test_relative_times_count_from_the_index():
    write("subjects.csv", "subject_id,followup_end,born,sex", "1,48.5,-438300,f", "2,72,,m")
    write("events.csv", "subject_id,time,code", "1,-0.5,A", "1,0,B", "2,36,A")
    columns = TableColumns(index_time=None, birth_time="born")
    cohort = source(columns=columns, events="events.csv", event_columns=EventColumns(time_unit="hours"))
    subjects, events, data = made(cohort)
    zero = pd.Timestamp("2000-01-01 00:00:00.000001")  # no midnight, which would be a date
    assert set(subjects["index_time"]) == {zero}
    assert subjects["followup_end"].tolist() == [zero + pd.Timedelta(hours=48.5), zero + pd.Timedelta(hours=72)]
    times = events.set_index(["subject_id", "code"])["time"]
    assert times["1", "A"] == zero - pd.Timedelta(minutes=30)
    assert times["1", "B"] == zero
    assert times["2", "A"] == zero + pd.Timedelta(hours=36)
    assert times["1", "MEDS_BIRTH"] == zero - pd.Timedelta(hours=438300)
    assert data["date"] is None  # 2000-01-01 is no date of the data


def test_relative_parquet_times():
    write("subjects.csv", "subject_id", "1")
    pd.DataFrame({"subject_id": [1, 1], "time": [-90, 30], "code": ["A", "B"]}).to_parquet("events.parquet")
    cohort = source(columns=UNDATED, events="events.parquet", event_columns=EventColumns(time_unit="minutes"))
    zero = pd.Timestamp("2000-01-01 00:00:00.000001")
    minutes = [zero + pd.Timedelta(minutes=number) for number in (-90, 30)]
    assert made(cohort)[1]["time"].tolist() == minutes
    pd.DataFrame({"subject_id": [1], "time": [pd.Timestamp("2020-01-01")], "code": ["A"]}).to_parquet("events.parquet")
    with pytest.raises(DataError, match="With time_unit minutes they are numbers; for dates set time_unit: dates"):
        made(cohort)


def test_relative_times_in_the_wrong_unit():
    write("subjects.csv", "subject_id", "1")
    write("events.csv", "subject_id,time,code", "1,-90000,A", "1,-40,A")
    cohort = source(columns=UNDATED, events="events.csv", event_columns=EventColumns(time_unit="days"))
    assert "column time: 1 of 2 rows are more than 100 years from the index time. Check" in refused(cohort)
    with pytest.raises(ValidationError, match=r"set columns\.index_time to null"):
        source(event_columns=EventColumns(time_unit="days"))


def test_births_become_events():
    write("subjects.csv", *DATED)
    write("events.csv", "subject_id,time,code", "02,2020-01-01,A")
    for name in ("events.csv", "events.parquet"):
        subjects, events, _ = made(source(columns=TableColumns(birth_time="born"), events=name))
        assert subjects.columns.tolist() == ["subject_id", "index_time", "followup_end"]
        assert events["code"].tolist() == ["MEDS_BIRTH", "A"]
        assert events["time"][0] == pd.Timestamp("1950-01-01")
        events[["subject_id", "time", "code"]].query("code == 'A'").to_parquet("events.parquet")
    message = refused(source(columns=TableColumns(birth_time="birth")))
    assert "there is no column 'birth'" in message
    assert "cohort.columns.birth_time" in message


def test_index_time_made_by_the_study_needs_no_column():
    write("subjects.csv", "subject_id,last_seen,sex", "1,2021-05-01,f", "2,,m")
    subjects = made(source(columns=UNDATED))[0]
    assert subjects.columns.tolist() == ["subject_id", "last_seen", "sex"]
    subjects = made(source(columns=TableColumns(index_time=None, followup_end="last_seen")))[0]
    assert subjects["followup_end"].tolist() == [pd.Timestamp("2021-05-01"), pd.NaT]
    misspelt = source(columns=TableColumns(index_time=None, followup_end="last_sean"))
    assert "there is no column 'last_sean'" in refused(misspelt)


def test_further_tables_join_by_subject():
    write("subjects.csv", *DATED)
    write("scores.csv", "subject_id,prs,array", "02,1.5,a", "03,0.25,b")
    pd.DataFrame({"subject_id": ["01", "02"], "diet": ["good", "poor"]}).to_parquet("diet.parquet")
    cohort = source(further=["scores.csv", "diet.parquet"])
    subjects, _, data = made(cohort)
    assert subjects["diet"].tolist() == ["good", "poor"]
    assert subjects["prs"].isna().tolist() == [True, False]
    assert subjects["prs"][1] == 1.5
    assert subjects["array"].tolist() == [None, "a"]
    assert data["files"] == ["subjects.csv", "scores.csv", "diet.parquet"]
    assert raw_files(cohort)["further[1]"] == [Path("diet.parquet")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("subject_id,born", "01,3"), "cohort.further[0] (more.csv): 1 columns have names that the subject table has"),
        (("subject_id,person_id", "01,3"), "1 columns have names that the subject table has already: person_id"),
        (("subject_id,prs", "01,3", "01,4"), "column subject_id: 1 of 2 rows repeat another row's identifier"),
        (("subject_id,prs", "1,3", "2,4"), "2 of them differ from a known subject in leading zeros alone"),
        (("id,prs", "01,3"), "there is no column 'subject_id'"),
    ],
)
def test_further_tables_that_do_not_fit(lines, expected):
    write("subjects.csv", *DATED)
    write("more.csv", *lines)
    assert expected in refused(source(further=["more.csv"]))


def test_parquet_events_are_streamed_and_equal_the_same_events_read_strictly():
    write("subjects.csv", *DATED)
    write(
        "events.csv", "subject_id,time,code,numeric_value,text_value,unit,note",
        "02,2020-01-01T10:00,B,1.1,,mg/dL,x", "01,2020-01-01,A,NaN,low,,y", "01,,C,,,,z", "01,2019-01-01,A,2,,,w",
    )  # fmt: skip
    strict = made(source(events="events.csv"), "strict")
    frame = pd.read_csv("events.csv", dtype={"subject_id": str}, parse_dates=["time"], date_format="ISO8601")
    frame["code"] = frame["code"].astype("category")
    Path("shards/deep").mkdir(parents=True)
    frame[:1].to_parquet("shards/deep/0.parquet")
    frame[1:].drop(columns=["unit"]).to_parquet("shards/1.parquet")
    assert isinstance(read_tables(source(events="shards")).events, EventQuery)
    streamed = made(source(events="shards"), "streamed")
    pd.testing.assert_frame_equal(strict[1], streamed[1])
    assert strict[2]["fingerprint"] == streamed[2]["fingerprint"]


def test_zoned_parquet_events_are_utc_and_need_zoned_subjects():
    times = pd.to_datetime(["2020-07-01 12:00"]).tz_localize("Europe/Berlin")
    pd.DataFrame({"subject_id": ["1"], "time": times, "code": ["A"]}).to_parquet("events.parquet")
    write("subjects.csv", "subject_id,index_time,followup_end", "1,2020-05-01T00:00Z,2021-05-01T00:00Z")
    assert made(source(events="events.parquet"))[1]["time"][0] == pd.Timestamp("2020-07-01 10:00")
    write("subjects.csv", "subject_id,index_time,followup_end", "1,2020-05-01,2021-05-01")
    with pytest.raises(DataError, match=r"column time: the times have a time zone, and those of cohort\.subjects"):
        made(source(events="events.parquet"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"subject_id": ["01", "3"]}, "column subject_id: 1 of 2 rows belong to 1 subjects that are not in"),
        ({"subject_id": ["1", "2"]}, "2 of them differ from a known subject in leading zeros alone"),
        ({"subject_id": ["01", None]}, "column subject_id: 1 of 2 rows have no identifier"),
        ({"code": ["A", ""]}, "cohort.events (events.parquet), column code: 1 of 2 rows have no code"),
        ({"numeric_value": [1.0, float("-inf")]}, "column numeric_value: 1 of 2 rows are infinite"),
        ({"time": pd.to_datetime(["2020-01-01", "1700-01-01"])}, "column time: 1 of 2 rows have a year outside 1800"),
    ],
)  # fmt: skip
def test_streamed_events_are_checked(change, expected):
    write("subjects.csv", *DATED)
    good = {"subject_id": ["01", "02"], "time": pd.to_datetime(["2020-01-01"] * 2), "code": ["A", "B"]}
    pd.DataFrame({**good, **change}).to_parquet("events.parquet")
    assert isinstance(read_tables(source(events="events.parquet")).events, EventQuery)
    assert expected in refused(source(events="events.parquet"))


def test_truncated_pages_are_found_when_rows_are_read():
    write("subjects.csv", *DATED)
    frame = pd.DataFrame({"subject_id": ["01"] * 50_000, "time": pd.Timestamp("2020-01-01"), "code": range(50_000)})
    frame.astype({"code": str}).to_parquet("events.parquet")
    content = Path("events.parquet").read_bytes()
    Path("events.parquet").write_bytes(content[:4] + b"\xff" * 20_000 + content[20_004:])
    assert "cohort.events (events.parquet): the rows cannot be read to their end (" in refused(
        source(events="events.parquet")
    )


def test_what_is_stored_does_not_depend_on_order_threads_or_memory(tmp_path, monkeypatch):
    subjects = pa.table({"subject_id": [f"{number:03d}" for number in range(50)]})
    rows = (
        "SELECT lpad((i % 50)::VARCHAR, 3, '0') AS subject_id, TIMESTAMP '2020-01-01' + to_days((i * 7919 % 997)::INT)"
    )
    rows += (
        " AS time, 'C' || (i * 31 % 17) AS code, (i % 1009)::FLOAT AS numeric_value, NULL AS text_value, NULL AS unit"
    )
    stored = []
    for number, order in enumerate(("i", "hash(i)")):
        query = EventQuery(f"{rows} FROM range(60000) t(i) ORDER BY {order}")
        tables = CanonicalTables(subjects, query, empty_manifest(), empty_manifest(), "nowhere")
        path = tmp_path / f"{number}.parquet"
        monkeypatch.setattr("riskweave.cohort.events._BATCH", (1 << 18, 5000)[number])
        monkeypatch.setattr("riskweave.cohort.events._ROW_GROUP", 10_000)
        stored.append((store_events(tables, path, work=tmp_path, threads=number + 1), path.read_bytes()))
    assert stored[0] == stored[1]
    facts = stored[0][0]
    assert (facts.rows, facts.subjects, facts.repeated) == (60_000, 50, 0)
    events = pq.read_table(tmp_path / "0.parquet")
    assert content_sha256(events) == facts.sha256
    assert events.equals(events.sort_by([(name, "ascending") for name in EVENTS.order]))
    assert pq.ParquetFile(tmp_path / "0.parquet").num_row_groups == 6


def test_repeated_rows_are_counted_over_borders_of_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("riskweave.cohort.events._BATCH", 2048)
    subjects = pa.table({"subject_id": ["a"]})
    rows = "SELECT 'a' AS subject_id, NULL AS time, 'C' || (i // 3) AS code, NULL AS numeric_value, 'w' AS text_value, "
    query = EventQuery(f"{rows} NULL AS unit FROM range(9000) t(i) WHERE i % 3 < 2")
    tables = CanonicalTables(subjects, query, empty_manifest(), empty_manifest(), "nowhere")
    with pytest.raises(DataError, match="3000 of 6000 rows repeat another row in everything"):
        store_events(tables, tmp_path / "e.parquet", work=tmp_path)


def test_content_digest_sees_content_and_no_layout():
    table = pa.table({
        "subject_id": ["a", "b", None, "", "cd"],
        "time": pa.array([1, None, 3, 4, 5], pa.timestamp("us")),
        "value": pa.array([1.5, None, 0.0, 2, 3], pa.float32()),
        "flag": [True, None, False, True, True],
        "empty": pa.nulls(5, pa.string()),
        "path": list("vwxyz"),
    })  # fmt: skip
    digest = ContentDigest(table.schema)
    for start, length in ((0, 2), (2, 0), (2, 1), (3, 2)):
        for batch in table.slice(start, length).to_batches():
            digest.update(batch)
    assert digest.hexdigest() == content_sha256(table)
    assert content_sha256(table.drop_columns(["path"])) == content_sha256(table)
    changes = {
        "subject_id": ["a", "b", "", None, "cd"],  # missing is not empty
        "time": pa.array([1, 0, 3, 4, 5], pa.timestamp("us")),
        "value": pa.array([1.5, 0, None, 2, 3], pa.float32()),
        "flag": [True, False, None, True, True],
        "empty": [None, None, None, None, ""],
    }
    for name, values in changes.items():
        place = table.column_names.index(name)
        array = pa.array(values, table.schema.field(name).type)
        assert content_sha256(table.set_column(place, name, array)) != content_sha256(table)
    shifted = table.set_column(0, "subject_id", pa.array(["ab", "", None, "", "cd"]))
    assert content_sha256(shifted) != content_sha256(table)


def test_the_data_version_says_what_changed(caplog):
    caplog.set_level(logging.INFO)
    write("subjects.csv", *DATED)
    write("events.csv", "subject_id,time,code", "01,2020-01-01,A", "02,2020-02-03 10:00,B")
    cohort = source(events="events.csv", release="pull of May")
    first = made(cohort)[2]
    assert (first["version"], first["date"], first["date_of"], first["changed"]) == (
        "pull of May", "2020-02-03", "latest event", {},
    )  # fmt: skip
    assert "changed" not in caplog.text
    write("events.csv", "subject_id,time,code", "01,2020-01-01,A")
    second = made(cohort)[2]
    assert second["changed"] == {"events": {"rows_before": 2, "rows": 1}}
    assert "The table events changed: 1 rows, 2 before" in caplog.text
    assert second["tables"]["subjects"] == first["tables"]["subjects"]
    made(cohort)
    assert "The content of all tables is the same as before" in caplog.text
    write("events.csv", "subject_id,time,code", "01,2020-01-02,A")
    made(cohort)
    assert "The table events changed: other content, the same number of rows (1)" in caplog.text


def test_events_after_death_are_told(caplog):
    write("subjects.csv", *DATED)
    alive = "subject_id,time,code", "01,2020-03-01,MEDS_DEATH", "01,2020-03-01 23:00,A", "02,2020-09-01,A", "01,,B"
    write("events.csv", *alive)
    made(source(events="events.csv"))
    assert "after their death" not in caplog.text  # a date covers its day
    after = "01,2020-03-02,A", "01,2020-09-01,MEDS_DEATH", "02,2020-08-31 12:00,MEDS_DEATH//WARD"
    write("events.csv", *alive, *after)
    made(source(events="events.csv"))
    assert "cohort.events (events.csv): 3 events of 2 people are dated after their death" in caplog.text


def test_data_that_cannot_be_used_leave_those_before():
    write("subjects.csv", *DATED)
    write("events.csv", "subject_id,time,code", "01,2020-01-01,A")
    before = made(source(events="events.csv"))[2]
    write("events.csv", "subject_id,time,code", "09,2020-01-01,A")
    with pytest.raises(DataError):
        made(source(events="events.csv"))
    assert json.loads(Path("out/data.json").read_text()) == before
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "data.json", "events.parquet", "images.parquet", "recordings.parquet", "sounds.parquet", "subjects.parquet",
    ]  # fmt: skip

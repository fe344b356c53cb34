"""Cohorts that cannot be used: each stops with an error naming file, column, count and remedy, and writes nothing."""

# ruff: noqa: E501 - a case is one line, and the messages that it expects are sentences

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.checks import check_columns
from riskweave.cohort.ingest import ingest
from riskweave.cohort.selection import select_cohort
from riskweave.cohort.tables import SOURCE_SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.study.population import Population
from riskweave.study.sources import SyntheticSource, TableColumns, TablesSource

SUBJECT_LINES = """subject_id,index_time,followup_end,age,sex,centre,years,died,empty,birthday
001,2020-05-01,2024-05-01,61,f,north,3,1,,1959-02-01
002,2020-05-02,2024-05-01,55,m,south,4,0,,1965-02-01
003,2020-05-03,2024-05-01,58,m,north,2,1,,1962-02-01
"""
EVENT_LINES = "subject_id,time,code,numeric_value\n001,2020-01-01,LAB//x,1.5\n002,2020-02-01 10:30,LAB//x,2\n"
MANIFEST_LINES = "subject_id,time,path\n001,2020-04-01,{one}\n002,2020-04-02,{two}\n"
HEADER = "{name} 1 500 8\n{name}.dat 16 200 16 0 0 0 0 I\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cohort without a fault; the tests spoil one thing each."""
    monkeypatch.chdir(tmp_path)
    Path("subjects.csv").write_text(SUBJECT_LINES)
    Path("events.csv").write_text(EVENT_LINES)
    Path("ecg").mkdir()
    Path("images").mkdir()
    for name in ("r1", "r2"):
        Path(f"ecg/{name}.hea").write_text(HEADER.format(name=name))
        Path(f"ecg/{name}.dat").write_bytes(b"0123456789abcdef")
        Path(f"images/{name}.png").write_bytes(b"pixels")
    Path("ecg/recordings.csv").write_text(MANIFEST_LINES.format(one="r1", two="r2"))
    Path("images/images.csv").write_text(MANIFEST_LINES.format(one="r1.png", two="r2.png"))
    return tmp_path


def source(**changes) -> TablesSource:
    given = {
        "subjects": "subjects.csv",
        "events": "events.csv",
        "recordings": "ecg/recordings.csv",
        "images": "images/images.csv",
    }
    return TablesSource(source="tables", **{**given, **changes})


def refused(cohort=None) -> str:
    """Ingest, expect a DataError, and check that nothing was written and nobody is named."""
    with pytest.raises(DataError) as caught:
        ingest(cohort=cohort or source(), output=Path("out"))
    assert not Path("out").exists()
    assert caught.value.remedy
    assert "001" not in str(caught.value)
    return str(caught.value)


def selected(cohort) -> Path:
    """Ingest and select, and return the table of the study's subjects."""
    ingest(cohort=cohort, output=Path("out"))
    select_cohort(
        subjects=Path("out/subjects.parquet"),
        events=Path("out/events.parquet"),
        population=Population(),
        output=Path("selected.parquet"),
        attrition=Path("attrition.csv"),
    )
    return Path("selected.parquet")


@pytest.mark.usefixtures("folder")
def test_negative_follow_up():
    replace("subjects.csv", "2024-05-01,55", "2019-05-01,55")
    with pytest.raises(DataError) as caught:
        selected(source())
    expected = "for 1 of 3 subjects the follow-up ends before the index time (negative follow-up). Correct the dates"
    assert f"cohort.subjects (subjects.csv), column followup_end: {expected}" in str(caught.value)


def refused_column(column: str, cohort=None) -> str:
    """Ingest, then expect that a static feature set's column is refused; the message names the user's own file."""
    subjects = selected(cohort or source())
    with pytest.raises(DataError) as caught:
        check_columns(subjects=subjects, study_columns={"feature_sets.base.static[0]": column})
    assert "selected" not in str(caught.value)
    return str(caught.value)


def replace(name: str, old: str, new: str, count: int = -1) -> None:
    path = Path(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_the_unspoilt_cohort_is_read(folder):
    check_columns(subjects=selected(source()), study_columns={"feature_sets.ehr.static[0]": "age"})
    assert len(read_table(folder / "out" / "subjects.parquet", SOURCE_SUBJECTS)) == 3


# Each case: the file, what is replaced by what, and what the message must say.
SPOILT = {
    "duplicate subject": ("subjects.csv", "\n002,", "\n001,", "cohort.subjects (subjects.csv), column subject_id: 1 subjects occur more than once (1 rows too many). Give one row"),
    "subject without identifier": ("subjects.csv", "\n002,", "\n,", "column subject_id: 1 of 3 rows have no identifier. Give"),
    "misspelt column": ("subjects.csv", "index_time", "indextime", "there is no column 'index_time'; the 10 columns are: subject_id, indextime, .*cohort.columns.index_time, .* Did you mean 'indextime'"),
    "identifier column missing": ("subjects.csv", "subject_id", "patient", "there is no column 'subject_id'.*Name the column in cohort.columns.subject_id"),
    "no end of follow-up": ("subjects.csv", "followup_end", "last_seen", "no column 'followup_end'.*or set that to null where all endpoints come from columns"),
    "dates of another form": ("subjects.csv", "2020-05-0", "01/05/202", "column index_time: 3 of 3 rows are no date or time. Write times as 2020-05-01"),
    "date that does not exist": ("subjects.csv", "2020-05-01", "2020-02-30", "column index_time: 1 of 3 rows are no date or time"),
    "time zone in some rows": ("subjects.csv", "2020-05-01,", "2020-05-01T10:00:00Z,", "column index_time: 1 rows have a time zone and 2 have none. Write"),
    "placeholder date": ("subjects.csv", "2024-05-01", "9999-12-31", "column followup_end: 3 of 3 rows have a year outside 1800 to 2500. Leave"),
    "semicolons": ("subjects.csv", ",", ";", "the header is 1 column: the file seems to be separated by semicolons. Save it"),
    "ragged rows": ("subjects.csv", "002,", "002,x,", "1 rows do not have the 10 cells of the header. Correct"),
    "column name twice": ("subjects.csv", "sex", "age", "1 column names occur more than once: age. Rename"),
    "event of nobody": ("events.csv", "002,", "999,", "cohort.events (events.csv), column subject_id: 1 of 2 rows belong to 1 subjects that are not in the subject table. Add"),
    "event with zeros lost": ("events.csv", "002,", "2,", "1 of them differ from a known subject in leading zeros alone: identifiers are text"),
    "event without code": ("events.csv", "10:30,LAB//x", "10:30,", "column code: 1 of 2 rows have no code. Give"),
    "event value is a word": ("events.csv", "x,2", "x,high", "column numeric_value: 1 of 2 rows are no number. Allowed: numbers with a decimal point"),
    "event value infinite": ("events.csv", "x,2", "x,inf", "column numeric_value: 1 of 2 rows are infinite. Leave"),
    "event at no time": ("events.csv", "2020-02-01 10:30", "yesterday", "column time: 1 of 2 rows are no date or time"),
    "events without codes": ("events.csv", "code", "kode", "there is no column 'code'; .* Did you mean 'kode'"),
    "zones in one table": ("events.csv", ",LAB", "Z,LAB", None),
    "recording of nobody": ("ecg/recordings.csv", "002,", "999,", "cohort.recordings (ecg/recordings.csv), column subject_id: 1 of 2 rows belong to 1 subjects"),
    "recording without time": ("ecg/recordings.csv", "2020-04-02", "", "column time: 1 of 2 rows have no time. Give"),
    "recording not there": ("ecg/recordings.csv", "r2", "r9", "1 files of 2 rows do not exist, first in row 2, the header not counted. Paths are relative to the manifest"),
    "signal not there": ("ecg/r2.hea", "r2.dat", "r8.dat", "1 files of 2 rows do not exist, first in row 2, the header not counted. Paths"),
    "header is no header": ("ecg/r2.hea", "r2 1 500", "RIFF", "1 files of 2 rows have a header that is not WFDB, first in row 2, the header not counted. Write"),
    "one file of two subjects": ("ecg/recordings.csv", "r2", "r1", "column path: 1 files are listed for more than one subject. A file belongs to one"),
    "image not there": ("images/images.csv", "r2.png", "r2.jpg", "cohort.images (images/images.csv): 1 files of 2 rows do not exist, first in row 2, the header not counted. Paths"),
    "image without path": ("images/images.csv", "r2.png", "", "column path: 1 of 2 rows have no path. Give"),
    "manifest without path": ("images/images.csv", "path", "file", "there is no column 'path'; the 3 columns are: subject_id, time, file. Add or rename"),
}  # fmt: skip


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_file(case):
    name, old, new, expected = SPOILT[case]
    if case == "zones in one table":
        replace(name, "2020-01-01,", "2020-01-01 00:00,")
        expected = "cohort.events (events.csv), column time: the times have a time zone, and those of cohort.subjects"
    # The header is spoilt once; identifiers and dates wherever they are.
    replace(name, old, new, 1 if old.isidentifier() and case != "placeholder date" else -1)
    message = refused()
    for part in expected.split(".*"):
        assert part.strip() in message


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("key", "path", "expected"),
    [
        ("subjects", "subject.csv", "cohort.subjects (subject.csv): there is no such file or folder. Correct cohort.subjects.*'subjects.csv'"),
        ("events", "data/meds", "cohort.events (data/meds): there is no such file or folder. Correct cohort.events: paths are relative"),
        ("subjects", "subjects.xlsx", "files of type '.xlsx' are not read. Give a CSV file"),
        ("events", "images", "cohort.events (images): the folder holds 0 Parquet files. Give a folder with .parquet shards"),
        ("subjects", "nothing.csv", "cohort.subjects (nothing.csv): the file is empty: 0 rows and no header. Give a CSV"),
        ("events", "header.csv", "cohort.events (header.csv): the table has 0 rows. Give a file with data, or remove cohort.events"),
        ("subjects", "latin.csv", "cohort.subjects (latin.csv): the file is not UTF-8 text. Give a CSV"),
        ("subjects", "broken.parquet", "cohort.subjects (broken.parquet): 1 file is not readable Parquet. Give"),
        ("events", "shards", "cohort.events (shards): 1 file is not readable Parquet (shard 1.parquet). Give"),
        ("events", "unlike", "cohort.events (unlike): the columns of the 2 shards have types that do not fit together. Write"),
    ],
)  # fmt: skip
def test_unusable_file(key, path, expected):
    Path("subjects.xlsx").write_bytes(b"PK")
    Path("nothing.csv").write_text("")
    Path("header.csv").write_text("subject_id,time,code\n")
    Path("latin.csv").write_bytes(SUBJECT_LINES.replace("north", "Köln").encode("latin-1"))
    Path("broken.parquet").write_bytes(b"PAR1 and no more")
    events = pd.DataFrame({"subject_id": ["001"], "time": pd.to_datetime(["2020-01-01"]), "code": ["A"]})
    for name in ("shards", "unlike"):
        Path(name).mkdir()
        events.to_parquet(f"{name}/0.parquet")
    Path("shards/1.parquet").write_bytes(b"not parquet at all")
    events.assign(code=pd.to_datetime(["2020-01-01"])).to_parquet("unlike/1.parquet")
    message = refused(source(**{key: path}))
    for part in expected.split(".*"):
        assert part in message


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("path", ["ecg/r2.dat", "ecg/r2.hea"])
def test_empty_recording(path):
    Path(path).write_bytes(b"")
    message = refused()
    assert "1 files of 2 rows are empty (0 bytes), first in row 2, the header not counted. Copy them again" in message
    assert "r2" not in message  # names of files often hold the patient's number


@pytest.mark.usefixtures("folder")
def test_empty_image():
    Path("images/r1.png").write_bytes(b"")
    assert "cohort.images (images/images.csv): 1 files of 2 rows are empty (0 bytes), first in row 1, the" in refused()


@pytest.mark.usefixtures("folder")
def test_row_of_a_manifest_twice():
    replace("images/images.csv", "002,2020-04-02,r2.png", "001,2020-04-01,r1.png")
    assert "cohort.images (images/images.csv): 1 of 2 rows repeat another row. Keep each row once" in refused()


@pytest.mark.usefixtures("folder")
def test_nobody_has_an_index_time():
    for day in ("01", "02", "03"):
        replace("subjects.csv", f"2020-05-{day},", ",", 1)
    assert "column index_time: all 3 subjects lack a value. Name the column in cohort.columns.index_time" in refused()


@pytest.mark.usefixtures("folder")
def test_reserved_name():
    replace("subjects.csv", "centre", "patient", 1)
    message = refused(source(columns=TableColumns(subject_id="patient")))
    assert "column patient: 1 subjects occur more than once" in message
    replace("subjects.csv", "m,north", "m,west")
    message = refused(source(columns=TableColumns(subject_id="patient")))
    assert "1 columns have reserved names that cohort.columns gives to others: subject_id. Rename" in message


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("subject_id", [1.0, 2.0, 3.0], "identifiers have the type double in all 3 rows. Store identifiers as text"),
        ("index_time", [20200501, 20200502, 20200503], "times have the type int64 in all 3 rows. Write times as"),
        ("scores", [[1], [2], [3]], "column scores: has the type list<.*in all 3 rows. Allowed: numbers, text, dates"),
    ],
)
def test_parquet_of_odd_types(kind, values, expected):
    dates = pd.to_datetime(["2020-05-01"] * 3)
    frame = {"subject_id": [1, 2, 3], "index_time": dates, "followup_end": dates + pd.Timedelta(days=9), kind: values}
    pq.write_table(pa.table(frame), "subjects.parquet")
    message = refused(TablesSource(source="tables", subjects="subjects.parquet"))
    assert "cohort.subjects (subjects.parquet), column" in message
    for part in expected.split(".*"):
        assert part in message


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("agee", "there is no column 'agee', which feature_sets.base.static[0] names; the table has: age, sex, .* Did you mean 'age'"),
        ("empty", "column empty: all 3 subjects lack a value (feature_sets.base.static[0] names the column). Fill the column"),
        ("birthday", None),
        ("index_time", "there is no column 'index_time'"),
    ],
)  # fmt: skip
def test_columns_that_the_study_names(column, expected):
    if column == "birthday":
        frame = pd.read_csv("subjects.csv", dtype=str).assign(birthday=pd.Timestamp("1960-01-01"))
        frame.to_parquet("s.parquet")
        message = refused_column(column, source(subjects="s.parquet"))
        expected = "column birthday: has the type timestamp[.*for all 3 subjects.*Turn dates into numbers, such as ages"
    else:
        message = refused_column(column)
    for part in expected.split(".*"):
        assert part.strip() in message


@pytest.mark.usefixtures("folder")
def test_number_misspelt_in_a_static_column():
    lines = [f"{i},2020-05-01,2024-05-01,{50 + i}" for i in range(30)]
    lines[3] = lines[3].replace(",53", ",fifty")
    Path("subjects.csv").write_text("\n".join(["subject_id,index_time,followup_end,age", *lines]))
    message = refused_column("age", TablesSource(source="tables", subjects="subjects.csv"))
    assert "column age: 1 of 30 values are no number, though the others are" in message


@pytest.mark.usefixtures("folder")
def test_generated_cohort_is_not_there():
    message = refused(SyntheticSource(source="synthetic"))
    assert "the generated cohort is not there. Run the rule that generates it" in message

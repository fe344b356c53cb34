"""MEDS data sets: directories written with the schemas of the standard's own package, and what is no such directory."""

# ruff: noqa: E501 - a case is one line, and the messages that it expects are sentences

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.ingest import ingest
from riskweave.cohort.tables import EVENTS, SOURCE_SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.study.raw import raw_files
from riskweave.study.sources import MedsSource

meds = pytest.importorskip("meds")

BIRTH = dt.datetime(1950, 3, 1)
VISIT = dt.datetime(2020, 5, 1, 13, 30)
# Two shards; the identifiers sort otherwise as numbers than as text.
SHARDS = {
    "train/0": [
        (9, None, "GENDER//F", None, None),
        (9, BIRTH, meds.birth_code, None, None),
        (9, VISIT, "LAB//50868//mEq/L", 12.5, None),
        (9, VISIT, "NOTE", None, "no words"),
    ],
    "held_out/0": [
        (10, BIRTH, meds.birth_code, None, None),
        (10, VISIT, "LAB//50868//mEq/L", float("nan"), None),
        (10, dt.datetime(2021, 1, 1), meds.death_code, None, None),
    ],
}


def write_shard(path: Path, rows: list[tuple], drop: tuple[str, ...] = ()) -> None:
    names = ["subject_id", "time", "code", "numeric_value", "text_value"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    kinds = meds.DataSchema.schema()
    table = pa.table({name: pa.array(values, kinds.field(name).type) for name, values in columns.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(meds.DataSchema.align(table).drop_columns(list(drop)), path)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A MEDS directory with all that the standard knows."""
    monkeypatch.chdir(tmp_path)
    root = Path("export")
    for name, rows in SHARDS.items():
        write_shard(root / "data" / f"{name}.parquet", rows)
    metadata = meds.DatasetMetadataSchema(
        dataset_name="WARD", dataset_version="2.1", etl_name="WARD_MEDS", etl_version="0.3", meds_version="0.4.1",
        created_at=dt.datetime(2025, 2, 3, 4, 5),
    )  # fmt: skip
    (root / "metadata").mkdir()
    (root / meds.dataset_metadata_filepath).write_text(json.dumps(metadata.to_dict(), default=dt.datetime.isoformat))
    splits = {"subject_id": pa.array([10, 9, 77], pa.int64()), "split": ["held_out", "train", "tuning"]}
    pq.write_table(meds.SubjectSplitSchema.align(pa.table(splits)), root / meds.subject_splits_filepath)
    codes = {"code": ["LAB//50868//mEq/L"], "description": ["Anion gap"], "parent_codes": [["LOINC/33037-3"]]}
    pq.write_table(meds.CodeMetadataSchema.align(pa.table(codes)), root / meds.code_metadata_filepath)
    return root


def made(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    ingest(cohort=MedsSource(source="meds", path=str(root)), output=Path("out"))
    subjects = read_table(Path("out/subjects.parquet"), SOURCE_SUBJECTS)
    return subjects, read_table(Path("out/events.parquet"), EVENTS), json.loads(Path("out/data.json").read_text())


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        ingest(cohort=MedsSource(source="meds", path=str(root)), output=Path("out"))
    assert not Path("out").exists()
    return str(caught.value)


def test_all_of_a_data_set_is_read(root):
    subjects, events, data = made(root)
    assert subjects.to_dict("list") == {"subject_id": ["10", "9"], "split": ["held_out", "train"]}
    rows = [(str(i), t, c, v, w) for shard in SHARDS.values() for i, t, c, v, w in shard]
    frame = pd.DataFrame(rows, columns=EVENTS.columns.names[:5])
    frame = frame.sort_values(["subject_id", "time", "code"], ignore_index=True, na_position="last")
    for name in ("subject_id", "code"):
        assert events[name].tolist() == frame[name].tolist()
    pd.testing.assert_series_equal(events["time"], frame["time"].astype("datetime64[us]"))
    assert events["numeric_value"].dropna().tolist() == [12.5]
    assert events["text_value"].dropna().tolist() == ["no words"]
    assert events["unit"].isna().all()
    assert data["version"] == "WARD 2.1, WARD_MEDS 0.3, MEDS 0.4.1"
    assert (data["date"], data["date_of"]) == ("2025-02-03", "created_at in metadata/dataset.json")
    assert data["tables"]["events"]["rows"] == 7
    assert data["files"] == ["export"]


def test_data_alone_are_a_data_set(root):
    for path in (root / "metadata").iterdir():
        path.unlink()
    write_shard(root / "data" / "held_out" / "0.parquet", SHARDS["held_out/0"], drop=("numeric_value", "text_value"))
    subjects, events, data = made(root)
    assert subjects.columns.tolist() == ["subject_id"]
    assert len(events) == 7
    assert data["version"] is None  # the source says none, and the study neither
    assert (data["date"], data["date_of"]) == ("2021-01-01", "latest event")


def test_a_column_of_units_is_read(root):
    path = root / "data" / "train" / "0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("unit", pa.array(["", "", "mmol/L", None])), path)
    assert made(root)[1]["unit"].dropna().tolist() == ["mmol/L"]


def test_the_fingerprint_is_of_the_content(root):
    first = made(root)[2]
    shards = sorted((root / "data").rglob("*.parquet"))
    together = pa.concat_tables([pq.read_table(path) for path in shards])
    for path in shards:
        path.unlink()
    pq.write_table(together, root / "data" / "all.parquet", row_group_size=2)
    second = made(root)[2]
    assert (second["fingerprint"], second["changed"]) == (first["fingerprint"], {})
    pq.write_table(together.slice(0, 6), root / "data" / "all.parquet")
    third = made(root)[2]
    assert third["changed"] == {"events": {"rows_before": 7, "rows": 6}}
    assert third["fingerprint"] != first["fingerprint"]
    assert made(root)[2] == third  # reading the same again changes nothing, the last change stays on record


def test_names_with_wildcards_are_names(root):
    root.rename("export[1]")
    assert len(made(Path("export[1]"))[1]) == 7


def test_raw_files_are_all_of_the_data_set(root):
    (root / "models").mkdir()
    (root / "models" / "features.parquet").write_bytes(b"no part of the data set")
    found = raw_files(MedsSource(source="meds", path="export"))
    assert sorted(path.relative_to(root).as_posix() for path in found["meds"]) == [
        "data/held_out/0.parquet", "data/train/0.parquet", "metadata/codes.parquet", "metadata/dataset.json",
        "metadata/subject_splits.parquet",
    ]  # fmt: skip


def spoil(root: Path, column: str, values, kind=None) -> None:
    path = root / "data" / "train" / "0.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values, kind)), path)


ODD = {
    "identifiers are text": ("subject_id", ["9"] * 4, pa.string(), "column subject_id: has the type string in all 7 rows. Allowed in MEDS 0.4: int64"),
    "zoned times": ("time", [VISIT] * 4, pa.timestamp("us", tz="UTC"), "column time: has the type timestamp[us, tz=UTC] in all 7 rows. Allowed in MEDS 0.4: timestamp[us] without"),
    "times are text": ("time", ["2020-05-01"] * 4, pa.string(), "column time: has the type string in all 7 rows"),
    "codes are numbers": ("code", [1, 2, 3, 4], pa.int64(), "column code: has the type int64 in all 7 rows. Allowed in MEDS 0.4: string"),
    "values are text": ("numeric_value", ["1"] * 4, pa.string(), "column numeric_value: has the type string in all 7 rows. Allowed in MEDS 0.4: float32"),
    "no code": ("code", ["A", "", None, "B"], None, "cohort.path (export/data), column code: 2 of 7 rows have no code. Give"),
    "no identifier": ("subject_id", [9, None, 9, 9], pa.int64(), "column subject_id: 1 of 7 rows have no identifier"),
    "infinite": ("numeric_value", [float("inf"), None, -float("inf"), 1], pa.float32(), "column numeric_value: 2 of 7 rows are infinite. Leave"),
    "too large": ("numeric_value", [1e300, None, None, 1], pa.float64(), "column numeric_value: 1 of 7 rows are infinite. Leave"),
    "placeholder": ("time", [dt.datetime(1, 1, 1), None, VISIT, VISIT], pa.timestamp("us"), "column time: 1 of 7 rows have a year outside 1800 to 2500. Leave"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_columns_that_are_no_meds(root, case):
    column, values, kind, expected = ODD[case]
    if "type" in expected:
        (root / "data" / "held_out" / "0.parquet").unlink()
        expected = expected.replace("7", "4")
    spoil(root, column, values, kind)
    assert expected in refused(root)


def test_shards_that_do_not_fit_together(root):
    spoil(root, "code", [1, 2, 3, 4])
    assert "cohort.path (export/data): the columns of the 2 shards have types that do not fit together" in refused(root)


def test_missing_column(root):
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns(["subject_id", "timestamp", *table.column_names[2:]]), path)
    assert "cohort.path (export/data): there is no column 'time'; the 5 columns are: subject_id, timestamp" in refused(
        root
    )


def test_truncated_shard(root):
    rows = [(i, VISIT, f"LAB//{i}", float(i), None) for i in range(50_000)]
    path = root / "data" / "train" / "0.parquet"
    write_shard(path, rows)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "1 file is not readable Parquet (shard train/0.parquet)" in refused(root)
    # The footer is whole, the pages before it are not: only reading the rows finds it.
    path.write_bytes(content[:4] + b"\xff" * 20_000 + content[20_004:])
    assert "the rows cannot be read to their end" in refused(root)


def test_every_row_twice(root):
    (root / "data" / "copy.parquet").write_bytes((root / "data" / "train" / "0.parquet").read_bytes())
    (root / "data" / "copy2.parquet").write_bytes((root / "data" / "held_out" / "0.parquet").read_bytes())
    assert "cohort.path (export/data): 7 of 14 rows repeat another row in everything. Keep each row once" in refused(
        root
    )


def test_single_rows_twice_are_told(root, caplog):
    write_shard(root / "data" / "more.parquet", SHARDS["train/0"][2:3])
    assert made(root)[2]["repeated_events"] == 1
    assert "1 of 8 rows repeat another row in everything, and count again" in caplog.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("exports", "cohort.path (exports): there is no such folder. Correct cohort.path.*Did you mean 'export'"),
        ("export/data", "cohort.path (export/data): the folder holds no folder data/; it holds: held_out, train. Give the folder that holds data/"),
        ("empty", "cohort.path (empty/data): the folder holds 0 Parquet files"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("root")
def test_no_data_set(path, expected):
    Path("empty/data").mkdir(parents=True)
    for part in expected.split(".*"):
        assert part in refused(Path(path))


def test_metadata_of_another_data_set(root):
    splits = pa.table({"subject_id": pa.array([1, 2], pa.int64()), "split": ["train", "train"]})
    pq.write_table(splits, root / meds.subject_splits_filepath)
    assert "subject_splits.parquet), column subject_id: 0 of 2 subjects of the data have a split. Take" in refused(root)
    pq.write_table(
        pa.table({"subject_id": pa.array([9, 9], pa.int64()), "split": ["train", "tuning"]}),
        root / meds.subject_splits_filepath,
    )
    assert "1 of 2 rows repeat another row's subject_id" in refused(root)
    (root / meds.subject_splits_filepath).unlink()
    (root / meds.dataset_metadata_filepath).write_text("{'dataset_name': 'x'")
    assert "dataset.json): 1 file is not readable JSON" in refused(root)

"""An export of Neptune in its documented schema, imported, as MLflow's own client sees it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.errors import DataError
from riskweave.tracking.__main__ import main
from riskweave.tracking.compare import read_comparison
from riskweave.tracking.neptune import import_neptune

# The table "Parquet schema" of neptune-exporter's README.
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)
LONG = "Schicht für Schicht " * 40
PROJECT, CREATED = "ails/risk", datetime(2023, 5, 1, 12, tzinfo=UTC)


def row(run, path, kind, **values):
    return {"project_id": PROJECT, "run_id": run, "attribute_path": path, "attribute_type": kind, **values}


def series(run, path, values, first=0, every="1"):
    return [
        row(run, path, "float_series", step=Decimal(every) * (first + number), float_value=value,
            timestamp=datetime(2023, 5, 1, 12, 0, first + number, tzinfo=UTC))
        for number, value in enumerate(values)
    ]  # fmt: skip


def exported(folder, rate=0.001):
    """Write an export of two runs, the first in two parts."""
    one = [
        row("RISK-1", "sys/creation_time", "datetime", datetime_value=CREATED),
        row("RISK-1", "sys/modification_time", "datetime", datetime_value=CREATED.replace(hour=13)),
        row("RISK-1", "sys/owner", "string", string_value="ada"),
        row("RISK-1", "sys/name", "string", string_value="tcn </script> large"),
        row("RISK-1", "sys/tags", "string_set", string_set_value=["ecg", "baseline"]),
        row("RISK-1", "parameters/lr", "float", float_value=rate),
        row("RISK-1", "parameters.lr", "string", string_value="another path, the same key"),
        row("RISK-1", "parameters/layers", "int", int_value=4),
        row("RISK-1", "parameters/norm", "bool", bool_value=True),
        row("RISK-1", "parameters/layout", "string", string_value=LONG),
        *series("RISK-1", "train/loss", [0.9, 0.8, 0.7]),
    ]
    two = [
        *series("RISK-1", "train/loss", [0.6, 0.5], first=3),
        row("RISK-1", "monitoring/stdout", "string_series", step=Decimal(0), string_value="read patient-0001"),
        row("RISK-1", "model/weights", "file", file_value={"path": "ails_risk/RISK-1/model/weights.pt"}),
        row("RISK-1", "model/empty", "float"),
    ]
    other = [
        row("RISK-2", "sys/creation_time", "datetime", datetime_value=CREATED),
        *series("RISK-2", "val/c", [0.6, 0.7], every="0.25"),
    ]
    for name, rows in (("RISK-1_part_0", one), ("RISK-1_part_1", two), ("RISK-2_part_0", other)):
        path = folder / "ails_risk_1f3a" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return folder


def runs_of(store):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("neptune/ails/risk")
    return client, client.search_runs([experiment.experiment_id])


def test_an_export_becomes_runs_once(tmp_path):
    folder, store = exported(tmp_path / "export"), tmp_path / "store"
    assert import_neptune(folder=folder, directory=store) == {"stored": 2, "unchanged": 0, "superseded": 0}
    assert import_neptune(folder=folder, directory=store) == {"stored": 0, "unchanged": 2, "superseded": 0}
    client, runs = runs_of(store)
    assert len(runs) == 2
    run = next(run for run in runs if run.info.run_name == "RISK-1")
    params = run.data.params
    assert (params["parameters.layers"], params["parameters.norm"]) == ("4", "True")
    assert {params["parameters.lr"], params["parameters.lr_2"]} == {"0.001", "another path, the same key"}
    expected = {"user": "ada", "neptune.tags": "baseline, ecg", "status": "current", "study": "neptune/ails/risk"}
    assert expected.items() <= run.data.tags.items()
    assert run.info.start_time == round(CREATED.timestamp() * 1000)
    assert run.info.end_time - run.info.start_time == 3_600_000
    history = client.get_metric_history(run.info.run_id, "train.loss")
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1, 0.8), (2, 0.7), (3, 0.6), (4, 0.5)]
    assert [point.timestamp - run.info.start_time for point in history] == [0, 1000, 2000, 3000, 4000]
    assert run.data.metrics["train.loss"] == 0.5
    names = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert names == ["neptune_attributes.csv", "neptune_parameters.json"]
    listed, long = (Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))) for name in names)
    assert json.loads(long.read_text(encoding="utf-8")) == {"parameters/layout": LONG}
    assert params["parameters.layout"].endswith("(800 characters, see neptune_parameters.json)")
    assert listed.read_text(encoding="utf-8").splitlines() == [
        "attribute,type,step,file",
        "model/weights,file,,ails_risk/RISK-1/model/weights.pt",
        "monitoring/stdout,string_series,0,",
    ]
    # Steps that are not whole are scaled, and the run tells by what.
    other = next(run for run in runs if run.info.run_name == "RISK-2")
    assert other.data.tags["neptune.step_factor"] == "100"
    assert [point.step for point in client.get_metric_history(other.info.run_id, "val.c")] == [0, 25]
    # Texts may quote people: none of them is in the store.
    files = [file for file in store.rglob("*") if file.is_file()]
    assert not [file for file in files if b"patient-0001" in file.read_bytes()]
    assert sorted(read_comparison(store).texts["experiment"]) == ["RISK-2", "tcn </script> large"]


def test_a_later_export_of_a_run_supersedes_the_first(tmp_path):
    store = tmp_path / "store"
    import_neptune(folder=exported(tmp_path / "export"), directory=store)
    assert main(["import-neptune", "--store", str(store), str(exported(tmp_path / "export", rate=0.1))]) == 0
    _, runs = runs_of(store)
    status = sorted((run.info.run_name, run.data.tags["status"]) for run in runs)
    assert status == [("RISK-1", "current"), ("RISK-1", "superseded"), ("RISK-2", "current")]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no Parquet files"):
        import_neptune(folder=tmp_path, directory=tmp_path / "store")
    pq.write_table(pa.table({"run_id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="lacks the columns project_id"):
        import_neptune(folder=tmp_path, directory=tmp_path / "store")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        import_neptune(folder=tmp_path, directory=tmp_path / "store")

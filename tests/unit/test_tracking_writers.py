"""Several writers at once, into SQLite and PostgreSQL, through MLflow's own eyes: nothing lost, nothing misplaced."""

import shutil
from pathlib import Path

import pytest
from generated_runs import STUDIES, contents_of, generated_record, write_in_parallel
from postgres_server import missing_postgres, postgres

from riskweave.tracking.database import address_of, init_store, open_store
from riskweave.tracking.record import read_record
from riskweave.tracking.store import collect
from riskweave.tracking.trees import FINGERPRINT


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request, tmp_path_factory):
    """A fresh store that four processes filled at once with a hundred records of four studies."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield _filled(folder, None)
    else:
        if missing_postgres():
            pytest.skip(missing_postgres())
        with postgres() as address:
            yield _filled(folder, address)


def _filled(folder, address):
    if address is not None:
        init_store(directory=folder / "store", database=address)
    # Without it too: the first of the writers makes the SQLite store, the others wait.
    codes = write_in_parallel(folder / "results", folder / "store", runs=100, writers=4, portion=10)
    assert codes == [0, 0, 0, 0]
    return folder


def client_of(store):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address_of(store))


def test_mlflow_finds_every_record_once_and_in_its_study(filled):
    client, names = client_of(filled / "store"), {}
    for study in STUDIES:
        experiment = client.get_experiment_by_name(study)
        runs = client.search_runs([experiment.experiment_id], f"tags.`{FINGERPRINT}` LIKE '%'", max_results=1000)
        assert {run.data.tags["study"] for run in runs} == {study}
        assert {run.info.status for run in runs} == {"FINISHED"}
        names[study] = sorted(run.data.tags["experiment"] for run in runs)
        everyone = client.search_runs([experiment.experiment_id], max_results=1000)
        assert len(everyone) == 25 * 6
    records = [read_record(path) for path in (filled / "results").rglob("run.json")]
    assert len(records) == 100
    assert names == {s: sorted(run.name for run in records if run.context["study"] == s) for s in STUDIES}
    assert client.search_runs(["0"]) == []


def test_a_store_that_is_made_again_from_the_records_is_the_same(filled, tmp_path):
    for study in STUDIES:
        records = sorted((filled / "results" / study).rglob("run.json"))
        collect(records=records, directory=tmp_path / "again", study=study)
    with open_store(filled / "store") as first, open_store(tmp_path / "again") as second:
        before, after = contents_of(first), contents_of(second)
    assert len(before) == 100
    assert before == after


def test_what_is_written_is_what_mlflow_itself_writes(filled, tmp_path):
    """MLflow's client writes the same run beside ours; its own reader sees no difference."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    path = generated_record(tmp_path, 0)
    client, run = client_of(filled / "store"), read_record(path)
    experiment = client.get_experiment_by_name("alpha").experiment_id
    (ours,) = client.search_runs([experiment], f"tags.experiment = '{run.name}' AND tags.`{FINGERPRINT}` LIKE '%'")
    tags = {key: value for key, value in ours.data.tags.items() if key != "mlflow.runName"}
    theirs = client.create_run(experiment, start_time=ours.info.start_time, run_name=ours.info.run_name, tags=tags)
    history = [point for key in ours.data.metrics for point in client.get_metric_history(ours.info.run_id, key)]
    metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in history]
    params = [Param(key, value) for key, value in ours.data.params.items()]
    client.log_batch(theirs.info.run_id, metrics=metrics, params=params)
    (data,) = ours.inputs.dataset_inputs
    copy = Dataset(data.dataset.name, data.dataset.digest, "local", data.dataset.source, profile=data.dataset.profile)
    tag = InputTag("mlflow.data.context", "training")
    client.log_inputs(theirs.info.run_id, [DatasetInput(copy, tags=[tag])])
    client.set_terminated(theirs.info.run_id, "FINISHED", end_time=ours.info.end_time)
    theirs = client.get_run(theirs.info.run_id)
    client.delete_run(theirs.info.run_id)
    assert repr(sorted(ours.data.metrics.items())) == repr(sorted(theirs.data.metrics.items()))
    assert ours.data.metrics["training.undefined"] != ours.data.metrics["training.undefined"]
    assert (ours.data.params, ours.data.tags) == (theirs.data.params, theirs.data.tags)
    assert ours.inputs.to_dictionary() == theirs.inputs.to_dictionary()
    same = ("status", "lifecycle_stage", "user_id", "run_name", "start_time", "end_time", "experiment_id")
    assert [getattr(ours.info, name) for name in same] == [getattr(theirs.info, name) for name in same]
    root = client.get_experiment(experiment).artifact_location
    assert ours.info.artifact_uri == f"{root}/{ours.info.run_id}/artifacts"


def test_the_address_of_a_database_is_private(tmp_path):
    if missing_postgres():
        pytest.skip(missing_postgres())
    with postgres() as address:
        init_store(directory=tmp_path / "store", database=address)
        assert (tmp_path / "store/database.url").stat().st_mode & 0o777 == 0o600
    # The server is gone: a clear error, which does not tell the password.
    password = address.split(":")[2].split("@")[0]
    with pytest.raises(Exception, match="cannot be opened") as raised:
        collect(records=[generated_record(tmp_path, 0)], directory=tmp_path / "store", study="alpha")
    assert password not in str(raised.value)
    assert "Start the PostgreSQL server" in str(raised.value)
    shutil.rmtree(Path(tmp_path / "store"))

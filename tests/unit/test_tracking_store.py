"""The store of runs, with the real MLflow on SQLite: nothing lost, nothing twice, nothing sent, nobody named."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from tracked_steps import FINGERPRINT, SUBJECTS, make_metrics, make_record, runs_of

from riskweave.errors import DataError
from riskweave.tracking import sql
from riskweave.tracking.__main__ import main
from riskweave.tracking.database import ui_command
from riskweave.tracking.record import TrialRecord, read_record, write_record
from riskweave.tracking.store import collect, init_store, relocate


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty store that four processes made at the same time, watched by a proxy that nobody should call."""
    folder = tmp_path_factory.mktemp("template") / "mlflow"
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        watch = threading.Thread(target=_watch, args=(proxy, calls), daemon=True)
        watch.start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        # MLflow keeps quiet in tests and on build servers: hide from it that this is one.
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "CI", "GITHUB"))
        }
        for key in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            environment.pop(key, None)
        environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), address)
        environment |= {"NO_PROXY": "", "no_proxy": ""}
        command = [sys.executable, "-m", "riskweave.tracking", "init", "--store", str(folder)]
        jobs = [
            subprocess.Popen(command, env=environment, cwd=folder.parent, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        results = [(job.communicate(timeout=120)[1], job.returncode) for job in jobs]
    assert [status for _, status in results] == [0, 0, 0, 0], results
    assert calls == []
    # Nothing is left lying where the job ran.
    assert [path.name for path in folder.parent.iterdir()] == ["mlflow"]
    return folder


def _watch(server, calls):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            calls.append(connection.recv(200))


@pytest.fixture
def store(template, tmp_path):
    """A store in a folder of its own: a copy, which also tests that a store may be moved."""
    return Path(shutil.copytree(template, tmp_path / "store"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            pytest.fail(f"a connection to {address}")
        return original(self, address)

    original = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)


def test_a_record_becomes_a_parent_and_a_child_for_each_fold(store, tmp_path):
    path = make_record(tmp_path)
    metrics = make_metrics(tmp_path / "metrics.parquet")
    counts = collect(records=[path], directory=store, study="demo", metrics={"mace": metrics})
    assert counts == {"stored": 1, "unchanged": 0, "superseded": 0, "removed": 0}
    client, (parent,), children = runs_of(store)

    assert parent.info.status == "FINISHED"
    record = read_record(path)
    assert parent.info.end_time - parent.info.start_time == round(1000 * record.duration)
    expected = {"model.kind": "cox", "model.penalty": "0.1", "seed": "7", "feature_sets": "ehr+ecg", "folds": "2"}
    assert expected.items() <= parent.data.params.items()
    assert parent.data.params["columns.ehr"] == "2001"
    assert parent.data.params["model.codes"].startswith("sha256:")
    tags = parent.data.tags
    expected = {
        "study": "demo",
        "rule": "train_experiment",
        "data": FINGERPRINT,
        "status": "current",
        "endpoint": "mace",
    }
    assert expected.items() <= tags.items()
    assert tags["wildcards"] == '{"endpoint":"mace"}'
    assert tags["package.mlflow" if "mlflow" in record.provenance["packages"] else "package.torch"]
    assert tags["user"] == record.provenance["user"]
    # The final metrics are those on all subjects, with their intervals.
    assert parent.data.metrics["harrell_c"] == 0.71
    assert parent.data.metrics["harrell_c_lower"] == 0.6
    assert parent.data.metrics["brier_1825"] == 0.1
    assert parent.data.metrics["training.iterations"] == 12
    assert parent.data.metrics["hardware.memory_peak"] > 1e6
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.digest == FINGERPRINT[:32]
    # Long lists are whole in the record among the artifacts.
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"run.json", "curves.csv"}
    local = client.download_artifacts(parent.info.run_id, "run.json", str(tmp_path))
    assert read_record(Path(local)) == record

    assert sorted(child.data.params["fold"] for child in children) == ["0", "1"]
    for child in children:
        fold = int(child.data.params["fold"])
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["experiment"] == "ehr.cox"
        assert child.data.params["penalty"] == str(0.1 * (fold + 1))
        assert child.data.metrics["count.train"] == 20
        assert child.data.metrics["final.validation_loss"] == 0.25
        history = client.get_metric_history(child.info.run_id, "validation_loss")
        assert [(point.step, point.value) for point in history] == [(e, 1 / (e + 1)) for e in range(4)]


def test_collecting_again_adds_nothing_and_a_changed_record_supersedes(store, tmp_path):
    paths = [make_record(tmp_path), make_record(tmp_path, name="ecg_tcn", kind="encoder")]
    assert collect(records=paths, directory=store, study="demo")["stored"] == 2
    assert collect(records=paths, directory=store, study="demo") == {
        "stored": 0,
        "unchanged": 2,
        "superseded": 0,
        "removed": 0,
    }
    metrics = make_metrics(tmp_path / "metrics.parquet")
    collect(records=paths, directory=store, study="demo", metrics={"mace": metrics})
    make_metrics(metrics, estimate=0.75)
    collect(records=paths, directory=store, study="demo", metrics={"mace": metrics})
    _, parents, children = runs_of(store)
    assert (len(parents), len(children)) == (2, 4)
    (experiment,) = [run for run in parents if run.data.tags["kind"] == "experiment"]
    assert experiment.data.metrics["harrell_c"] == 0.75

    older = paths[0].read_bytes()
    make_record(tmp_path, penalty=0.5)
    counts = collect(records=paths, directory=store, study="demo")
    assert counts == {"stored": 1, "unchanged": 1, "superseded": 1, "removed": 0}
    _, parents, children = runs_of(store)
    status = {
        run.data.params["model.penalty"]: run.data.tags["status"]
        for run in parents
        if run.data.tags["kind"] == "experiment"
    }
    assert status == {"0.1": "superseded", "0.5": "current"}
    assert sum(child.data.tags["status"] == "superseded" for child in children) == 2

    # The older result is put back: its run is the current one again.
    paths[0].write_bytes(older)
    assert collect(records=paths, directory=store, study="demo")["stored"] == 0
    _, parents, _ = runs_of(store)
    assert {run.data.tags["status"] for run in parents if run.data.params["model.penalty"] == "0.1"} == {"current"}


def test_a_step_that_left_the_study_is_no_longer_current(store, tmp_path):
    kept, gone, failed = (make_record(tmp_path, name=name) for name in ("ehr.cox", "ecg.cox", "ehr.forest"))
    encoder = make_record(tmp_path, name="ecg", kind="encoder")
    collect(records=[kept, gone, failed, encoder], directory=store, study="demo")
    steps = ["experiment/mace/ehr.forest"]  # still of the study, without a record: its training failed this time

    def collected(*records):
        return collect(records=records, directory=store, study="demo", complete=["experiment"], steps=steps)

    assert collected(kept)["removed"] == 1
    assert collected(kept)["removed"] == 0

    def status():
        _, parents, children = runs_of(store)
        by_parent = {run.info.run_id: run.data.tags for run in parents}
        for child in children:
            assert child.data.tags["status"] == by_parent[child.data.tags["mlflow.parentRunId"]]["status"]
        return {tags["riskweave.record"].rpartition("/")[2]: tags["status"] for tags in by_parent.values()}

    assert status() == {"ehr.cox": "current", "ecg.cox": "removed", "ehr.forest": "current", "ecg": "current"}
    # It comes back, and so does its run.
    assert collected(kept, gone) == {"stored": 0, "unchanged": 2, "superseded": 0, "removed": 0}
    assert status()["ecg.cox"] == "current"


def interrupted(monkeypatch, **arguments):
    """Break a collection off while it copies the second file of a record."""
    copied = []

    def copy(source, target):
        copied.append(target)
        if len(copied) == 2:
            raise KeyboardInterrupt
        Path(target).write_bytes(Path(source).read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(sql.shutil, "copyfile", copy)
        with pytest.raises(KeyboardInterrupt):
            collect(**arguments)


def with_trials(path):
    """Give each fold of a record a search of three trials."""
    run = read_record(path)
    for fold in run.folds:
        fold.trials = [
            TrialRecord("net", 0, "complete", -0.5, 1.5, {"dropout": 0.2, "hidden": "[32]"}),
            TrialRecord("net", 1, "complete", -0.4 - fold.fold, 0.5, {"dropout": 0.1, "hidden": "[]"}),
            TrialRecord("net", 2, "pruned", float("nan"), 0.1, {"dropout": 0.5, "hidden": "[64, 64]"}),
        ]
    write_record(run, path)
    return path


def test_each_trial_of_a_search_is_a_child_of_its_fold(store, tmp_path, monkeypatch):
    path = with_trials(make_record(tmp_path))
    interrupted(monkeypatch, records=[path], directory=store, study="demo")
    counts = [collect(records=[path], directory=store, study="demo") for _ in range(2)]
    assert [count["stored"] for count in counts] == [1, 0]
    _, (parent,), children = runs_of(store)
    folds = {run.info.run_id: run for run in children if "trial" not in run.data.params}
    trials = [run for run in children if "trial" in run.data.params]
    assert (len(folds), len(trials)) == (2, 6)  # and none of the interrupted collection
    assert {run.data.tags["mlflow.parentRunId"] for run in folds.values()} == {parent.info.run_id}
    for run in trials:
        fold = folds[run.data.tags["mlflow.parentRunId"]]
        assert run.data.params["fold"] == fold.data.params["fold"]
        assert run.data.tags["status"] == "current"
    second = next(run for run in trials if (run.data.params["fold"], run.data.params["trial"]) == ("1", "1"))
    assert second.data.params == {"fold": "1", "trial": "1", "model": "net", "dropout": "0.1", "hidden": "[]"}
    assert second.data.metrics == {"score": -1.4, "duration": 0.5}
    states = [run.data.tags["trial.state"] for run in trials if run.data.params["fold"] == "0"]
    assert sorted(states) == ["complete", "complete", "pruned"]
    assert read_record(path).folds[0].trials[2].params["hidden"] == "[64, 64]"

    # Another result of the step supersedes the trials too.
    collect(records=[with_trials(make_record(tmp_path, penalty=0.5))], directory=store, study="demo")
    _, _, children = runs_of(store)
    assert sum(run.data.tags["status"] == "superseded" for run in children) == 2 + 6


def test_an_interrupted_collection_is_repaired(store, tmp_path, monkeypatch):
    path = make_record(tmp_path)
    interrupted(monkeypatch, records=[path], directory=store, study="demo")
    assert runs_of(store)[1:] == ([], [])
    assert collect(records=[path], directory=store, study="demo")["stored"] == 1
    _, parents, children = runs_of(store)
    assert (len(parents), len(children)) == (1, 2)


def test_the_store_is_rebuilt_from_the_records(store, template, tmp_path):
    paths = [make_record(tmp_path), make_record(tmp_path, name="ecg_tcn", kind="encoder")]
    metrics = {"mace": make_metrics(tmp_path / "metrics.parquet")}
    leaderboard = tmp_path / "leaderboard.csv"
    leaderboard.write_text("experiment,harrell_c\nehr.cox,0.71\n")

    def content(folder):
        collect(records=paths, directory=folder, study="demo", metrics=metrics, artifacts=[leaderboard])
        collect(records=paths, directory=folder, study="demo", metrics=metrics, artifacts=[leaderboard])
        client, parents, children = runs_of(folder)
        changing = ("mlflow.parentRunId", "mlflow.user")
        return sorted(
            (
                run.info.run_name,
                sorted(run.data.params.items()),
                sorted((key, repr(value)) for key, value in run.data.metrics.items()),
                sorted(item for item in run.data.tags.items() if item[0] not in changing),
                sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            )
            for run in parents + children
        )

    first = content(store)
    assert len(first) == 1 + 2 + 4
    assert first == content(Path(shutil.copytree(template, tmp_path / "again")))


def test_a_moved_store_finds_its_artifacts(store, tmp_path):
    collect(records=[make_record(tmp_path)], directory=store, study="demo")
    moved = tmp_path / "moved with spaces" / "mlflow"
    moved.parent.mkdir()
    store.rename(moved)
    assert relocate(directory=moved)
    assert not relocate(directory=moved)
    client, (parent,), _ = runs_of(moved)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"run.json", "curves.csv"}
    with contextlib.closing(sqlite3.connect(moved / "mlflow.db")) as connection:
        locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    assert all(location.startswith(f"{moved}/artifacts/") for (location,) in locations)


def test_no_subject_is_named_in_record_or_store(store, tmp_path):
    path = make_record(tmp_path)
    collect(records=[path], directory=store, study="demo", metrics={"mace": make_metrics(tmp_path / "metrics.parquet")})
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [path, *(file for file in store.rglob("*") if file.is_file())]
    assert len(files) >= 4
    for file in files:
        content = file.read_bytes()
        assert not [subject for subject in SUBJECTS if subject.encode() in content], file.name


def test_write_ahead_logging_is_on(store):
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_store_is_its_users_alone_or_the_groups(template, tmp_path, monkeypatch):
    made = [template, *template.rglob("*")]
    assert len(made) >= 4
    assert {path.stat().st_mode & 0o077 for path in made} == {0}
    os.umask(0o022)
    monkeypatch.setenv("RISKWEAVE_UMASK", "007")
    shared = tmp_path / "shared"
    assert main(["collect", "--store", str(shared), "--study", "demo", str(make_record(tmp_path))]) == 0
    for path in (shared, *shared.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o770 if path.is_dir() else 0o660), path
    monkeypatch.setenv("RISKWEAVE_UMASK", "000")
    assert main(["compare", "--store", str(shared), "--page", str(tmp_path / "index.html")]) == 1


def test_a_database_that_another_program_holds_says_what_to_do(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sql, "PATIENCE", 0.1)
    relocate(directory=store)
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match=r"store/mlflow.db: .*database is locked.*another program.*collect again"):
            collect(records=[make_record(tmp_path)], directory=store, study="demo")
    assert collect(records=[make_record(tmp_path)], directory=store, study="demo")["stored"] == 1


def test_an_unusable_store_is_a_clear_error_and_stays_as_it_was(tmp_path, store, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "mlflow.db").write_bytes(b"no database " * 1000)
    with pytest.raises(DataError, match=r"cannot be opened.*rebuilt from the run records"):
        init_store(directory=damaged)
    assert (damaged / "mlflow.db").read_bytes() == b"no database " * 1000
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    (store / ".made_by").write_text("999.0")
    with pytest.raises(DataError, match=r"cannot be opened"):
        init_store(directory=store)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        init_store(directory=tmp_path / "file")
    assert main(["ui", "--store", str(tmp_path / "nothing")]) == 1
    assert "there is no store of runs. Run `snakemake track`:" in capsys.readouterr().err


def test_records_that_do_not_belong_together_are_refused(tmp_path):
    one, other = make_record(tmp_path / "a"), make_record(tmp_path / "b")
    with pytest.raises(DataError, match="same step"):
        collect(records=[one, other], directory=tmp_path / "store", study="demo")
    with pytest.raises(DataError, match="study"):
        collect(records=[one], directory=tmp_path / "store", study="other")
    one.with_name("curves.csv").write_text("fold,epoch\n0,1\n")
    metrics = tmp_path / "metrics.parquet"
    pd.DataFrame({"x": [1]}).to_parquet(metrics)
    with pytest.raises(DataError, match="table of metrics"):
        collect(records=[other], directory=tmp_path / "store", study="demo", metrics={"mace": metrics})
    assert not (tmp_path / "store").exists()


def test_the_interface_is_for_this_machine_only_and_silent(store):
    command, environment = ui_command(directory=store, port=5005)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5005"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_record_without_folds_or_curves_is_stored(store, tmp_path):
    path = make_record(tmp_path)
    run = read_record(path)
    run.folds, run.data, run.provenance, run.architecture = [], {}, {}, ""
    write_record(run, tmp_path / "bare/run.json")
    assert main(["collect", "--store", str(store), "--study", "demo", str(tmp_path / "bare/run.json")]) == 0
    _, parents, children = runs_of(store)
    assert (len(parents), len(children)) == (1, 0)
    assert json.loads((tmp_path / "bare/run.json").read_text())["folds"] == []

"""The team's server, a real process: who may do what, what it keeps, and what happens while it is down."""

import configparser
import datetime
import http.server
import ipaddress
import shutil
import threading
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mlflow_server import PARENTS, environment_of, free_port, serving
from tracked_steps import make_metrics, make_record

from riskweave.errors import DataError
from riskweave.tracking.__main__ import main
from riskweave.tracking.remote import Server, ServerError
from riskweave.tracking.sending import ADDRESS, pending, send, send_or_keep, target_of
from riskweave.tracking.serving import add_user, server_command
from riskweave.tracking.store import collect


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder, and the port that its server listens at."""
    return tmp_path_factory.mktemp("lab"), free_port()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of the lab's own, in files whose names a shell would take apart."""
    folder = tmp_path_factory.mktemp("own certificate")
    made = {"certificate": folder / "lab.pem", "key": folder / "lab.key"}
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "runs.lab")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    made["certificate"].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    made["key"].write_bytes(key.private_bytes(*form))
    return made


def client_of(address, file, monkeypatch):
    """MLflow's own client, as somebody of the team uses it."""
    from mlflow import MlflowClient

    known = configparser.ConfigParser(interpolation=None)
    known.read(file)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", known["mlflow"]["mlflow_tracking_username"])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", known["mlflow"]["mlflow_tracking_password"])
    return MlflowClient(tracking_uri=address)


def test_a_team_shares_a_server_that_may_go_down(lab, certificate, tmp_path, monkeypatch):
    folder, port = lab
    store, address = tmp_path / "store", f"http://127.0.0.1:{port}"
    paths = [make_record(tmp_path), make_record(tmp_path, name="ecg_tcn", kind="encoder")]
    metrics = {"mace": make_metrics(tmp_path / "metrics.parquet")}
    collect(records=paths, directory=store, study="demo", metrics=metrics)
    with serving(folder, port):
        refused_without_a_password_of_its_own(folder, address)
        for name in ("ada", "ben"):
            add_user(directory=folder / "team", address=address, name=name, credentials=tmp_path / name)
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        an_account_and_its_file_are_made_together(folder, address, tmp_path)
        a_lost_password_is_replaced(folder, address)
        serves_runs_and_nothing_else(address, tmp_path / "ada")
        ada, ben = (environment_of(address, tmp_path / name) for name in ("ada", "ben"))
        assert send_or_keep(directory=store, study="demo", environment=ada) == {"sent": 2, "unchanged": 0}
        assert send_or_keep(directory=store, study="demo", environment=ada) == {"sent": 0, "unchanged": 2}
        arrived(client_of(address, tmp_path / "ben", monkeypatch), paths[0], tmp_path / "copy")
        reads_and_does_not_write(ben, address)

    # The server is down: the study goes on, and what is not sent is listed.
    make_record(tmp_path, penalty=0.5)
    collect(records=paths, directory=store, study="demo", metrics=metrics)
    make_record(tmp_path, penalty=0.7)  # and again: the record of before is no more where it was
    collect(records=paths, directory=store, study="demo", metrics=metrics)
    assert send_or_keep(directory=store, study="demo", environment=ada) == {"pending": 4}
    assert pending(store) == ["demo"]
    assert "cannot be reached" in (store / "pending/demo.json").read_text()
    with pytest.raises(ServerError, match="cannot be reached"):
        send(directory=store, target=target_of(ada))

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate["certificate"]))
    with serving(folder, port, **certificate) as address:
        ada = environment_of(address, tmp_path / "ada")
        assert address.startswith("https")
        assert send(directory=store, target=target_of(ada)) == {"sent": 2, "unchanged": 2}
        assert pending(store) == []
        client = client_of(address, tmp_path / "ada", monkeypatch)
        experiment = client.get_experiment_by_name("demo/ada")
        runs = client.search_runs([experiment.experiment_id], PARENTS)
        status = {
            run.data.params["model.penalty"]: run.data.tags["status"]
            for run in runs
            if run.data.tags["kind"] == "experiment"
        }
        assert status == {"0.1": "superseded", "0.5": "superseded", "0.7": "current"}
        broke_off = client.create_run(
            experiment.experiment_id, tags={"riskweave.fingerprint": "x", "riskweave.record": "y"}
        )
        assert send(directory=store, target=target_of(ada)) == {"sent": 0, "unchanged": 4}
        assert client.get_run(broke_off.info.run_id).info.lifecycle_stage == "deleted"


def refused_without_a_password_of_its_own(folder, address):
    ask = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert requests.get(ask, timeout=60).status_code == 401
    for password in ("password1234", "password", ""):
        assert requests.get(ask, auth=("admin", password), timeout=60).status_code == 401
    known = configparser.ConfigParser(interpolation=None)
    known.read(folder / "team/server/auth.ini")
    admin = ("admin", known["mlflow"]["admin_password"])
    assert requests.get(ask, auth=admin, timeout=60).status_code == 200
    assert requests.get(ask, auth=admin, headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert [path.stat().st_mode & 0o77 for path in (folder / "team/server").iterdir() if path.suffix != ".db"] == [0, 0]
    assert (folder / "team/server").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ServerError, match=r"refuses 'admin' \(401\)"):
        Server(address, "admin", "password1234").experiment("x")


def an_account_and_its_file_are_made_together(folder, address, tmp_path):
    def add(name, file):
        add_user(directory=folder / "team", address=address, name=name, credentials=tmp_path / file)

    with pytest.raises(DataError, match="cannot be written: No such file"):
        add("cleo", "no folder/cleo")
    add("cleo", "cleo")  # what failed has left no account
    before = (tmp_path / "cleo").read_text()
    with pytest.raises(ServerError) as refused:
        add("cleo", "again")
    message = str(refused.value)
    assert message.startswith(f"user 'cleo': has an account on {address} already. Use the file of credentials that was")
    assert not [word for word in ("SQL", "Integrity", "INSERT", "hash", "users") if word in message], message
    assert (tmp_path / "cleo").read_text() == before
    for name in ("", "../cleo", "..", "cl/eo", "cleo\nadmin", "cl eo", "Łukasz"):
        with pytest.raises(DataError, match="is no name for a user"):
            add(name, "again")
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".again*"))


def a_lost_password_is_replaced(folder, address):
    """As docs/tracking.md says."""
    known = configparser.ConfigParser(interpolation=None)
    known.read(folder / "team/server/auth.ini")
    api = f"{address}/api/2.0/mlflow"
    wanted = {"username": "cleo", "password": "another password"}
    admin = ("admin", known["mlflow"]["admin_password"])
    assert requests.patch(f"{api}/users/update-password", json=wanted, auth=admin, timeout=60).ok
    for password, status in (("another password", 200), ("no such password", 401)):
        asked = requests.get(f"{api}/experiments/get?experiment_id=0", auth=("cleo", password), timeout=60)
        assert asked.status_code == status


def serves_runs_and_nothing_else(address, file):
    """MLflow's assistant runs commands as the server's owner: nobody may reach it, with an account or without."""
    known = configparser.ConfigParser(interpolation=None)
    known.read(file)
    ada = tuple(known["mlflow"][f"mlflow_tracking_{key}"] for key in ("username", "password"))
    assert requests.get(f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0", auth=ada, timeout=60).ok
    for path in ("assistant/config", "assistant/message", "jobs/x", "mcp-servers"):
        for who in (None, ada):
            for ask in (requests.get, requests.put, requests.post):
                answer = ask(f"{address}/ajax-api/3.0/mlflow/{path}", auth=who, timeout=60)
                assert answer.status_code in (401, 403, 404), path


def arrived(client, record, folder):
    """Look through MLflow's own client, as another member of the team, at what was sent."""
    experiment = client.get_experiment_by_name("demo/ada")
    runs = client.search_runs([experiment.experiment_id], PARENTS)
    (run,) = [run for run in runs if run.data.tags["kind"] == "experiment"]
    assert run.info.status == "FINISHED"
    assert run.data.params["model.penalty"] == "0.1"
    assert run.data.metrics["harrell_c"] == 0.71
    assert run.inputs.dataset_inputs[0].dataset.name == "tables"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    folder.mkdir()
    for name in ("run.json", "curves.csv"):
        copy = Path(client.download_artifacts(run.info.run_id, name, str(folder)))
        assert copy.read_bytes() == record.with_name(name).read_bytes()
    below = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert sorted(child.data.params["fold"] for child in below) == ["0", "1"]
    for child in below:
        history = client.get_metric_history(child.info.run_id, "validation_loss")
        assert [(point.step, point.value) for point in history] == [(e, 1 / (e + 1)) for e in range(4)]


def reads_and_does_not_write(environment, address):
    target = target_of(environment)
    server = Server(address, target.username, target.password)
    experiment = server.experiment("demo/ada")
    run = next(server.runs(experiment, "tags.kind = 'encoder'"))
    for forbidden in (lambda: server.set_tag([run.run_id], "status", "mine"), lambda: server.delete([run.run_id])):
        with pytest.raises(ServerError, match=r"refuses 'ben' \(403\)"):
            forbidden()


def test_credentials_are_private_and_passwords_never_cross_a_network(tmp_path, capsys, monkeypatch):
    file = tmp_path / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = x%y\n")
    file.chmod(0o644)
    with pytest.raises(ServerError, match="others than you may read"):
        target_of(environment_of("https://lab", file))
    file.chmod(0o600)
    assert target_of(environment_of("https://lab", file)).password == "x%y"
    assert target_of({}) is None
    with pytest.raises(ServerError, match="cannot be read"):
        target_of(environment_of("https://lab", tmp_path / "none"))
    file.write_text("ada\n")
    with pytest.raises(ServerError, match="no file of credentials"):
        target_of(environment_of("https://lab", file))
    for address in ("http://lab.example", "http://10.0.0.1:5000", "lab", "ftp://lab"):
        with pytest.raises(ServerError):
            Server(address, "ada", "x")
    with pytest.raises(DataError, match="readable"):
        server_command(directory=tmp_path / "team", host="0.0.0.0")
    assert not (tmp_path / "team").exists()
    monkeypatch.delenv(ADDRESS, raising=False)
    assert main(["send", "--store", str(tmp_path / "store")]) == 1
    assert "is not set" in capsys.readouterr().err


def test_what_answers_may_be_no_tracking_server(tmp_path):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome to the hospital's network</html>")

        def log_message(self, *_):
            pass

    collect(records=[make_record(tmp_path)], directory=tmp_path / "store", study="demo")
    file = tmp_path / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = x\n")
    file.chmod(0o600)
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        there = environment_of(f"http://127.0.0.1:{page.server_port}", file)
        counts = send_or_keep(directory=tmp_path / "store", study="demo", environment=there)
        page.shutdown()
    assert counts == {"pending": 1}
    assert "no tracking server" in (tmp_path / "store/pending/demo.json").read_text()


def test_the_server_command_hides_addresses_and_keeps_its_secrets(lab, tmp_path):
    folder, port = lab
    shutil.copytree(folder / "team", tmp_path / "team")
    command, environment = server_command(directory=tmp_path / "team", port=port, names=("runs.lab",))
    first = (tmp_path / "team/server/auth.ini").read_text()
    assert command[command.index("--app-name") + 1] == "basic-auth"
    assert {"runs.lab", "runs.lab:*"} <= set(environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","))
    assert not [part for part in command if "sqlite" in part or environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] in part]
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "default_permission = READ" in first
    assert server_command(directory=tmp_path / "team", port=port, names=("runs.lab",))[1] == environment
    assert (tmp_path / "team/server/auth.ini").read_text() == first

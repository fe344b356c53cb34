"""Sending to a team's server: two senders, more runs than a page has, and whatever may answer at the address."""

import base64
import contextlib
import functools
import http.server
import json
import shutil
import threading
import time

import pytest
from mlflow_server import PARENTS, environment_of, free_port, serving
from tracked_steps import make_metrics, make_record

from riskweave.tracking import sending
from riskweave.tracking.__main__ import main
from riskweave.tracking.remote import BEGUN, SENDER, Server, ServerError
from riskweave.tracking.sending import ADDRESS, CREDENTIALS, send, send_or_keep, target_of
from riskweave.tracking.serving import add_user
from riskweave.tracking.store import collect


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one run of the study demo."""
    folder = tmp_path_factory.mktemp("sending")
    collect(records=[make_record(folder)], directory=folder / "store", study="demo")
    return folder / "store"


def test_senders_leave_each_other_alone(tmp_path, monkeypatch):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    paths = [make_record(tmp_path, name=f"ehr.cox{number}", study="shared") for number in range(5)]
    for store, records in (("here", paths), ("there", paths[3:])):
        collect(records=records, directory=tmp_path / store, study="shared")
    with serving(tmp_path, port):
        add_user(directory=tmp_path / "team", address=address, name="ada", credentials=tmp_path / "ada")
        own = environment_of(address, tmp_path / "ada")
        target = target_of(own)
        # Fewer runs on a page than there are: deleting while reading would hide some.
        monkeypatch.setattr(sending, "Server", functools.partial(Server, page=2))
        assert send_or_keep(directory=tmp_path / "here", study="shared", environment=own) == {"sent": 5, "unchanged": 0}
        server = Server(address, target.username, target.password)
        experiment = server.experiment("shared/ada")
        runs = list(server.runs(experiment, PARENTS))
        sender, now = runs[0].tags[SENDER], str(round(time.time() * 1000))
        begun = {
            who: unfinished(server, experiment, who, {SENDER: sender_of, BEGUN: moment})
            for who, sender_of, moment in (
                ("own", sender, now), ("own again", sender, now), ("own once more", sender, now),
                ("other", "0123456789abcdef", now), ("other long ago", "0123456789abcdef", str(int(now) - 3_700_000)),
            )
        }  # fmt: skip
        assert send(directory=tmp_path / "here", target=target, studies=["shared"]) == {"sent": 0, "unchanged": 5}
        left = {run.run_id for run in server.runs(experiment, PARENTS)}
        assert left == {run.run_id for run in runs} | {begun["other"]}
        # Another checkout has some of the same steps, and one of its runs is deleted while it is written.
        assert send(directory=tmp_path / "there", target=target) == {"sent": 0, "unchanged": 2}
        collect(
            records=[make_record(tmp_path, name="late", study="shared")], directory=tmp_path / "there", study="shared"
        )
        gone = deleted_once(monkeypatch)
        assert send(directory=tmp_path / "there", target=target) == {"sent": 1, "unchanged": 2}
        finished = [run for run in server.runs(experiment, PARENTS) if run.finished]
        assert len(gone) == 1
        assert len(finished) == 6
        late = next(run.run_id for run in finished if run.tags["experiment"] == "late")
        assert len(server.below(experiment, late)) == 3
        assert len(list(server.runs(experiment, "tags.experiment = 'late'"))) == 3
        a_store_made_again_without_evaluation_is_sent(tmp_path, own)


def unfinished(server, experiment, name, tags):
    tags |= {"riskweave.fingerprint": name, "riskweave.record": name}
    body = {"experiment_id": experiment, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    return server._ask("POST", "/runs/create", json=body)["run"]["info"]["run_id"]


def deleted_once(monkeypatch):
    """Let another sender delete the first run that is written, with the folds that it has, before it gets its files."""
    gone, upload = [], Server._link

    def delete_first(self, run_id, data):
        if not gone:
            gone.append(run_id)
            self.delete([run_id])
        return upload(self, run_id, data)

    monkeypatch.setattr(Server, "_link", delete_first)
    return gone


def a_store_made_again_without_evaluation_is_sent(folder, environment):
    paths, metrics = [make_record(folder / "again", study="again")], make_metrics(folder / "metrics.parquet")
    collect(records=paths, directory=folder / "again/mlflow", study="again", metrics={"mace": metrics})
    send_or_keep(directory=folder / "again/mlflow", study="again", environment=environment)
    shutil.rmtree(folder / "again/mlflow")
    collect(records=paths, directory=folder / "again/mlflow", study="again")
    counts = send_or_keep(directory=folder / "again/mlflow", study="again", environment=environment)
    assert counts == {"sent": 0, "unchanged": 1}


def credentials_in(folder, name="ada"):
    file = folder / "credentials"
    file.write_text(f"[mlflow]\nmlflow_tracking_username = {name}\nmlflow_tracking_password = x\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@contextlib.contextmanager
def answering(status, content):
    """Answer whatever is asked with this; yield the address, and a list of who asked."""
    asked = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{page.server_port}", asked
        page.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "problem"),
    [
        (200, b"<html>Welcome to the hospital's network</html>", "no tracking server"),
        (200, b'{"status": "ok"}', "no tracking server"),
        (200, b'{"experiment": "ok"}', "no tracking server"),
        (200, b'{"experiment": {"experiment_id": "1"}, "runs": [{}]}', "no tracking server"),
        (500, b'["broken"]', "answered 500"),
        (500, b'{"message": null}', "answered 500"),
    ],
)
def test_what_answers_may_be_no_tracking_server(store, tmp_path, status, content, problem):
    with answering(status, content) as (address, asked):
        there = environment_of(address, credentials_in(tmp_path, "Łukasz"))
        counts = send_or_keep(directory=store, study="demo", environment=there)
    assert counts == {"pending": 1}
    assert set(asked) == {"Basic " + base64.b64encode("Łukasz:x".encode()).decode()}
    assert problem in (store / "pending/demo.json").read_text()


def test_a_study_goes_on_whatever_the_address_and_the_certificates(store, tmp_path, monkeypatch):
    file = credentials_in(tmp_path)

    def problem_of(address):
        assert send_or_keep(directory=store, study="demo", environment=environment_of(address, file)) == {"pending": 1}
        return json.loads((store / "pending/demo.json").read_text())["problem"]

    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert "is not the address of a server" in problem_of("https://[bad")
    assert "cannot be reached" in problem_of(f"https://{'a' * 70}.invalid")  # no name of a host is as long
    with answering(200, b"{}") as (address, _):
        told = problem_of(address.replace("http:", "https:"))
        assert "no safe connection" in told
        assert "REQUESTS_CA_BUNDLE" in told
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
        assert "none.pem: there are no certificates here" in problem_of(address)


def test_credentials_and_addresses_that_are_none_are_named(tmp_path):
    file = credentials_in(tmp_path)
    file.write_bytes(b"\xff\xfe[mlflow]")
    with pytest.raises(ServerError, match="no file of credentials"):
        target_of(environment_of("https://lab", file))
    with pytest.raises(ServerError, match="no such home folder"):
        target_of(environment_of("https://lab", "~nobody-of-this-name/credentials"))
    for address in ("https://[bad", "https://lab:99999", "https://lab:port"):
        with pytest.raises(ServerError, match="is not the address of a server"):
            Server(address, "ada", "x")


def test_an_unknown_study_is_refused_and_made_nowhere(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9")
    monkeypatch.setenv(CREDENTIALS, str(credentials_in(tmp_path)))
    assert main(["send", "--store", str(store), "demmo"]) == 1
    told = capsys.readouterr().err
    assert "no study 'demmo'" in told
    assert "Studies there: demo. Did you mean 'demo'?" in told
    assert main(["send", "--store", str(store), "demmo"]) == 1
    assert "Studies there: demo." in capsys.readouterr().err

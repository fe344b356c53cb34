# ruff: noqa: F811 - fixtures are imported by name
"""The server says what is wrong, keeps nothing to itself, and survives all of it."""

import contextlib
import http.client
import json
import re
import socket
import time

import pytest
from deployed_bundle import BAD, GOOD, Sent, bad_recordings, patient
from deployed_server import (  # noqa: F401 - fixtures
    BOUNDARY,
    FORM,
    JSON,
    ask,
    bundle,
    form,
    made,
    post,
    post_form,
    raw,
    running,
    server,
)

from riskweave.deployment.runtime import api as interface
from riskweave.deployment.runtime import host as sandbox
from riskweave.deployment.runtime import serve as serving
from riskweave.deployment.runtime.api import LIMITS
from riskweave.deployment.runtime.module import Module

# The text itself is no patient: the request is bad, not the patient.
UNREADABLE = {
    "NaN", "infinity", "no JSON", "JSON cut short", "empty patient", "told twice", "nested without end",
    "endless number", "not UTF-8",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alive(server):
    """After each test the server answers as before."""
    yield
    assert ask(server, path="/health")[0] == 200
    status, told = post(server, patient().patient)
    assert status == 200
    assert told["risks"]


# Mistakes


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_in_plain_words(name, server):
    sent, about, message = BAD[name]
    files = sent.files or sent.image is not None
    found = post_form(server, sent) if files else post(server, sent.patient)
    check_refusal(found, 400 if name in UNREADABLE else 422, about, message)


def test_broken_recordings_are_told_in_plain_words(server, tmp_path):
    for sent, about, message in bad_recordings(tmp_path).values():
        check_refusal(post_form(server, sent), 422, about, message)


def check_refusal(found, status, about, message):
    (error,) = found[1]["errors"]
    assert found[0] == status
    assert error["input"] == about
    assert re.search(message, error["message"]), error


def test_all_mistakes_are_told_at_once(server):
    sent = Sent(b'{"values": {"age": "x", "sex": "M"}}', files={"a.csv": b"%PDF"}, image=b"?")
    status, told = post_form(server, sent)
    assert status == 422
    assert {each["input"] for each in told["errors"]} == {"age", "sex", "ecg", "image"}


def test_endless_mistakes_are_not_repeated(server):
    events = [{"code": "LAB//CREATININE", "days_before": 1, "value": "x" * 2000 + str(place)} for place in range(300)]
    status, told = post(server, json.dumps({"values": GOOD, "events": events}))
    assert status == 422
    assert len(told["errors"]) == 51
    assert told["errors"][-1]["message"] == "and 250 more problems"
    assert max(len(each["message"]) for each in told["errors"]) < 700


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (("GET", "/nothing", None, {}), 404, "nothing here"),
        (("GET", "/../../etc/passwd", None, {}), 404, "nothing here"),
        (("GET", "/predict", None, {}), 405, "takes POST alone"),
        (("DELETE", "/health", None, {}), 405, "takes GET, HEAD alone"),
        (("OPTIONS", "/predict", None, {}), 405, "takes POST alone"),
        (("BREW", "/health", None, {}), 501, "not implemented"),
        (("POST", "/predict", b"{}", {"Content-Type": "text/plain"}), 415, "application/json"),
        (("POST", "/predict", b"{}", {}), 415, "application/json"),
        (("POST", "/predict", b"{}", {**JSON, "Content-Length": "two"}), 400, "no length"),
        (("POST", "/predict", iter([b"{}"]), {**JSON, "Transfer-Encoding": "chunked"}), 411, "in one piece"),
        (("POST", "/predict", b"x" * (LIMITS["json"] + 1), JSON), 413, "4 MB are allowed"),
        (("POST", "/predict?format=xml", b"{}", JSON), 400, "`format` is json or fhir"),
        (("POST", "/predict?language=fr", b"{}", JSON), 400, "`language` one of de, en"),
        (("POST", "/predict?date=tomorrow", b"{}", JSON), 400, "a day such as"),
        (("POST", "/predict?name=Smith", b"{}", JSON), 400, "`format`, `language` and `date`"),
        (("POST", "/predict", b"x", {"Content-Type": f"{FORM}; boundary=y"}), 400, "begin with its boundary"),
        (("POST", "/predict", b"x", {"Content-Type": FORM}), 400, "no boundary"),
        (("GET", "/health", None, {"Host": "rebound.example"}), 421, "--server-name"),
        (("GET", "/health", None, {"Host": "localhost.evil.example"}), 421, "--server-name"),
        (("POST", "/predict", b"{}", {**JSON, "Origin": "https://evil.example"}), 403, "another site"),
        (("POST", "/predict", b"{}", {**JSON, "Origin": "null"}), 403, "another site"),
        (("POST", "/predict", b"{}", {**JSON, "Sec-Fetch-Site": "cross-site"}), 403, "another site"),
        (("GET", "/health", None, {f"X-{place}": "y" for place in range(200)}), 431, "header"),
        (("GET", "/" + "x" * 70_000, None, {}), 414, "uri"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(sent, status, message, server):
    found, _, text = ask(server, *sent)
    assert found == status
    assert message in json.loads(text)["errors"][0]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8080", "ward-7.example:80", "WARD-7.example."])
def test_names_of_this_machine_are_known(host, server):
    assert ask(server, path="/health", headers={"Host": host})[0] == 200


def test_the_servers_own_page_may_send_forms(server):
    own = {"Host": "localhost:8080", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert post(server, patient().patient, headers={**JSON, **own})[0] == 200


def test_forms_that_are_refused(server):
    ones = Sent()
    body, headers = form(ones)
    twice = body.replace(f"--{BOUNDARY}--".encode(), body)
    for changed, message in (
        (body.replace(b'"patient"', b'"who"'), "has the fields"),
        (body.replace(b"form-data; name", b"form-data; title"), "a part has no name"),
        (form(Sent(b""), image=b"")[0].replace(b'"patient"', b'"image"', 1), "`image` is there 2 times"),
        (body[: -len(BOUNDARY) - 9], "cut short"),
        (twice, "`patient` is there 2 times"),
        (form(Sent(files={"a/x.dat": b"1", "b/x.dat": b"2"}))[0], "same name"),
    ):
        status, told = post(server, changed, headers=headers)
        assert status == 400
        assert message in told["errors"][0]["message"]
    empty = f"--{BOUNDARY}--\r\n".encode()
    assert "`patient` is missing" in post(server, empty, headers=headers)[1]["errors"][0]["message"]


def test_a_model_without_recordings_says_so(bundle):
    schema = {**bundle.schema, "ecg": None, "image": None}
    blind = bundle._replace(schema=schema, module=Module(bundle.wasm, schema))
    with running(blind) as server:
        status, told = post_form(server, Sent(files={"e.csv": b"I\n1\n"}, image=b"x"))
        page, description = ask(server)[2], json.loads(ask(server, path="/openapi.json")[2])
    assert status == 422
    assert [each["message"] for each in told["errors"]] == [
        "this model does not look at ECGs: leave the file out",
        "this model does not look at images: leave the file out",
    ]
    assert b'name="ecg"' not in page
    fields = description["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(fields["properties"]) == ["patient"]


# What no client should do


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 4096, b"\r\n"],
)
def test_what_is_no_request_is_refused(data, server):
    assert not raw(server, data, end=True).startswith(b"HTTP/1.1 2")


def test_a_client_that_leaves_early(server):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    for data in (b"", b"POST", head, head + b'{"values":'):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(data)


def test_a_body_that_is_shorter_than_told(server):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    assert b"the body is shorter than its Content-Length" in raw(server, head + b"{}", end=True)


def test_a_large_body_is_asked_for_only_when_it_is_allowed(server):
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
    head += "Expect: 100-continue\r\n\r\n"
    for kind, length, status in (("application/json", 10**10, 413), ("text/plain", 10, 415)):
        assert raw(server, head.format(kind, length).encode()).startswith(f"HTTP/1.1 {status}".encode())
    body = patient().patient
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(head.format("application/json", len(body)).encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_clients_are_hung_up_on(server, monkeypatch):
    monkeypatch.setattr(serving, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            # A byte now and then does not help.
            while time.monotonic() < started + 8:
                connection.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - started < 5
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 408")


def test_connections_are_counted(server):
    port = server.server_port
    with contextlib.ExitStack() as stack:
        for _ in range(serving.CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.5)
        with contextlib.suppress(ConnectionResetError):
            assert raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 503")
    # Their places are free again as soon as they have gone.
    for _ in range(100):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(server, path="/health")[0] == 200:
                break
        time.sleep(0.05)


def test_a_module_that_is_stopped_is_started_again(server, monkeypatch):
    monkeypatch.setattr(sandbox, "FUEL", 100)
    status, told = post(server, patient().patient)
    assert status == 500
    assert "the model stopped at this patient, and there is no prediction" in told["errors"][0]["message"]
    monkeypatch.undo()
    status, told = post(server, patient().patient)
    assert status == 200


def test_a_fault_of_the_server_tells_nothing_of_the_patient(server, monkeypatch):
    def fail(*_):
        raise RuntimeError("Jane Doe")

    monkeypatch.setattr(interface, "ask", fail)
    status, _, body = ask(server, "POST", "/predict", patient().patient, JSON)
    assert (status, body) == (500, b"")
    told = next(line for line in server.lines if "unexpectedly" in line)
    assert "RuntimeError at" in told
    assert "Jane" not in told


def test_the_log_holds_no_input(bundle):
    with running(bundle) as server:
        post(server, patient({"age": 67.25}).patient, "/predict?date=1999-12-31")
        post(server, patient({"Jane": "Doe"}).patient)
        ask(server, path="/Jane?Doe=1")
        raw(server, b"JANE /Doe HTTP/1.1\r\nHost: localhost\r\n\r\n")
        raw(server, b"Jane Doe 1999\r\n\r\n")
        while len(server.lines) < 5:  # A line is written once its answer has gone out.
            time.sleep(0.01)
    shapes = ["POST /predict 200", "POST /predict 422", "GET - 404", "- - 501", "- - 400"]
    assert sorted(re.sub(r" \d+ ms$", "", line) for line in server.lines) == sorted(shapes)

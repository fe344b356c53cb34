"""A server on a free port, and clients for it; its bundle and itself are fixtures too: import them by name."""

import contextlib
import http.client
import json
import socket
import threading

import pytest
from deployed_bundle import make_bundle

from riskweave.deployment.runtime.api import Api
from riskweave.deployment.runtime.bundle import open_bundle
from riskweave.deployment.runtime.serve import Server

JSON = {"Content-Type": "application/json"}
FORM = "multipart/form-data"
BOUNDARY = "----riskweave7MA4YWxkTrZu0gW"


__all__ = ["BOUNDARY", "FORM", "JSON", "ask", "bundle", "form", "made", "post", "post_form", "raw", "running", "server"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a small bundle, and what it was made of."""
    return make_bundle(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
def bundle(made):
    """The same, opened."""
    return open_bundle(made[0])


@pytest.fixture(scope="module")
def server(bundle):
    """A server around it, which knows a name."""
    with running(bundle, names=["Ward-7.example"]) as one:
        yield one


@contextlib.contextmanager
def running(bundle, **options):
    """Serve a bundle within the block; the lines of the log are in `lines`."""
    log = []
    server = Server(("127.0.0.1", 0), Api(bundle, workers=2), log=log.append, **options)
    server.lines = log
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server, method="GET", path="/", body=None, headers=None):
    """Return status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def post(server, body, path="/predict", headers=JSON):
    status, _, text = ask(server, "POST", path, body, headers)
    return status, json.loads(text)


def form(sent, **fields):
    """Return the body of a form as browsers write it, and its header."""
    parts = [("patient", None, sent.patient), *((name, None, value) for name, value in fields.items())]
    parts += [("ecg", name, data) for name, data in sent.files.items()]
    parts += [("image", "C:\\pictures\\x.png", sent.image)] if sent.image is not None else []
    body = b""
    for name, filename, data in parts:
        told = f'; filename="{filename}"' if filename is not None else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode(), {"Content-Type": f"{FORM}; boundary={BOUNDARY}"}


def post_form(server, sent, path="/predict", **fields):
    body, headers = form(sent, **fields)
    return post(server, body, path, headers)


def raw(server, data, *, end=False):
    """Send bytes; return whatever comes back."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                found += more
    return found

"""MLflow's web server as real processes, for the tests of the interface and of the team's server."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import requests

from riskweave.tracking.sending import ADDRESS, CREDENTIALS
from riskweave.tracking.serving import server_command

__all__ = ["PARENTS", "answers", "environment_of", "free_port", "serving", "started"]

PARENTS = "tags.`riskweave.fingerprint` LIKE '%'"
"""Condition of MLflow's search: the runs that hold others."""


def free_port():
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answers(address):
    """Tell whether a server answers."""
    try:
        return requests.get(f"{address}/health", timeout=2).ok
    except requests.RequestException:
        return False


@contextlib.contextmanager
def started(command, environment, *, address, folder):
    """Run a server below a folder, and yield its process once it answers; it is killed with all its children."""
    with (folder / "server.log").open("ab") as log:
        job = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(240):
            if answers(address):
                break
            assert job.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.5)
        else:
            raise AssertionError((folder / "server.log").read_text())
        yield job
    finally:
        with contextlib.suppress(ProcessLookupError):  # killed by the test, and its children with it
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


@contextlib.contextmanager
def serving(folder, port, **certificate):
    """Run the team's server, whose store is ``team`` in a folder, and yield its address."""
    command, environment = server_command(directory=folder / "team", port=port, workers=1, **certificate)
    address = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    with started(command, environment, address=address, folder=folder):
        yield address


def environment_of(address, file):
    """Return the variables that name a server, and the file of credentials."""
    return {ADDRESS: address, CREDENTIALS: str(file)}

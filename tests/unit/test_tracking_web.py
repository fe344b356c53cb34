"""The user interface, a real process: it shows runs to this machine, runs nobody's commands, and leaves nothing."""

import json
import os
import signal
import sys
import time

import pytest
import requests
from mlflow_server import answers, free_port, started

from riskweave.tracking.database import init_store, ui_command


@pytest.fixture(scope="module")
def interface(tmp_path_factory):
    """The address of the interface, and its process."""
    folder = tmp_path_factory.mktemp("interface")
    init_store(directory=folder / "store")
    port = free_port()
    command, environment = ui_command(directory=folder / "store", port=port)
    address = f"http://127.0.0.1:{port}"
    with started(command, environment, address=address, folder=folder) as job:
        yield address, job


def _search(address, **headers):
    return requests.post(
        f"{address}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 3}, headers=headers, timeout=60
    )


def test_it_shows_runs_and_has_no_assistant(interface):
    address, _ = interface
    page = requests.get(address, timeout=60)
    assert page.ok
    assert page.headers["X-Frame-Options"] == "DENY"
    assert [one["name"] for one in _search(address).json()["experiments"]] == ["Default"]
    # MLflow's assistant runs commands as the owner of the process, for every user of the machine.
    orders = {"providers": {"ollama": {"selected": True, "model": "m", "permissions": {"full_access": True}}}}
    for path in ("assistant/config", "assistant/message", "assistant/sessions/x/stream", "jobs/x", "mcp-servers"):
        for ask in (requests.get, requests.put, requests.post):
            answer = ask(f"{address}/ajax-api/3.0/mlflow/{path}", json=orders, timeout=60)
            assert answer.status_code in (403, 404, 405), path


def test_pages_of_others_cannot_ask_it(interface):
    address, _ = interface
    for host in ("evil.example", "10.evil.example", "192.168.evil.example:5000"):
        assert _search(address, Host=host).status_code == 403
    assert _search(address, Host="localhost:5000").ok
    assert _search(address, Origin="https://evil.example").status_code == 403


def test_nobody_tells_it_where_to_write(interface, tmp_path):
    address, _ = interface
    create = f"{address}/api/2.0/mlflow/experiments/create"
    place = f"{tmp_path}/elsewhere"
    asked = [{"artifact_location": place}, {"artifactLocation": place}]
    for number, where in enumerate(asked):
        wanted = {"name": f"e{number}", **where}
        # MLflow also reads a text that holds an object.
        for body in (
            json.dumps(wanted),
            json.dumps(json.dumps(wanted)),
            json.dumps(wanted).replace("art", "\\u0061rt"),
        ):
            answer = requests.post(create, data=body, headers={"Content-Type": "application/json"}, timeout=60)
            assert (answer.status_code, "leave out artifact_location" in answer.text) == (400, True)
            assert requests.post(create.replace("/api/", "/ajax-api/"), data=body, timeout=60).status_code == 400
    made = requests.post(create, json={"name": "mine"}, timeout=60)
    assert made.ok
    found = requests.get(f"{address}/api/2.0/mlflow/experiments/get", params=made.json(), timeout=60).json()[
        "experiment"
    ]
    assert found["artifact_location"].startswith("mlflow-artifacts:")
    assert [one["name"] for one in _search(address).json()["experiments"]] == ["mine", "Default"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_no_child_stays_when_it_is_killed(interface):
    address, job = interface
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    for _ in range(100):
        if not answers(address):
            break
        time.sleep(0.2)
    assert not answers(address)

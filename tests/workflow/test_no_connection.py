"""Nothing that the pipeline does asks for anything outside: counted by the kernel and by a proxy, not promised.

What runs: cohort, encoder, networks, searches, tracking, reports, a bundle, Snakemake's own report and the tracking
interface, each in a namespace without a way out (`no_way_out.py`), as a user behind a proxy in whose environment
telemetry has no reason to hide. Controls show that each way out is counted, MLflow's real telemetry among them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_project import SMALL, copy_project, offline

pytestmark = pytest.mark.workflow

COUNTING = Path(__file__).with_name("no_way_out.py")

CONTROLS = {
    "an address": "import socket; socket.create_connection(('198.51.100.1', 443), timeout=1)",
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "a page": "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)",
    "requests": "import requests; requests.get('https://example.org', timeout=1)",
}

TELEMETRY = """
import mlflow
mlflow.set_tracking_uri("sqlite:///store.db")
mlflow.set_experiment("control")
"""
"""What MLflow tells its makers unless told otherwise."""

INTERFACE = """
import subprocess, sys, time, urllib.request
server = subprocess.Popen([sys.executable, "-m", "riskweave.tracking", "ui", "--port", "5057"])
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    for _ in range(120):
        time.sleep(1)
        try:
            assert direct.open("http://127.0.0.1:5057/", timeout=10).status == 200
            break
        except OSError:
            pass
    else:
        raise SystemExit("the interface does not answer")
    time.sleep(2)
finally:
    server.terminate()
    server.wait(30)
"""

STEPS = [
    [sys.executable, "-m", "snakemake", "all", "deploy"],
    [sys.executable, "-m", "snakemake", "plan"],
    [sys.executable, "-m", "snakemake", "--report", "report.html"],
    [sys.executable, "-c", INTERFACE],
]


def counted(command: list[str], folder: Path) -> dict:
    """Run a command where nothing leads out, and return what it tried."""
    if not offline():
        pytest.skip("network namespaces: `unshare --net` is not allowed here (it takes root, or user namespaces)")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces: there is no `ip` (Debian: iproute2)")
    done = subprocess.run(
        [*offline(), sys.executable, str(COUNTING), *command],
        cwd=folder, capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-3000:]
    return json.loads(lines[-1]) | {"told": done.stdout[-3000:] + done.stderr[-5000:]}


def tries(count: dict) -> int:
    return count["packets"] + len(count["asked"])


@pytest.mark.parametrize("control", CONTROLS)
def test_each_way_out_is_counted(tmp_path, control):
    assert tries(counted([sys.executable, "-c", CONTROLS[control]], tmp_path)) > 0


def test_nothing_is_counted_where_nothing_is_tried(tmp_path):
    count = counted([sys.executable, "-c", "import socket; socket.create_server(('127.0.0.1', 0))"], tmp_path)
    assert (count["returncode"], tries(count)) == (0, 0)


def test_telemetry_that_is_on_is_counted(tmp_path):
    """MLflow's own, in a process without our settings: it does not hide from this test."""
    count = counted([sys.executable, "-c", f"{TELEMETRY}\nimport time; time.sleep(3)"], tmp_path)
    assert count["returncode"] == 0, count["told"]
    assert any("mlflow" in line for line in count["asked"])


def study() -> dict:
    """Return the small study with one encoder, a search, and a bundle: whatever could ask for something is used."""
    study = yaml.safe_load(SMALL.read_text())
    study["cohort"].pop("also")
    study["feature_sets"] = {name: study["feature_sets"][name] for name in ("age_sex", "ehr", "image")}
    # A network by torchvision, whose weights are a download elsewhere.
    study["models"] = {name: study["models"][name] for name in ("cox", "logistic_hazard", "forest")}
    study["models"]["logistic_hazard"]["search"] = {"trials": 2, "space": {"dropout": {"low": 0.0, "high": 0.5}}}
    study["experiments"] = {
        "age_sex": {"feature_sets": ["age_sex"], "models": ["cox"]},
        "both": {"feature_sets": ["ehr", "image"], "models": ["logistic_hazard", "forest"]},
    }
    study |= {"objectives": {}, "fusions": {}, "deployment": {"experiments": ["age_sex.cox"]}}
    return study


def test_the_pipeline_asks_for_nothing_outside(tmp_path, monkeypatch):
    project = copy_project(tmp_path, SMALL)
    project.write_study(study())
    monkeypatch.setenv("PYTHONPATH", str(project.root / "src"))
    # As in `environment_of`: the project holds its caches.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    # Snakemake's Slurm plugin tries Slurm's commands where they are installed; where no cluster is configured, they ask
    # the name server for `_slurmctld._tcp`.
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    for step in STEPS:
        count = counted(step, project.root)
        assert count["returncode"] == 0, count["told"]
        assert (count["packets"], count["asked"]) == (0, []), step
    pages = [*project.results.rglob("*.html")]
    assert {"index.html", "cohort.html"} <= {page.name for page in pages}
    for page in pages:
        loaded = re.findall(
            r"""(?:\bsrc\s*=\s*|<link[^>]*href\s*=\s*|url\()["']?\s*((?:https?:)?//[^"')\s]+)""", page.read_text()
        )
        assert loaded == [], page.name

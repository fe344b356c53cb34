"""docs/tracking.md: a record has the keys that it lists, and its searches find what they say."""

import re
import sys
import types
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from tracked_steps import FINGERPRINT, make_record

from riskweave.tracking import hardware
from riskweave.tracking.record import read_record, write_record
from riskweave.tracking.store import collect

PAGE = (Path(__file__).parents[2] / "docs/tracking.md").read_text(encoding="utf-8")


def table(head):
    """Return the rows of the table with this head, cell by cell."""
    lines = PAGE[PAGE.index(head) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def keys(head):
    """Return the keys of the first column of a table, and which of them are optional."""
    found, optional = set(), set()
    for first, *rest in table(head):
        names = re.findall(r"`([^`]+)`", first)
        found |= set(names)
        optional |= set(names) if "; optional" in " ".join(rest) else set()
    return found, optional


def test_a_record_has_exactly_the_documented_keys(tmp_path, monkeypatch):
    about = types.SimpleNamespace(name="NVIDIA A100", total_memory=2, uuid="1234")
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 1,
        max_memory_allocated=lambda _: 1,
        get_device_properties=lambda _: about,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, get_num_threads=lambda: 2))
    monkeypatch.setattr(hardware, "_nvidia_smi", lambda _: [["GPU-1234", "80"]])
    monkeypatch.setattr(hardware, "read_gpus", lambda _: {"1234": (1.0, 2.0)})
    monkeypatch.setattr(hardware, "read_processors", lambda: {"package": (1.0, 2.0)})
    monkeypatch.setenv("RISKWEAVE_PRICE_PER_HOUR", "1")
    record = asdict(read_record(make_record(tmp_path)))
    documented, optional = keys("| key | content |")
    assert (set(record), optional) == (documented, set())
    documented, _ = keys("| `hardware` | content |")
    assert set(record["hardware"]) == documented
    (gpus,) = [cells[1] for cells in table("| `hardware` | content |") if "`gpus`" in cells[0]]
    assert set(record["hardware"]["gpus"][0]) == set(re.findall(r"`([a-z_]+)`", gpus))
    documented, optional = keys("| `provenance` | content |")
    assert (set(record["provenance"]), optional) == (documented - optional, {"training", "reused"})


def test_a_machine_that_tells_less_leaves_out_what_is_optional(tmp_path, monkeypatch):
    monkeypatch.delenv("RISKWEAVE_PRICE_PER_HOUR", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(hardware, "read_processors", dict)
    record = read_record(make_record(tmp_path))
    documented, optional = keys("| `hardware` | content |")
    assert optional == {"cpu_energy", "cost", "torch_threads"}
    assert set(record.hardware) == documented - optional


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Two experiments, one of them replaced, and an encoder, each different in what is searched for."""
    folder = tmp_path_factory.mktemp("lab")
    rows = [
        {"experiment": name, "endpoint": "mi", "group": None, "metric": "harrell_c", "horizon": 1826.0, "estimate": c,
         "lower": None, "upper": None}
        for name, c in (("ehr.cox", 0.78), ("ehr+ecg.deephit", 0.74))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "metrics.parquet")

    def record(name, kind="experiment", **changes):
        path = make_record(folder, name=name, kind=kind)
        run = read_record(path)
        run.endpoint, run.data = "mi", {**run.data, "fingerprint": changes.pop("data", FINGERPRINT)}
        run.provenance |= {"user": changes.pop("user", "ada")}
        run.provenance["git"] = {"commit": "c0ffee", "dirty": changes.pop("dirty", False)}
        for key, value in changes.items():
            setattr(run, key, value)
        write_record(run, path)
        return path

    old = record("ehr.cox", feature_sets={"ehr": []}, params={"model": "cox"}, started="2025-01-02T00:00:00+00:00")
    more = {"directory": folder / "store", "study": "demo", "metrics": {"mi": folder / "metrics.parquet"}}
    collect(records=[old], **more)
    new = record(
        "ehr.cox", feature_sets={"ehr": []}, params={"model": "cox"}, user="ben", data="3fa9" * 16, duration=3600.0
    )
    both = record("ehr+ecg.deephit", feature_sets={"ehr": [], "ecg": []}, params={"model": "deephit"}, dirty=True)
    encoder = record("ecg", "encoder", feature_sets={"ecg": []}, params={"encoder": {"channels": 24}})
    run = read_record(encoder)
    run.folds[0].params["signal"] = False
    write_record(run, encoder)
    collect(records=[new, both, encoder], **more)
    return folder / "store"


FOUND = {
    "experiments of an endpoint above a concordance": ["ehr.cox"],
    "of a study, a model": ["ehr+ecg.deephit"],
    "by a feature set": ["ecg", "ecg", "ecg", "ehr+ecg.deephit", "ehr+ecg.deephit", "ehr+ecg.deephit"],
    "by exactly these feature sets": ["ehr+ecg.deephit"],
    "by a person": ["ehr.cox"],
    "trained on a version of the data": ["ehr.cox", "ehr.cox", "ehr.cox"],
    "since a date": ["ecg", "ehr+ecg.deephit", "ehr.cox"],
    "folds in which an encoder found no signal": ["ecg"],
    "encoders of a width": ["ecg"],
    "all folds of an experiment": ["ehr.cox", "ehr.cox", "ehr.cox", "ehr.cox"],
    "trained from a changed checkout": ["ehr+ecg.deephit"],
    "trained without a GPU, for more than ten minutes": ["ehr.cox"],
    "replaced by a later training": ["ehr.cox"],
    "taken out of the study": [],
    "the run of a fingerprint": [],
}
"""Names that each search of the page finds, steps and folds alike."""
SEARCHES = {cells[0]: cells[1].strip("`").strip() for cells in table("| question | search |")}


def test_every_search_of_the_page_is_tested():
    assert set(SEARCHES) == set(FOUND)


@pytest.mark.parametrize("question", FOUND)
def test_a_search_finds_what_it_says(lab, question):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{lab}/mlflow.db")
    experiment = client.get_experiment_by_name("demo").experiment_id
    runs = client.search_runs([experiment], SEARCHES[question])
    names = [run.data.tags.get("experiment") or run.data.tags["feature_set"] for run in runs]
    folds = [run for run in runs if "fold" in run.data.tags]
    whole = question in ("by a feature set", "trained on a version of the data", "replaced by a later training")
    kept = (
        names
        if whole or "fold" in question
        else [name for name, run in zip(names, runs, strict=True) if "fold" not in run.data.tags]
    )
    if question == "replaced by a later training":
        kept = sorted(set(names))
    assert sorted(kept) == FOUND[question], (len(runs), len(folds))

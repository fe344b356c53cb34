"""What training jobs do around their one call: devices of their own, what the record is told, nothing when restored."""

import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from riskweave.devices import VISIBLE, leased_device
from riskweave.errors import DataError
from riskweave.tracking.job import training_job
from riskweave.tracking.record import read_record, recording

WILDCARDS = {"endpoint": "mi", "experiment": "ehr.net"}


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch):
    """Work in a folder with code and the tables of two studies, on a machine of three GPUs."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_JOB_ID", VISIBLE):
        monkeypatch.delenv(name, raising=False)
    found = {name: [name] for name in ("GPU-a", "GPU-b", "GPU-c")}
    lease = partial(leased_device, folder=tmp_path / "locks", devices=lambda: found)
    monkeypatch.setattr("riskweave.tracking.job.leased_device", lease)
    Path("train.py").write_text("# train\n")
    for study in ("one", "two"):
        Path("results", study).mkdir(parents=True)
        Path("results", study, "folds.parquet").write_bytes(b"folds")
        Path("results", study, "data.json").write_text(json.dumps({"fingerprint": "raw"}))


def job(study="one", *, gpu=1, reuse=False, **resources):
    """Return what Snakemake gives a script, as far as a training job reads it."""
    results = f"results/{study}"
    return SimpleNamespace(
        rule="train_experiment",
        wildcards=WILDCARDS,
        input={"code": ["train.py"], "folds": f"{results}/folds.parquet", "data": f"{results}/data.json"},
        output={"models": f"{results}/models.joblib", "record": f"{results}/run.json"},
        params={
            "study": study,
            "model": {"kind": "pmf"},
            "earlier": {"results": results, "store": "results/mlflow", "reuse": reuse, "blocks": {}},
        },
        resources={"gpu": gpu, **resources},
        log=[f"{results}/job.log"],
    )


def trained(asked):
    """Run a job that writes a model, and return the devices that it had, as told and as CUDA would see them."""
    with training_job(asked) as training:
        with recording(
            Path(asked.output["record"]), kind="experiment", name="ehr.net", endpoint="mi", feature_sets={}, params={},
            seed=1, context=training.context,
        ):  # fmt: skip
            Path(asked.output["models"]).write_bytes(b"a model")
        return training.devices, os.environ.get(VISIBLE)


@pytest.mark.parametrize("gpu", [0, 1, 2])
def test_a_job_has_as_many_devices_of_its_own_as_its_rule_asks_for(gpu):
    devices, visible = trained(job(gpu=gpu))
    assert visible == ",".join(devices)
    assert len(set(devices)) == gpu
    assert VISIBLE not in os.environ


def test_as_many_jobs_share_a_device_as_the_profile_says():
    with training_job(job("one", gpu=3, jobs_per_gpu=2)) as first:
        assert len(first.devices) == 3
        with training_job(job("two", gpu=1, jobs_per_gpu=2)) as second:
            assert set(second.devices) < set(first.devices)


def test_the_record_tells_what_asked_for_the_training():
    trained(job())
    run = read_record(Path("results/one/run.json"))
    assert run.context == {"study": "one", "rule": "train_experiment", "wildcards": WILDCARDS}
    assert run.data["fingerprint"] == "raw"
    assert list(run.provenance["training"]["outputs"]) == ["models.joblib"]


def test_a_job_that_restores_has_nothing_to_train_and_waits_for_no_device():
    trained(job())
    # More devices than the machine has: whoever leases them is refused.
    with training_job(job("two", gpu=9, reuse=True)) as training:
        assert training is None
    assert Path("results/two/models.joblib").read_bytes() == b"a model"
    assert "not trained again" in Path("results/two/job.log").read_text()
    with pytest.raises(DataError, match="resource gpu of 9"), training_job(job("two", gpu=9)):
        pass
    assert "resource gpu of 9" in Path("results/two/job.log").read_text()

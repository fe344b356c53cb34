"""One training on several devices, here processes of a CPU: what it computes, and how it ends."""

import os
import pickle
import signal
import subprocess
import sys
import time as clock
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from test_encoder_pretraining import folder, pretrain, with_pretraining  # noqa: F401 - the fixture of a cohort
from torch import nn
from trainings import FAST, cohort, same, trained

from riskweave.errors import ResourceError, StudyError
from riskweave.survival.encoding.pretraining import read_pretrained
from riskweave.survival.training import ArrayInputs, outputs
from riskweave.survival.training.several import devices_for, packed


class Plain(nn.Module):
    """A net without dropout or batch normalisation, whose digits do not depend on who computes which row."""

    features = 8

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8))

    def forward(self, x):
        return self.layers(x)


class OwnError(Exception):
    """An error that its message alone does not make again."""

    def __init__(self, where, what):
        super().__init__(f"{what} in {where}")


class Ending(Plain):
    """Ends the second process's training in some way, or does not, once a file is there that says how."""

    def __init__(self, flag):
        super().__init__()
        self.flag, self.steps = flag, 0

    def forward(self, x):
        self.steps += self.training
        how = self.flag.read_text() if self.flag.is_file() and self.steps > 8 else ""
        if how and os.environ["LOCAL_RANK"] == "1":
            warnings.warn("a warning of the second process", stacklevel=1)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OwnError("a layer", "a planted error") if how == "own" else StudyError("a planted error")
        if how == "killed":
            clock.sleep(600)  # it would notice nothing by itself
        if how:
            warnings.warn("a warning of the first process", stacklevel=1)
        return super().forward(x)


def incidence(fitted):
    return fitted.head.incidence(outputs(fitted.network, cohort(100, seed=1)[0], threads=1), np.array([100.0, 500.0]))


@pytest.mark.parametrize("kind", ["logistic_hazard", "cox_time"])
def test_two_devices_compute_what_one_computes(kind):
    """225 rows come in batches of 57 and 56: in unequal halves. The loss of Cox-Time compares the rows of a batch."""
    one, two = (trained(kind=kind, build=Plain, devices=devices) for devices in (1, 2))
    assert one.best_epoch == two.best_epoch
    np.testing.assert_allclose(one.curves["value"], two.curves["value"], rtol=1e-5)
    np.testing.assert_allclose(incidence(one), incidence(two), atol=1e-5)


def test_a_training_on_two_devices_that_failed_goes_on_to_the_same_bits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)
    # Of a launcher that started this process: Lightning would count from it.
    monkeypatch.setenv("NODE_RANK", "1")
    # A file beside which a user works is none of Python's modules.
    monkeypatch.chdir(tmp_path)
    Path("statistics.py").write_text("raise SystemExit")
    flag = tmp_path / "flag"
    arguments = {"build": lambda: Ending(flag), "devices": 2, "checkpoint": tmp_path / "state"}
    undisturbed = trained(**arguments)
    flag.write_text("own")
    caplog.set_level("INFO")
    with pytest.raises(RuntimeError, match="OwnError: a planted error in a layer"):
        trained(**arguments)
    assert "in forward" in caplog.text
    assert "a warning of the first process" in caplog.text
    assert "a warning of the second process" not in caplog.text
    assert (tmp_path / "state/training.ckpt").is_file()
    flag.unlink()
    assert same(undisturbed, trained(**arguments))
    assert not (tmp_path / "state").exists()


def test_an_error_that_a_user_can_act_on_arrives_as_it_is(tmp_path, caplog):
    (tmp_path / "flag").write_text("study")
    with pytest.raises(StudyError, match=r"^a planted error$"):
        trained(build=lambda: Ending(tmp_path / "flag"), devices=2)
    assert "in forward" not in caplog.text


def test_a_process_that_is_killed_is_told_and_leaves_no_other(tmp_path):
    (tmp_path / "flag").write_text("killed")
    with pytest.raises(ResourceError, match="1 of the processes ended on a signal \\(SIGKILL\\)"):
        trained(build=lambda: Ending(tmp_path / "flag"), devices=2)
    assert not [child for child in psutil.Process().children() if "riskweave.survival.training.rank" in child.cmdline()]


def test_pruning_is_for_one_device():
    with pytest.raises(ValueError, match="cannot be pruned"):
        trained(prune=lambda *_: None, devices=2)


ENDLESS = """
from riskweave.study.training import Training
from test_training_several import Plain, trained
trained(build=Plain, devices=2, training=Training(epochs=100_000, patience=100_000))
"""


def test_the_processes_end_with_the_one_that_started_them(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    environment["TMPDIR"] = str(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ENDLESS], env=environment, cwd=tmp_path) as main:
        try:
            _until(lambda: len(psutil.Process(main.pid).children()) == 2)
            children = psutil.Process(main.pid).children()
        finally:
            main.kill()
    assert not psutil.wait_procs(children, timeout=60)[1]
    # What is left of a killed training holds nothing that it was trained on.
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"meeting", "log"}


def _until(condition, seconds=120):
    deadline = clock.monotonic() + seconds
    while not condition():
        assert clock.monotonic() < deadline
        clock.sleep(0.05)


def test_batches_that_are_too_small_to_be_divided_are_refused():
    with pytest.raises(StudyError, match=r"batch_size of 4: batches of 3 training .* among 2 devices"):
        trained(training=FAST.model_copy(update={"batch_size": 4}), devices=2)


def test_recordings_are_mapped_by_each_process_and_not_copied(tmp_path):
    array = np.random.default_rng(0).normal(size=(1000, 2, 50)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", array)
    mapped = ArrayInputs(np.load(tmp_path / "inputs.npy", mmap_mode="r"), np.arange(1000))
    content = packed(mapped)
    assert len(content) < 20_000
    again = pickle.loads(content)
    assert isinstance(again.array, np.memmap)
    np.testing.assert_array_equal(again.batch(np.array([3, 999]))[0], array[[3, 999]])


def test_an_encoder_is_pretrained_on_two_devices(folder, monkeypatch):  # noqa: F811 - the fixture
    """Batches are normalised by halves on a CPU, so that digits differ; what is learnt is much the same."""
    features = with_pretraining("masked")
    one = pretrain(folder, features, "one")
    monkeypatch.setattr("riskweave.survival.encoding.pretraining.devices_for", lambda gpus: 2 * gpus)
    two = pretrain(folder, features, "two")
    first, second = (read_pretrained(out / "pretrained.zip")[0] for out in (one, two))
    assert first.keys() == second.keys()
    assert not all(torch.equal(first[name], second[name]) for name in first)
    both = [torch.cat([weights[name].flatten().float() for name in first]).numpy() for weights in (first, second)]
    assert np.corrcoef(*both)[0, 1] > 0.9


def test_a_training_uses_as_many_devices_as_it_was_given_and_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert [devices_for(gpus) for gpus in (0, 1, 4)] == [1, 1, 1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [devices_for(gpus) for gpus in (0, 1, 2, 4)] == [1, 1, 2, 2]

"""Trainings that are pruned, killed and go on."""

import signal
import subprocess
import sys
import time as clock
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import FAST, cohort, same, trained

from riskweave.networks.mlp import MLP


def test_pruning_stops_the_training_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)

    class Pruned(Exception):  # noqa: N818
        pass

    told = []

    def prune(epoch, loss):
        told.append((epoch, loss))
        if epoch == 3:
            raise Pruned

    with pytest.raises(Pruned):
        trained(prune=prune, checkpoint=tmp_path / "state")
    assert [epoch for epoch, _ in told] == [0, 1, 2, 3]
    assert not (tmp_path / "state").exists()


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from trainings import FAST, trained
from riskweave.survival.training import checkpoint
checkpoint.SECONDS = 0.0

def prune(epoch, loss):
    if epoch == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)

training = FAST.model_copy(update={{"epochs": 7, "patience": 7}})
trained(kind="cox_time", training=training, checkpoint=Path({state!r}), prune=prune)
"""


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    state = tmp_path / "state"
    script = SCRIPT.format(folder=str(Path(__file__).parent), kill=4, state=str(state))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in state.iterdir()] == ["training.ckpt"]
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)
    told = []
    arguments = {"kind": "cox_time", "training": FAST.model_copy(update={"epochs": 7, "patience": 7})}
    resumed = trained(**arguments, checkpoint=state, prune=lambda epoch, _: told.append(epoch))
    assert told == [4, 5, 6, 7]
    assert not state.exists()
    assert same(resumed, trained(**arguments))


def test_the_state_of_another_training_is_discarded(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(*_):
        raise Stop

    def interrupted(**arguments):
        """Leave a state behind as a kill does, by keeping a copy of it out of the reach of pruning."""
        kept = []

        def prune(epoch, _):
            if epoch == 3:
                kept.append((tmp_path / "state" / "training.ckpt").read_bytes())
                raise Stop

        with pytest.raises(Stop):
            trained(checkpoint=tmp_path / "state", prune=prune, **arguments)
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "training.ckpt").write_bytes(kept[0])

    def epochs(**arguments):
        told = []
        trained(checkpoint=tmp_path / "state", prune=lambda epoch, _: told.append(epoch), **arguments)
        return told

    interrupted()
    assert epochs() == [3, 4]
    x, time, event = cohort()
    for change in (
        {"seed": 6},
        {"training": FAST.model_copy(update={"learning_rate": 2e-2})},
        {"inputs": x[:225] * 2},
        {"time_val": time[225:] + 1},
        {"event": np.roll(event[:225], 1)},
        {"build": lambda: MLP(3, hidden=[9], dropout=0.1)},
        {"augment": lambda x: x},
        {"augment": partial(torch.mul, other=torch.tensor(1.0))},
    ):
        interrupted()
        assert epochs(**change) == [0, 1, 2, 3, 4], change
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "training.ckpt").write_bytes(b"PK\x03\x04 half a file")
    assert epochs() == [0, 1, 2, 3, 4]
    assert "cannot be read" in caplog.text


def test_saving_is_rare_where_epochs_are_short(tmp_path):
    started = clock.monotonic()
    trained(checkpoint=tmp_path / "state", prune=lambda *_: None)
    if clock.monotonic() - started < 4:
        assert not (tmp_path / "state").exists()

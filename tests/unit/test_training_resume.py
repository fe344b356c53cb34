"""Trainings that are pruned, killed and go on."""

import time as clock
from functools import partial

import numpy as np
import pytest
import torch
from killing import same_code, start
from trainings import FAST, cohort, same, trained

from riskweave.networks.mlp import MLP

LONGER = {"kind": "cox_time", "training": FAST.model_copy(update={"epochs": 7, "patience": 7})}
KILLS = """
from pathlib import Path
from killing import killed
from test_training_resume import LONGER, trained

killed(lambda: trained(**LONGER, checkpoint=Path({state!r})), [("state", 30)])
"""


@pytest.fixture(scope="module", autouse=True)
def left(tmp_path_factory):
    """Return the folder of a training that is killed in its fifth epoch, while the first tests run."""
    state = tmp_path_factory.mktemp("killed") / "state"
    process = start(KILLS.format(state=str(state)))

    def wait():
        told, _ = process.communicate()
        assert process.returncode == 0, told
        return state

    yield wait
    process.kill()
    process.wait()
    process.stdout.close()


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


def test_the_state_of_another_training_is_discarded(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)

    class Stop(Exception):  # noqa: N818
        pass

    kept, file = [], tmp_path / "state" / "training.ckpt"

    def prune(epoch, _):
        if epoch == 3:
            kept.append(file.read_bytes())
            raise Stop

    with pytest.raises(Stop):
        trained(checkpoint=file.parent, prune=prune)

    def leave(content=kept[0]):
        """Leave the state of that training behind, as a kill does."""
        file.parent.mkdir()
        file.write_bytes(content)

    def epochs(**arguments):
        told = []
        trained(checkpoint=file.parent, prune=lambda epoch, _: told.append(epoch), **arguments)
        return told

    leave()
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
        leave()
        assert epochs(**change) == [0, 1, 2, 3, 4], change
    leave(b"PK\x03\x04 half a file")
    assert epochs() == [0, 1, 2, 3, 4]
    assert "cannot be read" in caplog.text


def test_saving_is_rare_where_epochs_are_short(tmp_path):
    started = clock.monotonic()
    trained(checkpoint=tmp_path / "state", prune=lambda *_: None)
    if clock.monotonic() - started < 4:
        assert not (tmp_path / "state").exists()


def test_a_killed_training_goes_on_to_the_same_bits(left, monkeypatch):
    same_code(monkeypatch)
    undisturbed, state = trained(**LONGER), left()
    assert [path.name for path in state.iterdir()] == ["training.ckpt"]
    monkeypatch.setattr("riskweave.survival.training.checkpoint.SECONDS", 0.0)
    told = []
    resumed = trained(**LONGER, checkpoint=state, prune=lambda epoch, _: told.append(epoch))
    assert told == [5, 6, 7]
    assert not state.exists()
    assert same(resumed, undisturbed)

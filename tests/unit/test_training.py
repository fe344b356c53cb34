"""Training of networks: inputs, batches, risk sets, early stopping, checkpoints."""

import signal
import subprocess
import sys
import time as clock
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from torch import nn

from riskweave.errors import DataError
from riskweave.networks.layers import ChannelScale
from riskweave.networks.mlp import MLP
from riskweave.study.training import Training
from riskweave.survival.heads import make_head
from riskweave.survival.heads.base import RiskSets
from riskweave.survival.heads.risk_sets import sampled_pairs
from riskweave.survival.training import (
    ArrayInputs,
    Batches,
    MatrixInputs,
    PooledInputs,
    RiskSetBatches,
    as_inputs,
    fit,
    outputs,
)
from riskweave.survival.training.inputs import digest_of_inputs

FAST = Training(epochs=4, patience=4, batch_size=64, learning_rate=1e-2)


def cohort(n=300, p=3, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)).astype(np.float32)
    hidden = rng.exponential(np.exp(-effect * x[:, 0])) * 500
    censored = rng.uniform(50, 1500, n)
    return x, np.minimum(hidden, censored) + 0.5, (hidden <= censored).astype(int)


def trained(*, kind="logistic_hazard", n=300, build=None, head=None, **arguments):
    x, time, event = cohort(n)
    options = {"logistic_hazard": {"intervals": 6}, "cox_time": {"controls": 2, "hidden": 8, "dropout": 0.0}}
    cut = n * 3 // 4
    return fit(
        build or (lambda: MLP(3, hidden=[8], dropout=0.1)),
        head or make_head(kind, causes=1, **options.get(kind, {})),
        **{
            "inputs": x[:cut],
            "time": time[:cut],
            "event": event[:cut],
            "inputs_val": x[cut:],
            "time_val": time[cut:],
            "event_val": event[cut:],
            "training": FAST,
            "seed": 5,
            "threads": 1,
            "zero_head": True,
            **arguments,
        },
    )


def same(first, second):
    pd.testing.assert_frame_equal(first.curves, second.curves, check_exact=True)
    weights, others = first.network.state_dict(), second.network.state_dict()
    assert first.best_epoch == second.best_epoch
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


# Inputs


def test_recordings_are_read_from_the_disk_batch_by_batch(tmp_path):
    array = np.random.default_rng(0).normal(size=(20, 2, 5)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", array)
    stored = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    inputs = ArrayInputs(stored, np.arange(20)[::-1])
    (found,) = inputs.batch(np.array([0, 7, 3]))
    np.testing.assert_array_equal(found.numpy(), array[[19, 12, 16]])
    assert len(inputs) == 20
    assert isinstance(as_inputs(stored), ArrayInputs)
    assert isinstance(as_inputs(array[:, 0]), MatrixInputs)
    assert as_inputs(inputs) is inputs


def test_several_recordings_of_a_subject_come_with_their_owner():
    array = np.arange(8, dtype=float)[:, None, None]
    inputs = PooledInputs(array, [np.array([0, 3]), np.array([5]), np.array([1, 2, 7])])
    recordings, owner = inputs.batch(np.array([2, 0]))
    assert recordings[:, 0, 0].tolist() == [1, 2, 7, 0, 3]
    assert owner.tolist() == [0, 0, 0, 1, 1]


def test_digests_tell_inputs_apart():
    x = np.random.default_rng(0).normal(size=(9, 4, 2)).astype(np.float32)
    rows = np.arange(9)
    changed = x.copy()
    changed[4, 1, 1] += 1
    several = [
        ArrayInputs(x, rows),
        ArrayInputs(changed, rows),
        ArrayInputs(x, rows[::-1]),
        PooledInputs(x, [rows[:3], rows[3:]]),
        MatrixInputs(x[:, 0]),
        MatrixInputs(changed[:, 1]),
    ]
    assert len({digest_of_inputs(each) for each in several}) == len(several)
    assert digest_of_inputs(ArrayInputs(x.copy(), rows)) == digest_of_inputs(several[0])


def test_values_that_are_not_finite_are_counted():
    x = np.zeros((40, 3))
    x[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 40 rows hold values that are not finite"):
        trained(inputs=x)


# Batches


def test_batches_are_nearly_equal_and_their_order_depends_on_seed_and_epoch_alone():
    inputs = MatrixInputs(np.arange(65.0)[:, None])
    label = np.arange(65)

    def passes(seed, epoch):
        batches = Batches(inputs, (label,), size=16, seed=seed)
        batches.epoch = lambda: epoch
        found = list(batches)
        assert all(torch.equal(x[:, 0].long(), rows) for (x,), (rows,) in found)
        return [rows.tolist() for _, (rows,) in found]

    assert [len(rows) for rows in passes(0, 0)] == [13] * 5
    assert sorted(row for rows in passes(0, 0) for row in rows) == list(range(65))
    assert passes(0, 3) == passes(0, 3)
    assert passes(0, 3) != passes(0, 4) != passes(1, 4)
    plain = Batches(inputs, (label,), size=16)
    assert [row for _, (rows,) in plain for row in rows.tolist()] == list(range(65))


@pytest.mark.parametrize("risk_sets", [RiskSets(controls=3, group=4), RiskSets(controls=1)])
def test_every_event_comes_once_with_controls_from_its_risk_set(risk_sets):
    rng = np.random.default_rng(0)
    time, event = np.ceil(rng.exponential(20, 200)), rng.integers(0, 3, 200)
    inputs = MatrixInputs(np.arange(200.0)[:, None])
    batches = RiskSetBatches(inputs, (time, event), size=32, seed=1, risk_sets=risk_sets)
    seen, alone = [], 0
    for (x,), (when, what, subject, group, case) in batches:
        assert torch.equal(x[:, 0].long(), subject)
        assert torch.equal(when, torch.from_numpy(time)[subject])
        pairs = sampled_pairs(when, subject, group, case)
        seen += subject[pairs.cases].tolist()
        assert bool((what[pairs.cases] > 0).all())
        assert bool((when[pairs.control] >= when[pairs.cases][pairs.of]).all())
        assert bool((subject[pairs.control] != subject[pairs.cases][pairs.of]).all())
        # The only one drawn may be the event's own subject.
        alone += int((torch.bincount(pairs.of, minlength=len(pairs.cases)) == 0).sum())
        assert len(x) <= 32 + 12
    assert sorted(seen) == np.flatnonzero(event > 0).tolist()
    assert len(list(batches)) == len(batches)
    assert alone <= 0.05 * len(seen)


def test_controls_are_a_simple_random_sample_of_the_risk_set_of_every_event_of_a_group():
    n = 60
    time, event = np.arange(1.0, n + 1), np.zeros(n, int)
    event[[10, 30]] = 1
    inputs = MatrixInputs(np.zeros((n, 1)))
    batches = RiskSetBatches(inputs, (time, event), size=64, seed=1, risk_sets=RiskSets(controls=6, group=2))
    counts = np.zeros((2, n))
    for epoch in range(800):
        batches.epoch = lambda epoch=epoch: epoch
        for _, (when, _, subject, group, case) in batches:
            pairs = sampled_pairs(when, subject, group, case)
            for of in (0, 1):
                counts[of, subject[pairs.control[pairs.of == of]]] += 1
    for of, first in ((0, 10), (1, 30)):
        at_risk = counts[of, first + 1 :] / 800
        assert counts[of, : first + 1].sum() == 0
        # Equal chances: 12 draws among the 50 at risk at the first event.
        np.testing.assert_allclose(at_risk, 12 / 50, atol=5 * np.sqrt(0.24 * 0.76 / 800))


def test_small_batches_of_risk_sets_agree_with_the_cox_model():
    rng = np.random.default_rng(3)
    n = 600
    x = rng.normal(size=(n, 3)).astype(np.float32)
    hidden = rng.exponential(np.exp(-x @ [0.8, -0.5, 0.0])) * 500
    censored = rng.exponential(700, n)
    time, event = np.minimum(hidden, censored), (hidden <= censored).astype(int)
    frame = pd.DataFrame({**{f"x{i}": x[:, i] for i in range(3)}, "time": time, "event": event})
    reference = CoxPHFitter().fit(frame, "time", "event")
    training = Training(epochs=15, patience=15, batch_size=64, learning_rate=0.03, weight_decay=0.0)
    fitted = trained(
        build=lambda: MLP(3, hidden=[], dropout=0.0),
        kind="deep_surv",
        inputs=x,
        time=time,
        event=event,
        inputs_val=x,
        time_val=time,
        event_val=event,
        training=training,
    )
    found = fitted.head.layer.weight[0].detach().numpy()
    errors = (found - reference.params_.to_numpy()) / reference.standard_errors_.to_numpy()
    assert np.abs(errors).max() < 0.5
    null = reference.log_likelihood_ratio_test().test_statistic / 2 / event.sum()
    assert -fitted.curves.query("metric == 'val_loss'")["value"].min() == pytest.approx(null, abs=0.005)
    baseline = reference.predict_survival_function(frame.iloc[:50], times=[100, 400, 900]).to_numpy().T
    risk = fitted.head.incidence(outputs(fitted.network, x[:50], threads=1), np.array([100, 400, 900]))
    np.testing.assert_allclose(1 - risk[:, 0], baseline, atol=0.03)


# Training


@pytest.mark.parametrize("kind", ["logistic_hazard", "deep_surv", "cox_time"])
def test_same_seed_same_bits_and_the_global_generators_stay_as_they_were(kind):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = trained(kind=kind)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()
    assert same(first, trained(kind=kind))
    assert not same_weights(first, trained(kind=kind, seed=6))


def same_weights(first, second):
    weights, others = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(weights[key], others[key]) for key in weights)


def test_curves_start_before_training_and_the_best_epoch_is_kept():
    fitted = trained(fold=3)
    loss = fitted.curves.query("metric == 'val_loss'").set_index("epoch")["value"]
    assert loss.index.tolist() == list(range(len(loss)))
    assert loss.idxmin() == fitted.best_epoch > 0
    assert (fitted.curves["fold"] == 3).all()
    assert not fitted.network.training
    x, time, event = cohort()
    labels = fitted.head.prepare(time[225:], event[225:])
    with torch.no_grad():
        again = fitted.head.loss(fitted.network(torch.from_numpy(x[225:])), *map(torch.from_numpy, labels))
    assert float(again) == pytest.approx(loss.min(), rel=1e-6)


def test_too_few_rows_are_refused():
    x, time, event = cohort(3)
    with pytest.raises(DataError, match="a fold has 1 validation rows"):
        trained(inputs_val=x[:1], time_val=time[:1], event_val=event[:1])


class Scaled(nn.Module):
    features = 2

    def __init__(self):
        super().__init__()
        self.scale = ChannelScale(2)

    def forward(self, x, *others):
        assert len(others) <= 1
        return self.scale(x).mean(dim=2)


def test_constants_of_the_channels_come_from_the_training_rows():
    x = np.random.default_rng(0).normal(3, 2, size=(300, 2, 7)).astype(np.float32)
    x[:, 1] = 0.25
    fitted = trained(build=Scaled, inputs=x[:225], inputs_val=x[225:])
    np.testing.assert_allclose(fitted.net.scale.mean, x[:225].mean(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(fitted.net.scale.std, [x[:225, 0].std(ddof=1), 1.0], rtol=1e-5)


def test_augmentation_sees_training_batches_only():
    seen = []

    def change(x):
        seen.append(len(x))
        return x + torch.randn_like(x) * 0.1

    trained(augment=change)
    assert sum(seen) == 4 * 225
    assert same(trained(augment=change), trained(augment=change))


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_parts_of_a_network_learn_at_their_own_rate(optimiser):
    class Two(MLP):
        def __init__(self):
            super().__init__(3, hidden=[4], dropout=0.0)
            self.frozen = nn.Linear(3, 4)

        def forward(self, x):
            return super().forward(x) + self.frozen(x)

    rate = Training(**{**FAST.model_dump(), "optimiser": optimiser, "weight_decay": 0.0})
    moved = {}
    for share in (1.0, 1e-9):
        torch.manual_seed(0)
        start = {}

        def build(start=start):
            net = Two()
            start.update({key: value.clone() for key, value in net.state_dict().items()})
            return net

        fitted = trained(build=build, training=rate, parameter_groups={"frozen": share}, zero_head=False)
        change = {key: float((value - start[key]).abs().max()) for key, value in fitted.net.state_dict().items()}
        moved[share] = change["frozen.weight"]
        assert change["layers.0.weight"] > 1e-4
    assert moved[1.0] > 1e-4
    assert moved[1e-9] < 1e-6


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
from test_training import FAST, trained
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


def test_outputs_do_not_depend_on_the_batches():
    net = MLP(3, hidden=[8], dropout=0.5)
    x = cohort()[0]
    np.testing.assert_allclose(outputs(net, x, threads=1, batch_size=7), outputs(net, x, threads=1), atol=1e-6)
    assert outputs(net, x, threads=1).dtype == np.float32


def test_batches_that_are_read_ahead_are_the_same(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # needs CUDA
    inputs, label = MatrixInputs(np.arange(50.0)[:, None]), np.arange(50)
    passes = [
        [rows.tolist() for _, (rows,) in Batches(inputs, (label,), size=8, seed=2, ahead=ahead)]
        for ahead in (False, True)
    ]
    assert passes[0] == passes[1]
    assert len(passes[0]) == 7


class Broken:
    def __len__(self):
        return 20

    def batch(self, rows):
        raise OSError(f"{len(rows)} rows cannot be read")


def test_what_fails_while_reading_ahead_is_raised():
    with pytest.raises(OSError, match="10 rows cannot be read"):
        list(Batches(Broken(), (np.arange(20),), size=10, ahead=True))

"""What networks read, in which order: inputs, batches, risk sets."""

import numpy as np
import pytest
import torch

from riskweave.survival.heads.base import RiskSets
from riskweave.survival.heads.risk_sets import sampled_pairs
from riskweave.survival.training import ArrayInputs, Batches, MatrixInputs, PooledInputs, RiskSetBatches, as_inputs
from riskweave.survival.training.inputs import digest_of_inputs


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

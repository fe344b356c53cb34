"""Precision of training, and clipping beside fused optimisers: what of a GPU's path a CPU can run."""

import numpy as np
import pytest
import torch
from trainings import FAST, same, trained

from riskweave.survival.training import SurvivalTask, outputs
from riskweave.survival.training.task import precision_of

MIXED = FAST.model_copy(update={"precision": "bf16-mixed"})


def test_a_cpu_computes_in_single_precision_whatever_the_study_says():
    assert same(trained(training=FAST), trained(training=MIXED))


def test_clipping_is_lightnings_own_to_the_bit(monkeypatch):
    clipped = trained(training=FAST)
    monkeypatch.delattr(SurvivalTask, "configure_gradient_clipping")
    assert same(clipped, trained(training=FAST))


@pytest.mark.usefixtures("plain_bfloat16")
@pytest.mark.parametrize("kind", ["logistic_hazard", "deep_surv", "cox_time"])
def test_mixed_precision_trains_with_a_fused_optimiser_and_clipped_gradients(monkeypatch, kind):
    """Lightning's mixed precision runs on a CPU too; the risks stay those of single precision within a few percent."""
    single = trained(kind=kind, training=FAST)
    monkeypatch.setattr("riskweave.survival.training.run.precision_of", lambda training: training.precision)
    mixed = trained(kind=kind, training=MIXED)
    weights = mixed.network.state_dict().values()
    assert all(each.dtype != torch.bfloat16 for each in weights)
    assert not single.curves.equals(mixed.curves)
    x = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    times = np.array([100.0, 500.0])
    one, other = (each.head.incidence(outputs(each.network, x, threads=1), times) for each in (single, mixed))
    np.testing.assert_allclose(one, other, atol=0.05)


class Card:
    """What is asked of a GPU."""

    def __init__(self, *, there, bf16):
        self.there, self.bf16 = there, bf16

    def is_available(self):
        return self.there

    def is_bf16_supported(self, *, including_emulation):
        assert not including_emulation
        return self.bf16


@pytest.mark.parametrize(
    ("there", "bf16", "asked", "expected"),
    [
        (True, True, "32", "32-true"),
        (True, True, "bf16-mixed", "bf16-mixed"),
        (True, False, "bf16-mixed", "32-true"),
        (False, True, "bf16-mixed", "32-true"),
    ],
)
def test_precision_is_what_the_study_asks_where_the_device_has_it(monkeypatch, there, bf16, asked, expected):
    monkeypatch.setattr(torch, "cuda", Card(there=there, bf16=bf16))
    assert precision_of(FAST.model_copy(update={"precision": asked})) == expected

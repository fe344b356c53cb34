"""Training of networks: partial likelihood in small batches, early stopping, rates, augmentation."""

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from torch import nn
from trainings import FAST, cohort, same, trained

from riskweave.errors import DataError
from riskweave.networks.layers import ChannelScale
from riskweave.networks.mlp import MLP
from riskweave.study.training import Training
from riskweave.survival.training import outputs


def test_values_that_are_not_finite_are_counted():
    x = np.zeros((40, 3))
    x[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 40 rows hold values that are not finite"):
        trained(inputs=x)


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
    fitted = trained(kind="pmf", fold=3)  # a head that estimates nothing after training
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


@pytest.mark.parametrize("epochs", [1, 5, 10])
def test_any_number_of_steps_has_a_learning_rate(epochs):
    """In 5 steps the rate rises for exactly one."""
    found = trained(training=FAST.model_copy(update={"epochs": epochs, "patience": epochs, "batch_size": 300}))
    assert found.curves["value"].notna().all()
    assert found.curves["epoch"].max() == epochs


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


def test_outputs_do_not_depend_on_the_batches():
    net = MLP(3, hidden=[8], dropout=0.5)
    x = cohort()[0]
    np.testing.assert_allclose(outputs(net, x, threads=1, batch_size=7), outputs(net, x, threads=1), atol=1e-6)
    assert outputs(net, x, threads=1).dtype == np.float32

"""One network for all endpoints: risk sets of their own, and what rare endpoints gain from sharing."""

import numpy as np
import pytest
import torch

from riskweave.errors import DataError
from riskweave.study.models import LogisticHazardModel, MultiEndpointModel
from riskweave.study.training import Training
from riskweave.survival.multi_endpoint import OUTSIDE, AllEndpoints, EndpointHead
from riskweave.survival.neural import NeuralModel
from riskweave.survival.null import NullModel
from riskweave.survival.roles import concordance

ENDPOINTS = 24
RARE = np.arange(ENDPOINTS) % 3 == 0
CAUSES = {f"endpoint_{number}": 2 for number in range(ENDPOINTS)}


def planted(n, *, seed):
    """24 endpoints and their competing death, whose log hazards are mixtures of two factors of 12 columns.

    A third of the endpoints is rare; of each endpoint a tenth of the subjects is prevalent, outside its risk set.
    """
    rng, truth = np.random.default_rng(seed), np.random.default_rng(9)
    x = rng.normal(size=(n, 12))
    loadings = truth.normal(size=(12, 2)) / np.sqrt(12)
    factors = np.stack([1.5 * x @ loadings[:, 0], 2 * np.tanh(2 * x @ loadings[:, 1])], axis=1)
    eta = factors @ (np.abs(truth.normal(size=(2, ENDPOINTS))) * 0.4 + 0.4)
    when = rng.exponential(1 / (np.where(RARE, 8e-6, 1e-4) * np.exp(eta)))
    other = np.minimum(rng.exponential(1 / (1e-4 * np.exp(factors[:, 0] / 2))), 10**6)
    end = rng.uniform(600, 2500, n)
    time = np.minimum(when, np.minimum(other, end)[:, None])
    event = np.where(when == time, 1, np.where(other[:, None] == time, 2, 0))
    outside = rng.random((n, ENDPOINTS)) < 0.1
    return x, np.where(outside, np.nan, time), np.where(outside, OUTSIDE, event)


def ranks(models, x, time, event):
    """Return the concordance of each endpoint in its own risk set."""
    found = []
    for column, model in enumerate(models):
        rows = event[:, column] != OUTSIDE
        risk = model.predict(x[rows], [1800])[:, 0, 0]
        found.append(concordance(time=time[rows, column], event=event[rows, column], risk=risk))
    return np.array(found)


def alone(train, validation, column, block):
    """Return a network of one endpoint, on its own risk set."""
    roles = [(x[e[:, column] != OUTSIDE], t[:, column], e[:, column]) for x, t, e in (train, validation)]
    outcomes = [(x, t[e != OUTSIDE], e[e != OUTSIDE]) for x, t, e in roles]
    return NeuralModel(block, causes=2, seed=1).fit(*outcomes[0], *outcomes[1])


@pytest.fixture(scope="module")
def shared():
    """24 endpoints trained together, and the rows they were trained on."""
    train, validation = planted(1500, seed=1), planted(400, seed=2)
    block = MultiEndpointModel(kind="multi_endpoint", intervals=10, training=Training(epochs=25, learning_rate=3e-3))
    return AllEndpoints(block, causes=CAUSES, seed=1).fit(*train, *validation), train, validation


def test_rare_endpoints_gain_from_sharing_and_frequent_ones_lose_little(shared):
    together, train, validation = shared
    block = LogisticHazardModel(kind="logistic_hazard", intervals=10, training=together.block.training)
    test = planted(5000, seed=3)
    chosen = [*np.flatnonzero(RARE)[:4], *np.flatnonzero(~RARE)[:3]]
    assert max((train[2][:, column] == 1).sum() for column in chosen[:4]) < 60
    x, time, event = test[0], test[1][:, chosen], test[2][:, chosen]
    names = [f"endpoint_{column}" for column in chosen]
    joint = ranks([together.models[name] for name in names], x, time, event)
    single = ranks([alone(train, validation, column, block) for column in chosen], x, time, event)
    assert (joint[:4] - single[:4]).mean() > 0.02
    assert (joint[4:] - single[4:]).mean() > -0.01


def test_outcomes_of_rows_outside_a_risk_set_change_nothing():
    block = MultiEndpointModel(kind="multi_endpoint", hidden=[8], intervals=5, training=Training(epochs=3))
    causes = {"a": 2, "b": 1}
    (x, time, event), (x_val, time_val, event_val) = planted(300, seed=1), planted(100, seed=2)
    columns = np.array([1, 2])
    time, event, time_val, event_val = time[:, columns], event[:, columns], time_val[:, columns], event_val[:, columns]
    event[event[:, 1] == 2, 1] = 0
    event_val[event_val[:, 1] == 2, 1] = 0

    def trained(times, times_val):
        fitted = AllEndpoints(block, causes=causes, seed=3).fit(x, times, event, x_val, times_val, event_val)
        return [fitted.models[name].predict(x_val, [500, 1500]) for name in causes]

    first = trained(time, time_val)
    again = trained(np.where(event == OUTSIDE, 7.0, time), np.where(event_val == OUTSIDE, 1e6, time_val))
    assert [one.shape for one in first] == [(100, 2, 2), (100, 1, 2)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_row_outside_a_risk_set_has_no_gradient_there():
    head = EndpointHead(causes_of=[2, 1], intervals=4)
    time = np.array([[100.0, 300], [np.nan, 200], [400, np.nan], [380, 60], [250, 400]])
    event = np.array([[1, 0], [OUTSIDE, 1], [2, OUTSIDE], [0, 1], [1, 0]])
    head.learn(time, event)
    head.connect(3, zero=True)
    labels = head.prepare(time, event)
    head.null_start(*labels)
    tensors = [torch.from_numpy(label) for label in labels]
    output = head(torch.zeros(5, 3)).detach().requires_grad_()
    loss = head.loss(output, *tensors)
    assert float(loss.detach()) == pytest.approx(1.0)
    assert float(head.validation_loss(output.detach(), *tensors)) == pytest.approx(1.0)
    loss.backward()
    assert output.grad[1, :2].abs().sum() == 0
    assert output.grad[2, 2].abs().sum() == 0
    assert (output.grad[[0, 2, 3, 4], :2].abs().sum(dim=(1, 2)) > 0).all()


def test_an_endpoints_own_head_gives_the_outputs_of_the_whole(shared):
    together, (x, _, _), _ = shared
    x = x[:50]
    incidence = together.models["endpoint_5"].predict(x, [365, 1000])
    assert incidence.shape == (50, 2, 2)
    assert (np.diff(incidence, axis=2) >= 0).all()
    assert (incidence.sum(axis=1) <= 1).all()
    assert together.models["endpoint_4"].curves.equals(together.models["endpoint_5"].curves)


def test_baselines_of_each_endpoint_give_the_events_of_its_own_risk_set(shared):
    together, (x, time, event), _ = shared
    for column in (0, 5, 17):
        rows = event[:, column] != OUTSIDE
        fitted = together.models[f"endpoint_{column}"]
        head = fitted.network[1]
        hazards = head.hazards(fitted.outputs(x[rows]))
        lived = np.clip((time[rows, column, None] - head.cuts[:-1]) / np.diff(head.cuts), 0, 1)
        expected = (lived[:, None] * -np.log1p(-hazards)).sum(axis=(0, 2))
        observed = [(event[rows, column] == cause).sum() for cause in (1, 2)]
        np.testing.assert_allclose(expected, observed, rtol=0.03, atol=2)


def test_without_training_each_endpoint_has_its_own_incidence():
    block = MultiEndpointModel(kind="multi_endpoint", intervals=10, training=Training(epochs=1, learning_rate=1e-9))
    (x, time, event), validation = planted(1500, seed=1), planted(200, seed=2)
    fitted = AllEndpoints(block, causes=CAUSES, seed=1).fit(x, time, event, *validation)
    rows = event[:, 1] != OUTSIDE
    null = NullModel(causes=2).fit(x[rows], time[rows, 1], event[rows, 1]).predict(x[:1], [500, 1000, 1800])
    np.testing.assert_allclose(fitted.models["endpoint_1"].predict(x[:1], [500, 1000, 1800]), null, atol=0.01)


def test_an_endpoint_without_events_is_refused():
    block = MultiEndpointModel(kind="multi_endpoint", training=Training(epochs=1))
    x, time, event = planted(60, seed=1)
    event = event[:, :2].copy()
    event[event[:, 0] > 0, 0] = 0
    with pytest.raises(DataError, match="has an event"):
        AllEndpoints(block, causes={"a": 2, "b": 2}).fit(x, time[:, :2], event, x, time[:, :2], event)

"""Neural models of tabular columns: planted truth, heavy censoring, competing risks, published figures."""

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from pydantic import TypeAdapter
from storing import stored_again
from torch import nn

from riskweave.errors import StudyError
from riskweave.study.models import Model
from riskweave.survival.implementations import HEADS
from riskweave.survival.neural import NeuralModel
from riskweave.survival.null import NullModel
from riskweave.survival.registry import build_estimator

FAST = {"epochs": 12, "patience": 6, "batch_size": 128, "learning_rate": 2e-2}
DISCRETE = ["deep_hit", "logistic_hazard", "mtlr", "pc_hazard", "pmf"]


def model(kind, *, causes=1, seed=3, **keys):
    block = TypeAdapter(Model).validate_python({"kind": kind, "hidden": [16], "dropout": 0.1, "training": FAST, **keys})
    return build_estimator(model=block, causes=causes, seed=seed)


def cohort(n: int, seed: int, *, effect: float = 1.2):
    """Two causes: x0 drives the target, x1 the competitor; x2 does nothing. Administrative censoring at 1,000 days."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    rates = np.exp(effect * x[:, :2]) / [900, 2500]
    target, competitor = rng.exponential(1 / rates[:, 0]), rng.exponential(1 / rates[:, 1])
    time = np.minimum.reduce([target, competitor, rng.uniform(300, 2000, n), np.full(n, 1000.0)]) + 0.5
    event = np.where(time == target + 0.5, 1, np.where(time == competitor + 0.5, 2, 0))
    return x, time, event, rates


def incidence_of(rates, times):
    """Return the true cumulative incidences (n, 2, times) of constant rates (n, 2)."""
    total = rates.sum(axis=1)[:, None, None]
    return rates[:, :, None] / total * -np.expm1(-total * np.asarray(times))


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_recovers_planted_incidences_of_both_causes(kind):
    x, time, event, _ = cohort(1200, 0)
    fitted = model(kind, causes=2).fit(x[:900], time[:900], event[:900], x[900:], time[900:], event[900:])
    assert fitted.best_epoch > 0
    x, time, event, rates = cohort(800, 9)
    times = [300, 600, 900]
    risk, truth = fitted.predict(x, times), incidence_of(rates, times)
    assert (np.diff(risk, axis=2) >= 0).all()
    assert (risk.sum(axis=1) <= 1 + 1e-9).all()
    for cause in (0, 1):
        oracle = concordance_index(time, -truth[:, cause, 1], event == cause + 1)
        assert concordance_index(time, -risk[:, cause, 1], event == cause + 1) > oracle - 0.035
    np.testing.assert_allclose(risk.mean(axis=0), truth.mean(axis=0), atol=0.06)
    assert np.abs(risk - truth).mean() < 0.08
    linear = fitted.linear_predictor(x)
    assert (linear is None) == (kind != "deep_surv")
    if linear is not None:
        assert np.corrcoef(linear, x[:, 0])[0, 1] > 0.95


def brier(time, event, survival, grid):
    """Integrated Brier score with Kaplan-Meier weights of the same rows (Graf et al. 1999)."""
    censoring = KaplanMeierFitter().fit(time, 1 - event)
    weight_event = np.maximum(censoring.predict(time - 1e-9).to_numpy(), 1e-3)
    weight_grid = np.maximum(censoring.predict(grid).to_numpy(), 1e-3)
    died = (time[:, None] <= grid) & (event[:, None] == 1)
    alive = time[:, None] > grid
    score = survival**2 * died / weight_event[:, None] + (1 - survival) ** 2 * alive / weight_grid
    return np.trapezoid(score.mean(axis=0), grid) / (grid[-1] - grid[0])


def rare(n, seed):
    """One cause, nine in ten censored, all events early in a long follow-up."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    falls_ill = rng.random(n) < 1 / (1 + np.exp(2.6 - 1.3 * x[:, 0]))
    onset = np.where(falls_ill, rng.uniform(10, 600, n), np.inf)
    censored = rng.uniform(400, 6000, n)
    return x, np.minimum(onset, censored), (onset <= censored).astype(int)


@pytest.mark.parametrize("kind", DISCRETE)
def test_beats_kaplan_meier_where_nearly_all_are_censored(kind):
    x, time, event = rare(1500, 0)
    assert event.mean() < 0.12
    fitted = model(kind).fit(x[:1100], time[:1100], event[:1100], x[1100:], time[1100:], event[1100:])
    x_test, time_test, event_test = rare(1500, 1)
    grid = np.linspace(20, 5000, 60)
    null = NullModel(causes=1).fit(x, time, event).predict(x_test, grid)[:, 0]
    ours = brier(time_test, event_test, 1 - fitted.predict(x_test, grid)[:, 0], grid)
    assert ours < 0.95 * brier(time_test, event_test, 1 - null, grid)


@pytest.mark.parametrize("kind", ["logistic_hazard", "deep_surv", "cox_time"])
def test_harmful_training_leaves_the_null_model(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 2)).astype(np.float32)
    time = rng.exponential(300, 160)
    # The validation rows have the opposite effect: whatever is learnt is wrong there.
    time[:80] = np.sort(time[:80])[np.argsort(np.argsort(x[:80, 0]))]
    time[80:] = np.sort(time[80:])[np.argsort(np.argsort(-x[80:, 0]))]
    ones = np.ones(160, int)
    fitted = model(kind).fit(x[:80], time[:80], ones[:80], x[80:], time[80:], ones[80:])
    assert fitted.best_epoch == 0
    risk = fitted.predict(x, [100, 400])
    np.testing.assert_allclose(risk, np.broadcast_to(risk[0], risk.shape), atol=1e-6)
    expected = 1 - KaplanMeierFitter().fit(time[:80]).predict([100, 400]).to_numpy()
    np.testing.assert_allclose(risk[0, 0], expected, atol=0.04)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_a_fitted_model_is_stored_without_what_it_was_trained_with(kind, tmp_path):
    x, time, event, _ = cohort(200, 1)
    short = {**FAST, "epochs": 1}
    block = TypeAdapter(Model).validate_python({"kind": kind, "training": short})

    def prune(*_):
        """Cannot be stored: a function inside a function."""

    fitted = build_estimator(model=block, causes=2, seed=0, prune=prune, checkpoint=tmp_path / "state")
    fitted.fit(x[:150], time[:150], event[:150], x[150:], time[150:], event[150:])
    again = stored_again(fitted, tmp_path)
    np.testing.assert_array_equal(again.predict(x, [100, 500]), fitted.predict(x, [100, 500]))
    assert "Head" in fitted.architecture


class Body(nn.Module):
    features = 5

    def __init__(self, columns):
        super().__init__()
        self.linear = nn.Linear(columns, 5)

    def forward(self, x):
        return torch.tanh(self.linear(x))


@pytest.mark.parametrize("kind", ["cox_time", "pmf"])
def test_another_body_takes_the_place_of_the_perceptron(kind):
    x, time, event, _ = cohort(200, 1)
    block = TypeAdapter(Model).validate_python({"kind": kind, "training": FAST})
    fitted = build_estimator(model=block, causes=1, seed=0, body=Body)
    fitted.fit(x[:150], time[:150], event[:150] == 1, x[150:], time[150:], event[150:] == 1)
    assert isinstance(fitted.network[0], Body)
    assert fitted.predict(x, [100]).shape == (200, 1, 1)
    with pytest.raises(StudyError, match="'cox' is no network and takes no body"):
        build_estimator(model=TypeAdapter(Model).validate_python({"kind": "cox"}), causes=1, seed=0, body=Body)


def test_a_cox_time_without_hidden_layers_has_effects_that_change_linearly_in_time():
    rng = np.random.default_rng(0)
    n = 1500
    x = rng.normal(size=(n, 1)).astype(np.float32)
    # Hazard exp(x (1 - t)) on (0, 2): the cumulative hazard is inverted.
    draw = rng.exponential(1, n)
    effect = x[:, 0].astype(float)
    inside = 1 - draw * effect * np.exp(-effect)
    time = np.where(inside > 0, -np.log(np.maximum(inside, 1e-12)) / effect, np.inf)
    event = (time < 2).astype(int)
    time = np.minimum(time, 2.0)
    block = {**FAST, "epochs": 25, "patience": 25, "weight_decay": 0.0}
    fitted = model("cox_time", hidden=[], dropout=0.0, training=block, controls=3)
    assert isinstance(fitted, NeuralModel)
    fitted.fit(x[:1200], time[:1200], event[:1200], x[1200:], time[1200:], event[1200:])
    head = fitted.network[1]
    constant, slope = head.enter.weight[:, 0].tolist()
    slope_per_time = slope / head.learnt["std"]
    assert constant - slope_per_time * head.learnt["mean"] == pytest.approx(1.0, abs=0.25)
    assert slope_per_time == pytest.approx(-1.0, abs=0.25)


@pytest.mark.parametrize("kind", ["cox_time", "logistic_hazard"])
def test_whas500_as_good_as_reference_runs(kind, real_data):
    """Five folds, Harrell's concordance at the 75 % quantile of the event times: Cox 0.769, pycox's CoxTime 0.756."""
    from sklearn.model_selection import StratifiedKFold

    path = real_data / "benchmarks_tabular" / "whas500.parquet"
    if not path.is_file():
        pytest.skip(f"real data: no {path.name}")
    table = pd.read_parquet(path)
    time, event = table["time"].clip(lower=0.01).to_numpy(float), table["event"].to_numpy(int)
    x = table.filter(regex="^x").to_numpy(float)
    horizon = np.quantile(time[event == 1], 0.75)
    rows = []
    for rest, test in StratifiedKFold(5, shuffle=True, random_state=1234).split(x, event):
        validation, train = np.split(np.random.default_rng(0).permutation(rest), [len(rest) // 5])
        z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        fitted = model(kind, training={**FAST, "epochs": 30, "batch_size": 64, "learning_rate": 5e-3})
        fitted.fit(z[train], time[train], event[train], z[validation], time[validation], event[validation])
        grid = np.linspace(time[test].min(), time[test].max(), 100)
        null = np.tile(KaplanMeierFitter().fit(time[train], event[train]).predict(grid), (len(test), 1))
        survival = 1 - fitted.predict(z[test], [horizon, *grid])[:, 0]
        scores = [brier(time[test], event[test], each, grid) for each in (survival[:, 1:], null)]
        rows.append((concordance_index(time[test], survival[:, 0], event[test]), *scores))
    concordance, score, score_null = np.mean(rows, axis=0)
    assert concordance > 0.735
    assert score < score_null - 0.02


@pytest.mark.parametrize("kind", ["cox_time", "deep_surv"])
def test_without_an_event_to_compare_in_the_validation_rows_the_last_epoch_is_kept(kind, caplog):
    """The validation loss is then 0 whatever the network: the best epoch was the one before training."""
    x, time, event, _ = cohort(400, 0)
    event = (event == 1).astype(int)
    training = {**FAST, "epochs": 5, "patience": 1}
    time[-1] = 1500.0
    none, last = np.zeros(50, dtype=int), np.eye(50, dtype=int)[-1]
    for event_val in (none, last):  # nobody else is at risk when the last of all has an event
        fitted = model(kind, training=training)
        fitted.fit(x[:350], time[:350], event[:350], x[350:], time[350:], event_val)
        assert fitted.best_epoch == fitted.curves["epoch"].max() == 5
        assert concordance_index(time, -fitted.predict(x, [600])[:, 0, 0], event) > 0.65
        assert "the last one is kept" in caplog.text
        caplog.clear()
    model(kind, training=training).fit(x[:350], time[:350], event[:350], x[350:], time[350:], event[350:])
    assert "the last one is kept" not in caplog.text

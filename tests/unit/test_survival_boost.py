import numpy as np
import pytest
from storing import stored, stored_again

from riskweave.errors import DataError
from riskweave.survival.survival_boost import BoostedIncidences, increasing

SETTINGS = {"iterations": 25, "learning_rate": 0.15, "max_leaf_nodes": 8, "min_samples_leaf": 30, "seed": 2}
RATES = np.array([[1.0, 0.0, 0.0], [0.0, 0.8, 0.0]])


def cohort(n=600, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    times = rng.exponential(1500 * np.exp(-x @ RATES.T))
    censoring = rng.uniform(300, 2500, n)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(np.minimum(times.min(axis=1), censoring)), event


@pytest.fixture(scope="module")
def fitted():
    x, time, event = cohort()
    return BoostedIncidences(**SETTINGS, causes=3).fit(x, time, event, None, None, None)


def test_curves_nearest_to_these_by_hand():
    curves = np.array([[[0.1, 0.3, 0.2], [0.0, 0.0, 0.1]], [[0.2, 0.8, 0.9], [0.1, 0.2, 0.6]]])
    expected = np.array([[[0.1, 0.25, 0.25], [0.0, 0.0, 0.1]], np.array([[0.2, 0.8, 0.9], [0.1, 0.2, 0.6]]) / 1.5])
    np.testing.assert_allclose(increasing(curves), expected)


def test_predictions_are_cumulative_incidences_of_the_planted_hazards(fitted):
    x, _, _ = cohort(n=400, seed=1)
    days = [1, 50, 300, 900, 2000, 9000]
    risks = fitted.predict(x, days)
    assert risks.shape == (400, 3, 6)
    assert ((risks >= 0) & (risks.sum(axis=1, keepdims=True) <= 1 + 1e-9)).all()
    assert (np.diff(risks, axis=2) >= 0).all()
    assert (risks[:, 2] == 0).all()
    assert risks[:, :, 0].max() < 0.05
    rates = np.exp(x @ RATES.T) / 1500
    total = rates.sum(axis=1, keepdims=True)
    for place, day in [(2, 300), (3, 900)]:
        expected = rates / total * (1 - np.exp(-total * day))
        assert np.abs(risks[:, :2, place] - expected).mean() < 0.1
        np.testing.assert_allclose(risks[:, :2, place].mean(axis=0), expected.mean(axis=0), atol=0.06)
        assert np.corrcoef(risks[:, 0, place], expected[:, 0])[0, 1] > 0.85


def test_a_risk_does_not_depend_on_the_other_times(fitted, monkeypatch):
    x, _, _ = cohort(n=50, seed=1)
    alone = fitted.predict(x, [700])
    np.testing.assert_array_equal(fitted.predict(x, [10, 700, 4000])[:, :, 1:2], alone)
    monkeypatch.setattr("riskweave.survival.survival_boost.ROWS", 500)
    np.testing.assert_allclose(fitted.predict(x, [700]), alone, rtol=1e-12)
    assert fitted.predict(x[:0], [700]).shape == (0, 3, 1)


def test_after_the_last_learnt_time_it_goes_on_as_the_training_rows_do():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(800, 1))
    times = rng.exponential(3000, 800)
    # Nine of ten are censored early; the others are followed for long.
    censoring = np.where(rng.uniform(size=800) < 0.93, rng.uniform(100, 500, 800), 6000)
    event = (times <= censoring).astype(int)
    found = BoostedIncidences(**SETTINGS, causes=1).fit(x, np.minimum(times, censoring), event, None, None, None)
    last = found._fitted.grid[-1]
    assert 400 < last < 550
    days = np.array([last, 1500.0, 4000.0])
    risks, null = (model.predict(x, days)[:, 0] for model in (found, found._fitted.null))
    np.testing.assert_allclose((1 - risks) / (1 - risks[:, :1]), (1 - null) / (1 - null[:, :1]), rtol=1e-9)
    expected = -np.expm1(-days / 3000)
    np.testing.assert_allclose(risks.mean(axis=0), expected, atol=0.12)


def test_what_is_stored_holds_no_training_row(fitted, tmp_path):
    x, _, _ = cohort(n=20, seed=1)
    assert b"hazardous" not in stored(fitted, tmp_path)
    np.testing.assert_array_equal(stored_again(fitted, tmp_path).predict(x, [500]), fitted.predict(x, [500]))


def test_same_seed_same_digits(fitted):
    x, time, event = cohort()
    again = BoostedIncidences(**SETTINGS, causes=3).fit(x, time, event, None, None, None)
    np.testing.assert_array_equal(again.predict(x[:40], [500]), fitted.predict(x[:40], [500]))
    other = BoostedIncidences(**{**SETTINGS, "seed": 3}, causes=3).fit(x, time, event, None, None, None)
    assert not np.array_equal(other.predict(x[:40], [500]), fitted.predict(x[:40], [500]))


def test_without_events_it_says_what_to_do():
    x, time, event = cohort(n=60)
    with pytest.raises(DataError, match="none of the 60 training rows"):
        BoostedIncidences(**SETTINGS, causes=1).fit(x, time, np.zeros_like(event), None, None, None)
    rare = np.where(np.arange(60) == np.argsort(time)[48], 2, (event == 1).astype(int))
    with pytest.raises(DataError, match="the rarest has 1 in 60 training rows"):
        BoostedIncidences(**SETTINGS, causes=2).fit(x, time, rare, None, None, None)


def test_times_at_which_only_events_are_known_of_some_are_not_learnt(caplog):
    """One half is followed for 500 days at most: later, whoever is known there has had the event."""
    rng = np.random.default_rng(3)
    early = rng.integers(0, 2, 1200)
    x = np.column_stack([early, rng.normal(size=1200)]).astype(float)
    times = rng.exponential(3000, 1200)
    followed = np.where(early == 1, rng.uniform(300, 500, 1200), rng.uniform(1000, 3000, 1200))
    time, event = np.minimum(times, followed), (times <= followed).astype(int)
    model = BoostedIncidences(
        iterations=60, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=50, causes=1, seed=1
    ).fit(x, time, event, x, time, event)
    days = np.array([250, 1000, 2000])
    truth = 1 - np.exp(-days / 3000)
    np.testing.assert_allclose(model.predict(x, days)[:, 0].mean(axis=0), truth, atol=0.06)
    assert "follow-up hangs on the columns" in caplog.text

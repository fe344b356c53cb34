import numpy as np
import pytest
from storing import stored, stored_again

from riskweave.survival import gradient_boosting as module
from riskweave.survival.gradient_boosting import CauseSpecificBoosting, breslow_loss

pytest.importorskip("sksurv")

SETTINGS = {"trees": 40, "learning_rate": 0.1, "max_depth": 3, "min_samples_leaf": 10, "subsample": 0.5, "seed": 3}


def cohort(n=400, causes=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    rates = np.exp(np.column_stack([x[:, 0] + (x[:, 1] > 0), x[:, 2]])[:, :causes]) / 1000
    times = rng.exponential(1 / rates)
    censoring = rng.uniform(200, 2500, n)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(np.minimum(times.min(axis=1), censoring) / 20) * 20, event


def split(x, time, event, n=250):
    return x[:n], time[:n], event[:n], x[n:], time[n:], event[n:]


def test_loss_and_gradient_equal_scikit_survivals():
    from sksurv.ensemble.survival_loss import CoxPH
    from sksurv.util import Surv

    _, time, event = cohort()
    score = np.random.default_rng(1).normal(size=len(time)) * 2
    truth = Surv.from_arrays(event == 1, time)
    loss, gradient = breslow_loss(time, event == 1, score)
    assert loss == pytest.approx(CoxPH()(truth, score) / len(time), rel=1e-12)
    np.testing.assert_allclose(gradient, CoxPH().gradient(truth, score), atol=1e-12)


def test_without_early_stopping_it_equals_scikit_survival():
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis
    from sksurv.util import Surv

    x, time, event = cohort()
    parts = split(x, time, event)
    found = CauseSpecificBoosting(**SETTINGS, causes=1).fit(*parts[:5], np.zeros_like(parts[5]))
    assert found.params == {"trees_cause_1": 40}
    names = {"trees": "n_estimators", "seed": "random_state"}
    other = GradientBoostingSurvivalAnalysis(**{names.get(key, key): value for key, value in SETTINGS.items()})
    other.fit(parts[0], Surv.from_arrays(parts[2] == 1, parts[1]))
    curves = other.predict_survival_function(parts[3], return_array=True)
    np.testing.assert_allclose(found.predict(parts[3], other.unique_times_)[:, 0], 1 - curves, atol=1e-6)
    scores = other.predict(parts[3]) - other.predict(parts[0]).mean()
    np.testing.assert_allclose(found.linear_predictor(parts[3]), scores, atol=1e-5)


def test_validation_rows_stop_the_trees():
    x, time, event = cohort()
    parts = split(x, time, event)
    found = CauseSpecificBoosting(**{**SETTINGS, "trees": 300}, causes=1).fit(*parts)
    trees = found.params["trees_cause_1"]
    assert 3 < trees < 200
    losses = found.curves[found.curves["metric"] == "val_loss"].set_index("epoch")["value"]
    assert losses.idxmin() == trees
    assert losses.index.max() == trees + module.PATIENCE
    expected = breslow_loss(parts[4], parts[5] == 1, found.linear_predictor(parts[3]))[0]
    assert losses.min() == found.metrics["validation_loss_cause_1"] == pytest.approx(expected, rel=1e-6)


def test_columns_of_noise_give_the_incidence_of_everybody():
    _, time, event = cohort()
    x = np.random.default_rng(8).normal(size=(400, 5))
    found = CauseSpecificBoosting(**SETTINGS, causes=1).fit(*split(x, time, event))
    risks = found.predict(x, [1000])[:, 0, 0]
    assert found.params["trees_cause_1"] < 10
    assert np.ptp(risks) < 0.2


def test_competing_causes_follow_their_own_signal():
    x, time, event = cohort(n=900, causes=2)
    found = CauseSpecificBoosting(**SETTINGS, causes=2).fit(*split(x, time, event, n=600))
    risks = found.predict(x[600:], [100, 500, 1500])
    assert (np.diff(risks, axis=2) >= 0).all()
    assert (risks.sum(axis=1) <= 1 + 1e-9).all()
    assert np.corrcoef(risks[:, 0, 1], x[600:, 0])[0, 1] > 0.4
    assert np.corrcoef(risks[:, 1, 1], x[600:, 2])[0, 1] > 0.4
    assert set(found.curves["metric"]) == {
        "train_loss_cause_1",
        "val_loss_cause_1",
        "train_loss_cause_2",
        "val_loss_cause_2",
    }


def test_what_is_stored_is_small_and_without_scikit_survival(tmp_path):
    x, time, event = cohort()
    found = CauseSpecificBoosting(**{**SETTINGS, "trees": 200}, causes=2).fit(*split(x, time, event))
    assert found.params["trees_cause_2"] == 0
    content = stored(found, tmp_path)
    assert b"sksurv" not in content
    assert len(content) < 3000 * (found.params["trees_cause_1"] + 10)
    again = stored_again(found, tmp_path)
    np.testing.assert_array_equal(again.predict(x, [500]), found.predict(x, [500]))
    assert again.predict(x[:0], [500]).shape == (0, 2, 1)


def test_same_seed_same_digits():
    parts = split(*cohort())
    first = CauseSpecificBoosting(**SETTINGS, causes=1).fit(*parts).predict(parts[3], [500])
    np.testing.assert_array_equal(
        CauseSpecificBoosting(**SETTINGS, causes=1).fit(*parts).predict(parts[3], [500]), first
    )
    other = CauseSpecificBoosting(**{**SETTINGS, "seed": 4}, causes=1).fit(*parts).predict(parts[3], [500])
    assert not np.array_equal(other, first)

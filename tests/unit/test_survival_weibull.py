import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from lifelines import WeibullAFTFitter
from lifelines.exceptions import ConvergenceWarning
from scipy.integrate import quad
from storing import stored, stored_again

from riskweave.errors import DataError
from riskweave.survival.penalised import quietly
from riskweave.survival.weibull import CauseSpecificWeibull

SLOPES = np.array([[0.8, -0.5, 0.0], [-0.3, 0.0, 0.4]])
SHAPES = np.array([1.5, 0.8])


def cohort(n=400, causes=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    times = 1500 * np.exp(-x @ SLOPES[:causes].T) * rng.exponential(size=(n, causes)) ** (1 / SHAPES[:causes])
    censoring = rng.uniform(300, 3000, n)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.minimum(times.min(axis=1), censoring), event


def split(x, time, event, n=300):
    return x[:n], time[:n], event[:n], x[n:], time[n:], event[n:]


def frame(x, time, event):
    return pd.DataFrame(x, columns=list("abc")).assign(t=time, e=event)


def test_one_cause_equals_lifelines():
    x, time, event = cohort()
    found = CauseSpecificWeibull(penalties=[0.01], causes=1).fit(*split(x, time, event))
    other = WeibullAFTFitter(penalizer=0.01).fit(frame(x, time, event)[:300], "t", "e")
    days = [100, 700, 2500, 9000]
    expected = 1 - other.predict_survival_function(pd.DataFrame(x[300:], columns=list("abc")), times=days).T
    np.testing.assert_allclose(found.predict(x[300:], days)[:, 0], expected, rtol=1e-6)
    shape = np.exp(other.params_["rho_"]["Intercept"])
    assert found.params["shape_cause_1"] == pytest.approx(shape, rel=1e-5)
    centred = x[300:] - x[:300].mean(axis=0)
    np.testing.assert_allclose(
        found.linear_predictor(x[300:]), -shape * centred @ other.params_["lambda_"][list("abc")], rtol=1e-4
    )


def test_many_columns_keep_their_order():
    x, time, event = cohort()
    wide = np.hstack([np.random.default_rng(1).normal(size=(400, 9)), x])
    found = CauseSpecificWeibull(penalties=[0.001], causes=1).fit(*split(wide, time, event))
    effects = [
        found.linear_predictor(np.eye(12)[i : i + 1])[0] - found.linear_predictor(np.zeros((1, 12)))[0]
        for i in range(12)
    ]
    np.testing.assert_allclose(np.array(effects[9:]) / SHAPES[0], SLOPES[0], atol=0.15)


def test_a_column_that_is_the_same_in_all_training_rows_has_no_effect():
    x, time, event = cohort()
    found = CauseSpecificWeibull(penalties=[0.01], causes=1).fit(*split(np.insert(x, 1, -0.3, axis=1), time, event))
    without = CauseSpecificWeibull(penalties=[0.01], causes=1).fit(*split(x, time, event))
    other = np.insert(x, 1, 5.0, axis=1)
    np.testing.assert_allclose(found.predict(other, [700]), without.predict(x, [700]), rtol=1e-6)
    np.testing.assert_allclose(found.linear_predictor(other), without.linear_predictor(x), atol=1e-6)


def test_penalty_is_the_one_with_the_best_validation_likelihood():
    x, time, event = cohort(n=120)
    noise = np.random.default_rng(5).normal(size=(120, 12))
    parts = split(np.hstack([x, noise]), time, event, n=70)
    penalties = [0.0001, 0.2, 20.0]
    found = CauseSpecificWeibull(penalties=penalties, causes=1).fit(*parts)
    train = pd.DataFrame(parts[0]).add_prefix("c").assign(t=parts[1], e=parts[2])
    validation = pd.DataFrame(parts[3]).add_prefix("c").assign(t=parts[4], e=parts[5])
    scores = [WeibullAFTFitter(penalizer=p).fit(train, "t", "e").score(validation) for p in penalties]
    assert found.params["penalty_cause_1"] == penalties[int(np.argmax(scores))] == 0.2


def test_competing_incidences_match_the_planted_hazards():
    x, time, event = cohort(n=6000, causes=2)
    found = CauseSpecificWeibull(penalties=[0.0], causes=2).fit(*split(x, time, event, n=5900))
    risks = found.predict(x[5900:5920], [200, 1500])
    for row, one in enumerate(x[5900:5920]):
        scale = 1500 * np.exp(-one @ SLOPES.T)

        def density(t, cause, scale=scale):
            rate = SHAPES[cause] / scale[cause] * (t / scale[cause]) ** (SHAPES[cause] - 1)
            return rate * np.exp(-((t / scale) ** SHAPES).sum())

        for cause in range(2):
            expected = [quad(density, 0, day, args=(cause,))[0] for day in (200, 1500)]
            np.testing.assert_allclose(risks[row, cause], expected, atol=0.04)


def test_steps_of_competing_hazards_are_fine_enough(monkeypatch):
    x, time, event = cohort(causes=2)
    found = CauseSpecificWeibull(penalties=[0.01], causes=2).fit(*split(x, time, event))
    coarse = found.predict(x, [100, 1000, 3000])
    monkeypatch.setattr("riskweave.survival.weibull.STEPS", 10_000)
    np.testing.assert_allclose(coarse, found.predict(x, [100, 1000, 3000]), atol=2e-5)
    monkeypatch.setattr("riskweave.survival.weibull.CELLS", 50_000)
    np.testing.assert_allclose(coarse, found.predict(x, [100, 1000, 3000]), atol=2e-5)


def test_what_is_stored_holds_no_training_row(tmp_path):
    x, time, event = cohort(causes=2)
    found = CauseSpecificWeibull(penalties=[0.01], causes=2).fit(*split(x, time, event))
    content = stored(found, tmp_path)
    assert b"lifelines" not in content
    assert len(content) < 3000
    np.testing.assert_array_equal(stored_again(found, tmp_path).predict(x, [500]), found.predict(x, [500]))


def test_cause_without_events_and_far_subjects_stay_probabilities():
    x, time, event = cohort()
    found = CauseSpecificWeibull(penalties=[0.01], causes=2).fit(*split(x, time, event))
    far = np.vstack([x, np.full((1, 3), 1e5), np.full((1, 3), -1e5)])
    risks = found.predict(far, [10, 1000, 20000])
    assert np.isfinite(risks).all()
    assert (risks[:, 1] == 0).all()
    assert ((risks >= 0) & (risks <= 1)).all()
    assert found.params["penalty_cause_2"] is None


def test_a_fit_that_the_library_doubts_is_none():
    model = SimpleNamespace(params_=np.zeros(2))

    def warns(kind, text):
        def fit():
            warnings.warn(text, kind, stacklevel=1)
            return model

        return fit

    assert quietly(warns(RuntimeWarning, "overflow encountered in exp")) is model
    assert quietly(warns(ConvergenceWarning, "Column x has very low variance when conditioned on death")) is model
    assert quietly(warns(ConvergenceWarning, "Newton-Raphson failed to converge sufficiently")) is None
    assert quietly(lambda: SimpleNamespace(params_=np.array([1.0, np.nan]))) is None


def test_no_penalty_that_converges_is_an_error(monkeypatch):
    x, time, event = cohort()
    monkeypatch.setattr("riskweave.survival.weibull._fit", lambda *_: None)
    with pytest.raises(DataError, match=r"Weibull model of cause 1: no penalty of \[0.1\] converges on 300 training"):
        CauseSpecificWeibull(penalties=[0.1], causes=1).fit(*split(x, time, event))

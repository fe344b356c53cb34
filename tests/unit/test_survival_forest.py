import builtins

import numpy as np
import pytest
from storing import stored_again

from riskweave.errors import StudyError
from riskweave.survival import forest as module
from riskweave.survival.forest import CauseSpecificForest

SETTINGS = {"trees": 10, "min_samples_leaf": 10, "max_features": "sqrt", "seed": 7, "threads": 1}


def cohort(n=300, causes=1, seed=0, step=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    rates = np.exp(np.column_stack([x[:, 0] + 0.5 * (x[:, 1] > 0), x[:, 2]])[:, :causes]) / 1000
    times = rng.exponential(1 / rates)
    censoring = rng.uniform(200, 2500, n)
    time = np.minimum(times.min(axis=1), censoring)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(time / step) * step, event


def fit(x, time, event, causes=1, **settings):
    return CauseSpecificForest(**{**SETTINGS, **settings}, causes=causes).fit(x, time, event, None, None, None)


@pytest.fixture
def sksurv():
    pytest.importorskip("sksurv")
    from sksurv import ensemble, util

    return ensemble, util


def test_survival_equals_scikit_survivals(sksurv):
    ensemble, util = sksurv
    x, time, event = cohort(step=60.0)
    assert len(np.unique(time[event == 1])) <= module.SPLIT_TIMES
    direct = ensemble.RandomSurvivalForest(10, min_samples_leaf=10, max_features="sqrt", random_state=7)
    direct.fit(x[:200], util.Surv.from_arrays(event[:200] == 1, time[:200]))
    curves = direct.predict_survival_function(x[200:], return_array=True)
    found = fit(x[:200], time[:200], event[:200]).predict(x[200:], direct.unique_times_)
    np.testing.assert_allclose(found[:, 0], 1 - curves, atol=1e-6)


def test_rounded_split_times_keep_the_discrimination(sksurv):
    ensemble, util = sksurv
    from sksurv.metrics import concordance_index_censored

    x, time, event = cohort(n=900)
    direct = ensemble.RandomSurvivalForest(30, min_samples_leaf=10, random_state=7)
    direct.fit(x[:500], util.Surv.from_arrays(event[:500] == 1, time[:500]))
    found = fit(x[:500], time[:500], event[:500], trees=30)
    risks = [direct.predict(x[500:]), found.predict(x[500:], [1000])[:, 0, 0]]
    exact, rounded = (concordance_index_censored(event[500:] == 1, time[500:], risk)[0] for risk in risks)
    assert rounded > 0.65
    assert rounded == pytest.approx(exact, abs=0.02)


def test_competing_forests_give_probabilities_that_follow_their_own_signal(sksurv):  # noqa: ARG001
    x, time, event = cohort(n=700, causes=2)
    risks = fit(x[:500], time[:500], event[:500], causes=2, trees=20).predict(x[500:], [100, 500, 1500])
    assert (np.diff(risks, axis=2) >= 0).all()
    assert (risks.sum(axis=1) <= 1 + 1e-9).all()
    assert np.corrcoef(risks[:, 0, 1], x[500:, 0])[0, 1] > 0.4
    assert np.corrcoef(risks[:, 1, 1], x[500:, 2])[0, 1] > 0.4


def test_a_fitted_forest_holds_no_training_row(sksurv, tmp_path):  # noqa: ARG001
    x, time, event = cohort(n=300, causes=2)
    found = fit(x, time, event, causes=2)
    for cause, fitted in enumerate(found._fitted, start=1):
        np.testing.assert_array_equal(fitted.times, np.unique(time[event == cause]))
        held = [*vars(fitted.forest).values(), *(value for drops in fitted.drops for value in vars(drops).values())]
        held += [value for tree in fitted.forest.estimators_ for value in vars(tree).values()]
        assert not [value for value in held if isinstance(value, np.ndarray) and len(value) == 300]
    again = stored_again(found, tmp_path)
    np.testing.assert_array_equal(again.predict(x, [500]), found.predict(x, [500]))


def test_same_seed_same_digits_whatever_the_threads(sksurv):  # noqa: ARG001
    x, time, event = cohort()
    first = fit(x, time, event).predict(x, [500])
    np.testing.assert_array_equal(fit(x, time, event, threads=2).predict(x, [500]), first)
    assert not np.array_equal(fit(x, time, event, seed=8).predict(x, [500]), first)


def test_without_scikit_survival_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == "sksurv":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StudyError, match=r"riskweave\[forest\]"):
        CauseSpecificForest(**SETTINGS, causes=1)

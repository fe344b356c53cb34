import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from storing import stored_again

from riskweave.errors import DataError, StudyError
from riskweave.study.models import CoxModel, StackedModel
from riskweave.survival import stacked as module
from riskweave.survival.registry import build_estimator
from riskweave.survival.stacked import StackedEnsemble, brier_terms, simplex_weights

COX = CoxModel(kind="cox", penalty=[0.01])
RIDGE = CoxModel(kind="cox", penalty=[0.1])
FLAT = CoxModel(kind="cox", penalty=[1000.0])
SETTINGS = {"parts": 2, "shrinkage": 0.05, "seed": 5}


def cohort(n=400, causes=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    slopes = np.array([[0.8, -0.5, 0.0], [-0.3, 0.0, 0.6]])[:causes]
    times = rng.exponential(1000 * np.exp(-x @ slopes.T))
    censoring = rng.uniform(200, 3000, n)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(np.minimum(times.min(axis=1), censoring)), event


def split(x, time, event, n=300):
    return x[:n], time[:n], event[:n], x[n:], time[n:], event[n:]


def test_terms_are_the_brier_score_of_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics")
    util = pytest.importorskip("sksurv.util")
    _, time, event = cohort()
    # scikit-survival takes G(t) at event times, riskweave G(t-): the same where nobody is censored on a day of events.
    time = time + np.where(event == 0, 0.5, 0.0)
    times = np.array([200.0, 500.0, 900.0, 1600.0])
    rng = np.random.default_rng(2)
    risks = np.sort(rng.uniform(size=(3, len(time), 1, 4)), axis=3)
    quadratic, linear, constant = brier_terms(risks, time=time, event=event, times=times)
    truth = util.Surv.from_arrays(event == 1, time)
    steps = np.diff(times, prepend=0)
    for weights in ([1.0, 0, 0], [0.2, 0.3, 0.5]):
        average = np.tensordot(weights, risks, axes=1)[:, 0]
        expected = metrics.brier_score(truth, truth, 1 - average, times)[1] @ steps / steps.sum()
        found = np.array(weights) @ quadratic @ weights - 2 * linear @ weights + constant
        assert found == pytest.approx(expected, rel=1e-10)


def test_terms_of_competing_causes_by_hand():
    # Without censoring the weights are one, and the score is the mean squared error, summed over the causes.
    time, event = np.array([1.0, 2.0, 3.0]), np.array([1, 2, 1])
    risks = np.array([[[[0.5, 0.5], [0.2, 0.4]]] * 3])
    quadratic, linear, constant = brier_terms(risks, time=time, event=event, times=np.array([1.0, 2.0]))
    first = (0.5 - np.array([1, 0, 0])) ** 2 + 0.2**2
    second = (0.5 - np.array([1, 0, 0])) ** 2 + (0.4 - np.array([0, 1, 0])) ** 2
    assert (quadratic - 2 * linear)[0, 0] + constant == pytest.approx((first.mean() + second.mean()) / 2)


def test_weights_minimise_the_score_on_the_simplex():
    rng = np.random.default_rng(3)
    design, target = rng.uniform(size=(200, 4)), rng.uniform(size=200)
    target += design @ [0.7, 0.5, -0.4, 0.0]
    quadratic, linear, constant = design.T @ design, design.T @ target, target @ target

    def score(w):
        return w @ quadratic @ w - 2 * linear @ w + constant

    found = simplex_weights(quadratic, linear, constant, shrinkage=0.0)
    softmax = minimize(lambda z: score(np.exp(z) / np.exp(z).sum()), np.zeros(4), method="Nelder-Mead",
                       options={"maxiter": 20000, "fatol": 1e-14, "xatol": 1e-10})  # fmt: skip
    np.testing.assert_allclose(found, np.exp(softmax.x) / np.exp(softmax.x).sum(), atol=2e-3)
    assert found[2] == 0
    assert found.sum() == pytest.approx(1)
    # A strong penalty makes them equal.
    np.testing.assert_allclose(simplex_weights(quadratic, linear, constant, shrinkage=1e6), 0.25, atol=1e-4)


def test_members_that_agree_get_equal_weights():
    quadratic = np.full((3, 3), 0.05)
    np.testing.assert_allclose(simplex_weights(quadratic, np.full(3, 0.05), 0.2, shrinkage=0.05), 1 / 3)


def test_risks_that_choose_the_weights_come_from_models_without_those_rows(monkeypatch):
    x, time, event = cohort(n=120)
    fits = []

    class Remembers:
        curves = pd.DataFrame(columns=["epoch", "metric", "value"])
        architecture = "remembers"

        def fit(self, x_train, *_):
            self.rows = {row.tobytes() for row in x_train}
            fits.append(len(x_train))
            return self

        def predict(self, rows, times):
            seen = np.array([row.tobytes() in self.rows for row in rows])
            if len(fits) < 3:
                assert not seen.any()
            return np.full((len(rows), 1, len(times)), 0.5)

    monkeypatch.setattr(module, "build_estimator", lambda **_: Remembers())
    found = StackedEnsemble({"a": COX}, causes=1, **SETTINGS).fit(*split(x, time, event, n=90))
    assert fits == [45, 45, 90]
    assert (found.predict(x, [100]) == 0.5).all()


def test_a_member_that_knows_nothing_gets_little_and_the_rest_share(tmp_path):
    x, time, event = cohort(n=500)
    parts = split(x, time, event, n=400)
    members = {"cox": COX, "ridge": RIDGE, "flat": FLAT}
    found = StackedEnsemble(members, causes=1, **SETTINGS).fit(*parts)
    assert found.weights["flat"] < 0.1
    assert min(found.weights["cox"], found.weights["ridge"]) > 0.3
    assert found.metrics["out_of_fold_brier"] < found.metrics["out_of_fold_brier_flat"]
    assert found.params["weight_cox"] == found.weights["cox"]
    assert found.params["cox.penalty_cause_1"] == 0.01
    # The members predict as they do alone, fitted on all training rows.
    expected = np.zeros((100, 1, 2))
    for name, block in members.items():
        alone = build_estimator(model=block, causes=1, seed=5).fit(*parts)
        expected += found.weights[name] * alone.predict(x[400:], [300, 900])
    np.testing.assert_allclose(found.predict(x[400:], [300, 900]), expected, rtol=1e-9)
    np.testing.assert_array_equal(stored_again(found, tmp_path).predict(x, [500]), found.predict(x, [500]))
    assert "0." in found.architecture


def test_competing_causes_stay_probabilities():
    x, time, event = cohort(n=360, causes=2)
    found = StackedEnsemble({"cox": COX, "ridge": RIDGE}, causes=2, **SETTINGS).fit(*split(x, time, event))
    risks = found.predict(x, [10, 500, 2000, 5000])
    assert risks.shape == (360, 2, 4)
    assert (np.diff(risks, axis=2) >= 0).all()
    assert (risks.sum(axis=1) <= 1 + 1e-9).all()
    assert found.linear_predictor(x) is None
    again = StackedEnsemble({"cox": COX, "ridge": RIDGE}, causes=2, **SETTINGS).fit(*split(x, time, event))
    np.testing.assert_array_equal(again.predict(x, [500]), found.predict(x, [500]))


def test_rows_of_a_person_are_in_one_part(monkeypatch):
    x, time, event = cohort(n=120)
    people = np.repeat(np.arange(60), 2)
    seen = []

    class Remembers:
        curves = pd.DataFrame(columns=["epoch", "metric", "value"])
        architecture = "remembers"

        def fit(self, x_train, *_):
            seen.append({int(np.flatnonzero((x == row).all(axis=1))[0]) // 2 for row in x_train})
            return self

        def predict(self, rows, times):
            return np.full((len(rows), 1, len(times)), 0.5)

    monkeypatch.setattr(module, "build_estimator", lambda **_: Remembers())
    found = StackedEnsemble({"a": COX}, causes=1, **SETTINGS)
    found.people = people
    found.fit(x, time, event, x[:0], time[:0], event[:0])
    assert not seen[0] & seen[1]
    assert len(seen[0]) == len(seen[1]) == 30
    assert found.people is None


def test_too_few_events_are_an_error():
    x, time, _ = cohort(n=60)
    event = np.zeros(60, dtype=int)
    event[3] = 1
    with pytest.raises(DataError, match="1 people have the target event among the 40 training rows"):
        StackedEnsemble({"cox": COX, "ridge": RIDGE}, causes=1, **SETTINGS).fit(*split(x, time, event, n=40))


def test_a_single_competing_event_does_not_end_the_ensemble():
    """None and two worked; the member fitted without it takes its hazard as zero."""
    x, time, event = cohort(n=200, causes=2)
    event[np.flatnonzero(event[:150] == 2)[1:]] = 0
    assert (event[:150] == 2).sum() == 1
    parts = split(x, time, event, n=150)
    found = StackedEnsemble({"cox": COX, "ridge": RIDGE}, causes=2, **SETTINGS | {"parts": 5}).fit(*parts)
    risks = found.predict(x, [500, 5000])
    assert np.isfinite(risks).all()
    assert (risks[:, 0, 1] > risks[:, 1, 1]).all()


def test_a_member_without_a_block_is_an_error():
    block = StackedModel(kind="stacked", members=["cox", "other"])
    with pytest.raises(StudyError, match="missing: other"):
        build_estimator(model=block, causes=1, seed=1, members={"cox": COX})

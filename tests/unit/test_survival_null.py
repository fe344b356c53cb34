import numpy as np
import pytest

from riskweave.survival.competing import at_times, cumulative_incidence, one_cause
from riskweave.survival.cox import CauseSpecificCox
from riskweave.survival.null import NullModel


def cohort(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    rates = np.exp(x @ np.array([[0.8, -0.4, 0.0], [-0.3, 0.0, 0.5]]).T) / 1000
    times = rng.exponential(1 / rates)
    censoring = rng.uniform(100, 2000, n)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(np.minimum(times.min(axis=1), censoring) / 50) * 50, event


def test_null_model_is_the_aalen_johansen_estimate_by_hand():
    # Five subjects: at 1 one of 5 has the target; at 2 one of 4 has the competing event and one is censored; at 3 one
    # of 2 has the target.
    time, event = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([1, 2, 0, 1, 0])
    found = NullModel(causes=2).fit(np.zeros((5, 0)), time, event).predict(np.zeros((2, 0)), [0, 1, 2, 3, 9])
    target = [0, 1 / 5, 1 / 5, 1 / 5 + 4 / 5 * 3 / 4 / 2, 1 / 5 + 4 / 5 * 3 / 4 / 2]
    competing = [0, 0, 4 / 5 / 4, 4 / 5 / 4, 4 / 5 / 4]
    np.testing.assert_allclose(found, [[target, competing]] * 2)


def test_null_model_equals_scikit_survivals_aalen_johansen():
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    _, time, event = cohort()
    days, incidence = nonparametric.cumulative_incidence_competing_risks(event, time)
    found = NullModel(causes=2).fit(np.zeros((300, 0)), time, event).predict(np.zeros((1, 0)), days)
    np.testing.assert_allclose(found[0], incidence[1:], atol=1e-12)


def test_cox_without_effects_is_the_null_model():
    _, time, event = cohort(n=2000)
    rng = np.random.default_rng(3)
    # Without ties: exponential and product form differ by the squares of the steps.
    x, time = rng.normal(size=(2000, 2)), time - rng.uniform(0, 49, 2000)
    parts = (x, time, event, x[:0], time[:0], event[:0])
    flat = CauseSpecificCox(penalties=[1e6], causes=2).fit(*parts).predict(x[:5], [300, 900, 1500])
    null = NullModel(causes=2).fit(x, time, event).predict(x[:5], [300, 900, 1500])
    np.testing.assert_allclose(flat, null, atol=0.003)


def test_cause_specific_cox_equals_lifelines_fits_integrated_by_hand():
    lifelines = pytest.importorskip("lifelines")
    pandas = pytest.importorskip("pandas")
    x, time, event = cohort()
    new, days = x[250:], [200, 700, 1500]
    train = (x[:250], time[:250], event[:250], x[250:], time[250:], event[250:])
    found = CauseSpecificCox(penalties=[0.05], causes=2).fit(*train).predict(new, days)
    frame = pandas.DataFrame(x, columns=list("abc"))
    grid = np.unique(time[:250][event[:250] > 0])
    hazards = []
    for cause in (1, 2):
        data = frame[:250].assign(t=time[:250], e=one_cause(event[:250], cause))
        fitted = lifelines.CoxPHFitter(penalizer=0.05).fit(data, "t", "e")
        hazards.append(fitted.predict_cumulative_hazard(frame[250:], times=grid).to_numpy().T)
    # dF_k = S(u-) (1 - exp(-dA)) dA_k / dA, subject by subject and time by time.
    expected = np.zeros((50, 2, 3))
    for row in range(50):
        survival, incidence, before = 1.0, np.zeros(2), np.zeros(2)
        for place, day in enumerate(grid):
            now = np.array([one[row, place] for one in hazards])
            step = now - before
            incidence = incidence + survival * -np.expm1(-step.sum()) * step / step.sum()
            survival, before = survival * np.exp(-step.sum()), now
            expected[row][:, [d >= day for d in days]] = incidence[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_incidences_of_all_hazards_together_and_their_sum_agree():
    rng = np.random.default_rng(1)
    hazards = np.cumsum(rng.exponential(0.02, (4, 3, 30)), axis=2)
    grid = np.arange(1.0, 31.0)
    found = at_times(cumulative_incidence(hazards), grid=grid, times=np.array([10.0, 30.0]))
    total = -np.expm1(-hazards.sum(axis=1)[:, [9, 29]])
    np.testing.assert_allclose(found.sum(axis=1), total, rtol=1e-12)

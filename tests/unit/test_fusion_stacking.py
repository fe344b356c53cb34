import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.optimize import minimize

from riskweave.fusion.scores import HazardScale, cumulative_hazards
from riskweave.fusion.stacking import fit_weights
from riskweave.survival.competing import cumulative_incidence
from riskweave.survival.parts import parts_of
from riskweave.survival.proportional import breslow


def cohort(n=600, seed=0, decimals=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    happens, ends = rng.exponential(np.exp(-x @ [0.8, 0.3, -0.5])), rng.exponential(2, n)
    return x, np.round(np.minimum(happens, ends), decimals) + 1e-3, happens < ends


def test_weights_and_baseline_are_those_of_lifelines_where_no_bound_binds():
    x, time, event = cohort()
    found = fit_weights(x, time, event, penalty=0.02, nonnegative=np.array([True, True, False]))
    frame = pd.DataFrame(x).assign(time=time, event=event)
    other = CoxPHFitter(penalizer=0.02).fit(frame, "time", "event")
    np.testing.assert_allclose(found, other.params_, atol=1e-5)
    baseline = other.baseline_cumulative_hazard_.iloc[:, 0]
    mine = breslow(x @ found, time, event)
    np.testing.assert_allclose(mine.at(baseline.index.to_numpy()), baseline, rtol=1e-4)


def test_bounds_hold_and_the_optimum_is_that_of_another_optimiser():
    x, time, event = cohort(n=200, decimals=1)
    found = fit_weights(x, time, event, penalty=0.05, nonnegative=np.ones(3, dtype=bool))
    assert found[2] == 0

    def loss(weights):
        log_ratios, value = x @ weights, 0.0
        for i in np.flatnonzero(event):
            value += np.log(np.exp(log_ratios[time >= time[i]]).sum()) - log_ratios[i]
        return value / len(x) + 0.025 * weights @ weights

    other = minimize(loss, np.full(3, 0.1), method="SLSQP", bounds=[(0, None)] * 3, tol=1e-12)
    np.testing.assert_allclose(found, other.x, atol=1e-4)


def test_without_columns_there_is_nothing_to_weigh():
    x, time, event = cohort(n=50)
    assert fit_weights(x[:, :0], time, event, penalty=0.1, nonnegative=np.zeros(0, dtype=bool)).shape == (0,)


def test_large_scores_do_not_overflow():
    x, time, event = cohort(n=300)
    found = fit_weights(x * 300, time, event, penalty=0.0, nonnegative=np.zeros(3, dtype=bool))
    np.testing.assert_allclose(
        found * 300, fit_weights(x, time, event, penalty=0.0, nonnegative=np.zeros(3, dtype=bool)), atol=1e-3
    )


def test_hazards_are_the_inverse_of_incidences():
    rng = np.random.default_rng(0)
    hazards = np.cumsum(rng.exponential(0.1, size=(20, 2, 5)), axis=2)
    np.testing.assert_allclose(cumulative_hazards(cumulative_incidence(hazards)), hazards, rtol=1e-9)
    certain = cumulative_hazards(np.ones((1, 1, 3)))
    assert np.isfinite(certain).all()


def test_scores_of_proportional_hazards_are_the_log_hazard_ratios():
    rng = np.random.default_rng(1)
    log_ratios = rng.normal(size=500)
    hazards = np.exp(log_ratios)[:, None, None] * np.array([0.01, 0.03, 0.2])
    times = np.array([100.0, 200.0, 300.0])
    scale = HazardScale(times).fit(cumulative_incidence(hazards))
    expected = (log_ratios - log_ratios.mean()) / log_ratios.std()
    np.testing.assert_allclose(scale.transform(cumulative_incidence(hazards))[:, 0], expected, rtol=1e-9)


def test_risks_of_zero_and_risks_that_are_all_the_same_have_finite_scores():
    incidence = np.array([[[0.0, 0.0]], [[0.1, 0.4]], [[0.2, 0.3]]])
    found = HazardScale(np.array([1.0, 2.0])).fit(incidence).transform(incidence)
    assert np.isfinite(found).all()
    assert found.argmin() == 0
    flat = np.full((4, 2, 2), 0.1)
    assert (HazardScale(np.array([1.0, 2.0])).fit(flat).transform(flat) == 0).all()


@pytest.mark.parametrize("parts", [2, 5])
def test_people_stay_together_and_events_are_spread(parts):
    rng = np.random.default_rng(0)
    people = np.array([f"p{i}" for i in rng.integers(0, 400, 1000)])
    event = rng.choice([0, 1, 2], size=1000, p=[0.9, 0.06, 0.04])
    found = parts_of(people, event, parts=parts, seed=3)
    assert set(found) == set(range(parts))
    assert pd.Series(found).groupby(people).nunique().eq(1).all()
    first = pd.Series(np.where(event > 0, event, 9)).groupby(people).min()
    part = pd.Series(found).groupby(people).first()
    counts = pd.crosstab(first, part)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    np.testing.assert_array_equal(found, parts_of(people, event, parts=parts, seed=3))
    assert (found != parts_of(people, event, parts=parts, seed=4)).any()

"""Discrete time: cut points, intervals, the null model and cumulative incidences."""

import numpy as np
import pytest
from lifelines import AalenJohansenFitter, KaplanMeierFitter

from riskweave.errors import DataError
from riskweave.survival.discrete import cumulative_incidence, cut_points, discretise, null_hazards


def cohort(n: int, seed: int):
    """Two causes and administrative censoring at 1,000 days."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=(2, n)) * 1.2
    target, competitor = rng.exponential(900 * np.exp(effect[0])), rng.exponential(2500 * np.exp(effect[1]))
    time = np.minimum.reduce([target, competitor, rng.uniform(300, 2000, n), np.full(n, 1000.0)]) + 0.5
    return time, np.where(time == target + 0.5, 1, np.where(time == competitor + 0.5, 2, 0))


def test_cuts_hold_equal_events_and_reach_the_end_of_follow_up():
    rng = np.random.default_rng(0)
    time = np.concatenate([rng.uniform(0, 100, 200), np.full(800, 5000.0)])
    event = np.concatenate([np.ones(200, int), np.zeros(800, int)])
    cuts = cut_points(time, event, intervals=10)
    assert cuts[0] == 0
    assert cuts[-1] == 5000
    counts = np.histogram(time[event == 1], bins=cuts)[0]
    assert counts.min() >= 19
    assert counts.max() <= 21


def test_ties_merge_intervals_and_no_event_is_refused():
    assert cut_points([5.0, 5, 5, 9], [1, 1, 1, 0], intervals=20).tolist() == [0, 5, 9]
    with pytest.raises(DataError, match="none of the 3 training rows"):
        cut_points([1.0, 2, 3], [0, 0, 0], intervals=5)


def test_intervals_by_hand():
    cuts = np.array([0.0, 10.0, 20.0, 40.0])
    #        event in (0,10]  at 10  competing  early  late   at end  beyond
    time = np.array([4.0, 10.0, 26.0, 14.0, 16.0, 40.0, 45.0])
    event = np.array([1, 1, 2, 0, 0, 0, 1])
    index, observed = discretise(time, event, cuts=cuts, causes=2)
    assert index[:, 0].tolist() == [0, 0, 1, 0, 1, 2, 2]
    assert observed[:, 0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert index[:, 1].tolist() == [-1, 0, 2, 0, 1, 2, 2]
    assert observed[:, 1].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_incidence_of_one_cause_by_hand():
    hazards = np.array([[[0.1, 0.5]]])
    found = cumulative_incidence(hazards, cuts=np.array([0.0, 10, 30]), times=np.array([0, 5, 10, 20, 30, 50]))
    survival = [1, 0.9**0.5, 0.9, 0.9 * 0.5**0.5, 0.45, 0.9 * 0.5**2]
    np.testing.assert_allclose(1 - found[0, 0], survival, rtol=1e-12)


def test_incidences_of_causes_against_numerical_integration():
    rng = np.random.default_rng(2)
    hazards = rng.uniform(0, 0.4, size=(3, 2, 4))
    hazards[0, :, 1] = 0.0  # nothing happens in this interval
    cuts = np.array([0.0, 30, 100, 150, 400])
    times = np.array([0.0, 17, 30, 99, 260, 400])
    found = cumulative_incidence(hazards, cuts=cuts, times=times)
    fine = np.linspace(0, 400, 400_001)
    middle = (fine[1:] + fine[:-1]) / 2
    rates = (-np.log1p(-hazards) / np.diff(cuts))[:, :, np.searchsorted(cuts[1:], middle)]
    survival = np.exp(-np.cumsum(rates.sum(axis=1), axis=1) * 0.001 + rates.sum(axis=1) * 0.0005)
    expected = np.cumsum(rates * survival[:, None] * 0.001, axis=2)
    np.testing.assert_allclose(found[:, :, 1:], expected[:, :, np.searchsorted(fine, times[1:]) - 1], atol=1e-6)
    assert (found[:, :, 0] == 0).all()


def test_null_model_is_close_to_kaplan_meier_and_aalen_johansen():
    time, event = cohort(3000, 5)
    cuts = cut_points(time, event, intervals=30)
    index, observed = discretise(time, event, cuts=cuts, causes=2)
    hazards = null_hazards(index, observed, intervals=len(cuts) - 1)
    times = np.array([100.0, 365, 700, 950])
    found = cumulative_incidence(hazards[None], cuts=cuts, times=times)[0]
    for cause in (1, 2):
        fitter = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=cause)
        expected = [float(fitter.cumulative_density_.loc[:t].iloc[-1, 0]) for t in times]
        np.testing.assert_allclose(found[cause - 1], expected, atol=0.006)
    survival = KaplanMeierFitter().fit(time, event > 0).predict(times).to_numpy()
    np.testing.assert_allclose(1 - found.sum(axis=0), survival, atol=0.006)

"""Curves of the cohort report: against lifelines, against the evaluation's kernel, and what they give away."""

import numpy as np
import pytest
from lifelines import AalenJohansenFitter, KaplanMeierFitter

from riskweave.evaluation.censoring import aalen_johansen
from riskweave.report.curves import FREE, cumulative_incidence, draw_curves, follow_up, safe_times, survival


@pytest.fixture
def data():
    """Distinct times, two causes, censoring: 400 people."""
    rng = np.random.default_rng(3)
    time = rng.permutation(np.arange(1, 401)).astype(float)
    return time, rng.choice([0, 1, 2], size=400, p=[0.5, 0.3, 0.2])


TIMES = np.array([0.0, 10, 77.5, 200, 350])


def test_event_free_is_lifelines_kaplan_meier(data):
    time, kind = data
    found = survival(time=time, kind=kind, causes=[1, 2], times=TIMES)
    fitted = KaplanMeierFitter().fit(time, kind > 0)
    assert found[:, 0] == pytest.approx(fitted.survival_function_at_times(TIMES).to_numpy())
    bounds = fitted.confidence_interval_.reindex(np.union1d(fitted.confidence_interval_.index, TIMES)).ffill()
    assert found[1:, 1:] == pytest.approx(bounds.loc[TIMES[1:]].to_numpy(), rel=1e-6)


def test_incidence_and_its_bounds_are_lifelines_aalen_johansen(data):
    time, kind = data
    found = cumulative_incidence(time=time, kind=kind, cause=1, causes=[1, 2], times=TIMES)
    fitted = AalenJohansenFitter().fit(time, kind, event_of_interest=1)
    expected = fitted.cumulative_density_.iloc[:, 0]
    bounds = fitted.confidence_interval_
    for row, day in zip(found[1:], TIMES[1:], strict=True):
        last = expected.index[expected.index <= day][-1]
        assert row[0] == pytest.approx(expected[last])
        assert row[1:] == pytest.approx(bounds.loc[last].to_numpy(), rel=2e-3)


def test_incidence_with_ties_is_that_of_the_evaluation():
    rng = np.random.default_rng(5)
    time, kind = rng.integers(1, 20, size=300).astype(float), rng.integers(0, 4, size=300)
    at = np.array([1.0, 5, 19])
    for cause in (1, 2, 3):
        found = cumulative_incidence(time=time, kind=kind, cause=cause, causes=[1, 2, 3], times=at)
        event = np.where(kind == 0, 0, np.where(kind == cause, 1, 2))
        assert found[:, 0] == pytest.approx(aalen_johansen(time=time, event=event, at=at))


def test_median_follow_up_is_lifelines_reverse_kaplan_meier(data):
    time, kind = data
    found = follow_up(time=time, event=kind, horizon=365.25, threshold=10)
    assert found.median == KaplanMeierFitter().fit(time, kind == 0).median_survival_time_
    assert found.person_years == pytest.approx(np.minimum(time, 365.25).sum() / 365.25)
    assert (found.low, found.high, found.share) == (*np.quantile(time, [0.05, 0.95]), 0.05)
    assert follow_up(time=time[:100], event=kind[:100], horizon=400, threshold=10).share == 0.25


def test_follow_up_by_hand():
    """Events at 1 and 2, censorings at 3 and 4: of the two left at 3 one is censored, so the median is 3."""
    found = follow_up(time=np.array([1.0, 2, 3, 4]), event=np.array([1, 1, 0, 0]), horizon=10, threshold=1)
    assert (found.lower, found.median, found.upper) == (3, 3, 4)
    nobody = follow_up(time=np.array([1.0, 2]), event=np.array([1, 1]), horizon=10, threshold=1)
    assert nobody.median == np.inf


@pytest.mark.parametrize("seed", range(8))
def test_between_shown_times_nobody_or_at_least_the_threshold_leaves(seed):
    rng = np.random.default_rng(seed)
    n, horizon = int(rng.integers(60, 3000)), 1826.0
    time = np.minimum(np.ceil(rng.exponential(rng.choice([500, 3000, 9000]), size=n)), horizon)
    kind = np.where(time >= horizon, FREE, rng.choice([0, 1, 2], size=n, p=[0.3, 0.5, 0.2]))
    for cause in (0, 1, 2):  # what the report leaves out before it draws
        if (kind == cause).sum() < 10:
            kind[kind == cause] = FREE
    curves = draw_curves(time=time, kind=kind, causes=[1, 2], horizon=horizon, threshold=10, at_risk_shown=True)
    edges = np.concatenate([[-1], curves.times[1:], [np.inf]])
    for cause in (0, 1, 2):
        counts = np.histogram(time[kind == cause], bins=edges + 1e-9)[0]
        assert not any(0 < count < 10 for count in counts)
    assert curves.at_risk.min() >= 10
    # what a reader computes from the heights at the shown times is no count below the threshold either
    differences = -np.diff(curves.at_risk)
    assert not any(0 < count < 10 for count in differences)


def test_numbers_at_risk_and_censoring_are_left_out_on_demand(data):
    time, kind = data
    curves = draw_curves(time=time, kind=kind, causes=[1], horizon=400, threshold=10, at_risk_shown=False)
    assert curves.at_risk is None
    assert curves.observed is None
    assert list(curves.incidence) == [1]
    assert curves.incidence[1][:, 0] == pytest.approx(1 - curves.event_free[:, 0], abs=2e-4)


def test_times_reach_the_horizon_where_people_are_followed_to_it():
    times = safe_times([np.repeat(np.arange(1.0, 1001, 10), 3)], total=1000, horizon=1500, threshold=10)
    assert times[-1] == 1500
    assert len(times) > 20
    assert safe_times([np.array([5.0, 6, 7])], total=12, horizon=100, threshold=10).tolist() == [0]

"""Time-dependent AUC against scikit-survival, a plain double loop, and the truth without censoring."""

import numpy as np
import pytest
from survival_samples import cox_risks, simulate, stratos

from riskweave.evaluation.auc import area_under_curve, time_dependent_auc
from riskweave.evaluation.censoring import sort_outcomes, uncensored_probability
from riskweave.evaluation.kernel import still_uncensored
from riskweave.evaluation.metrics import risk_ranks


def plain_auc(time, event, risk, horizon):
    """Pair by pair."""
    before = dict(zip(time, uncensored_probability(time=time, event=event, at=time), strict=True))
    at_horizon = uncensored_probability(time=time, event=event, at=[horizon])[0]
    concordant = pairs = 0.0
    for i in np.flatnonzero((event == 1) & (time <= horizon)):
        for j in range(len(time)):
            free = time[j] > horizon or (time[j] == horizon and event[j] == 0)
            if not free and (event[j] < 2 or time[j] > horizon):
                continue
            weight = 1 / (before[time[i]] * (at_horizon if free else before[time[j]]))
            pairs += weight
            concordant += weight * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return concordant / pairs


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize(("days", "levels"), [(None, None), (6, 2)])
def test_area_equals_pair_by_pair(competing, days, levels):
    time, event, risk = simulate(11, 150, competing=competing, days=days, levels=levels)
    horizons = np.quantile(time, [0.3, 0.7], method="lower")
    ours = time_dependent_auc(time=time, event=event, risk=np.column_stack([risk, risk]), horizons=horizons)
    expected = [plain_auc(time, event, risk, horizon) for horizon in horizons]
    assert ours == pytest.approx(expected, abs=1e-12)


def test_area_equals_scikit_survival_without_ties():
    sksurv = pytest.importorskip("sksurv.metrics", reason="the extra `forest` is not installed")
    util = pytest.importorskip("sksurv.util", reason="the extra `forest` is not installed")
    time, event, risk = simulate(12, 600, levels=4)
    horizons = np.array([0.2, 0.5, 1.0, 1.5])
    truth = util.Surv.from_arrays(event == 1, time)
    ours = time_dependent_auc(time=time, event=event, risk=np.repeat(risk[:, None], 4, axis=1), horizons=horizons)
    assert ours == pytest.approx(sksurv.cumulative_dynamic_auc(truth, truth, risk, horizons)[0], abs=1e-12)


@pytest.mark.parametrize("competing", [False, True])
def test_constant_risk_is_exactly_chance_and_permuted_risk_is_near_it(competing):
    time, event, risk = simulate(13, 4000, competing=competing, days=30)
    values = {"time": time, "event": event, "horizons": [10.0, 25.0]}
    assert time_dependent_auc(**values, risk=np.full((4000, 2), 0.2)).tolist() == [0.5, 0.5]
    shuffled = np.random.default_rng(14).permutation(risk)
    assert time_dependent_auc(**values, risk=np.column_stack([shuffled, shuffled])) == pytest.approx(0.5, abs=0.03)
    forward = time_dependent_auc(**values, risk=np.column_stack([risk, risk]))
    assert time_dependent_auc(**values, risk=-np.column_stack([risk, risk])) == pytest.approx(1 - forward, abs=1e-12)


def test_censoring_does_not_move_the_area():
    rng = np.random.default_rng(15)
    risk = rng.normal(size=40_000)
    target, competing = rng.exponential(np.exp(-risk)), rng.exponential(2.0, 40_000)
    whole, cause = np.minimum(target, competing), np.where(target < competing, 1, 2)
    limit = rng.exponential(1.5, 40_000)
    seen = {"time": np.minimum(whole, limit), "event": np.where(whole < limit, cause, 0)}
    values = {"risk": risk[:, None], "horizons": [1.0]}
    truth = time_dependent_auc(time=whole, event=cause, **values)
    assert time_dependent_auc(**seen, **values) == pytest.approx(truth, abs=0.006)


def test_weights_and_resamples_equal_repeated_subjects():
    time, event, risk = simulate(16, 120, competing=True, days=8, levels=3)
    rng = np.random.default_rng(17)
    rows = np.stack([np.bincount(rng.integers(0, 120, 120), minlength=120) for _ in range(5)])
    outcomes = sort_outcomes(time, event)
    ordered = np.ascontiguousarray(rows[:, outcomes.order])
    uncensored = still_uncensored(outcomes.kind, outcomes.starts, ordered)
    rank = risk_ranks(risk)[outcomes.order]
    left, before = outcomes.left_by([5.0])[0], outcomes.before([5.0])[0]
    together = area_under_curve(rank, outcomes.kind, left, ordered, uncensored, before)
    for row, found in zip(rows, together, strict=True):
        drawn = np.repeat(np.arange(120), row)
        repeated = {"time": time[drawn], "event": event[drawn], "risk": risk[drawn, None], "horizons": [5.0]}
        single = time_dependent_auc(time=time, event=event, risk=risk[:, None], horizons=[5.0], weights=row)
        assert found == pytest.approx(time_dependent_auc(**repeated)[0], abs=1e-12)
        assert found == pytest.approx(single[0], abs=1e-15)


def test_stratos_rotterdam_to_gbsg():
    # McLernon et al., Ann Intern Med 2023;176:105, figure of its tutorial to more digits
    values, validation, cox = stratos()
    risk = cox_risks(cox, validation, [4.99])
    area = time_dependent_auc(**values, risk=risk, horizons=[4.99])[0]
    assert area == pytest.approx(0.677426, abs=1e-4)


def test_without_cases_or_controls_there_is_no_area():
    time, event = np.array([1.0, 2, 3]), np.array([1, 1, 1])
    found = time_dependent_auc(time=time, event=event, risk=np.ones((3, 2)), horizons=[0.5, 3.0])
    assert np.isnan(found).all()
    with pytest.raises(ValueError, match="risks"):
        time_dependent_auc(time=time, event=event, risk=np.ones(3), horizons=[1.0])

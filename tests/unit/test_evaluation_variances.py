"""Influence functions against derivatives, double loops, published formulas, and the truth of simulations."""

import numpy as np
import pytest
from survival_samples import simulate

from riskweave.evaluation import metrics
from riskweave.evaluation.bootstrap import resamples
from riskweave.evaluation.censoring import aalen_johansen, uncensored_probability
from riskweave.evaluation.variances import (
    accuracy_influence,
    brier_influence,
    concordance_influence,
    incidence_influence,
    normal_interval,
    observed_expected_influence,
    standard_error,
)


def plain_pairs(time, event, risk, horizon):
    """(n, n) weights of the comparable pairs, row the case, and their concordance: 1, 1/2 or 0."""
    n = len(time)
    g = uncensored_probability(time=time, event=event, at=time)
    pairs, concordant = np.zeros((2, n, n))
    for i in np.flatnonzero((event == 1) & (time <= (np.inf if horizon is None else horizon))):
        for j in range(n):
            later = time[j] > time[i] or (time[j] == time[i] and event[j] != 1)
            never = event[j] == 2 and time[j] < time[i]
            if later or never:
                pairs[i, j] = 1 if horizon is None else 1 / (g[i] * (g[j] if never else g[i]))
                concordant[i, j] = (np.sign(risk[i] - risk[j]) + 1) / 2
    return pairs, concordant


def plain_log_g(time, event):
    """(n, n): how the logarithm of G just before the time of row i changes with the weight of subject k."""
    n = len(time)
    change = np.zeros((n, n))
    for s in np.unique(time[event == 0]):
        at_risk = (time > s) | ((time == s) & (event == 0))
        leaving = (time == s) & (event == 0)
        if at_risk.sum() > leaving.sum():
            moved = (leaving - leaving.sum() / at_risk.sum() * at_risk) / (at_risk.sum() - leaving.sum())
            change[time > s] -= moved
    return change


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize(("days", "levels"), [(None, None), (6, 2)])
@pytest.mark.parametrize("horizon", [None, 0.5])
def test_concordance_influence_equals_the_double_loop(competing, days, levels, horizon):
    time, event, risk = simulate(1, 120, competing=competing, days=days, levels=levels)
    horizon = horizon and float(np.quantile(time, horizon))
    pairs, concordant = plain_pairs(time, event, risk, horizon)
    estimate = (pairs * concordant).sum() / pairs.sum()
    beyond = pairs * (concordant - estimate)
    expected = beyond.sum(axis=0) + beyond.sum(axis=1)
    if horizon is not None:
        log_g = plain_log_g(time, event)
        # the other factor of 1/G is just before the case's time, or before an earlier competing event
        never = (event == 2)[None, :] & (time[None, :] < time[:, None])
        expected -= (2 * beyond * ~never + beyond * never).sum(axis=1) @ log_g
        expected -= (beyond * never).sum(axis=0) @ log_g
    found, influence = concordance_influence(time=time, event=event, risk=risk, horizon=horizon)
    assert found == pytest.approx(estimate, abs=1e-12)
    assert influence == pytest.approx(expected / pairs.sum(), abs=1e-12)
    assert influence.sum() == pytest.approx(0, abs=1e-12)


def derivative(function, weights):
    """Change of an estimate with each subject's weight: central differences of whole multiplicities, a million each."""
    many, step, changes = 10**6, 1000, []
    for k in range(len(weights)):
        more, fewer = weights * many, weights * many
        more[k] += step
        fewer[k] -= step
        changes.append((function(more) - function(fewer)) / (2 * step) * many)
    return np.array(changes)


@pytest.mark.parametrize("competing", [False, True])
def test_influences_are_derivatives_of_the_metrics_by_the_weights(competing):
    time, event, risk = simulate(2, 40, competing=competing, days=6, levels=2)
    weights = np.bincount(np.random.default_rng(3).integers(0, 40, 40), minlength=40) + 1
    times = np.array([2.0, 3.0, 5.0])
    risks = 1 / (1 + np.exp(-risk[:, None] - times / 8))
    seen, curve = {"time": time, "event": event}, {"risk": risks, "times": times}
    last = {"risk": risks[:, 1], "horizon": 3}
    cases = [
        (concordance_influence, metrics.harrell_c, {"risk": risk}),
        (concordance_influence, metrics.uno_c, last),
        (brier_influence, metrics.brier_score, curve),
        (accuracy_influence, metrics.index_of_prediction_accuracy, curve),
        (observed_expected_influence, metrics.observed_expected_ratio, last),
        (incidence_influence, lambda times, **v: aalen_johansen(**v, at=times), {"times": times}),
    ]
    for analytic, metric, values in cases:
        estimate, influence = analytic(**seen, **values, weights=weights)
        assert estimate == pytest.approx(metric(**seen, **values, weights=weights), abs=1e-12)
        numeric = derivative(lambda w, m=metric, v=values: m(**seen, **v, weights=w), weights)
        assert influence == pytest.approx(numeric, abs=1e-9)
        assert weights @ influence == pytest.approx(0, abs=1e-12)


def test_without_ties_the_incidence_has_greenwoods_variance():
    time, event, _ = simulate(4, 300)
    _, influence = incidence_influence(time=time, event=event, times=[0.6])
    order = np.argsort(time)
    had, at_risk = (event[order] == 1) & (time[order] <= 0.6), np.arange(300, 0, -1)
    free = np.prod(1 - had / at_risk)
    greenwood = free**2 * np.sum(had / (at_risk * (at_risk - had)))
    assert (influence**2).sum() == pytest.approx(greenwood, rel=1e-9)


def test_error_of_a_mean_and_of_people_with_several_subjects():
    values = np.array([1.0, 2, 4, 9])
    influence = (values - values.mean()) / 4
    assert standard_error(influence) == pytest.approx(values.std(ddof=1) / 2)
    twice = np.repeat(influence, 2) / 2
    assert standard_error(twice, np.repeat(np.arange(4), 2)) == pytest.approx(values.std(ddof=1) / 2)
    weights = np.array([2, 1, 0, 1])
    drawn = np.repeat(values, weights)
    influence = (values - drawn.mean()) / 4
    expected = drawn.std(ddof=1) / 2
    assert standard_error(influence, weights=weights) == pytest.approx(expected)
    doubled = standard_error(np.repeat(influence, 2) / 2, np.repeat(np.arange(4), 2), np.repeat(weights, 2))
    assert doubled == pytest.approx(expected)
    assert np.isnan(standard_error(np.zeros(1)))


def test_errors_equal_those_of_the_bootstrap_for_people_and_for_differences():
    time, event, risk = simulate(5, 400, competing=True, days=30)
    people = np.repeat(np.arange(200), 2)
    other = risk + np.random.default_rng(6).normal(size=400)
    seen = {"time": time, "event": event}
    drawn = {"c": [], "difference": []}
    for row in np.concatenate(list(resamples(people=people, count=600, seed=7))):
        both = [metrics.uno_c(**seen, risk=r, horizon=20, weights=row) for r in (risk, other)]
        drawn["c"].append(both[0])
        drawn["difference"].append(both[0] - both[1])
    influences = [concordance_influence(**seen, risk=r, horizon=20)[1] for r in (risk, other)]
    assert standard_error(influences[0], people) == pytest.approx(np.std(drawn["c"]), rel=0.1)
    difference = standard_error(influences[0] - influences[1], people)
    assert difference == pytest.approx(np.std(drawn["difference"]), rel=0.1)


def test_harrell_error_is_near_that_of_another_library_with_its_own_method():
    # R's `concordance` (as in the survival package) has an infinitesimal jackknife of Harrell's concordance too.
    rust = pytest.importorskip("survival", reason="the PyPI package survival is not installed")
    time, event, risk = simulate(8, 500)
    _, influence = concordance_influence(time=time, event=event, risk=risk)
    peer = rust.concordance(rust.Surv(time, event), scores=risk)
    assert (influence**2).sum() == pytest.approx(np.ravel(peer.var)[0], rel=1e-6)


def test_no_pair_no_influence():
    estimate, influence = concordance_influence(time=np.ones(3), event=np.ones(3, int), risk=np.arange(3.0))
    assert np.isnan(estimate)
    assert np.isnan(influence).all()


def test_analytic_intervals_cover_the_truth():
    # 500 samples of 200 with half of the subjects censored; the truth is that of 400,000 uncensored ones.
    rng = np.random.default_rng(9)

    def sample(n, *, censored=True):
        risk, noise = rng.normal(size=(2, n))
        latent, end = rng.exponential(np.exp(-risk)), rng.exponential(1.5, n) if censored else np.full(n, np.inf)
        values = {"time": np.minimum(latent, end), "event": (latent <= end).astype(int)}
        return values, risk, risk + 0.7 * noise

    def incidence(score):
        return 1 - np.exp(-np.exp(score)[:, None])

    whole, risk, other = sample(400_000, censored=False)
    truth = [metrics.uno_c(**whole, risk=r, horizon=1.0) for r in (risk, other)]
    briers = [metrics.brier_score(**whole, risk=incidence(r), times=[1.0])[0] for r in (risk, other)]
    targets = np.array([truth[0], truth[0] - truth[1], briers[0], briers[0] - briers[1]])
    covered = np.zeros(4)
    for _ in range(500):
        seen, risk, other = sample(200)
        c, moved = zip(*(concordance_influence(**seen, risk=r, horizon=1.0) for r in (risk, other)), strict=True)
        brier, shifted = zip(
            *(brier_influence(**seen, risk=incidence(r), times=np.array([1.0])) for r in (risk, other)), strict=True
        )
        estimate = np.array([c[0], c[0] - c[1], brier[0][0], brier[0][0] - brier[1][0]])
        influence = np.column_stack([moved[0], moved[0] - moved[1], shifted[0], shifted[0] - shifted[1]])
        lower, upper = normal_interval(estimate, standard_error(influence), 0.95)
        covered += (lower <= targets) & (targets <= upper)
    assert ((covered >= 465) & (covered <= 485)).all(), covered / 500

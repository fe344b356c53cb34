"""Intervals and p-values from resamples: against SciPy, closed forms, by hand, and against the truth of simulations."""

import numpy as np
import pytest
from scipy import stats
from survival_samples import simulate

from riskweave.evaluation import kernel, metrics
from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.intervals import (
    acceleration,
    bca_interval,
    bonferroni_intervals,
    bootstrap_p_values,
    holm,
    jackknife_influence,
    leave_out,
    simultaneous_intervals,
)
from riskweave.evaluation.resampled import in_threads, weight_rows
from riskweave.evaluation.variances import concordance_influence, normal_interval, standard_error


def test_bca_equals_scipy_on_the_same_resamples():
    sample = np.random.default_rng(1).exponential(size=25)
    peer = stats.bootstrap((sample,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(2))
    rows = np.concatenate(list(leave_out(people=np.arange(25), groups=99, seed=0)))
    jackknife = (rows @ sample) / rows.sum(axis=1)
    speed = acceleration(jackknife_influence(jackknife))
    assert speed == pytest.approx(acceleration((sample - sample.mean()) / 25), rel=1e-12)
    found = bca_interval(peer.bootstrap_distribution, sample.mean(), speed, 0.95)
    assert np.array(found) == pytest.approx(np.array(peer.confidence_interval), abs=1e-9)


def test_acceleration_by_hand_and_over_people():
    # cubes 8 - 1 - 1 = 6, squares 4 + 1 + 1 = 6: 6 / (6 * 6 ** 1.5)
    assert acceleration(np.array([2.0, -1, -1])) == pytest.approx(6**-1.5, abs=1e-12)
    assert acceleration(np.array([1.0, 1, -1, 0, -1]), np.array([0, 0, 1, 1, 2])) == pytest.approx(6**-1.5, abs=1e-12)
    assert acceleration(np.zeros((3, 2))).tolist() == [0, 0]


def test_without_bias_and_acceleration_it_is_the_percentile_interval():
    values = np.concatenate([np.arange(1.0, 501), -np.arange(1.0, 501)])[:, None] * [1, 2]
    plain = np.array(percentile_interval(values, 0.9))
    assert np.array(bca_interval(values, np.zeros(2), np.zeros(2), 0.9)) == pytest.approx(plain, abs=1e-9)
    # upward acceleration moves both ends up, as does a low estimate among its resamples
    assert (np.array(bca_interval(values, np.zeros(2), np.full(2, 0.1), 0.9)) > plain).all()
    assert (np.array(bca_interval(values, np.full(2, 50.0), np.zeros(2), 0.9)) > plain).all()


def test_where_bca_has_nothing_to_say():
    values = np.arange(40.0)[:, None] * [1, 1, 1, 0]
    values[:5, 2] = np.nan
    lower, upper = bca_interval(values, np.array([20, 99, 20, 0.0]), np.zeros(4), 0.9)
    assert np.isfinite([lower[0], upper[0]]).all()
    assert np.isnan(lower[1]), "all resamples on one side of the estimate"
    assert np.isnan(lower[2]), "too many resamples without a value"
    assert (lower[3], upper[3]) == (0, 0)


def test_people_are_left_out_whole_and_once():
    people = np.array([0, 1, 1, 2, 3, 3, 3, 4])
    rows = np.concatenate(list(leave_out(people=people, groups=50, seed=1, batch=2)))
    assert rows.shape == (5, 8)
    assert sorted((1 - rows).sum(axis=1)) == [1, 1, 1, 2, 3]
    grouped = np.concatenate(list(leave_out(people=np.arange(103), groups=10, seed=1)))
    assert sorted((1 - grouped).sum(axis=1)) == [10] * 7 + [11] * 3
    assert ((1 - grouped).sum(axis=0) == 1).all()


def test_influence_function_and_jackknife_give_one_acceleration():
    time, event, risk = simulate(3, 150)
    _, influence = concordance_influence(time=time, event=event, risk=risk)
    rows = np.concatenate(list(leave_out(people=np.arange(150), groups=150, seed=0)))
    values = np.array([metrics.harrell_c(time=time, event=event, risk=risk, weights=row) for row in rows])
    assert np.corrcoef(jackknife_influence(values)[np.argsort(rows.argmin(axis=1))], influence)[0, 1] > 0.999
    assert acceleration(jackknife_influence(values)) == pytest.approx(acceleration(influence), abs=3e-3)


def test_p_values_by_hand_and_in_step_with_the_interval():
    values = np.column_stack([np.arange(1.0, 100), np.arange(-1.0, 98), np.zeros(99), np.full(99, np.nan)])
    found = bootstrap_p_values(values)
    assert found[:3].tolist() == [2 / 100, 2 * 3 / 100, 1], "none, two (-1 and 0), and all on the far side"
    assert np.isnan(found[3])
    drawn = np.random.default_rng(4).normal(0.2, 0.1, 999)
    p = bootstrap_p_values(drawn)
    assert percentile_interval(drawn, 1 - p - 0.004)[0] > 0 > percentile_interval(drawn, 1 - p + 0.004)[0]


def test_holm_by_hand():
    found = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert found[[0, 1, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert np.isnan(found[2])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]


def test_max_t_has_the_quantile_of_the_largest_of_independent_and_of_equal_deviations():
    drawn = np.random.default_rng(5).normal(size=(100_000, 6))
    drawn[:, 5] = drawn[:, 4]
    estimate = np.array([0.0, 0.0, 3.0, 0.0, 0.0, 0.0])
    lower, upper, p = simultaneous_intervals(drawn + estimate, estimate, 0.95)
    # of five independent standard normal deviations, the copy of the last counting nothing
    expected = stats.norm.ppf((1 + 0.95 ** (1 / 5)) / 2)
    assert (upper - lower) / 2 == pytest.approx(np.full(6, expected), rel=0.015)
    assert p[2] == pytest.approx(1 - (1 - 2 * stats.norm.sf(3)) ** 5, rel=0.1)
    narrower = np.ptp(simultaneous_intervals(drawn[:, 4:], np.zeros(2), 0.95)[:2], axis=0) / 2
    assert narrower == pytest.approx([1.96, 1.96], rel=0.015)
    wide = np.array(bonferroni_intervals(drawn, 0.95))
    assert (wide[1] > np.quantile(drawn, 0.995, axis=0)).all()


def test_differences_without_values_or_movement_are_no_part_of_the_family():
    drawn = np.random.default_rng(6).normal(size=(1000, 3)) * [1, 0, 1]
    drawn[:100, 2] = np.nan
    lower, upper, p = simultaneous_intervals(drawn, np.zeros(3), 0.9)
    assert upper[0] == pytest.approx(1.645, rel=0.1)
    assert (lower[1], upper[1], p[1]) == (0, 0, 1)
    assert np.isnan([lower[2], upper[2], p[2]]).all()
    assert np.isnan(bonferroni_intervals(np.zeros((50, 20)), 0.95)[0]).all(), "50 resamples have no 0.125 % quantile"


def concordances(time, event, risks, weights, threads=1):
    """(resamples, experiments) Harrell's concordance."""
    outcomes = sort_outcomes(time, event)
    ranks = [metrics.risk_ranks(risk)[outcomes.order] for risk in risks]
    limits = np.array([len(time)])

    def draw(rows):
        uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)
        found = [kernel.concordance(r, outcomes.kind, outcomes.starts, rows, uncensored, limits) for r in ranks]
        return np.stack([values[:, 0] for values in found], axis=1)

    return in_threads(draw, weight_rows(weights, outcomes), threads)


def test_threads_do_not_change_a_digit():
    time, event, risk = simulate(7, 300, competing=True, days=9, levels=3)
    weights = next(resamples(people=np.arange(300), count=21, seed=1))
    one = concordances(time, event, [risk, -risk], weights)
    assert np.array_equal(one, concordances(time, event, [risk, -risk], weights, threads=4))
    assert one[3, 0] == metrics.harrell_c(time=time, event=event, risk=risk, weights=weights[3])


def test_intervals_cover_the_truth():
    # 500 samples of 120 people; benchmarks/coverage.py takes more: a concordance, and a
    # paired difference of two. The truth is that of 200,000 people.
    rng = np.random.default_rng(8)

    def sample(n):
        signal, noise = rng.normal(size=(2, n))
        return rng.exponential(np.exp(-signal)), np.ones(n, int), [signal, signal + 0.8 * noise]

    time, event, risks = sample(200_000)
    truth = [metrics.harrell_c(time=time, event=event, risk=risk) for risk in risks]
    truth = np.array([truth[0], truth[0] - truth[1]])
    covered = np.zeros((3, 2))
    for seed in range(500):
        time, event, risks = sample(120)
        weights = next(resamples(people=np.arange(120), count=200, seed=seed, batch=200))
        drawn = concordances(time, event, risks, weights)
        (c, moved), (other, other_moved) = (concordance_influence(time=time, event=event, risk=r) for r in risks)
        drawn[:, 1] = drawn[:, 0] - drawn[:, 1]
        estimate, influence = np.array([c, c - other]), np.column_stack([moved, moved - other_moved])
        intervals = [
            percentile_interval(drawn, 0.95),
            bca_interval(drawn, estimate, acceleration(influence), 0.95),
            normal_interval(estimate, standard_error(influence), 0.95),
        ]
        covered += [(lower <= truth) & (truth <= upper) for lower, upper in intervals]
    covered /= 500
    assert ((covered >= 0.93) & (covered <= 0.97)).all(), covered


def test_simultaneous_intervals_cover_all_differences_together():
    # five experiments of equal worth against a reference, 150 samples; benchmarks/coverage.py takes more
    rng, covered, found = np.random.default_rng(9), np.zeros(2), 0
    for seed in range(150):
        signal = rng.normal(size=100)
        time, event = rng.exponential(np.exp(-signal)), np.ones(100, int)
        risks = signal + rng.normal(size=(6, 100))
        weights = next(resamples(people=np.arange(100), count=200, seed=seed, batch=200))
        drawn = concordances(time, event, risks, weights)
        whole = concordances(time, event, risks, None)[0]
        differences, estimate = drawn[:, 1:] - drawn[:, :1], whole[1:] - whole[0]
        lower, upper, p = simultaneous_intervals(differences, estimate, 0.95)
        covered += np.all((lower <= 0) & (upper >= 0)), (holm(bootstrap_p_values(differences)) > 0.05).all()
        found += p.min() <= 0.05
    assert (covered / 150 >= 0.9).all(), covered / 150
    assert found / 150 <= 0.1

"""D- and A-calibration against plain loops and the distribution that their statistics must have."""

from itertools import pairwise

import numpy as np
import pytest
from survival_samples import simulate

from riskweave.evaluation.distribution_calibration import a_calibration, d_calibration

TIMES = np.linspace(0.1, 3, 30)


def sample(rng, n, *, competing=False, slope=1.0):
    """Outcomes of constant hazards, and the incidences of a model that exaggerates the linear predictor by `slope`."""
    linear = rng.normal(size=n)
    latent = np.stack([rng.exponential(np.exp(-linear)), rng.exponential(2.0, n), rng.exponential(2.0, n)])
    latent = latent if competing else latent[:2]
    time, first = latent.min(axis=0), latent.argmin(axis=0)
    event = np.select([first == 0, first == 1], [1, 0], 2)
    rates = np.stack([np.exp(slope * linear), np.full(n, 0.5)])[: 1 + competing]
    total = rates.sum(axis=0)
    incidence = (rates / total)[:, :, None] * (1 - np.exp(-np.outer(total, TIMES)))[None]
    return {"time": time, "event": event, "incidence": incidence, "times": TIMES}


def plain_counts(values, survival, bins):
    counts = np.zeros(bins)
    for i, s in enumerate(survival):
        if values["event"][i] > 0 and values["time"][i] <= TIMES[-1]:
            counts[min(int((1 - s) * bins), bins - 1)] += 1
            continue
        for b in range(bins):
            overlap = max(0.0, (b + 1) / bins - max(b / bins, 1 - s))
            counts[b] += overlap / s
    return counts


@pytest.mark.parametrize("competing", [False, True])
def test_counts_equal_plain_loops(competing):
    values = sample(np.random.default_rng(41), 250, competing=competing, slope=1.4)
    seen = np.minimum(values["time"], TIMES[-1])
    # constant hazards: the curves between grid times are known
    first = values["incidence"][:, :, 0].sum(axis=0)
    total = -np.log(1 - first) / TIMES[0]
    target = total * values["incidence"][0, :, 0] / first
    found = d_calibration(**values, bins=8)
    assert found.observed == pytest.approx(plain_counts(values, np.exp(-total * seen), 8), abs=1e-9)
    assert found.observed.sum() == pytest.approx(250)
    assert found.statistic == pytest.approx(((found.observed - 250 / 8) ** 2 / (250 / 8)).sum())
    assert found.degrees == 7
    found = a_calibration(**values, bins=4)
    spent, cuts = target * seen, [0, *-np.log(1 - np.arange(1, 4) / 4), np.inf]
    happened = (values["event"] == 1) & (values["time"] <= TIMES[-1])
    observed = [sum((spent > low) & (spent <= high) & happened) for low, high in pairwise(cuts)]
    expected = [sum(min(h, high) - min(h, low) for h in spent) for low, high in pairwise(cuts)]
    assert found.observed.tolist() == observed
    assert found.expected == pytest.approx(expected, abs=1e-8)
    assert found.degrees == 4


@pytest.mark.parametrize("competing", [False, True])
def test_statistics_have_their_distribution_under_true_curves(competing):
    rng = np.random.default_rng(42)
    runs = [sample(rng, 400, competing=competing) for _ in range(200)]
    found = [a_calibration(**values) for values in runs]
    ratio = np.array([result.statistic / result.degrees for result in found])
    assert ratio.mean() == pytest.approx(1, abs=0.12)
    assert 0.01 <= np.mean([result.p_value < 0.05 for result in found]) <= 0.1
    # censored subjects filled in by the model: conservative
    conservative = [d_calibration(**values).statistic / 9 for values in runs]
    assert np.mean(conservative) < 0.9


def test_distorted_curves_are_found_and_more_so_by_a():
    values = sample(np.random.default_rng(43), 3000, slope=1.6)
    a, d = a_calibration(**values), d_calibration(**values)
    assert a.p_value < 1e-4
    assert a.statistic / a.degrees > d.statistic / d.degrees


def test_everybody_the_same_curve_passes_both_though_it_tells_nobody_apart():
    rng = np.random.default_rng(44)
    target, limit = rng.exponential(1.0, 2000), rng.exponential(2.0, 2000)
    incidence = np.broadcast_to(1 - np.exp(-TIMES), (2000, len(TIMES)))
    values = {"time": np.minimum(target, limit), "event": (target <= limit).astype(int)}
    for function in (a_calibration, d_calibration):
        assert function(**values, incidence=incidence, times=TIMES).p_value > 0.01


@pytest.mark.parametrize("function", [a_calibration, d_calibration])
def test_weights_equal_repeated_subjects(function):
    time, event, risk = simulate(45, 200, days=4)
    times = np.arange(1.0, 9.0)
    incidence = 1 - np.exp(-np.outer(np.exp(risk) / 4, times))
    weights = np.bincount(np.random.default_rng(46).integers(0, 200, 200), minlength=200)
    drawn = np.repeat(np.arange(200), weights)
    found = function(time=time, event=event, incidence=incidence, times=times, weights=weights)
    repeated = function(time=time[drawn], event=event[drawn], incidence=incidence[drawn], times=times)
    assert found.statistic == pytest.approx(repeated.statistic, abs=1e-9)


def test_few_events_join_cells():
    found = a_calibration(time=np.full(60, 1.0), event=np.zeros(60, int), incidence=np.full((60, 1), 0.15), times=[1.0])
    assert found.degrees == 1
    assert found.edges.tolist() == [0.0, 1.0]
    assert found.expected == pytest.approx([60 * -np.log(0.85)])

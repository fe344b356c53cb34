"""Log-likelihood against closed forms, a plain loop and lifelines."""

import numpy as np
import pytest
from survival_samples import simulate

from riskweave.evaluation.likelihood import log_likelihood, mean_log_likelihood, null_log_likelihood


def exponential_incidences(rates, times):
    """Incidences (causes, n, times) of constant cause-specific hazards (causes, n)."""
    total = rates.sum(axis=0)
    return (rates / total)[:, :, None] * (1 - np.exp(-total[:, None] * times))[None]


@pytest.mark.parametrize("competing", [False, True])
def test_constant_hazards_give_the_exponential_likelihood_exactly(competing):
    time, event, risk = simulate(31, 300, competing=competing, days=12)
    times = np.array([2.0, 3.0, 7.0, 11.0, 15.0])
    rates = np.stack([np.exp(risk) / 12, np.full(300, 1 / 36)])[: 1 + competing]
    found = log_likelihood(time=time, event=event, incidence=exponential_incidences(rates, times), times=times)
    seen, known = np.minimum(time, 15), np.where(time > 15, 0, event)
    chosen = rates[np.maximum(known, 1) - 1, np.arange(300)]
    assert found == pytest.approx(np.where(known > 0, np.log(chosen), 0) - rates.sum(axis=0) * seen, abs=1e-10)


def test_of_a_fitted_piecewise_exponential_model_equals_lifelines():
    lifelines = pytest.importorskip("lifelines")
    time, event, _ = simulate(32, 400)
    fitter = lifelines.PiecewiseExponentialFitter([0.3, 0.8]).fit(time, event)
    times = np.array([0.3, 0.8, time.max()])
    curve = 1 - fitter.survival_function_at_times(times).to_numpy()
    incidence = np.broadcast_to(curve, (400, 3))
    ours = mean_log_likelihood(time=time, event=event, incidence=incidence, times=times)
    assert ours == pytest.approx(fitter.log_likelihood_ / 400, abs=1e-9)


def test_plain_loop_of_arbitrary_curves_with_two_causes():
    time, event, _ = simulate(33, 200, competing=True, days=10)
    rng, times = np.random.default_rng(34), np.array([1.0, 4.0, 9.0])
    incidence = rng.dirichlet(np.ones(7), 200)[:, :6].reshape(200, 2, 3).cumsum(axis=2).transpose(1, 0, 2)
    expected = []
    for i in range(200):
        free, value, start = 1.0, 0.0, 0.0
        for k, day in enumerate(times):
            gains = incidence[:, i, k] - (incidence[:, i, k - 1] if k else 0)
            hazards = -np.log(1 - gains.sum() / free) * gains / gains.sum() / (day - start)
            value -= hazards.sum() * (min(time[i], day) - start)
            if time[i] <= day:
                value += np.log(hazards[event[i] - 1]) if event[i] else 0
                break
            free, start = free - gains.sum(), day
        expected.append(value)
    found = log_likelihood(time=time, event=event, incidence=incidence, times=times)
    assert found == pytest.approx(np.array(expected), abs=1e-11)
    weights = np.bincount(rng.integers(0, 200, 200), minlength=200)
    ours = mean_log_likelihood(time=time, event=event, incidence=incidence, times=times, weights=weights)
    assert ours == pytest.approx(np.average(expected, weights=weights), abs=1e-12)


def test_truth_beats_distortions_and_the_null():
    rng, times = np.random.default_rng(35), np.linspace(0.1, 2, 20)
    linear = rng.normal(size=5000)
    target, limit = rng.exponential(np.exp(-linear)), rng.exponential(2.0, 5000)
    values = {"time": np.minimum(target, limit), "event": (target <= limit).astype(int), "times": times}

    def mean(slope, shift):
        incidence = 1 - np.exp(-np.exp(slope * linear + shift)[:, None] * times)
        return mean_log_likelihood(**values, incidence=incidence)

    others = [mean(0.7, 0), mean(1.3, 0), mean(1, 0.3), mean(1, -0.3), null_log_likelihood(**values)]
    assert mean(1, 0) > max(others)
    assert mean(0, 0) < null_log_likelihood(**values)


def test_impossible_events_cost_much_but_not_everything():
    found = log_likelihood(time=[1.0, 1.0], event=[1, 0], incidence=np.array([[0.0], [1.0]]), times=[2.0])
    assert found == pytest.approx([np.log(1e-7 / 2), np.log(1e-7) / 2])


@pytest.mark.parametrize(
    ("event", "incidence", "fault"),
    [
        ([1, 2], [[0.1, 0.2], [0.1, 0.3]], "cause 2"),
        ([1, 0], [[0.3, 0.2], [0.1, 0.3]], "do not fall"),
        ([1, 2], [[[0.1, 0.6], [0.1, 0.3]], [[0.1, 0.6], [0.1, 0.3]]], "at most 1"),
        ([1, 0], [[0.1], [0.2]], "shape"),
    ],
)
def test_curves_that_make_no_sense_are_refused(event, incidence, fault):
    with pytest.raises(ValueError, match=fault):
        log_likelihood(time=np.array([1.0, 2.0]), event=np.array(event), incidence=incidence, times=[1.0, 2.0])

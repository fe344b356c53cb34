"""Recalibration: planted distortions are undone on other subjects, curves stay incidences."""

import numpy as np
import pytest

from riskweave.evaluation.calibration_curves import weak_calibration
from riskweave.evaluation.cloglog import cloglog
from riskweave.evaluation.metrics import integrated_brier_score
from riskweave.evaluation.recalibration import (
    Recalibration,
    apply_recalibration,
    apply_recalibrations,
    learn_recalibration,
)

TIMES = np.linspace(0.1, 2, 20)


def sample(seed, n, *, spread=1.0, factor=1.0):
    """Outcomes of two constant hazards, and incidences of a model that has spread and level of the target's wrong."""
    rng = np.random.default_rng(seed)
    linear = rng.normal(size=n) * 0.8
    latent = np.stack([rng.exponential(np.exp(1 - linear)), rng.exponential(5.0, n), rng.exponential(3.0, n)])
    time, first = latent.min(axis=0), latent.argmin(axis=0)
    rates = np.stack([factor * np.exp(spread * linear - 1), np.full(n, 0.2)])
    total = rates.sum(axis=0)
    curves = (rates / total)[:, :, None] * (1 - np.exp(-np.outer(total, TIMES)))[None]
    return {"time": time, "event": np.array([1, 2, 0])[first]}, curves


@pytest.mark.parametrize("kind", ["intercept", "slope"])
def test_a_good_model_stays_as_it_is(kind):
    outcomes, curves = sample(71, 8000)
    found = learn_recalibration(**outcomes, incidence=curves[0], times=TIMES, kind=kind)
    assert found.intercept == pytest.approx(0, abs=0.08)
    assert found.slope == pytest.approx(1, abs=0.08 if kind == "slope" else 0)
    nothing = Recalibration(found.reference, 0.0, 1.0)
    assert apply_recalibration(nothing, curves[0]) == pytest.approx(curves[0], abs=1e-9)


def test_slope_and_level_are_learnt_and_repair_other_subjects():
    learnt_on, curves = sample(72, 6000, spread=1.8, factor=1.5)
    tested_on, others = sample(73, 6000, spread=1.8, factor=1.5)
    found = learn_recalibration(**learnt_on, incidence=curves[0], times=TIMES)
    # hazards have a slope of 1 / 1.8; incidences with a competing event one nearer to 1
    truth = cloglog(sample(72, 6000)[1][0, :, -1])
    assert found.slope == pytest.approx(np.polyfit(cloglog(curves[0, :, -1]), truth, 1)[0], abs=0.05)
    repaired = apply_recalibration(found, others[0])
    values = tested_on | {"times": TIMES}
    before = integrated_brier_score(**values, risk=others[0])
    truth = integrated_brier_score(**values, risk=sample(73, 6000)[1][0])
    after = integrated_brier_score(**values, risk=repaired)
    assert after == pytest.approx(truth, abs=0.002)
    assert after < before - 0.005
    for column in (4, 9, 19):
        at = {"horizon": TIMES[column]}
        weak = weak_calibration(**tested_on, risk=repaired[:, column], **at)
        assert weak.slope.value == pytest.approx(1, abs=0.15)
        # incidences next to a competing event are wrong by another factor at each time: repaired on average
        wrong = weak_calibration(**tested_on, risk=others[0][:, column], **at).intercept.value
        assert abs(weak.intercept.value) < 0.25 * abs(wrong)
    # the order of the subjects is that of the model, at each time
    assert np.array_equal(np.argsort(repaired[:, 9], kind="stable"), np.argsort(others[0][:, 9], kind="stable"))


def test_proportional_hazards_are_repaired_at_all_times():
    rng = np.random.default_rng(79)
    linear = rng.normal(size=12_000) * 0.8
    target, limit = rng.exponential(np.exp(1 - linear)), rng.exponential(3.0, 12_000)
    time, event = np.minimum(target, limit), (target <= limit).astype(int)
    curves = 1 - np.exp(-np.outer(1.5 * np.exp(1.8 * linear - 1), TIMES))
    half, rest = slice(0, 6000), slice(6000, None)
    found = learn_recalibration(time=time[half], event=event[half], incidence=curves[half], times=TIMES)
    assert found.slope == pytest.approx(1 / 1.8, abs=0.04)
    repaired = apply_recalibration(found, curves[rest])
    truth = 1 - np.exp(-np.outer(np.exp(linear[rest] - 1), TIMES))
    # of a predicted incidence of 1 nobody can tell how far beyond it was
    assert np.quantile(np.abs(repaired - truth), 0.99) < 0.05
    assert np.quantile(np.abs(curves[rest] - truth), 0.99) > 0.3


def test_intercept_multiplies_the_cumulative_hazard():
    outcomes, curves = sample(74, 6000, factor=2.0)
    found = learn_recalibration(**outcomes, incidence=curves[0], times=TIMES, kind="intercept")
    assert found.slope == 1.0
    moved = cloglog(apply_recalibration(found, curves[0])) - cloglog(curves[0])
    assert moved == pytest.approx(found.intercept, abs=1e-6)
    assert found.intercept == pytest.approx(-np.log(2), abs=0.1)


@pytest.mark.parametrize(("intercept", "slope"), [(-1.0, 0.4), (0.5, 1.0), (1.5, 2.5)])
def test_curves_never_fall_and_stay_probabilities(intercept, slope):
    rng = np.random.default_rng(75)
    curves = np.sort(rng.random((300, 12)) ** 4, axis=1)
    curves[:5] = 0.0
    curves[5:10, 6:] = 1.0
    mean = cloglog(curves.mean(axis=0))
    found = apply_recalibration(Recalibration(mean, intercept, slope), curves)
    assert np.diff(found, axis=1).min() >= 0
    assert 0 <= found.min() <= found.max() <= 1


def test_causes_together_sum_to_at_most_one():
    curves = np.random.default_rng(76).dirichlet(np.ones(9), 200)[:, :8].reshape(200, 2, 4).cumsum(axis=2)
    curves = curves.transpose(1, 0, 2)
    learnt = [Recalibration(cloglog(part.mean(axis=0)), 1.0, 1.0) for part in curves]
    found = apply_recalibrations(learnt, curves)
    assert found.sum(axis=0).max() <= 1 + 1e-12
    assert np.diff(found, axis=2).min() >= -1e-12


def test_a_reversed_model_is_not_turned_round():
    outcomes, curves = sample(77, 3000)
    order = np.argsort(curves[0][:, -1])
    swapped = np.empty_like(curves[0])
    swapped[order] = curves[0][order[::-1]]
    assert learn_recalibration(**outcomes, incidence=swapped, times=TIMES).slope == 1.0


def test_wrong_arrays_and_samples_without_events_are_refused():
    outcomes, curves = sample(78, 50)
    with pytest.raises(ValueError, match="column per grid time"):
        learn_recalibration(**outcomes, incidence=curves[0][:, :3], times=TIMES)
    with pytest.raises(ValueError, match="needs target events"):
        learn_recalibration(time=outcomes["time"], event=np.zeros(50, int), incidence=curves[0], times=TIMES)
    with pytest.raises(ValueError, match="probabilities"):
        learn_recalibration(**outcomes, incidence=curves[0] + 1, times=TIMES)

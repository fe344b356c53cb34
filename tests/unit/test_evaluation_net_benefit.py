"""Net benefit and numbers needed: published numbers, hand calculations, and one estimate per threshold."""

import numpy as np
import pytest
from survival_samples import cox_risks, stratos

from riskweave.evaluation import metrics
from riskweave.evaluation.censoring import aalen_johansen
from riskweave.evaluation.net_benefit import decision_curve, number_needed


def sample(seed, n, *, competing=True):
    """Whole days, risks of a hundred levels (many at a threshold), half of the subjects censored or lost to death."""
    rng = np.random.default_rng(seed)
    risk = rng.integers(1, 100, n) / 100
    target, other = rng.exponential(8 / risk), rng.exponential(60 if competing else 1e9, n)
    censored = rng.uniform(1, 40, n)
    time = np.ceil(np.minimum.reduce([target, other, censored]))
    event = np.select([np.ceil(target) == time, np.ceil(other) == time], [1, 2], 0)
    return {"time": time, "event": event, "risk": risk}


def plain_net_benefit(time, event, risk, horizon, threshold):
    """One threshold, on the rows as they are."""
    above = risk >= threshold
    if not above.any():
        return 0.0
    incidence = aalen_johansen(time=time[above], event=event[above], at=[horizon])[0]
    return above.mean() * (incidence - (1 - incidence) * threshold / (1 - threshold))


def test_net_benefit_of_six_subjects_by_hand():
    # At or above 0.3 are A (event day 2), B (competing day 1), C (censored day 3), D (event day 4), E (free on day 5).
    # Incidence of the five by day 5: after B's death 4 of 5 are free, A adds 1/5, 3/5 are left; C leaves with two at
    # risk; D adds 3/5 * 1/2. Together 1/2. The sixth is below.
    values = {
        "time": np.array([2.0, 1, 3, 4, 5, 5]),
        "event": np.array([1, 2, 0, 1, 0, 0]),
        "risk": np.array([0.9, 0.8, 0.6, 0.5, 0.3, 0.1]),
    }
    curve = decision_curve(**values, horizon=5, thresholds=np.array([0.3, 0.95]))
    assert curve.treated.tolist() == [5 / 6, 0]
    assert curve.incidence_treated[0] == pytest.approx(0.5, abs=1e-12)
    assert curve.model[0] == pytest.approx(5 / 6 * (0.5 - 0.5 * 3 / 7), abs=1e-12)
    assert curve.model[1] == 0, "nobody is treated"
    # everybody: 5/6 free after B, A adds 1/6, 4/6 left; D is one of three at risk: 4/6 * 1/3
    incidence = 1 / 6 + 4 / 18
    assert curve.incidence == pytest.approx(incidence, abs=1e-12)
    assert curve.treat_all[0] == pytest.approx(incidence - (1 - incidence) * 3 / 7, abs=1e-12)
    assert curve.standardised[0] == pytest.approx(curve.model[0] / incidence, abs=1e-12)
    needed = number_needed(**values, horizon=5, threshold=0.3, relative_risk_reduction=0.25)
    assert needed.to_treat == pytest.approx(8, abs=1e-9)
    assert needed.to_screen == pytest.approx(9.6, abs=1e-9)


def test_without_censoring_it_counts_true_and_false_positives():
    values = sample(1, 300)
    values["time"] = np.where(values["event"] == 0, 50.0, values["time"])
    had = (values["event"] == 1) & (values["time"] <= 20)
    positive = values["risk"] >= 0.4
    curve = decision_curve(**values, horizon=20, thresholds=[0.4])
    expected = (positive & had).mean() - (positive & ~had).mean() * 0.4 / 0.6
    assert curve.model[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("competing", [False, True])
def test_one_sweep_equals_one_estimate_per_threshold_for_every_resample(competing):
    values = sample(2, 200, competing=competing)
    thresholds = np.arange(1, 100) / 100
    weights = np.random.default_rng(3).multinomial(200, np.full(200, 1 / 200), size=4)
    curve = decision_curve(**values, horizon=15, thresholds=thresholds, weights=weights)
    compared = 0
    for b, row in enumerate(weights):
        time, event, risk = (np.repeat(values[key], row) for key in ("time", "event", "risk"))
        found = np.array([plain_net_benefit(time, event, risk, 15, threshold) for threshold in thresholds])
        defined = np.isfinite(curve.model[b])
        compared += defined.sum()
        assert curve.model[b][defined] == pytest.approx(found[defined], abs=1e-12)
        everybody = aalen_johansen(time=time, event=event, at=[15])[0]
        assert curve.incidence[b] == pytest.approx(everybody, abs=1e-12)
        single = decision_curve(**values, horizon=15, thresholds=thresholds, weights=row)
        assert np.array_equal(single.model, curve.model[b], equal_nan=True)
    assert compared > 300


def test_a_group_that_nobody_follows_to_the_horizon_has_no_net_benefit():
    values = {"time": np.array([1.0, 2, 9, 9]), "event": np.array([1, 0, 0, 0]), "risk": np.array([0.9, 0.9, 0.2, 0.2])}
    curve = decision_curve(**values, horizon=5, thresholds=[0.1, 0.5])
    assert np.isfinite(curve.model[0])
    assert np.isnan(curve.model[1]), "of the two above, one had the event and one was lost: the rest is not known"
    values["event"] = np.array([1, 1, 0, 0])
    assert decision_curve(**values, horizon=5, thresholds=[0.5]).model[0] == 0.5, "both had it: all is known"
    late = decision_curve(**values, horizon=10, thresholds=[0.1])
    assert np.isnan(late.treat_all[0])
    assert np.isnan(late.model[0])


def test_stratos_net_benefit():
    # McLernon et al., Ann Intern Med 2023;176:105; its tutorial prints 0.36 at 23 %, here to more digits.
    values, design, cox = stratos()
    values["risk"] = cox_risks(cox, design, [5.0])[:, 0]
    curve = decision_curve(**values, horizon=5, thresholds=[0.23, 0.40])
    assert curve.model == pytest.approx([0.361500, 0.188578], abs=1e-4)
    assert curve.treat_all[1] == pytest.approx(0.180592, abs=1e-4)


def test_number_needed_by_resample_and_without_events():
    values = sample(4, 150)
    weights = np.random.default_rng(5).multinomial(150, np.full(150, 1 / 150), size=3)
    settings = {"horizon": 10, "threshold": 0.5, "relative_risk_reduction": 0.3}
    needed = number_needed(**values, **settings, weights=weights)
    for b, row in enumerate(weights):
        time, event, risk = (np.repeat(values[key], row) for key in ("time", "event", "risk"))
        above = risk >= 0.5
        incidence = aalen_johansen(time=time[above], event=event[above], at=[10])[0]
        assert needed.to_treat[b] == pytest.approx(1 / (0.3 * incidence), rel=1e-12)
        assert needed.to_screen[b] == pytest.approx(1 / (0.3 * incidence * above.mean()), rel=1e-12)
    nobody = number_needed(**(values | {"event": np.zeros(150, int)}), **settings)
    assert nobody.to_treat == np.inf
    with pytest.raises(ValueError, match="relative risk reduction"):
        number_needed(**values, horizon=10, threshold=0.5, relative_risk_reduction=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": [0.5, 0.5]},
        {"thresholds": [0.0]},
        {"thresholds": []},
        {"risk": np.full(3, 0.1)},
        {"weights": np.full((2, 3), 1)},
        {"weights": np.full((2, 50), 0.5)},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    values = sample(6, 50) | {"horizon": 10, "thresholds": [0.2]}
    with pytest.raises(ValueError, match=r"thresholds|risks|weights"):
        decision_curve(**(values | wrong))


def test_a_calibrated_model_beats_treating_all_and_none_and_noise_does_not():
    values = sample(7, 4000)
    noise = values | {"risk": np.random.default_rng(8).permutation(values["risk"])}
    thresholds = np.array([0.3, 0.5])
    assert metrics.harrell_c(**values) > 0.6
    good, bad = (decision_curve(**v, horizon=8, thresholds=thresholds) for v in (values, noise))
    assert (good.model > np.maximum(good.treat_all, 0)).all()
    assert (bad.model < np.maximum(bad.treat_all, 0)).all()

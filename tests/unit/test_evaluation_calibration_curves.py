"""Calibration against lifelines, plain leave-one-out loops, published figures, and distortions that were planted."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares
from survival_samples import cox_risks, simulate, stratos

from riskweave.evaluation.calibration_curves import (
    calibration_curve,
    observed_expected,
    spline_basis,
    weak_calibration,
)
from riskweave.evaluation.censoring import aalen_johansen, sort_outcomes, uncensored_probability
from riskweave.evaluation.cloglog import cloglog, fit_hazards, fit_pseudo_observations, inverse_cloglog
from riskweave.evaluation.pseudo_observations import pseudo_observations

METHODS = ["hazards", "pseudo"]


def hazards_fit(time, event, z, horizon):
    outcomes = sort_outcomes(time, event)
    return fit_hazards(outcomes, z, np.zeros(len(z)), np.ones((1, len(z)), np.int64), horizon)


def planted(seed, n, *, competing, distort):
    """Outcomes whose incidence by time 1 follows log(-log(1 - F)) = -0.5 + x, and the risk of a distorted predictor.

    With competing events the direct simulation of Fine and Gray (JASA 1999;94:496): a finite total incidence
    1 - (1 - p)^exp(x) with p = 0.6.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 0.8
    if competing:
        relative, u = np.exp(x), rng.random(n)
        has_target = u < 1 - 0.4**relative
        inner = (1 - (1 - np.where(has_target, u, 0)) ** (1 / relative)) / 0.6
        whole = np.where(has_target, -np.log1p(-np.minimum(inner, 1 - 1e-12)), rng.exponential(1.0, n))
        cause, level = np.where(has_target, 1, 2), cloglog(0.6 * (1 - np.exp(-1)))
    else:
        whole, cause, level = rng.exponential(np.exp(0.5 - x)), np.ones(n, int), -0.5
    limit = rng.exponential(2.5, n)
    values = {"time": np.minimum(whole, limit), "event": np.where(whole <= limit, cause, 0), "horizon": 1.0}
    truth = level + x
    return values | {"risk": inverse_cloglog(distort(truth))}, inverse_cloglog(truth)


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize("days", [None, 6])
def test_pseudo_observations_equal_leaving_each_subject_out(competing, days):
    time, event, _ = simulate(51, 120, competing=competing, days=days)
    for horizon in (*np.quantile(time, [0.05, 0.4, 0.8], method="lower"), time.max()):
        whole = aalen_johansen(time=time, event=event, at=[horizon])[0]
        others = [np.arange(120) != i for i in range(120)]
        without = np.array([aalen_johansen(time=time[o], event=event[o], at=[horizon])[0] for o in others])
        found = pseudo_observations(time=time, event=event, horizon=horizon)
        assert found == pytest.approx(120 * whole - 119 * without, abs=1e-10)
    weights = np.bincount(np.random.default_rng(52).integers(0, 120, 120), minlength=120)
    drawn = np.repeat(np.arange(120), weights)
    repeated = pseudo_observations(time=time[drawn], event=event[drawn], horizon=horizon)
    weighted = pseudo_observations(time=time, event=event, horizon=horizon, weights=weights)
    assert weighted[drawn] == pytest.approx(repeated, abs=1e-10)
    assert not weighted[weights == 0].any()


def test_pseudo_observations_without_censoring_are_the_outcomes():
    time, event = np.array([1.0, 2, 2, 3, 4]), np.array([1, 2, 1, 1, 2])
    assert pseudo_observations(time=time, event=event, horizon=2) == pytest.approx([1, 0, 1, 0, 0], abs=1e-15)


@pytest.mark.parametrize("days", [None, 8])
def test_hazards_without_competing_events_are_lifelines_cox_model(days):
    from lifelines import CoxPHFitter

    time, event, risk = simulate(53, 400, days=days)
    # no event on the very day of the horizon: lifelines' robust variance depends on its order among the censored
    horizon = float(np.quantile(time, 0.8, method="lower")) + 1e-4
    z = np.column_stack([risk, risk**2])
    table = pd.DataFrame({"a": z[:, 0], "b": z[:, 1], "time": np.minimum(time, horizon)})
    table["event"] = np.where(time > horizon, 0, event)
    options = {"fit_options": {"precision": 1e-12}}
    theirs = CoxPHFitter().fit(table, "time", "event", **options)
    ours = hazards_fit(time, event, z, horizon)
    assert ours.coefficients[1:] == pytest.approx(theirs.params_.to_numpy(), abs=1e-7)
    assert np.linalg.inv(ours.information) == pytest.approx(theirs.variance_matrix_.to_numpy(), abs=1e-8)
    baseline = theirs.predict_cumulative_hazard(pd.DataFrame({"a": [0.0], "b": [0.0]}), times=[horizon])
    assert ours.coefficients[0] == pytest.approx(np.log(baseline.to_numpy()[0, 0]), abs=1e-8)
    if days is None:
        robust = CoxPHFitter().fit(table, "time", "event", robust=True, **options).standard_errors_.to_numpy()
        assert np.sqrt((ours.influence[:, 1:] ** 2).sum(axis=0)) == pytest.approx(robust, abs=1e-7)


@pytest.mark.parametrize("days", [None, 8])
def test_hazards_with_competing_events_are_a_cox_model_of_the_expanded_data(days):
    # Fine and Gray as Geskus has it (Biometrics 2011;67:39): after a competing event a subject stays, day by day, with
    # the weight G(t-)/G(s-)
    from lifelines import CoxTimeVaryingFitter

    time, event, risk = simulate(54, 150, competing=True, days=days)
    horizon = float(np.quantile(time, 0.9, method="lower"))
    days_of_events = np.unique(time[(event == 1) & (time <= horizon)])
    before = uncensored_probability(time=time, event=event, at=np.concatenate([time, days_of_events]))
    own, later = before[:150], before[150:]
    rows = []
    for i in range(150):
        rows.append((i, 0.0, min(time[i], horizon), event[i] == 1 and time[i] <= horizon, 1.0, risk[i]))
        if event[i] == 2:
            start = time[i]
            for day, weight in zip(days_of_events, later, strict=True):
                if day > time[i]:
                    rows.append((i, start, day, False, weight / own[i], risk[i]))
                    start = day
    table = pd.DataFrame(rows, columns=["id", "start", "stop", "event", "weight", "a"])
    columns = {"id_col": "id", "event_col": "event", "start_col": "start", "stop_col": "stop"}
    theirs = CoxTimeVaryingFitter().fit(table, **columns, weights_col="weight", fit_options={"precision": 1e-12})
    ours = hazards_fit(time, event, risk[:, None], horizon)
    assert ours.coefficients[1] == pytest.approx(theirs.params_.iloc[0], abs=1e-6)


@pytest.mark.parametrize("competing", [False, True])
def test_influence_is_what_leaving_a_subject_out_changes(competing):
    time, event, risk = simulate(55, 150, competing=competing)
    z, horizon = risk[:, None], float(np.quantile(time, 0.8))
    whole = hazards_fit(time, event, z, horizon)
    others = [np.arange(150) != i for i in range(150)]
    left_out = np.array([hazards_fit(time[o], event[o], z[o], horizon).coefficients for o in others])
    moved = whole.coefficients - left_out
    for j in range(2):
        assert np.corrcoef(moved[:, j], whole.influence[:, j])[0, 1] > 0.99
        assert np.std(whole.influence[:, j]) == pytest.approx(np.std(moved[:, j]), rel=0.1)


@pytest.mark.parametrize("competing", [False, True])
def test_regression_of_pseudo_observations_is_least_squares(competing):
    time, event, risk = simulate(56, 300, competing=competing, days=9)
    horizon = float(np.quantile(time, 0.6, method="lower"))
    pseudo = pseudo_observations(time=time, event=event, horizon=horizon)
    weights = np.bincount(np.random.default_rng(57).integers(0, 300, 300), minlength=300)
    design = np.column_stack([np.ones(300), risk])

    def residuals(beta):
        return np.sqrt(weights) * (pseudo - inverse_cloglog(design @ beta + 0.1 * risk**2))

    theirs = least_squares(residuals, [-1.0, 0.5], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    ours = fit_pseudo_observations(pseudo, risk[:, None], 0.1 * risk**2, weights)
    assert ours.coefficients == pytest.approx(theirs, abs=1e-6)


def test_stratos_rotterdam_to_gbsg():
    # McLernon et al., Ann Intern Med 2023;176:105, figures of its tutorial to more digits
    values, validation, cox = stratos()
    risk = cox_risks(cox, validation, [5.0])[:, 0]
    found = weak_calibration(**values, risk=risk, horizon=5.0, method="hazards").slope
    assert found.value == pytest.approx(1.0562, abs=1e-4)
    # the tutorial's interval is that of the model, ours is robust
    information = hazards_fit(values["time"], values["event"], cloglog(risk)[:, None], 5.0).information[0, 0]
    half = 1.959964 / np.sqrt(information)
    assert (found.value - half, found.value + half) == pytest.approx((0.81589, 1.29652), abs=1e-4)
    assert (found.lower, found.upper) == pytest.approx((0.81589, 1.29652), abs=0.015)
    curve = calibration_curve(**values, risk=risk, horizon=5.0)
    assert (curve.ici, curve.e50, curve.e90) == pytest.approx((0.030129, 0.026222, 0.074587), abs=1e-5)
    ratio = observed_expected(**values, risk=risk, horizon=5.0)
    assert ratio.value == pytest.approx(1.01756, abs=1e-4)
    # the tutorial's (0.90602, 1.14283) has 1 / events as the variance: too wide at an incidence of one half
    assert 0.90602 < ratio.lower < 1 < ratio.upper < 1.14283


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("competing", [False, True])
def test_planted_distortions_are_found(method, competing):
    values, _ = planted(58, 15_000, competing=competing, distort=lambda c: 1.25 * c + 0.3)
    found = weak_calibration(**values, method=method, confidence=0.999)
    assert found.slope.lower < 1 / 1.25 < found.slope.upper
    assert found.slope.upper - found.slope.lower < 0.2
    assert found.intercept.upper < 0
    values, _ = planted(59, 15_000, competing=competing, distort=lambda c: c - 0.4)
    found = weak_calibration(**values, method=method, confidence=0.999)
    assert found.slope.lower < 1 < found.slope.upper
    assert found.intercept.lower < 0.4 < found.intercept.upper


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("competing", [False, True])
def test_curve_follows_a_planted_shape_and_its_indices_are_those_of_the_shape(method, competing):
    values, truth = planted(61, 15_000, competing=competing, distort=lambda c: c + 0.25 * np.tanh(c + 0.6))
    curve = calibration_curve(**values, method=method)
    expected = np.interp(curve.risk, np.sort(values["risk"]), np.sort(truth))
    assert np.abs(curve.observed - expected).max() < 0.035
    assert np.mean((curve.lower < expected) & (expected < curve.upper)) > 0.6
    distance = np.abs(truth - values["risk"])
    assert curve.ici == pytest.approx(distance.mean(), abs=0.01)
    assert curve.e50 == pytest.approx(np.median(distance), abs=0.015)
    assert curve.e90 == pytest.approx(np.quantile(distance, 0.9), abs=0.015)
    calibrated = calibration_curve(**(values | {"risk": truth}), method=method)
    assert calibrated.ici < 0.01
    assert np.mean((calibrated.lower < calibrated.risk) & (calibrated.risk < calibrated.upper)) > 0.6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("competing", [False, True])
def test_intervals_cover(method, competing):
    hits = []
    for seed in range(120):
        values, truth = planted(1000 + seed, 400, competing=competing, distort=lambda c: c)
        found = weak_calibration(**values, method=method)
        ratio = observed_expected(**values)
        middle = calibration_curve(**values, method=method, at=np.array([np.median(truth)]))
        hits.append(
            [
                found.slope.lower < 1 < found.slope.upper,
                found.intercept.lower < 0 < found.intercept.upper,
                ratio.lower < 1 < ratio.upper,
                middle.lower[0] < np.median(truth) < middle.upper[0],
            ]
        )
    # 120 repeats: three standard errors are six points
    assert np.mean(hits, axis=0) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("method", METHODS)
def test_weights_equal_repeated_subjects(method):
    time, event, risk = simulate(61, 300, competing=True, days=10)
    weights = np.bincount(np.random.default_rng(62).integers(0, 300, 300), minlength=300)
    drawn, risk = np.repeat(np.arange(300), weights), inverse_cloglog(risk - 1)
    values = {"horizon": 6.0, "method": method}
    weighted = weak_calibration(time=time, event=event, risk=risk, weights=weights, **values)
    repeated = weak_calibration(time=time[drawn], event=event[drawn], risk=risk[drawn], **values)
    assert weighted.slope.value == pytest.approx(repeated.slope.value, abs=1e-8)
    assert weighted.intercept.value == pytest.approx(repeated.intercept.value, abs=1e-8)
    assert weighted.slope.upper == pytest.approx(repeated.slope.upper, abs=1e-6)


def test_several_subjects_of_a_person_are_no_new_information():
    values, _ = planted(63, 1500, competing=False, distort=lambda c: c)
    once = weak_calibration(**values).slope
    twice = {name: np.tile(values[name], 2) for name in ("time", "event", "risk")} | {"horizon": 1.0}
    together = weak_calibration(**twice, people=np.tile(np.arange(1500), 2)).slope
    apart = weak_calibration(**twice).slope
    assert together.upper - together.lower == pytest.approx(once.upper - once.lower, rel=0.01)
    assert apart.upper - apart.lower == pytest.approx((once.upper - once.lower) / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_constant_risk_has_no_slope_but_a_level(method):
    time, event, _ = simulate(64, 2000, competing=True)
    values = {"time": time, "event": event, "horizon": 0.5, "risk": np.full(2000, 0.3), "method": method}
    found = weak_calibration(**values)
    assert np.isnan(found.slope.value)
    observed = aalen_johansen(time=time, event=event, at=[0.5])[0]
    assert found.intercept.value == pytest.approx(cloglog(observed) - cloglog(0.3), abs=1e-3)
    assert calibration_curve(**values).ici == pytest.approx(abs(observed - 0.3), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_risk_has_slope_zero(method):
    values, _ = planted(65, 4000, competing=True, distort=lambda c: c)
    values["risk"] = np.random.default_rng(66).permutation(values["risk"])
    found = weak_calibration(**values, method=method)
    assert found.slope.lower < 0 < found.slope.upper


def test_ratio_without_censoring_has_the_binomial_interval():
    event = np.repeat([1, 0], [30, 70])
    found = observed_expected(time=np.where(event == 1, 1.0, 2.0), event=event, risk=np.full(100, 0.2), horizon=1.5)
    assert found.value == pytest.approx(1.5)
    assert found.upper / found.value == pytest.approx(np.exp(1.959964 * np.sqrt(0.7 / 30)), rel=1e-6)
    assert np.isnan(observed_expected(time=[1.0, 2], event=[0, 0], risk=[0.1, 0.2], horizon=1.0).value)


def test_spline_is_straight_outside_its_knots_and_needs_distinct_ones():
    x = np.linspace(-2, 3, 51)
    basis = spline_basis(x, np.array([-1.0, 0.0, 1.5]))
    assert basis.shape == (51, 2)
    second = np.diff(basis[:, 1], 2)
    assert second[x[1:-1] < -1.05] == pytest.approx(0, abs=1e-12)
    assert second[x[1:-1] > 1.55] == pytest.approx(0, abs=1e-12)
    assert spline_basis(x, np.array([0.0, 0.0, 1.0])).shape == (51, 1)
    assert spline_basis(x, np.zeros(3)).shape == (51, 0)


def test_risks_that_make_no_sense_are_refused():
    values = {"time": np.array([1.0, 2.0]), "event": np.array([1, 0]), "horizon": 1.0}
    with pytest.raises(ValueError, match="risks"):
        weak_calibration(**values, risk=np.array([0.2, 1.2]))
    with pytest.raises(ValueError, match="method"):
        weak_calibration(**values, risk=np.array([0.2, 0.2]), method="loess")

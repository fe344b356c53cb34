import logging

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, NelsonAalenFitter
from storing import stored, stored_again

from riskweave.errors import DataError
from riskweave.survival import cox
from riskweave.survival.cox import CauseSpecificCox


def cohort(n=400, columns=4, causes=1, seed=0):
    """Exponential times whose log hazard is linear; later causes have other coefficients."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns)) * np.linspace(1, 3, columns)
    scale = np.array([[0.8, -0.5, 0.2, 0.0], [-0.3, 0.4, 0.0, 0.3]])[:causes, :columns]
    times = rng.exponential(1000 * np.exp(-x[:, : scale.shape[1]] @ scale.T))
    censoring = rng.uniform(200, 3000, n)
    time = np.minimum(times.min(axis=1), censoring)
    event = np.where(times.min(axis=1) <= censoring, times.argmin(axis=1) + 1, 0)
    return x, np.ceil(time), event


def split(x, time, event, n=300):
    return x[:n], time[:n], event[:n], x[n:], time[n:], event[n:]


def test_coefficients_equal_scikit_survivals():
    linear_model = pytest.importorskip("sksurv.linear_model")
    util = pytest.importorskip("sksurv.util")
    x, time, event = cohort()
    penalty = 0.05
    found = CauseSpecificCox(penalties=[penalty], causes=1).fit(*split(x, time, event))
    x, time, event = x[:300], time[:300], event[:300]
    # lifelines penalises coefficients of columns with unit (n - 1) standard deviation, by n * penalty in all;
    # scikit-survival's alpha is not divided by n.
    scale = x.std(axis=0, ddof=1)
    other = linear_model.CoxPHSurvivalAnalysis(alpha=penalty * len(x), ties="efron", tol=1e-12)
    other.fit(x / scale, util.Surv.from_arrays(event == 1, time))
    np.testing.assert_allclose(found.coefficients()["cause_1"], other.coef_ / scale, rtol=1e-4)


def test_one_cause_equals_lifelines_survival_function():
    x, time, event = cohort()
    found = CauseSpecificCox(penalties=[0.1], causes=1).fit(*split(x, time, event))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(t=time, e=event)
    other = CoxPHFitter(penalizer=0.1).fit(frame[:300], "t", "e")
    # lifelines interpolates between event times; at event times it does not.
    times = np.sort(time[:300][event[:300] == 1])[[20, 80]]
    expected = 1 - other.predict_survival_function(frame[300:], times=times).to_numpy().T
    np.testing.assert_allclose(found.predict(x[300:], times)[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found.linear_predictor(x[300:]), other.predict_log_partial_hazard(frame[300:]), rtol=1e-6
    )


def arrays_of(value):
    """Yield the arrays, series and frames that an object holds, at any depth."""
    if isinstance(value, np.ndarray | pd.Series | pd.DataFrame | pd.Index):
        yield value
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from arrays_of(one)
    elif isinstance(value, dict):
        yield from arrays_of(list(value.values()))
    elif hasattr(value, "__dict__"):
        yield from arrays_of(vars(value))


def test_what_is_stored_holds_no_training_row_and_predicts_as_lifelines(tmp_path):
    x, time, event = cohort(causes=2)
    x = x.astype(np.float32)
    found = CauseSpecificCox(penalties=[0.1], causes=2).fit(*split(x, time, event))
    assert b"lifelines" not in stored(found, tmp_path)
    again = stored_again(found, tmp_path)
    lengths = [len(array) for array in arrays_of(again)]
    # Coefficients and means of 4 columns, times and steps of the baseline, for two causes; the empty curves.
    steps = [len(np.unique(time[:300][event[:300] == cause])) for cause in (1, 2)]
    assert sorted(lengths) == sorted([4, 4, 4, 4, steps[0], steps[0], steps[1], steps[1], 0])
    assert max(lengths) < 300
    np.testing.assert_array_equal(again.predict(x[300:], [500]), found.predict(x[300:], [500]))

    frame = pd.DataFrame(x.astype(float), columns=list("abcd"))
    for cause, fitted in enumerate(again._fitted, start=1):
        data = frame.assign(t=time, e=event == cause)
        other = CoxPHFitter(penalizer=0.1).fit(data[:300], "t", "e")
        baseline = other.baseline_cumulative_hazard_.iloc[:, 0]
        days = baseline.index.to_numpy()
        np.testing.assert_array_equal(fitted.hazard.baseline.at(days), baseline)
        np.testing.assert_allclose(
            np.exp(fitted.hazard.log_ratio(x[300:])) * fitted.hazard.baseline.at(days)[:, None],
            other.predict_cumulative_hazard(frame[300:], times=days),
            rtol=1e-12,
        )
    other = CoxPHFitter(penalizer=0.1).fit(frame.assign(t=time, e=event == 1)[:300], "t", "e")
    np.testing.assert_array_equal(again.linear_predictor(x[300:]), other.predict_log_partial_hazard(frame[300:]))


def test_competing_incidences_match_the_planted_hazards():
    x, time, event = cohort(n=6000, causes=2)
    found = CauseSpecificCox(penalties=[0.0001], causes=2).fit(*split(x, time, event, n=5000))
    rates = np.exp(x[5000:] @ np.array([[0.8, -0.5, 0.2, 0.0], [-0.3, 0.4, 0.0, 0.3]]).T) / 1000
    for i, day in enumerate([200, 1000]):
        total = rates.sum(axis=1, keepdims=True)
        expected = rates / total * (1 - np.exp(-total * day))
        difference = found.predict(x[5000:], [200, 1000])[:, :, i] - expected
        assert np.abs(difference).mean() < 0.02


def test_penalty_is_the_one_with_the_best_validation_likelihood():
    x, time, event = cohort(n=150, columns=4)
    noise = np.random.default_rng(9).normal(size=(150, 25))
    parts = split(np.hstack([x, noise]), time, event, n=90)
    penalties = [0.001, 0.1, 30.0]
    found = CauseSpecificCox(penalties=penalties, causes=1).fit(*parts)
    train = pd.DataFrame(parts[0]).add_prefix("c").assign(t=parts[1], e=parts[2])
    validation = pd.DataFrame(parts[3]).add_prefix("c").assign(t=parts[4], e=parts[5])
    scores = [CoxPHFitter(penalizer=p).fit(train, "t", "e").score(validation) for p in penalties]
    assert found.params["penalty_cause_1"] == penalties[int(np.argmax(scores))] == 0.1
    assert found.metrics["validation_log_likelihood_cause_1"] == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize(("penalty", "ratio"), [(0.05, 1.0), (0.05, 0.5), (0.2, 1.0)])
def test_elastic_net_equals_coordinate_descent_zeros_included(penalty, ratio):
    linear_model = pytest.importorskip("sksurv.linear_model")
    util = pytest.importorskip("sksurv.util")
    x, time, event = cohort()
    rng = np.random.default_rng(4)
    x = np.hstack([x, rng.normal(size=(400, 6)), x[:, :1] + rng.normal(size=(400, 1))])
    # Coordinate descent has Breslow's ties: break them.
    time = time + rng.uniform(0, 0.5, 400)
    found = CauseSpecificCox(penalties=[penalty], l1_ratios=[ratio], causes=1).fit(*split(x, time, event))
    scale = x[:300].std(axis=0, ddof=1)
    # Its ridge part is alpha / 2 times the square as well, and it divides the likelihood by n.
    other = linear_model.CoxnetSurvivalAnalysis(alphas=[penalty], l1_ratio=ratio, tol=1e-10, max_iter=10**6)
    other.fit(x[:300] / scale, util.Surv.from_arrays(event[:300] == 1, time[:300]))
    expected = other.coef_[:, 0]
    coefficients = found.coefficients()["cause_1"] * scale
    np.testing.assert_allclose(coefficients, expected, atol=1e-5)
    np.testing.assert_array_equal(coefficients == 0, expected == 0)
    assert 0 < found.params["columns_kept_cause_1"] == (expected != 0).sum() < x.shape[1]
    # lifelines' lasso is smooth: nearly zero, where this is zero.
    direct = CoxPHFitter(penalizer=penalty, l1_ratio=ratio).fit(
        pd.DataFrame(x[:300]).add_prefix("c").assign(t=time[:300], e=event[:300]), "t", "e"
    )
    np.testing.assert_allclose(
        found.linear_predictor(x[300:]),
        direct.predict_log_partial_hazard(pd.DataFrame(x[300:]).add_prefix("c")),
        atol=1e-4,
    )


def test_a_wide_ridge_is_that_of_lifelines_with_ties(monkeypatch):
    x, time, event = cohort()
    wide = np.hstack([x, np.random.default_rng(4).normal(size=(400, 8))])
    parts = split(wide, np.ceil(time / 100), event)
    assert len(np.unique(parts[1])) < 40
    expected = CauseSpecificCox(penalties=[0.01, 0.1], causes=1).fit(*parts)
    monkeypatch.setattr(cox, "WIDE", 11)
    found = CauseSpecificCox(penalties=[0.01, 0.1], causes=1).fit(*parts)
    assert found.params == expected.params
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-6)
    assert not np.array_equal(found.coefficients(), expected.coefficients())
    np.testing.assert_allclose(found.coefficients(), expected.coefficients(), atol=1e-5)
    np.testing.assert_allclose(found.predict(parts[3], [3, 9, 20]), expected.predict(parts[3], [3, 9, 20]), atol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_a_column_that_is_the_same_in_all_training_rows_has_no_coefficient(ratio):
    x, time, event = cohort()
    parts = split(np.insert(x, 1, -0.3, axis=1), time, event)
    found = CauseSpecificCox(penalties=[0.01], l1_ratios=[ratio], causes=1).fit(*parts)
    assert found.coefficients()["cause_1"].iloc[1] == 0
    without = CauseSpecificCox(penalties=[0.01], l1_ratios=[ratio], causes=1).fit(*split(x, time, event))
    other = np.insert(x, 1, 5.0, axis=1)
    np.testing.assert_allclose(found.predict(other, [100]), without.predict(x, [100]), atol=1e-12)
    np.testing.assert_allclose(found.linear_predictor(other), without.linear_predictor(x), atol=1e-12)


def test_without_a_column_that_differs_all_have_the_same_risk():
    x, time, event = cohort()
    found = CauseSpecificCox(penalties=[0.01], causes=1).fit(*split(np.ones((400, 1)), time, event))
    part = split(x, time, event)
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(part[1], part[2]).cumulative_hazard_at_times(100)
    np.testing.assert_allclose(
        found.predict(np.ones((2, 1)), [100])[:, 0, 0], -np.expm1(-float(hazard.iloc[0])), rtol=1e-6
    )


def test_l1_ratio_is_chosen_with_the_penalty():
    x, time, event = cohort(n=160)
    noise = np.random.default_rng(9).normal(size=(160, 20))
    parts = split(np.hstack([x, noise]), time, event, n=100)
    penalties, ratios = [0.01, 0.1, 0.5], [0.0, 1.0]
    found = CauseSpecificCox(penalties=penalties, l1_ratios=ratios, causes=1).fit(*parts)
    train = pd.DataFrame(parts[0]).add_prefix("c").assign(t=parts[1], e=parts[2])
    validation = pd.DataFrame(parts[3]).add_prefix("c").assign(t=parts[4], e=parts[5])
    scores = {
        (p, r): CoxPHFitter(penalizer=p, l1_ratio=r).fit(train, "t", "e").score(validation)
        for p in penalties
        for r in ratios
    }
    best = max(scores, key=scores.get)
    assert (found.params["penalty_cause_1"], found.params["l1_ratio_cause_1"]) == best == (0.1, 1.0)
    assert found.metrics["validation_log_likelihood_cause_1"] == pytest.approx(scores[best], abs=1e-5)


def test_singular_columns_go_to_the_next_larger_penalty(caplog):
    x, time, event = cohort()
    doubled = np.hstack([x, x[:, :1]])
    with caplog.at_level(logging.WARNING):
        found = CauseSpecificCox(penalties=[0.0, 0.01], causes=1).fit(*split(doubled, time, event))
    assert found.params == {"penalty_cause_1": 0.01, "l1_ratio_cause_1": 0.0}
    assert "penalty 0 does not converge" in caplog.text


def test_no_penalty_that_converges_is_an_error():
    x, time, event = cohort()
    with pytest.raises(DataError, match=r"no penalty of \[0.0\] converges on 300 training subjects"):
        CauseSpecificCox(penalties=[0.0], causes=1).fit(*split(np.hstack([x, x]), time, event))


def test_cause_without_training_events_has_no_hazard():
    x, time, event = cohort()
    found = CauseSpecificCox(penalties=[0.1], causes=2).fit(*split(x, time, event))
    risks = found.predict(x[300:], [500, 1000])
    assert (risks[:, 1] == 0).all()
    alone = CauseSpecificCox(penalties=[0.1], causes=1).fit(*split(x, time, event))
    np.testing.assert_allclose(risks[:, :1], alone.predict(x[300:], [500, 1000]), rtol=1e-12)


def test_no_validation_events_keep_the_largest_penalty():
    x, time, event = cohort()
    parts = split(x, time, event)
    found = CauseSpecificCox(penalties=[0.01, 1.0], causes=1).fit(*parts[:5], np.zeros_like(parts[5]))
    assert found.params == {"penalty_cause_1": 1.0, "l1_ratio_cause_1": 0.0}


def test_far_subjects_stay_probabilities_and_change_no_digit_of_others():
    x, time, event = cohort(causes=2)
    found = CauseSpecificCox(penalties=[0.01], causes=2).fit(*split(x, time, event))
    far = np.vstack([x[300:], np.full((1, 4), 1e6), np.full((1, 4), -1e6)])
    whole = found.predict(far, [100, 900])
    np.testing.assert_array_equal(found.predict(x[300:], [100, 900]), whole[:-2])
    assert np.isfinite(whole).all()
    assert (whole.sum(axis=1) <= 1 + 1e-9).all()

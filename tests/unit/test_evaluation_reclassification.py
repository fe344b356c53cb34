"""Reclassification of events and non-events: by hand, without censoring, and through shares of Aalen-Johansen."""

import numpy as np
import pytest

from riskweave.evaluation import reclassification as module
from riskweave.evaluation.censoring import aalen_johansen, uncensored_probability
from riskweave.evaluation.reclassification import reclassification, reclassification_table


def sample(seed, n):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    target, other = rng.exponential(10 * np.exp(-signal)), rng.exponential(40, n)
    time = np.ceil(np.minimum.reduce([target, other, rng.uniform(1, 30, n)]))
    event = np.select([np.ceil(target) == time, np.ceil(other) == time], [1, 2], 0)
    old, new = (np.round(1 / (1 + np.exp(-signal - rng.normal(size=n))), 2) for _ in range(2))
    return {"time": time, "event": event, "old": old, "new": new}


def test_six_subjects_by_hand():
    # Horizon 5. B is censored on day 2: of the four left one event each on days 3 and 4, two are free. G is 4/5 after
    # day 2 (five were at risk), so the later weigh 5/4. Events: A 1, C 5/4, D 5/4, together 7/2; non-events: E, F 5/4
    # each, together 5/2.
    values = {
        "time": np.array([1.0, 2, 3, 4, 5, 6]),
        "event": np.array([1, 0, 1, 1, 0, 0]),
        "old": np.array([0.1, 0.1, 0.3, 0.1, 0.3, 0.1]),
        "new": np.array([0.3, 0.3, 0.1, 0.3, 0.1, 0.1]),
    }
    found = reclassification(**values, horizon=5, thresholds=[0.2])
    assert found.events_up[0] == pytest.approx((1 + 5 / 4) / (7 / 2), abs=1e-12)
    assert found.events_down[0] == pytest.approx((5 / 4) / (7 / 2), abs=1e-12)
    assert (found.non_events_up[0], found.non_events_down[0]) == (0, pytest.approx(0.5, abs=1e-12))
    assert found.events_net[0] == pytest.approx(2 / 7, abs=1e-12)
    assert found.non_events_net[0] == pytest.approx(0.5, abs=1e-12)
    events, non_events = reclassification_table(**values, horizon=5, thresholds=[0.2])
    assert events == pytest.approx(np.array([[0, 9 / 14], [5 / 14, 0]]), abs=1e-12)
    assert non_events == pytest.approx(np.array([[0.5, 0], [0.5, 0]]), abs=1e-12)


def test_resamples_equal_repeated_rows_subject_by_subject():
    values, thresholds = sample(1, 150), np.array([0.2, 0.5, 0.7])
    weights = np.random.default_rng(2).multinomial(150, np.full(150, 1 / 150), size=3)
    found = reclassification(**values, horizon=8, thresholds=thresholds, weights=weights)
    for b, row in enumerate(weights):
        time, event, old, new = (np.repeat(values[key], row) for key in ("time", "event", "old", "new"))
        g = uncensored_probability(time=time, event=event, at=np.minimum(time, 8))
        gone = (time < 8) | ((time == 8) & (event > 0))
        weight = np.where(gone & (event == 0), 0, 1 / g)
        assert weight.sum() == pytest.approx(150)
        case = gone & (event == 1)
        assert weight[case].sum() / 150 == pytest.approx(aalen_johansen(time=time, event=event, at=[8])[0], abs=1e-12)
        for k, threshold in enumerate(thresholds):
            up, down = (old < threshold) & (new >= threshold), (old >= threshold) & (new < threshold)
            for who, members in (("events", case), ("non_events", ~case)):
                total = weight[members].sum()
                assert getattr(found, f"{who}_up")[b, k] == pytest.approx(weight[members & up].sum() / total)
                assert getattr(found, f"{who}_down")[b, k] == pytest.approx(weight[members & down].sum() / total)


def test_net_moves_are_changes_of_sensitivity_and_specificity_and_fit_the_table():
    values, thresholds = sample(3, 400), np.array([0.3, 0.6])
    values["event"] = np.maximum(values["event"], 1)
    found = reclassification(**values, horizon=9, thresholds=thresholds)
    had = (values["event"] == 1) & (values["time"] <= 9)
    for k, threshold in enumerate(thresholds):
        old, new = values["old"] >= threshold, values["new"] >= threshold
        assert found.events_net[k] == pytest.approx(new[had].mean() - old[had].mean(), abs=1e-12)
        assert found.non_events_net[k] == pytest.approx(old[~had].mean() - new[~had].mean(), abs=1e-12)
    events, non_events = reclassification_table(**values, horizon=9, thresholds=thresholds)
    assert events.sum() == pytest.approx(1)
    assert non_events.sum() == pytest.approx(1)
    assert events[0, 1:].sum() == pytest.approx(found.events_up[0])
    assert non_events[2, :2].sum() == pytest.approx(found.non_events_down[1])


def test_nothing_is_said_of_what_is_not_known():
    values = sample(4, 60)
    alone = values | {"event": np.zeros(60, int)}
    assert np.isnan(reclassification(**alone, horizon=5, thresholds=[0.5]).events_up).all()
    early = values | {
        "time": np.minimum(values["time"], 4.0),
        "event": np.where(values["time"] > 3, 0, values["event"]),
    }
    assert np.isnan(reclassification(**early, horizon=20, thresholds=[0.5]).non_events_up).all()
    assert np.isnan(reclassification_table(**early, horizon=20, thresholds=[0.5])[1]).all()


def test_thresholds_have_no_default_and_there_is_no_sum():
    values = sample(5, 40)
    with pytest.raises(TypeError, match="thresholds"):
        reclassification(**values, horizon=5)
    with pytest.raises(ValueError, match="stated thresholds"):
        reclassification(**values, horizon=5, thresholds=[])
    assert not [name for name in dir(module) if "nri" in name.lower() or "free" in name.lower()]

"""The score of the hyper-parameter search: by hand, and proper on planted data."""

import numpy as np
import pytest

from riskweave.errors import DataError
from riskweave.survival.scores import FLOOR, censored_log_likelihood

TIMES = [10, 20]
RISKS = np.array([[[0.2, 0.5], [0.1, 0.2]]])


@pytest.mark.parametrize(
    ("time", "event", "probability"),
    [
        (5, 1, 0.2),  # all of the target's incidence in the first interval
        (10, 1, 0.2),  # an interval holds its end
        (10.5, 1, 0.3),
        (20, 2, 0.1),
        (5, 0, 1 - 0.15),  # half of the interval's incidences
        (10, 0, 0.7),
        (15, 0, 1 - 0.35 - 0.15),
        (20, 0, 0.3),
        (900, 0, 0.3),  # beyond the grid: free of events at its end
        (900, 1, 0.3),
    ],
)
def test_by_hand(time, event, probability):
    score = censored_log_likelihood(RISKS, TIMES, np.array([time]), np.array([event]))
    assert score == pytest.approx([np.log(probability)])


def test_a_cause_without_incidence_is_scored_by_the_floor():
    risks = np.zeros((2, 1, 2))
    score = censored_log_likelihood(risks, TIMES, np.array([3, 3]), np.array([1, 0]))
    assert score == pytest.approx([np.log(FLOOR), 0.0])


def test_risks_that_are_no_numbers_are_counted():
    risks = np.repeat(RISKS, 3, axis=0)
    risks[1, 0, 1] = np.nan
    with pytest.raises(DataError, match="1 of 3 predictions are no finite numbers"):
        censored_log_likelihood(risks, TIMES, np.ones(3), np.zeros(3))


def _incidences(x, *, rates, effect, times):
    """Return the cumulative incidences (n, 2, times) of two exponential causes, the first with a log hazard ratio."""
    hazards = np.stack([rates[0] * np.exp(effect * x), np.full(len(x), rates[1])], axis=1)
    total = hazards.sum(axis=1)
    return (hazards / total[:, None])[:, :, None] * -np.expm1(-total[:, None] * times)[:, None, :]


def test_the_true_incidences_score_best_whatever_the_censoring():
    rng = np.random.default_rng(3)
    n, times = 40_000, np.arange(1, 11) * 100.0
    x = rng.normal(size=n)
    truth = {"rates": (1e-3, 5e-4), "effect": 0.7}
    hazards = np.stack([1e-3 * np.exp(0.7 * x), np.full(n, 5e-4)], axis=1)
    when = rng.exponential(1 / hazards)
    for censored_at in (rng.exponential(2000, n), rng.uniform(0, 700, n)):
        time = np.minimum(when.min(axis=1), censored_at)
        event = np.where(when.min(axis=1) < censored_at, when.argmin(axis=1) + 1, 0)

        def score(time=time, event=event, **changes):
            predicted = _incidences(x, times=times, **(truth | changes))
            return censored_log_likelihood(predicted, times, time, event).mean()

        best = score()
        wrong = [
            {"effect": 0.0},
            {"effect": 0.4},
            {"effect": 1.0},
            {"rates": (1.3e-3, 5e-4)},
            {"rates": (0.75e-3, 5e-4)},
            {"rates": (1e-3, 8e-4)},
            {"rates": (1e-3, 2e-4)},
            {"rates": (5e-4, 1e-3)},
        ]
        assert all(score(**changes) < best - 0.002 for changes in wrong)

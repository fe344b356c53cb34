"""Cumulative incidences of proportional hazards: the compiled walk beside closed forms, lifelines and plain numpy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lifelines import AalenJohansenFitter

from riskweave.survival import kernel
from riskweave.survival.competing import at_times, cumulative_incidence
from riskweave.survival.proportional import Baseline, breslow, proportional_incidence


def baselines_of(rng, causes, steps, size=0.5):
    """Baselines that jump on days of their own, on shared days, and by a lot at the end, as where few are at risk."""
    made = []
    for _ in range(causes):
        days = np.sort(rng.choice(np.arange(1, 3 * steps), steps, replace=False)).astype(float)
        jumps = rng.exponential(size / steps, steps)
        jumps[-3:] = [0.1, 0.5, 2.0]
        made.append(Baseline(days, np.cumsum(jumps)))
    return made


def by_definition(log_ratios, baselines, times):
    """The product-integral with every hazard of every subject at every event time held at once."""
    grid = np.unique(np.concatenate([[0.0], *(one.times for one in baselines if one is not None)]))
    hazards = np.stack([np.zeros(len(grid)) if one is None else one.at(grid) for one in baselines])
    whole = cumulative_incidence(np.exp(log_ratios)[:, :, None] * hazards)
    return at_times(whole, grid=grid, times=np.asarray(times, dtype=float))


@pytest.mark.parametrize(("people", "causes", "steps"), [(1, 2, 3), (300, 2, 400), (129, 3, 50), (40, 2, 20_000)])
def test_the_walk_equals_the_product_integral(people, causes, steps):
    rng = np.random.default_rng(people)
    baselines = baselines_of(rng, causes, steps)
    log_ratios = rng.normal(0, 2, (people, causes))
    times = [2.0 * steps, 0.0, 1.5, 3.0 * steps, 2.0 * steps, 9.0 * steps]
    found = proportional_incidence(log_ratios, baselines, times)
    np.testing.assert_allclose(found, by_definition(log_ratios, baselines, times), rtol=1e-12, atol=1e-13)
    assert (found[:, :, 1] == 0).all()
    assert (found.sum(axis=1) <= 1 + 1e-12).all()


def test_equal_shares_of_one_hazard_have_their_closed_form():
    rng = np.random.default_rng(0)
    baseline = baselines_of(rng, 1, 100)[0]
    log_ratios = rng.normal(size=(50, 2))
    found = proportional_incidence(log_ratios, [baseline, baseline], [40.0, 400.0])
    ratios = np.exp(log_ratios)
    total = ratios.sum(axis=1)[:, None, None]
    expected = ratios[:, :, None] / total * -np.expm1(-total * baseline.at(np.array([40.0, 400.0])))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_cause_that_never_happens_leaves_the_others_as_they_are_alone():
    rng = np.random.default_rng(1)
    baseline = baselines_of(rng, 1, 200)[0]
    log_ratios = rng.normal(size=(30, 2))
    found = proportional_incidence(log_ratios, [baseline, None], [100.0, 300.0])
    alone = proportional_incidence(log_ratios[:, :1], [baseline], [100.0, 300.0])
    np.testing.assert_allclose(found[:, :1], alone, rtol=1e-13)
    assert (found[:, 1] == 0).all()
    assert (proportional_incidence(log_ratios, [None, None], [100.0]) == 0).all()


def test_breslow_hazards_come_near_lifelines_aalen_johansen():
    rng = np.random.default_rng(2)
    time, event = rng.permutation(np.arange(1.0, 2001.0)), rng.integers(0, 3, 2000)
    nobody = np.zeros(2000)
    baselines = [breslow(nobody, time, event == cause) for cause in (1, 2)]
    found = proportional_incidence(np.zeros((1, 2)), baselines, [300.0, 1000.0])
    for cause in (1, 2):
        curve = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=cause)
        expected = curve.cumulative_density_.iloc[:, 0].loc[[300.0, 1000.0]]
        # exp(-A) is not the product of 1 - dA: they differ by about the sum of squared steps
        np.testing.assert_allclose(found[0, cause - 1], expected, rtol=1e-3)


def test_digits_of_a_subject_do_not_depend_on_the_others():
    rng = np.random.default_rng(3)
    baselines = baselines_of(rng, 2, 60)
    log_ratios = np.vstack([rng.normal(0, 2, (200, 2)), [[60.0, -60.0], [-60.0, 60.0], [0.0, 0.0]]])
    found = proportional_incidence(log_ratios, baselines, [100.0])
    for place in (0, 150, 200, 201, 202):
        alone = proportional_incidence(log_ratios[place : place + 1], baselines, [100.0])
        np.testing.assert_array_equal(alone[0], found[place])
    np.testing.assert_array_equal(proportional_incidence(log_ratios[::-1], baselines, [100.0])[::-1], found)
    assert found[200, 0, 0] == pytest.approx(1.0)


def test_undefined_ratios_stay_undefined_and_nobody_is_no_problem():
    baselines = baselines_of(np.random.default_rng(4), 2, 10)
    found = proportional_incidence(np.array([[np.nan, 0.0], [0.0, 0.0]]), baselines, [20.0])
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert proportional_incidence(np.zeros((0, 2)), baselines, [20.0, 30.0]).shape == (0, 2, 2)


def test_the_polynomial_has_all_digits_where_it_is_used():
    hazard = np.geomspace(1e-12, kernel.SMALL, 500)
    found = np.array([kernel._polynomial.py_func(x) for x in hazard])
    np.testing.assert_allclose(found, -np.expm1(-hazard) / hazard, rtol=3e-16)


def test_it_runs_where_no_compiled_code_may_be_kept(tmp_path):
    """Not beside the source and not in the user's folder, as in a read-only installation without a home."""
    locked = tmp_path / "file"
    locked.touch()
    script = (
        "import numpy as np\n"
        "from numba import njit\n"
        "from riskweave.survival import kernel\n"
        "try:\n"
        "    njit(cache=True)(kernel.walk.py_func)\n"
        "    raise SystemExit('a place for the cache was found: this test tests nothing')\n"
        "except RuntimeError:\n"
        "    pass\n"
        "one = kernel.walk(np.ones((1, 1)), np.array([[0.1], [0.2]]), np.array([2]), np.array([0]))\n"
        "assert np.isclose(one[0, 0, 0], -np.expm1(-0.3), rtol=1e-14), one\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    environment |= {"HOME": str(locked), "XDG_CACHE_HOME": str(locked)}
    environment |= {"PYTHONPATH": str(Path(kernel.__file__).parents[2])}
    environment |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator"}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True, cwd=tmp_path)

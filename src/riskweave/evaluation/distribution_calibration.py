"""Calibration of whole predicted distributions: D-calibration and A-calibration.

Both ask whether predicted probabilities at the subjects' own times are spread as they must be if the curves are right.
Neither sees whether single subjects' risks are right: giving everyone the observed incidence passes. With many subjects
the smallest error is significant, with few no error is: no p-value of this module is a gate that a model passes or
fails. Read observed against expected counts, and compare models by the statistic on the same subjects.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from riskweave.evaluation.censoring import row_weights, sort_outcomes
from riskweave.evaluation.curves import Hazards, piecewise_hazards

__all__ = [
    "DistributionCalibration",
    "a_calibration",
    "d_calibration",
    "hazard_a_calibration",
    "hazard_d_calibration",
]

# A cell of the chi-squared statistic holds at least this many expected events: Cochran's usual rule.
FEWEST_EXPECTED = 5.0


@dataclass(frozen=True)
class DistributionCalibration:
    """Observed and expected counts, and what sums them up.

    Attributes
    ----------
    edges : (cells + 1,) float64 array
        Bounds of the cells: predicted probability of an event by the subject's time, 0 to 1.
    observed, expected : (cells,) float64 arrays
        Subjects, or events.
    statistic : float
        Sum of (observed - expected)^2 / expected; 0 is perfect, lower is better.
    degrees : int
        Degrees of freedom.
    p_value : float
        Upper tail of the chi-squared distribution. No pass gate: at large n it is near 0 for any model.
    """

    edges: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    statistic: float
    degrees: int
    p_value: float


def _summary(edges: np.ndarray, observed: np.ndarray, expected: np.ndarray, degrees: int) -> DistributionCalibration:
    statistic = float(((observed - expected) ** 2 / expected).sum()) if degrees > 0 else float("nan")
    return DistributionCalibration(edges, observed, expected, statistic, degrees, float(chi2.sf(statistic, degrees)))


def d_calibration(
    *,
    time: np.ndarray,
    event: np.ndarray,
    incidence: np.ndarray,
    times: np.ndarray,
    bins: int = 10,
    weights: np.ndarray | None = None,
) -> DistributionCalibration:
    """D-calibration: the predicted probability of an event by the time that it came is uniform between 0 and 1.

    A subject with an event is in the bin of 1 - S(T), S being the predicted probability of no event of any cause. Who
    is censored at T, or observed beyond the last grid time, is spread over the later bins as the model says: evenly
    over what is left from 1 - S(T) to 1. Each of the bins expects n / bins. S between grid times: see
    :func:`riskweave.evaluation.curves.piecewise_hazards`.

    Assumes that censoring is independent of the event given the predictors, and curves made without these subjects.
    Censored subjects are filled in by the model itself, which hides its errors: with much censoring, or a grid that
    ends early, the statistic is too small (conservative). :func:`a_calibration` does not have that fault. The p-value
    is no pass gate at large n.

    Parameters
    ----------
    time, event : (n,) arrays
        Days, > 0; 0 censored, 1 target, 2 and up competing.
    incidence : (n, k) or (causes, n, k) array
        Predicted cumulative incidence at each of `times`. Where competing events occur, of all causes in the order of
        their codes: the time to the first event of any cause is examined.
    times : (k,) array
        Days, > 0, increasing.
    bins : int, default 10
    weights : (n,) array of int, optional
        How often each subject counts.

    References
    ----------
    Haider et al., J Mach Learn Res 2020;21(85).
    """
    hazards = piecewise_hazards(time=time, event=event, incidence=incidence, times=times)
    outcomes = sort_outcomes(time, event)
    rows = np.empty(len(outcomes.time))
    rows[outcomes.order] = row_weights(weights, outcomes)[0]
    return hazard_d_calibration(hazards, np.asarray(event), rows, bins)


def hazard_d_calibration(
    hazards: Hazards, event: np.ndarray, rows: np.ndarray, bins: int = 10
) -> DistributionCalibration:
    """D-calibration, as :func:`d_calibration`, from hazards at the subjects' own times and multiplicities."""
    survival = np.exp(-hazards.cumulative.sum(axis=0))
    happened = hazards.within & (event > 0)
    cell = np.minimum(((1 - survival) * bins).astype(int), bins - 1)
    observed = np.bincount(cell[happened], weights=rows[happened], minlength=bins).astype(float)
    # of a censored subject, the rest of its own bin and the whole of each later one, as shares of what is left
    rest, left, own = rows[~happened], survival[~happened], cell[~happened]
    observed += np.bincount(own, weights=rest * ((own + 1) / bins - 1 + left) / left, minlength=bins)
    later = np.bincount(own, weights=rest / (bins * left), minlength=bins)
    observed[1:] += later.cumsum()[:-1]
    return _summary(np.linspace(0, 1, bins + 1), observed, np.full(bins, rows.sum() / bins), bins - 1)


def a_calibration(
    *,
    time: np.ndarray,
    event: np.ndarray,
    incidence: np.ndarray,
    times: np.ndarray,
    bins: int = 10,
    weights: np.ndarray | None = None,
) -> DistributionCalibration:
    """A-calibration: target events observed against expected, by how probable the model thought one by then.

    With H the predicted cumulative hazard of the target, H(T) is a censored unit exponential time where the curves are
    right. It is cut at the H with 1 - exp(-H) = 1/bins, 2/bins, ... (Akritas' test of the transformed times). A cell
    observes the target events that fall in it and expects the hazard that the subjects spent in it under observation:
    nobody is filled in, censored subjects count for as long as they were seen. The differences are orthogonal
    martingales, so the statistic has one degree of freedom per cell, none of them lost to estimation. Cells with fewer
    than 5 expected events join their neighbour below.

    Competing events end the observation of the target's hazard; the incidences of all causes are needed for it.
    Assumes that censoring is independent of the event given the predictors, and curves made without these subjects.
    The p-value is no pass gate at large n.

    Parameters
    ----------
    time, event, incidence, times, bins, weights
        As in :func:`d_calibration`.

    References
    ----------
    Simonsen and Waagepetersen, BMC Med Res Methodol 2025;25:236, who found it at least as powerful as D-calibration
    throughout; the test is that of Akritas, JASA 1988;83:222.
    """
    hazards = piecewise_hazards(time=time, event=event, incidence=incidence, times=times)
    outcomes = sort_outcomes(time, event)
    rows = np.empty(len(outcomes.time))
    rows[outcomes.order] = row_weights(weights, outcomes)[0]
    return hazard_a_calibration(hazards, np.asarray(event), rows, bins)


def hazard_a_calibration(
    hazards: Hazards, event: np.ndarray, rows: np.ndarray, bins: int = 10
) -> DistributionCalibration:
    """A-calibration, as :func:`a_calibration`, from hazards at the subjects' own times and multiplicities."""
    spent = hazards.cumulative[0]
    happened = hazards.within & (event == 1)
    edges = np.linspace(0, 1, bins + 1)
    cuts = np.append(-np.log1p(-edges[:-1]), np.inf)
    cell = np.clip(np.searchsorted(cuts, spent) - 1, 0, bins - 1)
    observed = np.bincount(cell[happened], weights=rows[happened], minlength=bins).astype(float)
    expected = np.diff([(rows * np.minimum(spent, cut)).sum() for cut in cuts])
    kept = [0]
    for b in range(1, bins):
        # a cell starts where the one below has enough, and enough is left above
        if expected[kept[-1] : b].sum() >= FEWEST_EXPECTED and expected[b:].sum() >= FEWEST_EXPECTED:
            kept.append(b)
    joined = [np.add.reduceat(counts, kept) for counts in (observed, expected)]
    return _summary(edges[[*kept, bins]], *joined, len(kept) if joined[1].min() > 0 else 0)

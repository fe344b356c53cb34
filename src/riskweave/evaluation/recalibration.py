"""Recalibration of predicted incidences: learnt on the validation rows of a fold, applied to its test rows.

Never learn it on the rows that are evaluated: it would remove the very error that calibration measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.cloglog import INCIDENCE_FLOOR, cloglog, fit_pseudo_observations, inverse_cloglog
from riskweave.evaluation.pseudo_observations import jackknife

__all__ = ["Recalibration", "apply_recalibration", "apply_recalibrations", "learn_recalibration"]

# Times of the grid that are looked at: neighbours hold nearly the same events.
MOST_TIMES = 10


@dataclass(frozen=True)
class Recalibration:
    """What was learnt.

    Attributes
    ----------
    reference : (k,) float64 array
        Median of log(-log(1 - F)) over the rows it was learnt on, at each grid time; never falls.
    intercept, slope : float
        0 and 1 leave predictions as they are.
    """

    reference: np.ndarray
    intercept: float
    slope: float


def _checked(incidence: np.ndarray, times: int | None = None) -> np.ndarray:
    incidence = np.asarray(incidence, float)
    if incidence.ndim != 2 or (times is not None and incidence.shape[1] != times):
        raise ValueError(f"incidences have a row per subject and a column per grid time, found {incidence.shape}")
    if not np.all((incidence >= 0) & (incidence <= 1)):
        raise ValueError("incidences are probabilities, 0 to 1")
    return incidence


def _centre(incidence: np.ndarray) -> np.ndarray:
    """Median predictor of the subjects at each time: unlike a mean, it does not feel incidences cut at 0 or 1.

    Where most incidences are still exactly 0, as in the first steps of a forest, it is that of the others.
    """
    positive = [column[column > INCIDENCE_FLOOR] for column in incidence.T]
    medians = [np.median(values) if len(values) else INCIDENCE_FLOOR for values in positive]
    return np.maximum.accumulate(cloglog(np.array(medians)))


def learn_recalibration(
    *,
    time: np.ndarray,
    event: np.ndarray,
    incidence: np.ndarray,
    times: np.ndarray,
    kind: Literal["intercept", "slope"] = "slope",
) -> Recalibration:
    """Learn intercept, or intercept and slope, on the complementary log-log scale of the incidence.

    With c(t) = log(-log(1 - F(t))), the logarithm of a cumulative hazard, and r(t) its median over the subjects, the
    recalibrated c(t) is r(t) + intercept + slope (c(t) - r(t)): the intercept multiplies all cumulative hazards by
    exp(intercept), the slope draws subjects together (below 1) or apart. The centre r(t) keeps a slope from bending the
    curves over time: a slope on c(t) alone would raise all early risks. Where hazards are proportional, c(t) - r(t) is
    the same at all times, and a wrong level and spread are repaired exactly; a level that is wrong by one factor early
    and by another late is repaired on average. Fitted jointly at up to ten even grid times to jackknife
    pseudo-observations, so it holds for competing events too (recode the cause in question to 1).

    Assumes that censoring is independent of the event and of the predictors. Needs events: with some dozens, learn the
    intercept alone. A slope that is not above 0 would turn the order of the risks round; then the intercept alone is
    learnt.

    Parameters
    ----------
    time, event : (n,) arrays
        Of the validation rows: days, > 0; 0 censored, 1 target, 2 and up competing.
    incidence : (n, k) array
        Their predicted cumulative incidence of the target at each of `times`.
    times : (k,) array
        Days, increasing.
    kind : {"intercept", "slope"}
        `slope` is both.

    Raises
    ------
    ValueError
        When shapes or values are wrong, or there are no target events by the last time.

    References
    ----------
    Steyerberg, Clinical Prediction Models, 2019, chapter 20; van Houwelingen, Stat Med 2000;19:3401.
    """
    incidence, times = _checked(incidence, len(times)), np.asarray(times, float)
    outcomes = sort_outcomes(time, event)
    if len(incidence) != len(outcomes.time):
        raise ValueError(f"{len(outcomes.time)} subjects, but incidences of {len(incidence)}")
    reference = _centre(incidence)
    chosen = np.unique(np.linspace(0, len(times) - 1, min(MOST_TIMES, len(times))).round().astype(int))
    rows = np.ones((1, len(incidence)), np.int64)
    pseudo = np.empty((len(incidence), len(chosen)))
    for column, until in enumerate(outcomes.through(times[chosen])):
        groups = int(np.searchsorted(outcomes.starts, until))
        pseudo[outcomes.order, column] = jackknife(outcomes.kind, outcomes.starts, groups, rows)[0]
    predictor = cloglog(incidence[:, chosen])
    centre = np.broadcast_to(reference[chosen], predictor.shape)
    ones = np.ones(predictor.size)
    if kind == "slope":
        fit = fit_pseudo_observations(pseudo.ravel(), (predictor - centre).reshape(-1, 1), centre.ravel(), ones)
        if np.all(np.isfinite(fit.coefficients)) and fit.coefficients[1] > 0:
            return Recalibration(reference, *(float(value) for value in fit.coefficients))
    fit = fit_pseudo_observations(pseudo.ravel(), np.zeros((predictor.size, 0)), predictor.ravel(), ones)
    if not np.isfinite(fit.coefficients[0]):
        raise ValueError("recalibration needs target events, and subjects without, up to the last grid time")
    return Recalibration(reference, float(fit.coefficients[0]), 1.0)


def apply_recalibration(recalibration: Recalibration, incidence: np.ndarray) -> np.ndarray:
    """Recalibrate the curves of other rows, of the same model and grid.

    Incidences never fall over time: slopes up to 1 keep that by themselves, above 1 a curve that would fall stays at
    its highest value so far. The order of the subjects at each time is kept, except where that happens.

    Parameters
    ----------
    recalibration : Recalibration
    incidence : (n, k) array
        Predicted cumulative incidence of the same cause at the same times.

    Returns
    -------
    (n, k) float64 array
    """
    incidence = _checked(incidence, len(recalibration.reference))
    centred = cloglog(incidence) - recalibration.reference
    predictor = recalibration.reference + recalibration.intercept + recalibration.slope * centred
    return np.maximum.accumulate(inverse_cloglog(predictor), axis=1)


def apply_recalibrations(recalibrations: Sequence[Recalibration], incidence: np.ndarray) -> np.ndarray:
    """Recalibrate the curves of all causes, each with its own, and keep their sum at most 1.

    Where the recalibrated causes of a subject sum to more than 1 at the last time, all of its curves are divided by
    that sum: they stay free of falls.

    Parameters
    ----------
    recalibrations : sequence of Recalibration
        One for each cause, in the order of their codes.
    incidence : (causes, n, k) array

    Returns
    -------
    (causes, n, k) float64 array
    """
    curves = np.stack([apply_recalibration(one, part) for one, part in zip(recalibrations, incidence, strict=True)])
    return curves / np.maximum(curves[:, :, -1:].sum(axis=0, keepdims=True), 1)

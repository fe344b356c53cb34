"""Decision curves: what a threshold of risk is worth, in target events found and people treated in vain."""

from dataclasses import dataclass, fields

import numpy as np

from riskweave.evaluation.censoring import SortedOutcomes, sort_outcomes
from riskweave.evaluation.resampled import weight_rows
from riskweave.evaluation.sweeps import incidence_above

__all__ = ["DecisionCurve", "NumberNeeded", "decision_curve", "incidence_of_all", "number_needed", "sorted_curve"]


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit by threshold; made by :func:`decision_curve`.

    All arrays but `thresholds` and `incidence` are of shape (thresholds,), or (resamples, thresholds) where several
    rows of weights were given; `incidence` is a number, or of shape (resamples,).

    Attributes
    ----------
    thresholds : (thresholds,) float64 array
    treated : array
        Share of the subjects at or above the threshold.
    incidence_treated : array
        Observed cumulative incidence among them at the horizon; NaN where there is nobody.
    incidence : float or array
        Observed cumulative incidence of everybody.
    model : array
        Net benefit of treating at or above the threshold.
    treat_all : array
        Net benefit of treating everybody. That of treating nobody is 0.
    standardised : array
        `model` over `incidence`: 1 is the net benefit of knowing who will have the event.
    """

    thresholds: np.ndarray
    treated: np.ndarray
    incidence_treated: np.ndarray
    incidence: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray
    standardised: np.ndarray


@dataclass(frozen=True)
class NumberNeeded:
    """People per event prevented; made by :func:`number_needed`.

    Attributes
    ----------
    treated : float or (resamples,) array
        Share of the subjects at or above the threshold.
    incidence_treated : float or (resamples,) array
        Observed cumulative incidence among them at the horizon, without the treatment.
    to_treat : float or (resamples,) array
        People at or above the threshold to treat, to prevent one target event by the horizon; infinite without events.
    to_screen : float or (resamples,) array
        People whose risk must be known for that.
    """

    treated: np.ndarray
    incidence_treated: np.ndarray
    to_treat: np.ndarray
    to_screen: np.ndarray


def _thresholds(values: np.ndarray) -> np.ndarray:
    values = np.atleast_1d(np.asarray(values, float))
    if values.ndim != 1 or len(values) == 0 or not np.all((values > 0) & (values < 1)) or np.any(np.diff(values) <= 0):
        raise ValueError("thresholds are increasing risks between 0 and 1, both left out")
    return values


def _above(
    outcomes: SortedOutcomes, rows: np.ndarray, risk: np.ndarray, horizon: float, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share at or above each threshold, and the incidence among them; (resamples, thresholds) each."""
    risk = np.asarray(risk, float)
    if risk.shape != outcomes.time.shape or not np.all(np.isfinite(risk)):
        raise ValueError(f"risks are finite numbers of shape {outcomes.time.shape}, found shape {risk.shape}")
    reached = np.searchsorted(thresholds, risk, side="right")[outcomes.order]
    before, through = int(outcomes.before([horizon])[0]), int(outcomes.through([horizon])[0])
    above, incidence = incidence_above(reached, outcomes.kind, outcomes.starts, rows, before, through, len(thresholds))
    with np.errstate(invalid="ignore"):  # a resample that draws nobody has no shares
        return above / rows.sum(axis=1)[:, None], incidence


def decision_curve(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float,
    thresholds: np.ndarray,
    weights: np.ndarray | None = None,
) -> DecisionCurve:
    """Net benefit of treating who has at least a threshold's risk, by threshold.

    With p the threshold, P the share of subjects whose risk is p or more, and F the observed (Aalen-Johansen; without
    competing events one minus Kaplan-Meier) cumulative incidence among them at the horizon,

        net benefit = F P - (1 - F) P p / (1 - p),

    in true positives per person: whoever treats at p holds one missed event to be as bad as (1 - p) / p treatments in
    vain. Higher is better; a model is of use at a threshold where it exceeds both `treat_all` and 0 (treat none). Who
    has a competing event by the horizon was treated in vain. Nobody above a threshold: net benefit 0. Nobody above it
    followed to the horizon: NaN.

    Assumes that censoring is independent of the event among those above each threshold, and that the threshold is the
    one at which one would act: it is chosen from the harms, not from the curve.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, > 0.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    risk : (n,) array
        Predicted cumulative incidence at the horizon, 0 to 1.
    horizon : float
        Days.
    thresholds : (k,) array
        Increasing, between 0 and 1.
    weights : (n,) or (resamples, n) array of int, optional
        How often each subject counts.

    Returns
    -------
    DecisionCurve

    References
    ----------
    Vickers and Elkin, Med Decis Making 2006;26:565. With censoring and competing risks: Vickers et al., BMC Med Inform
    Decis Mak 2008;8:53. Standardised: Kerr et al., J Clin Oncol 2016;34:2534.
    """
    thresholds, outcomes = _thresholds(thresholds), sort_outcomes(time, event)
    rows = weight_rows(weights, outcomes)
    everybody = incidence_of_all(outcomes, rows, horizon)
    curve = sorted_curve(outcomes, rows, risk, horizon=horizon, thresholds=thresholds, everybody=everybody)
    if np.ndim(weights) == 2:
        return curve
    return DecisionCurve(thresholds, *(getattr(curve, field.name)[0] for field in fields(curve)[1:]))


def incidence_of_all(outcomes: SortedOutcomes, rows: np.ndarray, horizon: float) -> np.ndarray:
    """Observed cumulative incidence of everybody at the horizon, (resamples,); NaN as in :func:`decision_curve`."""
    # everybody is above a threshold of 0
    return _above(outcomes, rows, np.zeros(len(outcomes.time)), horizon, np.zeros(1))[1][:, 0]


def sorted_curve(
    outcomes: SortedOutcomes,
    rows: np.ndarray,
    risk: np.ndarray,
    *,
    horizon: float,
    thresholds: np.ndarray,
    everybody: np.ndarray,
) -> DecisionCurve:
    """Decision curve of outcomes that were sorted before, for many resamples: what experiments share is done once.

    Parameters
    ----------
    outcomes : SortedOutcomes
    rows : (resamples, n) int64 array
        Multiplicities in sorted order.
    risk, horizon, thresholds
        As in :func:`decision_curve`; risks in the order of the subjects given.
    everybody : (resamples,) float64 array
        From :func:`incidence_of_all`.
    """
    treated, incidence_treated = _above(outcomes, rows, risk, horizon, thresholds)
    whole = everybody[:, None]
    odds = thresholds / (1 - thresholds)
    model = np.where(treated > 0, treated * (incidence_treated - (1 - incidence_treated) * odds), 0.0)
    treat_all = whole - (1 - whole) * odds
    with np.errstate(invalid="ignore", divide="ignore"):
        standardised = np.where(whole > 0, model / whole, np.nan)
    return DecisionCurve(thresholds, treated, incidence_treated, everybody, model, treat_all, standardised)


def number_needed(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float,
    threshold: float,
    relative_risk_reduction: float,
    weights: np.ndarray | None = None,
) -> NumberNeeded:
    """Numbers needed to treat and to screen, to prevent one target event by the horizon.

    With r the relative reduction of the cumulative incidence by the treatment, F the observed cumulative incidence at
    the horizon among those at or above the threshold, and P their share: 1 / (r F) to treat, 1 / (r F P) to screen.
    Lower is better; read them with the threshold, since few people of high risk always need few treatments.

    The reduction comes from trials and is taken to be the same at every risk; the subjects are taken to be without the
    treatment. The model says nothing about either. Censoring is independent of the event above the threshold.

    Parameters
    ----------
    time, event, risk, horizon, weights
        As in :func:`decision_curve`.
    threshold : float
        Risk from which one treats, between 0 and 1.
    relative_risk_reduction : float
        Above 0, at most 1: 0.25 where the treatment prevents a quarter of the events.

    Returns
    -------
    NumberNeeded
        NaN where nobody is above the threshold or followed to the horizon.

    References
    ----------
    Laupacis et al., N Engl J Med 1988;318:1728. At a time of follow-up: Altman and Andersen, BMJ 1999;319:1492. To
    screen: Rembold, BMJ 1998;317:307.
    """
    if not 0 < relative_risk_reduction <= 1:
        raise ValueError(f"a relative risk reduction is above 0 and at most 1, found {relative_risk_reduction}")
    outcomes = sort_outcomes(time, event)
    rows = weight_rows(weights, outcomes)
    treated, incidence = (
        values[:, 0] for values in _above(outcomes, rows, risk, horizon, _thresholds(np.array([threshold])))
    )
    with np.errstate(divide="ignore"):
        to_treat = 1 / (relative_risk_reduction * incidence)
        to_screen = to_treat / treated
    arrays = treated, incidence, to_treat, to_screen
    return NumberNeeded(*(_shaped(values, weights) for values in arrays))


def _shaped(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Drop the axis of the resamples unless several rows of weights were given."""
    return values if np.ndim(weights) == 2 else values[0]

"""Calibration of the risk at a horizon: in the large, by slope and intercept, and as a smooth curve."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from riskweave.evaluation.censoring import aalen_johansen, row_weights, sort_outcomes
from riskweave.evaluation.cloglog import CloglogFit, cloglog, fit_hazards, fit_pseudo_observations, inverse_cloglog
from riskweave.evaluation.pseudo_observations import pseudo_observations

__all__ = [
    "CalibrationCurve",
    "Estimate",
    "Method",
    "WeakCalibration",
    "calibration_curve",
    "curve_knots",
    "observed_expected",
    "spline_basis",
    "weak_calibration",
]

Method = Literal["hazards", "pseudo"]
# Where Harrell places three knots (Regression Modeling Strategies, 2015, section 2.4.6).
KNOT_QUANTILES = (0.1, 0.5, 0.9)
CURVE_POINTS = 101


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval; all NaN where it cannot be estimated."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class WeakCalibration:
    """Intercept (0 is calibrated, above 0 risks are too low) and slope (1 is calibrated, below 1 too extreme)."""

    intercept: Estimate
    slope: Estimate


@dataclass(frozen=True)
class CalibrationCurve:
    """Smooth observed incidence over the predicted risk.

    Attributes
    ----------
    risk : (m,) float64 array
        Predicted risks at which the curve is given.
    observed, lower, upper : (m,) float64 arrays
        Estimated incidence and its pointwise band.
    ici, e50, e90 : float
        Mean, median and 90 % quantile of the distance between curve and risk over the subjects; 0 is perfect.
    """

    risk: np.ndarray
    observed: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    ici: float
    e50: float
    e90: float


def _interval(value: float, variance: float, confidence: float) -> Estimate:
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return Estimate(float(value), float(value - half), float(value + half))


def _covariance(influence: np.ndarray, weights: np.ndarray, people: np.ndarray | None) -> np.ndarray:
    """Robust covariance; several subjects of one person move together."""
    if people is None:
        return influence.T @ (influence * weights[:, None])
    whose = np.unique(people, return_inverse=True)[1]
    sums = np.column_stack([np.bincount(whose, weights=weights * column) for column in influence.T])
    return sums.T @ sums


class _Sample:
    """Outcomes, risks and multiplicities, checked once, and the regression of the chosen method on them."""

    def __init__(self, *, time, event, risk, horizon, weights, method):
        self.outcomes = sort_outcomes(time, event)
        self.rows = row_weights(weights, self.outcomes)
        self.risk = np.asarray(risk, float)
        if self.risk.shape != self.outcomes.time.shape or not np.all((self.risk >= 0) & (self.risk <= 1)):
            raise ValueError(f"risks are one number from 0 to 1 for each subject, found shape {self.risk.shape}")
        if method not in {"hazards", "pseudo"}:
            raise ValueError(f"method is 'hazards' or 'pseudo', not {method!r}")
        self.weights = np.ones(len(self.risk)) if weights is None else np.asarray(weights, float)
        self.horizon, self.predictor = horizon, cloglog(self.risk)
        self.pseudo = None
        if method == "pseudo":
            self.pseudo = pseudo_observations(time=time, event=event, horizon=horizon, weights=weights)

    def fit(self, z: np.ndarray, offset: np.ndarray) -> CloglogFit:
        if self.pseudo is None:
            return fit_hazards(self.outcomes, z, offset, self.rows, self.horizon)
        return fit_pseudo_observations(self.pseudo, z, offset, self.weights)


def weak_calibration(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float,
    method: Method = "pseudo",
    people: np.ndarray | None = None,
    confidence: float = 0.95,
    weights: np.ndarray | None = None,
) -> WeakCalibration:
    """Calibration intercept and slope on the complementary log-log scale of the risk.

    The slope is that of the observed incidence at the horizon on log(-log(1 - risk)): 1 is calibrated, below 1 high
    risks are too high and low ones too low (overfitting), above 1 risks are too alike; of a Cox model's risk it is the
    slope on its linear predictor. The intercept is that of the same model with the slope held at 1: 0 is calibrated,
    above 0 risks are too low, and exp(intercept) is the factor between observed and predicted cumulative hazards.

    Method `pseudo` regresses jackknife pseudo-observations of the horizon and assumes nothing of the hazards before it;
    method `hazards` uses all events up to the horizon under proportional hazards, by Cox regression or, with competing
    events, Fine-Gray regression weighted by the inverse probability of censoring. With competing events both concern
    the target's incidence, not a hazard among survivors.

    Assumes that censoring is independent of the event and, for `pseudo` and for competing events, of the predictors.
    Intervals are robust (sandwich).

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, > 0.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    risk : (n,) array
        Predicted cumulative incidence of the target event at the horizon, 0 to 1.
    horizon : float
        Days.
    method : {"pseudo", "hazards"}
    people : (n,) array, optional
        The person of each subject; subjects of one person are no independent information.
    confidence : float, default 0.95
    weights : (n,) array of int, optional
        How often each subject counts.

    Returns
    -------
    WeakCalibration
        The slope of a constant risk is NaN.

    References
    ----------
    van Geloven et al., BMJ 2022;377:e069249; Cox regression of the linear predictor: McLernon et al., Ann Intern Med
    2023;176:105.
    """
    sample = _Sample(time=time, event=event, risk=risk, horizon=horizon, weights=weights, method=method)
    nothing = np.zeros(len(sample.risk))
    fits = (
        (sample.fit(np.zeros((len(nothing), 0)), sample.predictor), 0),
        (sample.fit(sample.predictor[:, None], nothing), 1),
    )
    estimates = [
        _interval(fit.coefficients[j], _covariance(fit.influence, sample.weights, people)[j, j], confidence)
        for fit, j in fits
    ]
    return WeakCalibration(*estimates)


def observed_expected(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float,
    people: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Observed (Aalen-Johansen) over mean predicted incidence at the horizon, with a jackknife interval.

    1 is calibrated, above 1 risks are too low. The interval is made for the logarithm and lets both the observed
    incidence and the mean risk vary. (Tutorials take 1 / events for its variance: too much at high incidences.)
    Assumes independent censoring. NaN where no event is observed.

    Parameters
    ----------
    time, event, risk, horizon, people, confidence
        As in :func:`weak_calibration`.

    References
    ----------
    van Geloven et al., BMJ 2022;377:e069249. The estimate alone, for resamples:
    :func:`riskweave.evaluation.metrics.observed_expected_ratio`.
    """
    sample = _Sample(time=time, event=event, risk=risk, horizon=horizon, weights=None, method="pseudo")
    n, expected = len(sample.risk), sample.risk.mean()
    observed = aalen_johansen(time=time, event=event, at=[horizon])[0]
    if observed <= 0 or expected <= 0:
        return Estimate(np.nan, np.nan, np.nan)
    influence = ((sample.pseudo - observed) / observed - (sample.risk - expected) / expected) / n
    variance = _covariance(influence[:, None], sample.weights, people)[0, 0]
    log = _interval(np.log(observed / expected), variance, confidence)
    return Estimate(float(observed / expected), float(np.exp(log.lower)), float(np.exp(log.upper)))


def spline_basis(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Restricted cubic spline: x itself and, with three knots or more, cubic parts that are linear outside them.

    Parameters
    ----------
    x : (n,) array
    knots : (k,) array
        Increasing.

    Returns
    -------
    (n, p) float64 array
        p is k - 1 for k >= 3 distinct knots, else 1; 0 where all of the knots are the same value.

    References
    ----------
    Harrell, Regression Modeling Strategies, 2015, section 2.4.5.
    """
    knots = np.unique(knots)
    if len(knots) == 1:
        return np.zeros((len(x), 0))
    columns = [x]
    if len(knots) >= 3:
        last, before = knots[-1], knots[-2]
        cube = np.clip(x[:, None] - knots, 0, None) ** 3
        for j in range(len(knots) - 2):
            part = cube[:, j] - cube[:, -2] * (last - knots[j]) / (last - before)
            part += cube[:, -1] * (before - knots[j]) / (last - before)
            columns.append(part / (last - knots[0]) ** 2)
    return np.column_stack(columns)


def curve_knots(predictor: np.ndarray) -> np.ndarray:
    """Three knots at the 10, 50 and 90 % quantiles; the ends where those fall together, as for risks of few values."""
    knots = np.quantile(predictor, KNOT_QUANTILES)
    if len(np.unique(knots)) < 3 and np.ptp(predictor) > 0:
        return np.array([predictor.min(), predictor.max()])
    return knots


def calibration_curve(
    *,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    horizon: float,
    at: np.ndarray | None = None,
    method: Method = "hazards",
    people: np.ndarray | None = None,
    confidence: float = 0.95,
    weights: np.ndarray | None = None,
) -> CalibrationCurve:
    """Smooth calibration curve at the horizon, with band, and the distances between curve and risk.

    The observed incidence is regressed on a restricted cubic spline (three knots, at the 10, 50 and 90 % quantiles) of
    log(-log(1 - risk)); where risks have too few values for three knots, on a straight line. Methods and assumptions
    are those of :func:`weak_calibration`; here `hazards` is the default, as in the literature on the integrated
    calibration index. The band is pointwise, made on the complementary log-log scale.

    ICI is the mean over subjects of the distance between the curve at their risk and the risk, E50 the median, E90 the
    90 % quantile: 0 is perfect, lower is better; chance alone makes them positive, the more so the fewer events.

    Parameters
    ----------
    time, event, risk, horizon, method, people, confidence
        As in :func:`weak_calibration`.
    at : (m,) array, optional
        Risks at which the curve is wanted; by default 101 even steps between the 1 and 99 % quantiles of the risks, so
        that no point shows a single subject.
    weights : (n,) array of int, optional
        How often each subject counts; the knots stay those of the subjects as they are.

    References
    ----------
    Austin et al., Stat Med 2020;39:2714; with competing events Austin et al., Diagn Progn Res 2022;6:2 and van Geloven
    et al., BMJ 2022;377:e069249.
    """
    sample = _Sample(time=time, event=event, risk=risk, horizon=horizon, weights=weights, method=method)
    knots = curve_knots(sample.predictor)
    if at is None:
        at = np.linspace(*np.quantile(sample.risk, [0.01, 0.99]), CURVE_POINTS)
    fit = sample.fit(spline_basis(sample.predictor, knots), np.zeros(len(sample.risk)))
    points = np.column_stack([np.ones(len(at)), spline_basis(cloglog(np.asarray(at, float)), knots)])
    covariance = _covariance(fit.influence, sample.weights, people)
    centre = points @ fit.coefficients
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(np.einsum("ij,jk,ik->i", points, covariance, points))
    own = np.column_stack([np.ones(len(sample.risk)), spline_basis(sample.predictor, knots)]) @ fit.coefficients
    distance = np.abs(inverse_cloglog(own) - sample.risk)
    counted = distance if weights is None else np.repeat(distance, np.asarray(weights))
    bounds = [inverse_cloglog(bound) for bound in (centre, centre - half, centre + half)]
    sizes = (float(counted.mean()), float(np.median(counted)), float(np.quantile(counted, 0.9)))
    return CalibrationCurve(np.asarray(at, float), *bounds, *sizes)

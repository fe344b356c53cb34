"""Calibration intercept, slope and distances for many resamples, to first order.

Each regression is fitted once, on the subjects as they are. A resample moves its coefficients by the sum of the
subjects' influences, each as often as the subject was drawn: the bootstrap of the linear part of the estimate, whose
spread is that of the robust (sandwich) variance (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
section 2.7). A thousand refits at 100,000 people would take hours.
"""

from dataclasses import dataclass

import numpy as np

from riskweave.evaluation.calibration_curves import curve_knots, spline_basis
from riskweave.evaluation.censoring import SortedOutcomes
from riskweave.evaluation.cloglog import cloglog, fit_hazards, fit_pseudo_observations, inverse_cloglog
from riskweave.evaluation.pseudo_observations import jackknife
from riskweave.evaluation.sums import weighted_counts, weighted_sums

__all__ = ["CALIBRATION_METRICS", "CalibrationScorer", "calibration_scorer", "horizon_pseudo_observations"]

CALIBRATION_METRICS = ("calibration_intercept", "calibration_slope", "ici", "e50", "e90")
# Distances of curve and risk are looked at in so many cells of near equal risk; fewer risks are cells of their own.
MOST_CELLS = 512


@dataclass(frozen=True)
class CalibrationScorer:
    """Fitted regressions of one experiment at one horizon; made by :func:`calibration_scorer`.

    Attributes
    ----------
    coefficients : (2 + q,) float64 array
        Intercept (slope held at 1), slope, and the q coefficients of the smooth curve.
    influence : (n, 2 + q) float64 array
        What each sorted subject moves them by.
    cell : (n,) int64 array
        Cell of each sorted subject.
    risk : (cells,) float64 array
        Mean risk of each cell.
    points : (cells, q) float64 array
        What the curve's coefficients are multiplied with there.
    """

    coefficients: np.ndarray
    influence: np.ndarray
    cell: np.ndarray
    risk: np.ndarray
    points: np.ndarray

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Return the metrics of each resample, (resamples, 5), in the order of `CALIBRATION_METRICS`.

        Parameters
        ----------
        rows : (resamples, n) int64 array
            Multiplicities in sorted order.
        """
        total = rows.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):  # nobody drawn: NaN
            drawn = self.coefficients + weighted_sums(self.influence, rows) * (len(self.cell) / total)
            predictor = np.zeros((len(rows), len(self.risk)))
            for column, point in enumerate(self.points.T):
                predictor += drawn[:, 2 + column, None] * point
            distance = np.abs(inverse_cloglog(predictor) - self.risk)
            counts = weighted_counts(self.cell, len(self.risk), rows)
            ici = (counts * distance).sum(axis=1) / total[:, 0]
        quantiles = [_counted_quantile(distance, counts, share) for share in (0.5, 0.9)]
        return np.column_stack([drawn[:, :2], ici, *quantiles])


def _counted_quantile(values: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """Quantile of each row, every value repeated as often as it counts; linear between neighbours, as numpy's."""
    order = np.argsort(values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    until = np.take_along_axis(counts, order, axis=1).cumsum(axis=1)
    position = np.maximum(until[:, -1] - 1, 0) * share
    below = np.floor(position)
    last = values.shape[1] - 1
    at, after = (np.minimum((until <= rank[:, None]).sum(axis=1), last)[:, None] for rank in (below, below + 1))
    low, high = (np.take_along_axis(values, where, axis=1)[:, 0] for where in (at, after))
    found = low + (high - low) * (position - below)
    return np.where((until[:, -1] > 0) & ~np.isnan(values).any(axis=1), found, np.nan)


def _cells(risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell of each subject, and the mean risk of each cell."""
    levels, cell = np.unique(risk, return_inverse=True)
    if len(levels) <= MOST_CELLS:
        return cell.astype(np.int64), levels
    cell = np.empty(len(risk), np.int64)
    cell[np.argsort(risk, kind="stable")] = np.arange(len(risk)) * MOST_CELLS // len(risk)
    return cell, np.bincount(cell, risk) / np.bincount(cell)


def horizon_pseudo_observations(outcomes: SortedOutcomes, horizon: float) -> np.ndarray:
    """Pseudo-observations of the target by the horizon, of each sorted subject (n,)."""
    groups = int(np.searchsorted(outcomes.starts, outcomes.through([horizon])[0]))
    rows = np.ones((1, len(outcomes.time)), np.int64)
    return jackknife(outcomes.kind, outcomes.starts, groups, rows)[0]


def calibration_scorer(
    outcomes: SortedOutcomes, risk: np.ndarray, horizon: float, pseudo: np.ndarray
) -> CalibrationScorer:
    """Fit the regressions of one experiment's risk at one horizon.

    Intercept and slope as :func:`riskweave.evaluation.calibration_curves.weak_calibration` (pseudo-observations), the
    curve and its distances as :func:`riskweave.evaluation.calibration_curves.calibration_curve` (hazards).

    Parameters
    ----------
    outcomes : SortedOutcomes
    risk : (n,) float64 array
        Predicted cumulative incidence at the horizon, in sorted order.
    horizon : float
        Days.
    pseudo : (n,) float64 array
        From :func:`horizon_pseudo_observations`.
    """
    n = len(risk)
    here = SortedOutcomes(np.arange(n), outcomes.time, outcomes.kind, outcomes.starts)
    predictor, ones, nothing = cloglog(risk), np.ones(n), np.zeros(n)
    level = fit_pseudo_observations(pseudo, np.zeros((n, 0)), predictor, ones)
    slope = fit_pseudo_observations(pseudo, predictor[:, None], nothing, ones)
    knots = curve_knots(predictor)
    curve = fit_hazards(here, spline_basis(predictor, knots), nothing, np.ones((1, n), np.int64), horizon)
    cell, levels = _cells(risk)
    return CalibrationScorer(
        coefficients=np.concatenate([level.coefficients, slope.coefficients[1:], curve.coefficients]),
        influence=np.column_stack([level.influence, slope.influence[:, 1:], curve.influence]),
        cell=cell,
        risk=levels,
        points=np.column_stack([np.ones(len(levels)), spline_basis(cloglog(levels), knots)]),
    )

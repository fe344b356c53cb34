"""The tables of clinical use: decision curves, smooth calibration curves, reclassification."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from riskweave.evaluation.calibration_curves import calibration_curve
from riskweave.evaluation.draws import Drawn
from riskweave.evaluation.inputs import FEWEST_SHOWN, Comparison
from riskweave.evaluation.net_benefit import decision_curve
from riskweave.evaluation.reclassification import reclassification

__all__ = [
    "MOVES",
    "decision_curve_table",
    "net_benefits",
    "reclassification_moves",
    "reclassification_table",
    "smooth_calibration_table",
]

MOVES = ("events_up", "events_down", "events_net", "non_events_up", "non_events_down", "non_events_net")
Measure = Callable[[np.ndarray], np.ndarray]


def _risks(comparison: Comparison, horizon: int) -> np.ndarray:
    """Risks at a horizon, (experiments, n)."""
    return comparison.risks[:, :, np.searchsorted(comparison.times, horizon)]


def net_benefits(comparison: Comparison, thresholds: list[float]) -> Measure:
    """Measure the net benefit of treating all and of every experiment, and the gains, to be drawn.

    Returns
    -------
    callable
        From (rows, n) multiplicities to (rows, 2 + 2 experiments, horizons, thresholds): treat all, treat none, each
        experiment, and each experiment minus treating all.
    """
    seen = {"time": comparison.time, "event": comparison.event, "thresholds": np.array(thresholds)}

    def measure(weights: np.ndarray) -> np.ndarray:
        parts = []
        for horizon in comparison.horizons:
            curves = [
                decision_curve(**seen, risk=risk, horizon=horizon, weights=weights)
                for risk in _risks(comparison, horizon)
            ]
            everybody = curves[0].treat_all
            models = [curve.model for curve in curves]
            gains = [model - everybody for model in models]
            parts.append(np.stack([everybody, np.zeros(everybody.shape), *models, *gains], axis=1))
        return np.stack(parts, axis=2)

    return measure


def decision_curve_table(
    comparison: Comparison, drawn: Drawn, thresholds: list[float], confidence: float
) -> pd.DataFrame:
    """Lay out net benefit by strategy, horizon and threshold.

    Parameters
    ----------
    comparison : Comparison
    drawn : Drawn
        Of :func:`net_benefits`.
    thresholds : list of float
    confidence : float

    Returns
    -------
    DataFrame
        strategy (`model`, `treat all`, `treat none`), experiment (of models), endpoint, horizon, threshold, treated
        (share at or above the threshold), net_benefit, lower, upper, gain (over treating all), gain_lower, gain_upper.
        Where fewer than 10 people, but some, are at or above the threshold, the numbers of a model are null.
    """
    lower, upper = drawn.interval(confidence)
    numbers = np.stack([drawn.estimate, lower, upper])
    experiments, rows = len(comparison.experiments), []
    strategies = [("treat all", None), ("treat none", None), *(("model", name) for name in comparison.experiments)]
    for s, names in enumerate(strategies):
        for h, horizon in enumerate(comparison.horizons):
            for t, threshold in enumerate(thresholds):
                treated, gain, benefit = 1.0 - s, np.full(3, np.nan), numbers[:, s, h, t]
                if s >= 2:
                    above = _risks(comparison, horizon)[s - 2] >= threshold
                    treated, gain = above.mean(), numbers[:, s + experiments, h, t]
                    if 0 < len(np.unique(comparison.people[above])) < FEWEST_SHOWN:
                        treated, benefit, gain = np.nan, np.full(3, np.nan), np.full(3, np.nan)
                rows.append((*names, comparison.endpoint, horizon, threshold, treated, *benefit, *gain))
    columns = ["strategy", "experiment", "endpoint", "horizon", "threshold", "treated", "net_benefit"]
    table = pd.DataFrame(rows, columns=[*columns, "lower", "upper", "gain", "gain_lower", "gain_upper"])
    return table.astype({"horizon": "int64"})


def smooth_calibration_table(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """Lay out the smooth calibration curve of every experiment at every horizon.

    Parameters
    ----------
    comparison : Comparison
    confidence : float
        Of the pointwise bands.

    Returns
    -------
    DataFrame
        experiment, endpoint, horizon, risk, observed, lower, upper: 101 risks between the 1 and 99 % quantiles of the
        predicted ones; null where no curve can be fitted.
    """
    parts = []
    for e, experiment in enumerate(comparison.experiments):
        for horizon in comparison.horizons:
            curve = calibration_curve(
                time=comparison.time,
                event=comparison.event,
                risk=_risks(comparison, horizon)[e],
                horizon=horizon,
                people=comparison.people,
                confidence=confidence,
            )
            numbers = {"risk": curve.risk, "observed": curve.observed, "lower": curve.lower, "upper": curve.upper}
            names = {"experiment": experiment, "endpoint": comparison.endpoint, "horizon": horizon}
            parts.append(pd.DataFrame({**names, **numbers}))
    return pd.concat(parts, ignore_index=True)


def reclassification_moves(comparison: Comparison, thresholds: list[float], reference: str) -> Measure:
    """Measure the moves across each threshold from the reference to every other experiment, to be drawn.

    Returns
    -------
    callable
        From (rows, n) multiplicities to (rows, experiments, horizons, thresholds, moves), moves as `MOVES`; zero for
        the reference.
    """
    seen = {"time": comparison.time, "event": comparison.event, "thresholds": np.array(thresholds)}
    r = comparison.experiments.index(reference)

    def measure(weights: np.ndarray) -> np.ndarray:
        by_horizon = []
        for horizon in comparison.horizons:
            risks = _risks(comparison, horizon)
            found = [
                reclassification(**seen, old=risks[r], new=risk, horizon=horizon, weights=weights) for risk in risks
            ]
            moves = [np.stack([getattr(one, move) for move in MOVES], axis=-1) for one in found]
            by_horizon.append(np.stack(moves, axis=1))
        return np.stack(by_horizon, axis=2)

    return measure


def reclassification_table(
    comparison: Comparison, drawn: Drawn, thresholds: list[float], reference: str, confidence: float
) -> pd.DataFrame:
    """Lay out the moves across each threshold when an experiment replaces the reference.

    Parameters
    ----------
    comparison : Comparison
    drawn : Drawn
        Of :func:`reclassification_moves`.
    thresholds : list of float
    reference : str
    confidence : float

    Returns
    -------
    DataFrame
        experiment, reference, endpoint, horizon, threshold, move (one of `MOVES`), estimate, lower, upper: shares of
        the people with the target event by the horizon, or of those without.
    """
    numbers = np.stack([drawn.estimate, *drawn.interval(confidence)])
    rows = [
        (experiment, reference, comparison.endpoint, horizon, threshold, move, *numbers[:, e, h, t, m])
        for e, experiment in enumerate(comparison.experiments)
        if experiment != reference
        for h, horizon in enumerate(comparison.horizons)
        for t, threshold in enumerate(thresholds)
        for m, move in enumerate(MOVES)
    ]
    columns = ["experiment", "reference", "endpoint", "horizon", "threshold", "move", "estimate", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)

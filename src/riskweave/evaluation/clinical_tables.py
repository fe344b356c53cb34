"""The tables of clinical use: decision curves, smooth calibration curves, reclassification."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from riskweave.evaluation.calibration_curves import calibration_curve
from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.draws import Drawn
from riskweave.evaluation.inputs import FEWEST_SHOWN, Comparison
from riskweave.evaluation.net_benefit import incidence_of_all, sorted_curve
from riskweave.evaluation.reclassification import reclassification
from riskweave.evaluation.resampled import weight_rows
from riskweave.study.evaluation import Evaluation

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
    """Measure what the decision curves and the numbers needed are made of, to be drawn.

    Returns
    -------
    callable
        From (rows, n) multiplicities to (rows, 3 + 4 experiments, horizons, thresholds): the net benefit of treating
        all, of treating none and of each experiment; that of each experiment minus treating all; the observed incidence
        of everybody and among those whom each experiment treats; and its product with their share.
    """
    outcomes, stated = sort_outcomes(comparison.time, comparison.event), np.array(thresholds)

    def measure(weights: np.ndarray) -> np.ndarray:
        rows, parts = weight_rows(weights, outcomes), []
        for horizon in comparison.horizons:
            everybody = incidence_of_all(outcomes, rows, horizon)
            how = {"horizon": horizon, "thresholds": stated, "everybody": everybody}
            curves = [sorted_curve(outcomes, rows, risk, **how) for risk in _risks(comparison, horizon)]
            whole = np.broadcast_to(everybody[:, None], curves[0].treat_all.shape)
            models = [curve.model for curve in curves]
            gains = [curve.model - curve.treat_all for curve in curves]
            incidences = [curve.incidence_treated for curve in curves]
            found = [curve.incidence_treated * curve.treated for curve in curves]
            none = np.zeros(whole.shape)
            parts.append(np.stack([curves[0].treat_all, none, *models, *gains, whole, *incidences, *found], axis=1))
        return np.stack(parts, axis=2)

    return measure


def _needed(incidence: np.ndarray, reduction: float | None) -> np.ndarray:
    """People per event prevented, with bounds, from an incidence with bounds (estimate, lower, upper)."""
    if reduction is None:
        return np.full(3, np.nan)
    with np.errstate(divide="ignore"):
        return 1 / (reduction * incidence[[0, 2, 1]])


def decision_curve_table(comparison: Comparison, drawn: Drawn, evaluation: Evaluation) -> pd.DataFrame:
    """Lay out net benefit and numbers needed to treat by strategy, horizon and threshold.

    Parameters
    ----------
    comparison : Comparison
    drawn : Drawn
        Of :func:`net_benefits`.
    evaluation : Evaluation
        Its thresholds, its relative risk reduction and the coverage of intervals.

    Returns
    -------
    DataFrame
        strategy (`model`, `treat all`, `treat none`), experiment (of models), endpoint, horizon, threshold, treated
        (share at or above the threshold), net_benefit, lower, upper, gain (over treating all), gain_lower, gain_upper,
        incidence_treated (observed at the horizon) with bounds; to_treat and to_screen (people per event prevented,
        infinite without events) with bounds, null where the study states no relative risk reduction. Where fewer than
        10 people, but some, are at or above the threshold, the numbers of a model are null.
    """
    numbers = np.stack([drawn.estimate, *drawn.interval(evaluation.confidence)])
    reduction, count, rows = evaluation.relative_risk_reduction, len(comparison.experiments), []
    none = np.full(3, np.nan)
    strategies = [("treat all", None), ("treat none", None), *(("model", name) for name in comparison.experiments)]
    for s, names in enumerate(strategies):
        for h, horizon in enumerate(comparison.horizons):
            for t, threshold in enumerate(evaluation.thresholds):
                treated, parts = 1.0 - s, [numbers[:, s, h, t], none, none, none]
                if s == 0:
                    parts[2:] = [numbers[:, 2 + 2 * count, h, t]] * 2
                if s >= 2:
                    above = _risks(comparison, horizon)[s - 2] >= threshold
                    treated = above.mean()
                    at = [s + count * part + (part > 1) for part in range(4)]
                    parts = [numbers[:, place, h, t] for place in at]
                    if 0 < len(np.unique(comparison.people[above])) < FEWEST_SHOWN:
                        treated, parts = np.nan, [none] * 4
                benefit, gain, incidence, found = parts
                needed = [*incidence, *_needed(incidence, reduction), *_needed(found, reduction)]
                rows.append((*names, comparison.endpoint, horizon, threshold, treated, *benefit, *gain, *needed))
    columns = ["strategy", "experiment", "endpoint", "horizon", "threshold", "treated", "net_benefit", "lower", "upper"]
    for name in ("gain", "incidence_treated", "to_treat", "to_screen"):
        columns += [name, f"{name}_lower", f"{name}_upper"]
    return pd.DataFrame(rows, columns=columns).astype({"horizon": "int64"})


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


def _moves_shown(comparison: Comparison, old: np.ndarray, new: np.ndarray, horizon: int) -> list[bool]:
    """Tell which of `MOVES` rest on enough people: 10 with (without) the event, and none or 10 who move.

    A net move is shown where both of its parts are: one of them would follow from the other.

    Parameters
    ----------
    comparison : Comparison
    old, new : (n,) bool arrays
        At or above the threshold.
    horizon : int
    """
    time, event = comparison.time, comparison.event
    had = (event == 1) & (time <= horizon)
    shown = []
    for members in (had, ~had & ((event > 1) | (time >= horizon))):
        enough = len(np.unique(comparison.people[members])) >= FEWEST_SHOWN
        movers = [len(np.unique(comparison.people[members & moved])) for moved in (~old & new, old & ~new)]
        up, down = (enough and not 0 < number < FEWEST_SHOWN for number in movers)
        shown += [up, down, up and down]
    return shown


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
        the people with the target event by the horizon, or of those without. Null where these are fewer than 10, where
        fewer than 10 people, but some, move, and for a net move of which a part is null.
    """
    numbers = np.stack([drawn.estimate, *drawn.interval(confidence)])
    r, rows = comparison.experiments.index(reference), []
    for e, experiment in enumerate(comparison.experiments):
        for h, horizon in enumerate(comparison.horizons if e != r else []):
            risks = _risks(comparison, horizon)
            for t, threshold in enumerate(thresholds):
                shown = _moves_shown(comparison, risks[r] >= threshold, risks[e] >= threshold, horizon)
                for m, move in enumerate(MOVES):
                    found = numbers[:, e, h, t, m] if shown[m] else np.full(3, np.nan)
                    rows.append((experiment, reference, comparison.endpoint, horizon, threshold, move, *found))
    columns = ["experiment", "reference", "endpoint", "horizon", "threshold", "move", "estimate", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)

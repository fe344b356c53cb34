"""Reclassification between two experiments at stated thresholds, of events and of non-events apart.

Nothing computes it unless a study states thresholds. It is offered because reviewers ask for it; prefer net benefit and
the difference of Brier scores, which a miscalibrated model cannot inflate.

What is known against it: the net reclassification index is positive on average for a new predictor that is noise, even
on new subjects, where models are badly calibrated (Pepe et al., Stat Biosci 2015;7:282, first online 2014; Hilden and
Gerds, Stat Med 2014;33:3405); its sum over events and non-events weighs a person with an event as much as many without,
whatever their share; with three or more categories it counts every move alike; the category-free form counts moves that
change no decision (Kerr et al., Epidemiology 2014;25:114). So: no category-free form, no summed figure, no test. Each
threshold stands alone, where the moves are the changes of sensitivity and of specificity.
"""

from dataclasses import dataclass

import numpy as np

from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes, sort_outcomes
from riskweave.evaluation.resampled import weight_rows

__all__ = ["Reclassification", "reclassification", "reclassification_table"]


@dataclass(frozen=True)
class Reclassification:
    """Moves across each threshold; made by :func:`reclassification`.

    All arrays but `thresholds` are of shape (thresholds,), or (resamples, thresholds) where several rows of weights
    were given.

    Attributes
    ----------
    thresholds : (thresholds,) float64 array
    events_up, events_down : arrays
        Share of the people with the target event by the horizon who move to or above the threshold, and below it.
    non_events_up, non_events_down : arrays
        The same of the people without it.
    """

    thresholds: np.ndarray
    events_up: np.ndarray
    events_down: np.ndarray
    non_events_up: np.ndarray
    non_events_down: np.ndarray

    @property
    def events_net(self) -> np.ndarray:
        """Up minus down, among events: the change of sensitivity; higher is better."""
        return self.events_up - self.events_down

    @property
    def non_events_net(self) -> np.ndarray:
        """Down minus up, among non-events: the change of specificity; higher is better."""
        return self.non_events_down - self.non_events_up


def _status_weights(outcomes: SortedOutcomes, rows: np.ndarray, horizon: float) -> np.ndarray:
    """Weigh each sorted subject as event and as non-event: (2, resamples, n), either sums to 1 over the subjects.

    NaN where nobody is followed to the horizon, or where there are no events (no non-events).
    """
    uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)
    before = int(outcomes.before([horizon])[0])
    left = int(outcomes.left_by([horizon])[0])
    inverse = np.zeros(rows.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = np.where(rows[:, :left] > 0, rows[:, :left] / uncensored[:, :left], 0.0)
        free = np.where(rows[:, left:] > 0, rows[:, left:] / uncensored[:, [before]], 0.0)
        inverse[:, :left] = np.where(outcomes.kind[:left] == kernel.CENSORED, 0.0, gone)
        inverse[:, left:] = free
        # those known and weighted stand for everybody, unless the last of a resample were censored before the horizon
        known = np.isclose(inverse.sum(axis=1), rows.sum(axis=1), rtol=1e-9)
        had_target = (outcomes.kind == kernel.TARGET) & (np.arange(len(outcomes.kind)) < left)
        parts = np.stack([inverse * had_target, inverse * ~had_target])
        totals = np.where(known, parts.sum(axis=2), 0.0)[:, :, None]
        return np.where(totals > 0, parts / totals, np.nan)


def _categories(outcomes: SortedOutcomes, risk: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    risk = np.asarray(risk, float)
    if risk.shape != outcomes.time.shape or not np.all(np.isfinite(risk)):
        raise ValueError(f"risks are finite numbers of shape {outcomes.time.shape}, found shape {risk.shape}")
    return np.searchsorted(thresholds, risk, side="right")[outcomes.order]


def _stated(thresholds: np.ndarray) -> np.ndarray:
    thresholds = np.atleast_1d(np.asarray(thresholds, float))
    inside = np.all((thresholds > 0) & (thresholds < 1)) and np.all(np.diff(thresholds) > 0)
    if thresholds.ndim != 1 or len(thresholds) == 0 or not inside:
        raise ValueError("reclassification needs stated thresholds: increasing risks between 0 and 1, both left out")
    return thresholds


def reclassification(
    *,
    time: np.ndarray,
    event: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    horizon: float,
    thresholds: np.ndarray,
    weights: np.ndarray | None = None,
) -> Reclassification:
    """Who moves across each threshold when the new risk replaces the old, among events and non-events.

    Each threshold is taken alone (at or above it, or below): the net moves are the changes of sensitivity and of
    specificity at the horizon. A subject with the target event by the horizon is an event, one with a competing event
    by then or free of events at it a non-event; who is censored before is represented by the others, through inverse
    probability of censoring weights: the shares of events and non-events are then those of Aalen-Johansen.

    Assumes that censoring is independent of the event and of both risks. Both risks are calibrated: where one of them
    is not, moves tell of its calibration. See the module's text for what is known against these figures.

    Parameters
    ----------
    time, event, horizon, weights
        As in :func:`riskweave.evaluation.net_benefit.decision_curve`.
    old, new : (n,) arrays
        Predicted cumulative incidence at the horizon, of the experiment compared with and of the other.
    thresholds : (k,) array
        Increasing, between 0 and 1; stated before the predictions were seen.

    Returns
    -------
    Reclassification
        NaN without events (without non-events), and where nobody is followed to the horizon.

    References
    ----------
    Events and non-events apart: Kerr et al., Epidemiology 2014;25:114. Censoring: Uno et al., Stat Med 2013;32:2430.
    """
    thresholds, outcomes = _stated(thresholds), sort_outcomes(time, event)
    rows = weight_rows(weights, outcomes)
    before, after = (_categories(outcomes, risk, thresholds) for risk in (old, new))
    number = np.arange(1, len(thresholds) + 1)
    was, is_now = before[:, None] >= number, after[:, None] >= number
    status = _status_weights(outcomes, rows, horizon)
    up, down = (status @ moved.astype(float) for moved in (~was & is_now, was & ~is_now))
    arrays = up[0], down[0], up[1], down[1]
    return Reclassification(thresholds, *(values if np.ndim(weights) == 2 else values[0] for values in arrays))


def reclassification_table(
    *, time: np.ndarray, event: np.ndarray, old: np.ndarray, new: np.ndarray, horizon: float, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-table of the categories between the thresholds, old by new, for events and for non-events.

    Parameters as in :func:`reclassification`.

    Returns
    -------
    events, non_events : (k + 1, k + 1) float64 arrays
        Shares, each table summing to 1; rows are the old categories, the lowest first. NaN as there.
    """
    thresholds, outcomes = _stated(thresholds), sort_outcomes(time, event)
    size = len(thresholds) + 1
    cell = _categories(outcomes, old, thresholds) * size + _categories(outcomes, new, thresholds)
    status = _status_weights(outcomes, weight_rows(None, outcomes), horizon)[:, 0]
    tables = [np.bincount(cell, part, size * size).reshape(size, size) for part in status]
    # cells that nobody is in would count 0 where nothing is known
    return tuple(np.full_like(t, np.nan) if np.isnan(part).any() else t for t, part in zip(tables, status, strict=True))

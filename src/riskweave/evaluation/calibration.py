"""Calibration by groups of predicted risk: what was expected against what was observed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes, sort_outcomes
from riskweave.evaluation.draws import Drawn
from riskweave.evaluation.inputs import FEWEST_SHOWN, Comparison

__all__ = ["CalibrationGroup", "calibration_groups", "calibration_table", "observed_incidence", "risk_group_members"]

DECILES, QUINTILES = 10, 5
# Deciles need some ten target events each, on average; with fewer, quintiles.
EVENTS_FOR_DECILES = 100


@dataclass(frozen=True)
class CalibrationGroup:
    """Subjects of similar predicted risk.

    Attributes
    ----------
    experiment, column : int
        Position of the experiment and of the horizon.
    number : int
        From 1, the lowest risks.
    outcomes : SortedOutcomes
        Of the group.
    expected : float
        Mean predicted risk.
    """

    experiment: int
    column: int
    number: int
    outcomes: SortedOutcomes
    expected: float


def risk_group_members(risk: np.ndarray, groups: int) -> np.ndarray:
    """Assign each risk to its quantile group, from 1; equal risks stay together, so groups may be fewer.

    Parameters
    ----------
    risk : (n,) array
    groups : int
        Number of groups wanted.

    Returns
    -------
    (n,) int64 array
    """
    edges = np.unique(np.quantile(risk, np.arange(1, groups) / groups))
    return np.unique(np.searchsorted(edges, risk, side="left"), return_inverse=True)[1] + 1


def calibration_groups(comparison: Comparison) -> list[CalibrationGroup]:
    """Divide the subjects by predicted risk, for each experiment and horizon.

    Deciles where at least 100 people have a target event, else quintiles.

    Parameters
    ----------
    comparison : Comparison
    """
    outcomes, people = sort_outcomes(comparison.time, comparison.event), comparison.people
    events = len(np.unique(people[comparison.event == 1]))
    wanted = DECILES if events >= EVENTS_FOR_DECILES else QUINTILES
    columns = np.searchsorted(comparison.times, comparison.horizons)
    groups = []
    for e in range(len(comparison.experiments)):
        for h, column in enumerate(columns):
            risk = comparison.risks[e, outcomes.order, column]
            numbers = risk_group_members(risk, wanted)
            for number in range(1, numbers.max() + 1):
                members = numbers == number
                groups.append(CalibrationGroup(e, h, number, outcomes.take(members), float(risk[members].mean())))
    return groups


def observed_incidence(
    groups: list[CalibrationGroup], horizons: list[int], weights: np.ndarray | None = None
) -> np.ndarray:
    """Aalen-Johansen cumulative incidence of each group at its horizon.

    Parameters
    ----------
    groups : list of CalibrationGroup
    horizons : list of int
        Days.
    weights : (resamples, subjects of the comparison) int64 array, optional
        Multiplicities; ones when not given.

    Returns
    -------
    (resamples, groups) float64 array
        NaN where nobody of the group was drawn.
    """
    observed = np.full((1 if weights is None else len(weights), len(groups)), np.nan)
    for g, group in enumerate(groups):
        outcomes = group.outcomes
        # later events do not matter: the sweep ends at the horizon
        until = int(outcomes.through(np.array([horizons[group.column]]))[0])
        if weights is None:
            rows = np.ones((1, len(outcomes.time)), dtype=np.int64)
        else:
            rows = np.take(weights, outcomes.order, axis=1)
        starts = outcomes.starts[: np.searchsorted(outcomes.starts, until) + 1]
        incidence = kernel.incidence(outcomes.kind, starts, rows)[:, until]
        observed[:, g] = np.where(rows.sum(axis=1) > 0, incidence, np.nan)
    return observed


def _no_event_bound(group: CalibrationGroup, people: np.ndarray, horizon: int, confidence: float) -> float:
    """Upper bound of the incidence where no event was seen, for which a bootstrap would say 0 for certain.

    The exact binomial bound for the people still under observation at the horizon: the conservative choice.
    """
    followed = len(np.unique(people[group.outcomes.order[group.outcomes.time >= horizon]]))
    return 1 - ((1 - confidence) / 2) ** (1 / followed) if followed else 1.0


def calibration_table(
    *,
    groups: list[CalibrationGroup],
    people: np.ndarray,
    drawn: Drawn,
    experiments: list[str],
    endpoint: str,
    horizons: list[int],
    confidence: float,
) -> pd.DataFrame:
    """Lay out expected against observed.

    Groups are of the subjects as they are; resampling moves what is observed in them, not who is in them.

    Parameters
    ----------
    groups : list of CalibrationGroup
    people : (n,) int64 array
        The person of each subject of the comparison.
    drawn : Drawn
        Of :func:`observed_incidence`: (groups,).
    experiments : list of str
    endpoint : str
    horizons : list of int
        Days.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        experiment, endpoint, horizon, risk_group, n, events (target events up to the horizon), expected, observed,
        lower, upper. In groups of fewer than 10 people all numbers are null, and counts of the events of fewer than 10
        people are.
    """
    estimate = drawn.estimate
    lower, upper = drawn.interval(confidence)
    rows = []
    for g, group in enumerate(groups):
        outcomes, horizon = group.outcomes, horizons[group.column]
        who, had = people[outcomes.order], (outcomes.kind == kernel.TARGET) & (outcomes.time <= horizon)
        shown, events_shown = (len(np.unique(part)) >= FEWEST_SHOWN for part in (who, who[had]))
        high = upper[g] if had.any() else _no_event_bound(group, people, horizon, confidence)
        numbers = (group.expected, estimate[g], lower[g], high) if shown else (np.nan,) * 4
        counts = (len(who) if shown else None, int(had.sum()) if events_shown else None)
        rows.append((experiments[group.experiment], endpoint, horizon, group.number, *counts, *numbers))
    columns = ["experiment", "endpoint", "horizon", "risk_group", "n", "events"]
    table = pd.DataFrame(rows, columns=[*columns, "expected", "observed", "lower", "upper"])
    return table.astype({"horizon": "int64", "risk_group": "int64", "n": "Int64", "events": "Int64"})

"""All metrics of all experiments on one group of subjects, for many resamples at once."""

from dataclasses import dataclass

import numpy as np

from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes, sort_outcomes
from riskweave.evaluation.inputs import Comparison
from riskweave.evaluation.metrics import risk_ranks, trapezoid_mean

__all__ = ["NULL_METRICS", "Panel", "make_panel", "score", "score_columns"]

HORIZON_METRICS = ("harrell_c", "uno_c", "brier", "brier_null", "observed_expected")
SUMMARY_METRICS = ("ibs", "ibs_null", "ipa")
# The null model's scores belong to the subjects, not to an experiment: they have no difference.
NULL_METRICS = ("brier_null", "ibs_null")


@dataclass(frozen=True)
class Panel:
    """What the kernel needs of a group of subjects, prepared once.

    Attributes
    ----------
    outcomes : SortedOutcomes
        Of the group; its `order` points into the subjects of the comparison.
    times : (k,) int64 array
    horizons : list of int
    risk : (experiments, horizons, n) float64 array
        Risks at the horizons, in sorted order.
    rank : (experiments, horizons, n) int64 array
    loss : (experiments, n, k) float64 array
        Squared errors at `times`.
    """

    outcomes: SortedOutcomes
    times: np.ndarray
    horizons: list[int]
    risk: np.ndarray
    rank: np.ndarray
    loss: np.ndarray


def score_columns(horizons: list[int]) -> list[tuple[str, int]]:
    """(metric, horizon) of each column of what :func:`score` returns."""
    by_horizon = [(metric, horizon) for horizon in horizons for metric in HORIZON_METRICS]
    return by_horizon + [(metric, horizons[-1]) for metric in SUMMARY_METRICS]


def make_panel(comparison: Comparison, members: np.ndarray | None = None) -> Panel:
    """Prepare a group of subjects.

    Parameters
    ----------
    comparison : Comparison
    members : (n,) bool array, optional
        Subjects of the group; all when not given.
    """
    outcomes = sort_outcomes(comparison.time, comparison.event)
    if members is not None:
        outcomes = outcomes.take(members[outcomes.order])
    columns = np.searchsorted(comparison.times, comparison.horizons)
    _, had_target = outcomes.known(comparison.times)
    sorted_risks = comparison.risks[:, outcomes.order]
    risk = np.ascontiguousarray(sorted_risks[:, :, columns].transpose(0, 2, 1))
    return Panel(
        outcomes=outcomes,
        times=comparison.times,
        horizons=comparison.horizons,
        risk=risk,
        rank=np.array([[risk_ranks(values) for values in experiment] for experiment in risk]),
        loss=(had_target - sorted_risks) ** 2,
    )


def score(panel: Panel, weights: np.ndarray | None = None) -> np.ndarray:
    """All metrics of all experiments.

    Parameters
    ----------
    panel : Panel
    weights : (resamples, subjects of the comparison) int64 array, optional
        Multiplicities; ones when not given.

    Returns
    -------
    (resamples, experiments, columns) float64 array
        Columns as in :func:`score_columns`; NaN where a metric is not defined: no comparable pair, nobody of the group
        followed to the horizon, a mean risk of zero.
    """
    outcomes = panel.outcomes
    kind, starts = outcomes.kind, outcomes.starts
    if weights is None:
        rows = np.ones((1, len(outcomes.time)), dtype=np.int64)
    else:
        rows = np.ascontiguousarray(weights[:, outcomes.order])
    uncensored = kernel.still_uncensored(kind, starts, rows)
    observed = kernel.incidence(kind, starts, rows)[:, outcomes.through(panel.times)]
    first, had_target = outcomes.known(panel.times)
    before = outcomes.before(panel.times)

    null = np.empty(observed.shape)
    for b in range(len(rows)):
        null_loss = (had_target - observed[b]) ** 2
        null[b] = kernel.squared_errors(null_loss, kind, first, before, rows[b : b + 1], uncensored[b : b + 1])[0]

    at = np.searchsorted(panel.times, panel.horizons)
    limits = outcomes.through(np.array(panel.horizons))
    result = np.full((len(rows), len(panel.risk), len(score_columns(panel.horizons))), np.nan)
    total = rows.sum(axis=1)
    followed = [bool(outcomes.before(np.array([h]))[0] < len(kind)) for h in panel.horizons]
    width = len(HORIZON_METRICS)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without subjects or events has no value: NaN
        for e in range(len(panel.risk)):
            brier = kernel.squared_errors(panel.loss[e], kind, first, before, rows, uncensored)
            pairs = None
            for h in range(len(panel.horizons)):
                # proportional hazards rank the subjects alike at every horizon: one sweep serves them all
                if h == 0 or not np.array_equal(panel.rank[e, h], panel.rank[e, h - 1]):
                    pairs = kernel.concordance(panel.rank[e, h], kind, starts, rows, uncensored, limits)
                result[:, e, h * width] = pairs[:, 0]
                if followed[h]:
                    expected = rows @ panel.risk[e, h] / total
                    ratio = np.where(expected > 0, observed[:, at[h]] / expected, np.nan)
                    result[:, e, h * width + 1 : (h + 1) * width] = np.stack(
                        [pairs[:, 1 + h], brier[:, at[h]], null[:, at[h]], ratio], axis=1
                    )
            if followed[-1]:
                ibs, ibs_null = trapezoid_mean(brier, panel.times), trapezoid_mean(null, panel.times)
                ipa = np.where(ibs_null > 0, 1 - ibs / ibs_null, np.nan)
                result[:, e, -3:] = np.stack([ibs, ibs_null, ipa], axis=1)
    return result

"""All metrics of all experiments on one group of subjects, for many resamples at once."""

from dataclasses import dataclass

import numpy as np

from riskweave.evaluation import kernel
from riskweave.evaluation.antolini import antolini_c
from riskweave.evaluation.auc import area_under_curve
from riskweave.evaluation.calibration_scores import (
    CALIBRATION_METRICS,
    CalibrationScorer,
    calibration_scorer,
    horizon_pseudo_observations,
)
from riskweave.evaluation.censoring import SortedOutcomes, sort_outcomes
from riskweave.evaluation.distribution_calibration import hazard_a_calibration, hazard_d_calibration
from riskweave.evaluation.inputs import Comparison
from riskweave.evaluation.likelihood import hazard_log_likelihood
from riskweave.evaluation.metrics import risk_ranks, trapezoid_mean
from riskweave.evaluation.sums import weighted_sums

__all__ = ["NULL_METRICS", "POINT_METRICS", "Panel", "make_panel", "point_scores", "score", "score_columns"]

RANK_METRICS = ("harrell_c", "uno_c", "auc")
HORIZON_METRICS = (*RANK_METRICS, "brier", "brier_null", "observed_expected", *CALIBRATION_METRICS)
SUMMARY_METRICS = ("ibs", "ibs_null", "ipa", "log_likelihood")
ALL_METRICS = frozenset((*HORIZON_METRICS, *SUMMARY_METRICS))
# The null model's scores belong to the subjects, not to an experiment: they have no difference.
NULL_METRICS = ("brier_null", "ibs_null")
# Of the whole curve, without intervals: Antolini's concordance costs as much as all others, the tests have p-values.
POINT_METRICS = ("antolini_c", "d_calibration", "d_calibration_p", "a_calibration", "a_calibration_p")


@dataclass(frozen=True)
class Panel:
    """What the kernel needs of a group of subjects, prepared once.

    Attributes
    ----------
    outcomes : SortedOutcomes
        Of the group; its `order` points into the subjects of the comparison.
    times : (k,) int64 array
    horizons : list of int
    risks : (experiments, subjects of the comparison, k) float64 array
        The comparison's own; squared errors are made of it for one experiment at a time.
    rank : (experiments, horizons, n) int64 array
        Of the risks at the horizons, in sorted order.
    linear : (experiments, n, horizons + 1) float64 array
        Risks at the horizons and the log-likelihood: what is averaged as it is.
    followed : (horizons,) bool array
        Whether anybody of the group is followed to the horizon.
    calibration : list of list of CalibrationScorer or None
        By experiment and horizon; None where nobody is followed to it, or where no metric of it is wanted.
    wanted : frozenset of str
        Metrics to compute; the others may be NaN.
    """

    outcomes: SortedOutcomes
    times: np.ndarray
    horizons: list[int]
    risks: np.ndarray
    rank: np.ndarray
    linear: np.ndarray
    followed: np.ndarray
    calibration: list[list[CalibrationScorer | None]]
    wanted: frozenset[str]

    def wants(self, *metrics: str) -> bool:
        """Tell whether some of these metrics are to be computed."""
        return not self.wanted.isdisjoint(metrics)


@dataclass(frozen=True)
class _Resamples:
    """What all experiments share in some resamples."""

    rows: np.ndarray
    total: np.ndarray
    uncensored: np.ndarray
    observed: np.ndarray
    null: np.ndarray
    first: np.ndarray
    had_target: np.ndarray


def score_columns(horizons: list[int]) -> list[tuple[str, int]]:
    """(metric, horizon) of each column of what :func:`score` returns."""
    by_horizon = [(metric, horizon) for horizon in horizons for metric in HORIZON_METRICS]
    return by_horizon + [(metric, horizons[-1]) for metric in SUMMARY_METRICS]


def make_panel(
    comparison: Comparison, members: np.ndarray | None = None, wanted: frozenset[str] = ALL_METRICS
) -> Panel:
    """Prepare a group of subjects.

    Parameters
    ----------
    comparison : Comparison
    members : (n,) bool array, optional
        Subjects of the group; all when not given.
    wanted : frozenset of str, optional
        Metrics that :func:`score` has to compute, to the digits that it gives with all of them; all when not given.
    """
    outcomes = sort_outcomes(comparison.time, comparison.event)
    if members is not None:
        outcomes = outcomes.take(members[outcomes.order])
    order, horizons = outcomes.order, comparison.horizons
    columns = np.searchsorted(comparison.times, horizons)
    linear = np.full((len(comparison.experiments), len(order), len(horizons) + 1), np.nan)
    for e, hazards in enumerate(comparison.hazards):
        linear[e, :, :-1] = comparison.risks[e][np.ix_(order, columns)]
        if hazards is not None and "log_likelihood" in wanted:
            linear[e, :, -1] = hazard_log_likelihood(hazards.take(order), comparison.event[order])
    followed = outcomes.before(np.array(horizons)) < len(order)
    risk = linear[:, :, :-1]
    ranked = not wanted.isdisjoint(RANK_METRICS)
    return Panel(
        outcomes=outcomes,
        times=comparison.times,
        horizons=horizons,
        risks=comparison.risks,
        rank=np.array([[risk_ranks(values) for values in one.T] if ranked else [] for one in risk]),
        linear=linear,
        followed=followed,
        calibration=_calibration_scorers(outcomes, risk, horizons, followed, wanted),
        wanted=wanted,
    )


def _calibration_scorers(
    outcomes: SortedOutcomes, risk: np.ndarray, horizons: list[int], followed: np.ndarray, wanted: frozenset[str]
) -> list[list[CalibrationScorer | None]]:
    """Regressions of each experiment at each horizon that somebody is followed to, where a metric of them is wanted."""
    if wanted.isdisjoint(CALIBRATION_METRICS):
        return [[None] * len(horizons) for _ in risk]
    pseudo = [horizon_pseudo_observations(outcomes, horizon) for horizon in horizons]
    return [
        [
            calibration_scorer(outcomes, values, horizon, about) if there else None
            for values, horizon, about, there in zip(experiment.T, horizons, pseudo, followed, strict=True)
        ]
        for experiment in risk
    ]


def _shared(panel: Panel, weights: np.ndarray | None) -> _Resamples:
    outcomes = panel.outcomes
    kind, starts = outcomes.kind, outcomes.starts
    if weights is None:
        rows = np.ones((1, len(outcomes.time)), dtype=np.int64)
    else:
        rows = np.take(weights, outcomes.order, axis=1)  # several times as fast as weights[:, order]
    uncensored = kernel.still_uncensored(kind, starts, rows)
    observed = kernel.incidence(kind, starts, rows)[:, outcomes.through(panel.times)]
    first, had_target = outcomes.known(panel.times)
    if not panel.wants("brier_null", "ibs_null", "ipa"):
        nothing = np.full((len(rows), len(panel.times)), np.nan)
        return _Resamples(rows, rows.sum(axis=1), uncensored, observed, nothing, first, had_target)
    # the squared error of one incidence F for all: F^2 of everybody, 1 - 2 F more of who had the target
    weighted = [
        kernel.squared_errors(loss, kind, first, outcomes.before(panel.times), rows, uncensored)
        for loss in (np.ones(had_target.shape), had_target.astype(float))
    ]
    null = observed**2 * weighted[0] + (1 - 2 * observed) * weighted[1]
    return _Resamples(rows, rows.sum(axis=1), uncensored, observed, null, first, had_target)


def _rank_scores(panel: Panel, e: int, shared: _Resamples) -> np.ndarray:
    """Harrell's and Uno's concordance and the area under the curve: (resamples, horizons, 3)."""
    outcomes, horizons = panel.outcomes, np.array(panel.horizons)
    limits, left, before = outcomes.through(horizons), outcomes.left_by(horizons), outcomes.before(horizons)
    result = np.full((len(shared.rows), len(horizons), len(RANK_METRICS)), np.nan)
    pairs = None
    for h, rank in enumerate(panel.rank[e]):
        # proportional hazards rank the subjects alike at every horizon: one sweep serves them all
        if panel.wants("harrell_c", "uno_c") and (pairs is None or not np.array_equal(rank, panel.rank[e, h - 1])):
            pairs = kernel.concordance(rank, outcomes.kind, outcomes.starts, shared.rows, shared.uncensored, limits)
        if pairs is not None:
            result[:, h, :2] = pairs[:, [0, 1 + h]]
        if panel.wants("auc"):
            arrays = rank, outcomes.kind, left[h], shared.rows, shared.uncensored, before[h]
            result[:, h, 2] = area_under_curve(*arrays)
    return result


def _brier(panel: Panel, e: int, shared: _Resamples) -> np.ndarray:
    """Brier score of one experiment at all times: (resamples, times)."""
    if not panel.wants("brier", "ibs", "ipa"):
        return np.full((len(shared.rows), len(panel.times)), np.nan)
    outcomes = panel.outcomes
    loss = (shared.had_target - panel.risks[e][outcomes.order]) ** 2
    before = outcomes.before(panel.times)
    return kernel.squared_errors(loss, outcomes.kind, shared.first, before, shared.rows, shared.uncensored)


def _experiment_scores(panel: Panel, e: int, shared: _Resamples) -> np.ndarray:
    """All metrics of one experiment: (resamples, columns)."""
    rows, brier = shared.rows, _brier(panel, e, shared)
    means = weighted_sums(panel.linear[e], rows) / shared.total[:, None]
    ranks = _rank_scores(panel, e, shared)
    parts = []
    for h, scorer in enumerate(panel.calibration[e]):
        part = np.full((len(rows), len(HORIZON_METRICS)), np.nan)
        part[:, 0] = ranks[:, h, 0]
        if panel.followed[h]:
            at = np.searchsorted(panel.times, panel.horizons[h])
            ratio = np.where(means[:, h] > 0, shared.observed[:, at] / means[:, h], np.nan)
            part[:, 1:6] = np.column_stack([ranks[:, h, 1:], brier[:, at], shared.null[:, at], ratio])
        if scorer is not None:
            part[:, 6:] = scorer.score(rows)
        parts.append(part)
    summary = np.full((len(rows), len(SUMMARY_METRICS)), np.nan)
    if panel.followed[-1]:
        ibs, ibs_null = trapezoid_mean(brier, panel.times), trapezoid_mean(shared.null, panel.times)
        ipa = np.where(ibs_null > 0, 1 - ibs / ibs_null, np.nan)
        summary[:, :3] = np.column_stack([ibs, ibs_null, ipa])
    summary[:, 3] = means[:, -1]
    return np.column_stack([*parts, summary])


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
        followed to the horizon, a mean risk of zero, a slope of a constant risk.
    """
    shared = _shared(panel, weights)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without subjects or events has no value: NaN
        return np.stack([_experiment_scores(panel, e, shared) for e in range(len(panel.risks))], axis=1)


def point_scores(comparison: Comparison, members: np.ndarray) -> np.ndarray:
    """Metrics of the whole curve that have no interval: (experiments, 5), in the order of `POINT_METRICS`.

    Parameters
    ----------
    comparison : Comparison
    members : (n,) bool array
        Subjects of the group.
    """
    time, event = comparison.time[members], comparison.event[members]
    ones = np.ones(len(time))
    result = np.full((len(comparison.experiments), len(POINT_METRICS)), np.nan)
    for e, hazards in enumerate(comparison.hazards):
        risk = comparison.risks[e][members]
        result[e, 0] = antolini_c(time=time, event=event, risk=risk, times=comparison.times)
        if hazards is not None:
            own = hazards.take(members)
            found = [test(own, event, ones) for test in (hazard_d_calibration, hazard_a_calibration)]
            result[e, 1:] = [number for one in found for number in (one.statistic, one.p_value)]
    return result

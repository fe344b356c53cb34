"""Evaluate and compare all experiments of an endpoint: the one function that the pipeline calls."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.errors import StudyError, nearest
from riskweave.evaluation.calibration import calibration_groups, calibration_table, observed_incidence
from riskweave.evaluation.clinical_tables import (
    decision_curve_table,
    net_benefits,
    reclassification_moves,
    reclassification_table,
    smooth_calibration_table,
)
from riskweave.evaluation.draws import Drawn, draw
from riskweave.evaluation.fold_table import fold_table
from riskweave.evaluation.groups import EVERYONE, count_shown, group_members
from riskweave.evaluation.inputs import Comparison, read_comparison
from riskweave.evaluation.layout import LEADERBOARD_METRICS, leaderboard_table, long_table, with_missing, write_table
from riskweave.evaluation.recalibration_table import recalibration_table
from riskweave.evaluation.scores import make_panel, point_scores, score
from riskweave.study.cohort import Endpoint
from riskweave.study.evaluation import Evaluation

__all__ = ["LEADERBOARD_METRICS", "evaluate_endpoint"]

Group = tuple[str, str]


def _draw_groups(
    comparison: Comparison, groups: dict[Group, np.ndarray], evaluation: Evaluation, threads: int
) -> tuple[dict[Group, Drawn], dict[Group, np.ndarray]]:
    """Scores with their resamples, and the metrics without intervals, of each group: one panel in memory at a time."""
    scores: dict[Group, Drawn] = {}
    points: dict[Group, np.ndarray] = {}
    for key, members in groups.items():
        if key != EVERYONE and members.all():
            scores[key], points[key] = scores[EVERYONE], points[EVERYONE]
            continue
        panel = make_panel(comparison, members)
        points[key] = point_scores(comparison, members)
        scores[key] = draw(
            lambda rows, panel=panel: score(panel, rows),
            people=comparison.people,
            evaluation=evaluation,
            threads=threads,
            what=f"endpoint {comparison.endpoint}, {key[0]} {key[1]}",
        )
    return scores, points


def _calibration(comparison: Comparison, evaluation: Evaluation, threads: int) -> pd.DataFrame:
    groups = calibration_groups(comparison)
    drawn = draw(
        lambda rows: observed_incidence(groups, comparison.horizons, rows),
        people=comparison.people,
        evaluation=evaluation,
        threads=threads,
        what=f"endpoint {comparison.endpoint}, calibration",
    )
    return calibration_table(
        groups=groups,
        people=comparison.people,
        drawn=drawn,
        experiments=comparison.experiments,
        endpoint=comparison.endpoint,
        horizons=comparison.horizons,
        confidence=evaluation.confidence,
    )


def _clinical(
    comparison: Comparison, evaluation: Evaluation, reference: str, threads: int
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Decision curves, and reclassification where the study states thresholds for it."""
    how = {"people": comparison.people, "evaluation": evaluation, "threads": threads}
    thresholds, confidence = evaluation.thresholds, evaluation.confidence
    what = f"endpoint {comparison.endpoint}, "
    drawn = draw(net_benefits(comparison, thresholds), **how, what=what + "decision curves")
    curves = decision_curve_table(comparison, drawn, evaluation)
    if not evaluation.reclassification:
        return curves, None
    stated = evaluation.reclassification
    drawn = draw(reclassification_moves(comparison, stated, reference), **how, what=what + "reclassification")
    return curves, reclassification_table(comparison, drawn, stated, reference, confidence)


def _check_reference(comparison: Comparison, reference: str) -> None:
    if reference not in comparison.experiments:
        raise StudyError(
            f"evaluation.reference: endpoint {comparison.endpoint!r} has no experiment {reference!r}."
            f"{nearest(reference, comparison.experiments)} Allowed: {', '.join(comparison.experiments)}"
        )


def evaluate_endpoint(
    *,
    predictions: list[Path],
    subjects: Path,
    availability: dict[str, list[Path]],
    endpoint_name: str,
    endpoint: Endpoint,
    outcomes: Path,
    reference: str,
    evaluation: Evaluation,
    metrics: Path,
    differences: Path,
    calibration: Path,
    leaderboard_csv: Path,
    leaderboard: Path,
    fold_metrics: Path,
    decision_curve: Path,
    calibration_curve: Path,
    reclassification: Path | None = None,
    recalibration: Path | None = None,
    folds: Path | None = None,
    missing: Mapping[str, str] | None = None,
    threads: int = 1,
) -> None:
    """Evaluate all experiments of an endpoint on the same subjects, with paired differences to a reference.

    Metrics and their definitions: docs/methods.md. Intervals are bootstrap intervals over people (all index times of a
    person are drawn together), the models being kept as trained: they tell how well these predictions are measured,
    not how a model would vary if it were trained again; the spread over folds, in a table of its own, does in part.

    Parameters
    ----------
    predictions : list of Path
        Prediction tables, one for each experiment.
    subjects : Path
        Subject table of the cohort: persons, and the columns of the subgroups.
    availability : dict of modality to list of Path
        Parquet tables: who has a row in some of them has the modality. Metrics are repeated for each pattern of
        available modalities (group ``modalities``, group_value ``ehr+ecg``) and in each subgroup (group ``sex``,
        group_value ``female``); groups with fewer than 10 subjects or target events have null estimates, and counts of
        fewer than 10 people are null.
    endpoint_name, endpoint : str, Endpoint
        The study's block.
    outcomes : Path
        Outcome table: the subjects at risk.
    reference : str
        Experiment that is subtracted from each other one.
    evaluation : Evaluation
        Resamples, coverage, seed, kind of interval, subgroups, thresholds.
    metrics, differences : Path
        Long tables written: experiment, (reference,) endpoint, metric, horizon, group, group_value, n, events (target
        events of the follow-up), estimate, lower, upper. Everyone is group ``all``, group_value ``all``.
    calibration : Path
        Table written, see :func:`riskweave.evaluation.calibration.calibration_table`.
    leaderboard_csv, leaderboard : Path
        One row per experiment, as CSV and Parquet: metrics at the last horizon with intervals and differences. The CSV
        names those of `missing` too.
    fold_metrics : Path
        Table written, see :func:`riskweave.evaluation.fold_table.fold_table`.
    decision_curve, calibration_curve, reclassification : Path
        Tables written, see :mod:`riskweave.evaluation.clinical_tables`; the last where the study states thresholds.
    recalibration : Path, optional
        Table written, see :func:`riskweave.evaluation.recalibration_table.recalibration_table`.
    folds : Path, optional
        Fold table of the cohort: on how many subjects the models of a fold were fitted.
    missing : mapping of experiment to str, optional
        Why experiments of the endpoint are not among `predictions`: their training failed.
    threads : int, default 1
        Any number gives the same digits.

    Raises
    ------
    StudyError
        When the reference is not among the experiments.
    DataError
        When tables break their contract, experiments predict other subjects than those at risk, a horizon is beyond
        the follow-up, or a subgroup's column is missing.
    """
    comparison = read_comparison(
        predictions=predictions, outcomes=outcomes, subjects=subjects, name=endpoint_name, endpoint=endpoint
    )
    _check_reference(comparison, reference)
    confidence = evaluation.confidence
    groups = group_members(comparison, availability=availability, subjects=subjects, evaluation=evaluation)
    counts = {key: count_shown(comparison, members, everyone=key == EVERYONE) for key, members in groups.items()}
    scored = {key: members for key, members in groups.items() if counts[key][2]}
    scores, points = _draw_groups(comparison, scored, evaluation, threads)
    laid_out = {"comparison": comparison, "counts": counts, "scores": scores, "points": points}
    board = leaderboard_table(comparison, scores[EVERYONE], reference, confidence)
    curves, moves = _clinical(comparison, evaluation, reference, threads)
    outputs = {
        metrics: long_table(**laid_out, confidence=confidence),
        differences: long_table(**laid_out, confidence=confidence, reference=reference),
        calibration: _calibration(comparison, evaluation, threads),
        leaderboard_csv: with_missing(board, missing or {}),
        leaderboard: board,
        fold_metrics: fold_table(comparison, reference=reference, confidence=confidence, folds=folds),
        decision_curve: curves,
        calibration_curve: smooth_calibration_table(comparison, confidence),
    }
    if reclassification is not None and moves is not None:
        outputs[reclassification] = moves
    if recalibration is not None:
        outputs[recalibration] = recalibration_table(comparison, evaluation, threads)
    for path, table in outputs.items():
        write_table(table, path)

"""Evaluate and compare all experiments of an endpoint: the one function that the pipeline calls."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.errors import StudyError, nearest
from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.calibration import calibration_groups, calibration_table, observed_incidence
from riskweave.evaluation.inputs import FEWEST_SHOWN, Comparison, availability_patterns, read_comparison
from riskweave.evaluation.scores import NULL_METRICS, Panel, make_panel, score, score_columns
from riskweave.study.cohort import Endpoint
from riskweave.study.study import Evaluation

__all__ = ["LEADERBOARD_METRICS", "evaluate_endpoint"]

logger = logging.getLogger(__name__)

EVERYONE = ("all", "all")
LEADERBOARD_METRICS = ("harrell_c", "uno_c", "ibs", "ipa", "observed_expected")


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix == ".csv":
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    else:
        table.to_parquet(partial, index=False)
    partial.replace(path)


def _groups(comparison: Comparison, availability: dict[str, list[Path]]) -> dict[tuple[str, str], np.ndarray]:
    """Members of each group that metrics are computed for: everyone, and each availability pattern of modalities."""
    groups = {EVERYONE: np.ones(len(comparison.time), dtype=bool)}
    if availability:
        patterns = availability_patterns(comparison.subject_id, availability)
        for pattern in sorted(set(patterns), key=lambda name: (-name.count("+"), name == "none", name)):
            groups["modalities", str(pattern)] = patterns == pattern
    return groups


def _bootstrap(
    comparison: Comparison, panels: dict[tuple[str, str], Panel], evaluation: Evaluation
) -> tuple[dict[tuple[str, str], np.ndarray], pd.DataFrame]:
    """Scores (resamples, experiments, columns) of each panel, and the calibration table, on the same resamples."""
    calibration = calibration_groups(panels[EVERYONE], comparison.people)
    scores: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in panels}
    observed, done, reported = [], 0, 0
    rows = resamples(people=comparison.people, count=evaluation.bootstrap, seed=evaluation.seed)
    for weights in rows:
        for key, panel in panels.items():
            everyone = len(panel.outcomes.time) == len(comparison.time)
            same = everyone and key != EVERYONE
            scores[key].append(scores[EVERYONE][-1] if same else score(panel, weights))
        observed.append(observed_incidence(calibration, comparison.horizons, weights))
        done += len(weights)
        if done * 10 // evaluation.bootstrap > reported:
            reported = done * 10 // evaluation.bootstrap
            logger.info("endpoint %s: %d of %d resamples", comparison.endpoint, done, evaluation.bootstrap)
    table = calibration_table(
        groups=calibration,
        people=comparison.people,
        resampled=np.concatenate(observed),
        experiments=comparison.experiments,
        endpoint=comparison.endpoint,
        horizons=comparison.horizons,
        confidence=evaluation.confidence,
    )
    return {key: np.concatenate(values) for key, values in scores.items()}, table


def _counts(comparison: Comparison, members: np.ndarray, key: tuple[str, str]) -> tuple[int | None, int | None, bool]:
    """Subjects, target events, and whether the group is large enough to be shown: in people, not in index times."""
    parts = members, members & (comparison.event == 1)
    counts = [int(part.sum()) for part in parts]
    if key == EVERYONE:
        return *counts, True
    enough = [len(np.unique(comparison.people[part])) >= FEWEST_SHOWN for part in parts]
    n, events = (count if shown else None for count, shown in zip(counts, enough, strict=True))
    return n, events, all(enough)


def _long_table(
    *,
    comparison: Comparison,
    groups: dict[tuple[str, str], np.ndarray],
    estimates: dict[tuple[str, str], np.ndarray],
    resampled: dict[tuple[str, str], np.ndarray],
    confidence: float,
    reference: str | None,
) -> pd.DataFrame:
    """Metrics table, or with a reference the table of paired differences to it."""
    rows = []
    columns = score_columns(comparison.horizons)
    for key, members in groups.items():
        n, events, shown = _counts(comparison, members, key)
        estimate, values = estimates[key][0], resampled[key]
        if reference is not None:
            r = comparison.experiments.index(reference)
            estimate, values = estimate - estimate[r], values - values[:, r : r + 1]
        lower, upper = percentile_interval(values, confidence)
        for e, experiment in enumerate(comparison.experiments):
            if experiment == reference:
                continue
            names = (experiment,) if reference is None else (experiment, reference)
            for c, (metric, horizon) in enumerate(columns):
                if reference is not None and metric in NULL_METRICS:
                    continue
                numbers = (estimate[e, c], lower[e, c], upper[e, c]) if shown else (np.nan,) * 3
                rows.append((*names, comparison.endpoint, metric, horizon, *key, n, events, *numbers))
    names = ["experiment"] if reference is None else ["experiment", "reference"]
    header = ["endpoint", "metric", "horizon", "group", "group_value", "n", "events", "estimate", "lower", "upper"]
    table = pd.DataFrame(rows, columns=[*names, *header])
    numbers = dict.fromkeys(("estimate", "lower", "upper"), "float64")
    return table.astype({"horizon": "Int64", "n": "Int64", "events": "Int64", **numbers})


def _leaderboard(metrics: pd.DataFrame, differences: pd.DataFrame, horizon: int, reference: str) -> pd.DataFrame:
    """One row per experiment, the highest Harrell concordance first."""

    def overall(table: pd.DataFrame) -> pd.DataFrame:
        keep = (table["group"] == EVERYONE[0]) & (table["horizon"] == horizon)
        return table[keep].set_index(["experiment", "metric"])[["estimate", "lower", "upper"]]

    values, contrasts = overall(metrics), overall(differences)
    rows = []
    for experiment in metrics["experiment"].unique():
        first = metrics[metrics["experiment"] == experiment].iloc[0]
        row = {"experiment": experiment, "endpoint": first["endpoint"], "horizon": horizon}
        row |= {"n": first["n"], "events": first["events"], "reference": reference}
        for metric in LEADERBOARD_METRICS:
            row |= dict(
                zip([metric, f"{metric}_lower", f"{metric}_upper"], values.loc[(experiment, metric)], strict=True)
            )
            names = [f"{metric}_difference{end}" for end in ("", "_lower", "_upper")]
            found = (np.nan,) * 3 if experiment == reference else contrasts.loc[(experiment, metric)]
            row |= dict(zip(names, found, strict=True))
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["harrell_c", "experiment"], ascending=[False, True], ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table.astype({"n": "int64", "events": "int64"})


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
) -> None:
    """Evaluate all experiments of an endpoint on the same subjects, with paired differences to a reference.

    Metrics (see :mod:`riskweave.evaluation.metrics`): at each horizon `harrell_c`, `uno_c`, `brier`, `brier_null`,
    `observed_expected`; over the grid to the last horizon `ibs`, `ibs_null`, `ipa` (their `horizon` is the last).
    Intervals are percentile bootstrap intervals over people (all index times of a person are drawn together), the
    models being kept as trained: they tell how well these predictions are measured, not how a model would vary if it
    were trained again.

    Parameters
    ----------
    predictions : list of Path
        Prediction tables, one for each experiment.
    subjects : Path
        Subject table of the cohort.
    availability : dict of modality to list of Path
        Parquet tables: who has a row in some of them has the modality. Metrics are repeated for each pattern of
        available modalities (group ``modalities``, group_value ``ehr+ecg``); patterns with fewer than 10 subjects or
        target events have null estimates, and counts of fewer than 10 people are null.
    endpoint_name, endpoint : str, Endpoint
        The study's block.
    outcomes : Path
        Outcome table: the subjects at risk.
    reference : str
        Experiment that is subtracted from each other one.
    evaluation : Evaluation
        Resamples, coverage and seed.
    metrics, differences : Path
        Long tables written: experiment, (reference,) endpoint, metric, horizon, group, group_value, n, events (target
        events of the follow-up), estimate, lower, upper. Everyone is group ``all``, group_value ``all``.
    calibration : Path
        Table written, see :func:`riskweave.evaluation.calibration.calibration_table`.
    leaderboard_csv, leaderboard : Path
        One row per experiment, as CSV and Parquet: metrics at the last horizon with intervals and differences.

    Raises
    ------
    StudyError
        When the reference is not among the experiments.
    DataError
        When tables break their contract, experiments predict other subjects than those at risk, or a horizon is beyond
        the follow-up.
    """
    comparison = read_comparison(
        predictions=predictions, outcomes=outcomes, subjects=subjects, name=endpoint_name, endpoint=endpoint
    )
    if reference not in comparison.experiments:
        raise StudyError(
            f"evaluation.reference: endpoint {endpoint_name!r} has no experiment {reference!r}."
            f"{nearest(reference, comparison.experiments)} Allowed: {', '.join(comparison.experiments)}"
        )
    groups = _groups(comparison, availability)
    panels = {key: make_panel(comparison, members) for key, members in groups.items()}
    estimates = {key: score(panel) for key, panel in panels.items()}
    resampled, calibration_frame = _bootstrap(comparison, panels, evaluation)
    long = {
        name: _long_table(
            comparison=comparison,
            groups=groups,
            estimates=estimates,
            resampled=resampled,
            confidence=evaluation.confidence,
            reference=name,
        )
        for name in (None, reference)
    }
    board = _leaderboard(long[None], long[reference], comparison.horizons[-1], reference)
    outputs = {metrics: long[None], differences: long[reference], calibration: calibration_frame}
    outputs |= {leaderboard_csv: board, leaderboard: board}
    for path, table in outputs.items():
        _write(table, path)

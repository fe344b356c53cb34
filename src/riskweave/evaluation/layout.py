"""The tables of an evaluation: metrics, differences and leaderboard, from scores and their resamples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.evaluation.draws import Drawn
from riskweave.evaluation.groups import Counts
from riskweave.evaluation.inputs import Comparison
from riskweave.evaluation.intervals import bootstrap_p_values, holm, simultaneous_intervals
from riskweave.evaluation.scores import NULL_METRICS, POINT_METRICS, score_columns
from riskweave.files import replacing

__all__ = ["LEADERBOARD_METRICS", "leaderboard_table", "long_table", "with_missing", "write_table"]

# Of these a higher or a lower value is better: their differences are a family of comparisons.
JUDGED_METRICS = ("harrell_c", "uno_c", "auc", "ibs", "ipa")
LEADERBOARD_METRICS = (*JUDGED_METRICS, "observed_expected", "calibration_slope")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet, whole or not at all."""
    path = Path(path)
    with replacing(path) as (partial,):
        if path.suffix == ".csv":
            table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
        else:
            table.to_parquet(partial, index=False)


def with_missing(board: pd.DataFrame, missing: Mapping[str, str]) -> pd.DataFrame:
    """Return a leaderboard with a row, without numbers, for each experiment whose training failed.

    Parameters
    ----------
    board : DataFrame
        Of one endpoint.
    missing : mapping of experiment to str
        Why they are missing: column ``missing``, which is there only where some are.
    """
    if not missing:
        return board
    whole = board.astype({name: "Int64" for name, kind in board.dtypes.items() if kind.kind == "i"})
    rows = pd.DataFrame({"experiment": list(missing), "missing": list(missing.values())})
    rows.insert(1, "endpoint", board["endpoint"].iloc[0])
    return pd.concat([whole.assign(missing=""), rows], ignore_index=True)


def _with_points(found: Drawn, points: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates, lower and upper bounds (experiments, columns), the metrics without intervals at the end."""
    none = np.full(points.shape, np.nan)
    return tuple(
        np.concatenate(pair, axis=1)
        for pair in zip((found.estimate, *found.interval(confidence)), (points, none, none), strict=True)
    )


def long_table(
    *,
    comparison: Comparison,
    counts: dict[tuple[str, str], Counts],
    scores: dict[tuple[str, str], Drawn],
    points: dict[tuple[str, str], np.ndarray],
    confidence: float,
    reference: str | None = None,
) -> pd.DataFrame:
    """Lay out the metrics table, or with a reference the table of paired differences to it.

    Parameters
    ----------
    comparison : Comparison
    counts : dict of (group, group_value) to (n, events, shown)
        From :func:`riskweave.evaluation.groups.count_shown`; groups that are not shown have no estimates.
    scores : dict of (group, group_value) to Drawn
        Of :func:`riskweave.evaluation.scores.score`, in the groups that are shown.
    points : dict of (group, group_value) to (experiments, metrics) array
        From :func:`riskweave.evaluation.scores.point_scores`; not in the differences.
    confidence : float
    reference : str, optional
    """
    columns = score_columns(comparison.horizons)
    if reference is None:
        columns += [(metric, comparison.horizons[-1]) for metric in POINT_METRICS]
    rows = []
    for key, (n, events, shown) in counts.items():
        numbers = np.full((3, len(comparison.experiments), len(columns)), np.nan)
        if shown and reference is None:
            numbers = np.stack(_with_points(scores[key], points[key], confidence))
        elif shown:
            found = scores[key].minus(comparison.experiments.index(reference))
            numbers = np.stack([found.estimate, *found.interval(confidence)])
        for e, experiment in enumerate(comparison.experiments):
            if experiment == reference:
                continue
            names = (experiment,) if reference is None else (experiment, reference)
            for c, (metric, horizon) in enumerate(columns):
                if reference is None or metric not in NULL_METRICS:
                    rows.append((*names, comparison.endpoint, metric, horizon, *key, n, events, *numbers[:, e, c]))
    names = ["experiment"] if reference is None else ["experiment", "reference"]
    header = ["endpoint", "metric", "horizon", "group", "group_value", "n", "events", "estimate", "lower", "upper"]
    table = pd.DataFrame(rows, columns=[*names, *header])
    types = dict.fromkeys(("estimate", "lower", "upper"), "float64")
    return table.astype({"horizon": "Int64", "n": "Int64", "events": "Int64", **types})


def _family(differences: Drawn, others: list[int], column: int, confidence: float) -> np.ndarray:
    """Holm's p-value and joint interval of each difference of one metric: (comparisons, 3)."""
    values = differences.resampled[:, others, column]
    lower, upper, _ = simultaneous_intervals(values, differences.estimate[others, column], confidence)
    return np.stack([holm(bootstrap_p_values(values)), lower, upper], axis=1)


def leaderboard_table(comparison: Comparison, scores: Drawn, reference: str, confidence: float) -> pd.DataFrame:
    """Lay out one row per experiment, the highest Harrell concordance first.

    Parameters
    ----------
    comparison : Comparison
    scores : Drawn
        Of everyone, (experiments, columns).
    reference : str
    confidence : float
        Of single intervals, and of all of a metric's joint intervals together.
    """
    horizon, names = comparison.horizons[-1], comparison.experiments
    r = names.index(reference)
    others = [e for e in range(len(names)) if e != r]
    n, events = len(comparison.time), int((comparison.event == 1).sum())
    board = pd.DataFrame({"experiment": names, "endpoint": comparison.endpoint, "horizon": horizon})
    board = board.assign(n=n, events=events, reference=reference)
    differences = scores.minus(r)
    bounds, paired = scores.interval(confidence), differences.interval(confidence)
    for metric in LEADERBOARD_METRICS:
        column = score_columns(comparison.horizons).index((metric, horizon))
        new = {"": scores.estimate, "_lower": bounds[0], "_upper": bounds[1]}
        new |= {"_difference": differences.estimate, "_difference_lower": paired[0], "_difference_upper": paired[1]}
        for end, values in new.items():
            board[f"{metric}{end}"] = values[:, column]
        if metric in JUDGED_METRICS:
            family = np.full((len(names), 3), np.nan)
            if others:
                family[others] = _family(differences, others, column, confidence)
            for part, end in enumerate(("p_holm", "joint_lower", "joint_upper")):
                board[f"{metric}_difference_{end}"] = family[:, part]
        board.loc[r, [name for name in board if name.startswith(f"{metric}_difference")]] = np.nan
    board = board.sort_values(["harrell_c", "experiment"], ascending=[False, True], ignore_index=True)
    board.insert(0, "rank", np.arange(1, len(board) + 1))
    return board.astype({"n": "int64", "events": "int64"})

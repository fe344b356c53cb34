"""Forest plots of the study report: differences to the reference, and subgroups."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from riskweave.drawing import BLUE, GREY, ORANGE, STYLE, draw_sentence, in_years, new_figure, save_figure
from riskweave.study_report.words import METRICS, estimate, group_value

__all__ = ["differences_table", "plot_differences", "plot_subgroups", "subgroups_table"]

DRAWN = ("harrell_c", "auc", "ibs")
LOWER_IS_BETTER = ("ibs",)
DIGITS = {"ibs": 4}
"""Digits of differences other than three: of Brier scores they are small."""


def differences_table(board: pd.DataFrame) -> pd.DataFrame:
    """Return the paired differences at the last horizon in long form, best concordance first.

    Parameters
    ----------
    board : DataFrame
        The leaderboard.

    Returns
    -------
    DataFrame
        experiment, reference, endpoint, metric, horizon, estimate, lower, upper, joint_lower, joint_upper, p_holm.
    """
    others = board[board["experiment"] != board["reference"]]
    columns = {"estimate": "", "lower": "_lower", "upper": "_upper"}
    columns |= {"joint_lower": "_joint_lower", "joint_upper": "_joint_upper", "p_holm": "_p_holm"}
    parts = []
    for metric in METRICS:
        # Of some metrics no value is better: they have no joint intervals and p-values.
        found = {new: others.get(f"{metric}_difference{end}", np.nan) for new, end in columns.items()}
        parts.append(others[["experiment", "reference", "endpoint", "horizon"]].assign(metric=metric, **found))
    order = ["experiment", "reference", "endpoint", "metric", "horizon", *columns]
    return pd.concat(parts, ignore_index=True)[order]


def subgroups_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics at the last horizon in each subgroup, and of everyone, without counts.

    Parameters
    ----------
    metrics : DataFrame
        The metrics of the evaluation.

    Returns
    -------
    DataFrame
        experiment, endpoint, metric, horizon, group, group_value, estimate, lower, upper.
    """
    last = metrics[(metrics["horizon"] == metrics["horizon"].max()) & metrics["metric"].isin(METRICS)]
    # A group of which everybody has one value divides nobody.
    values = last.groupby("group")["group_value"].transform("nunique")
    last = last[(values > 1) | (last["group"] == "all")]
    return last.drop(columns=["n", "events"]).reset_index(drop=True)


def _style(axes: Axes) -> None:
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def _row(axes: Axes, y: float, row: pd.Series, colour: str, marker: str) -> None:
    axes.plot([row["lower"], row["upper"]], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([row["estimate"]], [y], marker=marker, color=colour, markersize=5, markerfacecolor="white")


def plot_differences(*, table: pd.DataFrame, output: Path) -> None:
    """Draw each experiment's difference to the reference: own interval thick, joint interval of all of them thin.

    Parameters
    ----------
    table : DataFrame
        From :func:`differences_table`.
    output : Path
        SVG file written (PNG by its suffix).
    """
    drawn = table[table["metric"].isin(DRAWN)].dropna(subset=["estimate"])
    if drawn.empty:
        draw_sentence("There is no experiment besides the reference to compare it with.", output)
        return
    names = list(drawn["experiment"].drop_duplicates())
    first, day = drawn.iloc[0], drawn.iloc[0]["horizon"]
    with rc_context(STYLE):
        figure = new_figure(10.5, 1.5 + 0.4 * len(names))
        for axes, metric in zip(figure.subplots(1, len(DRAWN), sharey=True), DRAWN, strict=True):
            for _, row in drawn[drawn["metric"] == metric].iterrows():
                y = names.index(row["experiment"])
                axes.plot([row["joint_lower"], row["joint_upper"]], [y, y], color=GREY, linewidth=0.8)
                _row(axes, y, row, BLUE, "o")
                text = estimate(row["estimate"], row["lower"], row["upper"], DIGITS.get(metric, 3), difference=True)
                axes.annotate(
                    text, (0.5, y - 0.3), xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=7
                )
            axes.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
            side = "left" if metric in LOWER_IS_BETTER else "right"
            axes.set_title(f"{METRICS[metric].short}: better to the {side}", fontsize=9)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.7)
            _style(axes)
        figure.supxlabel(f"Difference to {first['reference']}", fontsize=9)
        figure.suptitle(f"{first['endpoint']}: differences to the reference at {day} days{in_years(day)}", fontsize=10)
        save_figure(figure, output)


def plot_subgroups(*, table: pd.DataFrame, experiments: list[str], output: Path) -> None:
    """Draw the concordance and the ratio of observed to expected events in each subgroup, for one or two experiments.

    Parameters
    ----------
    table : DataFrame
        From :func:`subgroups_table`.
    experiments : list of str
        Those drawn, at most two.
    output : Path
        SVG file written (PNG by its suffix).
    """
    metrics = ("harrell_c", "observed_expected")
    own = table[table["experiment"].isin(experiments) & table["metric"].isin(metrics)]
    keys = list(own[["group", "group_value"]].drop_duplicates().itertuples(index=False, name=None))
    if len(keys) < 2:
        draw_sentence("The study names no subgroups, and all subjects have the same modalities.", output)
        return
    labels = ["everyone" if group == "all" else f"{group}: {group_value(group, value)}" for group, value in keys]
    few = own.groupby(["group", "group_value"])["estimate"].apply(lambda values: values.isna().all())
    labels = [f"{label} (too few)" if few[key] else label for label, key in zip(labels, keys, strict=True)]
    with rc_context(STYLE):
        figure = new_figure(9.5, 1.7 + 0.36 * len(keys))
        for axes, metric in zip(figure.subplots(1, 2, sharey=True), metrics, strict=True):
            for place, (experiment, colour, marker) in enumerate(
                zip(experiments, (BLUE, ORANGE), ("o", "D"), strict=False)
            ):
                rows = own[(own["experiment"] == experiment) & (own["metric"] == metric)].dropna(subset=["estimate"])
                for _, row in rows.iterrows():
                    y = keys.index((row["group"], row["group_value"])) + 0.26 * place - 0.13 * (len(experiments) - 1)
                    _row(axes, y, row, colour, marker)
                axes.plot([], [], color=colour, marker=marker, markerfacecolor="white", label=experiment)
            axes.axvline(1 if metric == "observed_expected" else 0.5, color=GREY, linewidth=0.9, linestyle="--")
            axes.set_yticks(range(len(keys)), labels)
            axes.set_ylim(len(keys) - 0.5, -0.5)
            axes.set_title(f"{METRICS[metric].short} ({METRICS[metric].best})", fontsize=8.5)
            _style(axes)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        first, day = own.iloc[0], own.iloc[0]["horizon"]
        figure.suptitle(f"{first['endpoint']}: subgroups at {day} days{in_years(day)}", fontsize=10)
        save_figure(figure, output)

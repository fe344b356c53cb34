"""The leaderboard and the calibration as figures: vector graphics whose bytes depend on the numbers alone."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from riskweave.drawing import BLUE, COLOURS, GREY, STYLE, in_years, new_figure, percent_axis, save_figure
from riskweave.parquet import read_frame

__all__ = ["panel_title", "plot_calibration", "plot_leaderboard"]

MARKERS = ("o", "s", "^", "D")
LONGEST_TITLE = 28


def panel_title(name: str) -> str:
    """Name of an experiment, in lines where it is long."""
    return name if len(name) <= LONGEST_TITLE else name.replace(".", ".\n")


def _forest(axes: Axes, table: pd.DataFrame, column: str, *, marked: np.ndarray, digits: int = 3) -> None:
    """One row per experiment: interval, estimate, and both in figures at the right."""
    for y, (_, row) in enumerate(table.iterrows()):
        value, lower, upper = row[column], row[f"{column}_lower"], row[f"{column}_upper"]
        if not np.isfinite(value):
            continue
        colour = GREY if marked[y] else BLUE
        axes.plot([lower, upper], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([value], [y], marker="D" if marked[y] else "o", color=colour, markersize=5)
        text = f"{value:.{digits}f} ({lower:.{digits}f} to {upper:.{digits}f})".replace("-", "\u2212")
        axes.annotate(
            text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, annotation_clip=False
        )
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def plot_leaderboard(*, leaderboard: Path, output: Path, missing: Sequence[str] = ()) -> None:
    """Draw a forest plot of the experiments: Harrell's concordance, and its paired difference to the reference.

    Parameters
    ----------
    leaderboard : Path
        Parquet table made by :func:`riskweave.evaluation.evaluate.evaluate_endpoint`.
    output : Path
        SVG file written (PNG by its suffix).
    missing : sequence of str
        Experiments whose training failed, to be named below.
    """
    table = read_frame(leaderboard)
    reference = table["reference"].iloc[0]
    marked = (table["experiment"] == reference).to_numpy()
    first, last = table.iloc[0], table.iloc[0]["horizon"]
    with rc_context(STYLE):
        figure = new_figure(10, 1.5 + 0.3 * len(table))
        left, right = figure.subplots(1, 2, sharey=True)
        _forest(left, table, "harrell_c", marked=marked)
        _forest(right, table, "harrell_c_difference", marked=marked)
        left.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        right.axvline(0, color=GREY, linewidth=0.8)
        if marked.any():
            y = int(np.flatnonzero(marked)[0])
            right.plot([0], [y], marker="D", color=GREY, markersize=5)
            right.annotate(
                "reference", (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color=GREY
            )
        left.set_yticks(range(len(table)), table["experiment"])
        left.set_ylim(len(table) - 0.5, -0.5)
        left.set_xlabel("Harrell's concordance (0.5 is chance)")
        right.set_xlabel(f"Difference to {reference} (above 0 is better)")
        people = f"{first['n']} subjects, {first['events']} events"
        if missing:
            words = textwrap.fill(f"Missing, since their training failed: {', '.join(missing)}", 130)
            figure.supxlabel(words, fontsize=7.5, color=GREY)
        figure.suptitle(f"{first['endpoint']}: risk at {last} days{in_years(last)}, {people}", fontsize=10)
        save_figure(figure, output)


def _calibration_panel(axes: Axes, table: pd.DataFrame, limit: float, *, label: bool) -> None:
    """Observed against expected of one experiment; a colour and a marker per horizon."""
    axes.plot([0, limit], [0, limit], color=GREY, linewidth=0.8, linestyle="--")
    for h, (horizon, rows) in enumerate(table.groupby("horizon")):
        rows = rows.dropna(subset=["expected", "observed"]).sort_values("expected")  # noqa: PLW2901
        if rows.empty:
            continue
        colour, marker = COLOURS[h % len(COLOURS)], MARKERS[h % len(MARKERS)]
        axes.vlines(rows["expected"], rows["lower"], rows["upper"], color=colour, linewidth=0.9, alpha=0.7)
        axes.plot(rows["expected"], rows["observed"], marker=marker, markersize=3.5, linewidth=0.9, color=colour)
        if label:
            # where the three curves part: above the identity line, in the order of the horizons
            axes.annotate(
                f"{horizon} days{in_years(horizon)}",
                (0.04, 0.97 - 0.1 * h),
                xycoords="axes fraction",
                color=colour,
                fontsize=8,
                va="top",
            )
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    for axis in (axes.xaxis, axes.yaxis):
        percent_axis(axis)


def plot_calibration(*, calibration: Path, leaderboard: Path, output: Path) -> None:
    """Draw observed against expected risk by groups of predicted risk: a panel per experiment, best concordance first.

    Parameters
    ----------
    calibration, leaderboard : Path
        Parquet tables made by :func:`riskweave.evaluation.evaluate.evaluate_endpoint`.
    output : Path
        SVG file written (PNG by its suffix).
    """
    table, board = read_frame(calibration), read_frame(leaderboard)
    largest = np.nanmax(table[["expected", "upper", "observed"]].to_numpy(float), initial=0.05)
    limit = min(1.0, float(np.ceil(largest * 20) / 20))
    columns = min(4, len(board))
    lines = -(-len(board) // columns)
    with rc_context(STYLE):
        figure = new_figure(max(2.4 * columns, 4.5), 2.5 * lines + 0.7)
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for position, axes in enumerate(grid.flat):
            if position >= len(board):
                axes.set_visible(False)
                continue
            row = board.iloc[position]
            _calibration_panel(axes, table[table["experiment"] == row["experiment"]], limit, label=position == 0)
            axes.set_title(panel_title(row["experiment"]), fontsize=8)
            ratio = row["observed_expected"]
            if np.isfinite(ratio):
                bounds = f"({row['observed_expected_lower']:.2f} to {row['observed_expected_upper']:.2f})"
                axes.annotate(
                    f"O/E {ratio:.2f} {bounds}", (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=7.5
                )
        figure.supxlabel("Mean predicted risk of the group", fontsize=9)
        figure.supylabel("Observed risk (Aalen\u2013Johansen)", fontsize=9)
        first, last = board.iloc[0], board.iloc[0]["horizon"]
        figure.suptitle(f"{first['endpoint']}: calibration, O/E at {last} days{in_years(last)}", fontsize=10)
        save_figure(figure, output)

"""Decision curves and smooth calibration as figures: a panel for each experiment, best concordance first."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from riskweave.drawing import BLUE, COLOURS, GREY, ORANGE, STYLE, in_years, new_figure, percent_axis, save_figure
from riskweave.evaluation.figures import panel_title
from riskweave.parquet import read_frame

__all__ = ["plot_decision_curves", "plot_smooth_calibration"]

DASHES = ("-", "--", "-.", ":")


def _panels(figure: Figure, board: pd.DataFrame) -> Iterator[tuple[int, pd.Series, Axes]]:
    """Position, row of the leaderboard and axes of each experiment."""
    columns = min(4, len(board))
    grid = figure.subplots(-(-len(board) // columns), columns, sharex=True, sharey=True, squeeze=False)
    for position, axes in enumerate(grid.flat):
        if position >= len(board):
            axes.set_visible(False)
            continue
        row = board.iloc[position]
        axes.set_title(panel_title(row["experiment"]), fontsize=8)
        yield position, row, axes


def _figure(board: pd.DataFrame) -> Figure:
    columns = min(4, len(board))
    return new_figure(max(2.4 * columns, 4.5), 2.5 * -(-len(board) // columns) + 0.7)


def plot_decision_curves(*, decision_curve: Path, leaderboard: Path, output: Path) -> None:
    """Draw net benefit by threshold at the last horizon, beside treating everybody and nobody.

    Parameters
    ----------
    decision_curve, leaderboard : Path
        Parquet tables made by :func:`riskweave.evaluation.evaluate.evaluate_endpoint`.
    output : Path
        SVG file written (PNG by its suffix).
    """
    table, board = read_frame(decision_curve), read_frame(leaderboard)
    first, last = board.iloc[0], board.iloc[0]["horizon"]
    table = table[table["horizon"] == last]
    models, everybody = (table[table["strategy"] == name] for name in ("model", "treat all"))
    highest = float(np.nanmax(table[["net_benefit", "upper"]].to_numpy(float), initial=0.001))
    with rc_context(STYLE):
        figure = _figure(board)
        for position, row, axes in _panels(figure, board):
            own = models[models["experiment"] == row["experiment"]]
            axes.axhline(0, color=GREY, linewidth=0.9, linestyle=":")
            axes.plot(everybody["threshold"], everybody["net_benefit"], color=ORANGE, linewidth=1.1, linestyle="--")
            axes.fill_between(own["threshold"], own["lower"], own["upper"], color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(own["threshold"], own["net_benefit"], color=BLUE, linewidth=1.4)
            axes.set_xlim(0, table["threshold"].max())
            axes.set_ylim(-0.25 * highest, 1.08 * highest)
            axes.locator_params(nbins=4)
            percent_axis(axes.xaxis)
            if position == 0:
                names = (("model", BLUE), ("treat all (dashed)", ORANGE), ("treat none (dotted)", GREY))
                for line, (name, colour) in enumerate(names):
                    place = (0.97, 0.97 - 0.1 * line)
                    axes.annotate(
                        name, place, xycoords="axes fraction", color=colour, fontsize=7.5, ha="right", va="top"
                    )
        figure.supxlabel("Threshold: the risk from which one would act", fontsize=9)
        figure.supylabel("Net benefit (events found per person)", fontsize=9)
        figure.suptitle(f"{first['endpoint']}: decision curves at {last} days{in_years(last)}", fontsize=10)
        save_figure(figure, output)


def plot_smooth_calibration(*, calibration_curve: Path, leaderboard: Path, output: Path) -> None:
    """Draw the smooth observed risk over the predicted risk, a colour and a dash for each horizon, with bands.

    Parameters
    ----------
    calibration_curve, leaderboard : Path
        Parquet tables made by :func:`riskweave.evaluation.evaluate.evaluate_endpoint`.
    output : Path
        SVG file written (PNG by its suffix).
    """
    table, board = read_frame(calibration_curve), read_frame(leaderboard)
    largest = np.nanmax(table[["risk", "observed"]].to_numpy(float), initial=0.05)
    limit = min(1.0, float(np.ceil(largest * 20) / 20))
    with rc_context(STYLE):
        figure = _figure(board)
        for position, row, axes in _panels(figure, board):
            axes.plot([0, limit], [0, limit], color=GREY, linewidth=0.8, linestyle="--")
            own = table[table["experiment"] == row["experiment"]]
            for h, (horizon, curve) in enumerate(own.groupby("horizon")):
                colour, dash = COLOURS[h % len(COLOURS)], DASHES[h % len(DASHES)]
                axes.fill_between(curve["risk"], curve["lower"], curve["upper"], color=colour, alpha=0.18, linewidth=0)
                axes.plot(curve["risk"], curve["observed"], color=colour, linewidth=1.4, linestyle=dash)
                if np.ptp(curve["risk"]) == 0:  # everyone has the same risk: a point
                    point = curve.iloc[0]
                    axes.vlines(point["risk"], point["lower"], point["upper"], color=colour, linewidth=0.9)
                    axes.plot([point["risk"]], [point["observed"]], color=colour, marker="o", markersize=3.5)
                if position == 0:
                    place = (0.04, 0.97 - 0.1 * h)
                    axes.annotate(
                        f"{horizon} days{in_years(horizon)}",
                        place,
                        xycoords="axes fraction",
                        color=colour,
                        fontsize=8,
                        va="top",
                    )
            if np.isfinite(row["calibration_slope"]):
                bounds = f"({row['calibration_slope_lower']:.2f} to {row['calibration_slope_upper']:.2f})"
                text = f"slope {row['calibration_slope']:.2f} {bounds}"
                axes.annotate(text, (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=7.5)
            axes.set_xlim(0, limit)
            axes.set_ylim(0, limit)
            axes.set_aspect("equal")
            axes.locator_params(nbins=4)
            for axis in (axes.xaxis, axes.yaxis):
                percent_axis(axis)
        figure.supxlabel("Predicted risk", fontsize=9)
        figure.supylabel("Observed risk (smooth)", fontsize=9)
        first, last = board.iloc[0], board.iloc[0]["horizon"]
        figure.suptitle(f"{first['endpoint']}: smooth calibration, slope at {last} days{in_years(last)}", fontsize=10)
        save_figure(figure, output)

"""Figures for notebooks, from the tables of `riskweave.results`: each function returns a figure, which a cell shows.

Okabe and Ito's colours are told apart with any colour vision; markers and dashes differ as well, for print in black.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from riskweave.drawing import COLOURS, GREY, STYLE, new_figure

__all__ = ["plot_curves", "plot_intervals"]

DASHES = ("-", "--", "-.", ":")
COMPARED = ("-", (0, (6, 2, 1, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D")


def _series(table: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Return the parts of a table in the order in which they come; as many as there are colours."""
    if by is None:
        return [("", table)]
    names = list(dict.fromkeys(table[by]))
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(names)} values of {by}: a figure tells {len(COLOURS)} apart, choose some")
    return [(str(name), table[table[by] == name]) for name in names]


def plot_intervals(
    table: pd.DataFrame,
    *,
    label: str,
    xlabel: str,
    by: str | None = None,
    columns: tuple[str, str, str] = ("estimate", "lower", "upper"),
    wide: tuple[str, str] | None = None,
    line: float | None = None,
) -> Figure:
    """Draw estimates with their intervals: a row for each label, the first on top.

    Parameters
    ----------
    table : DataFrame
        Rows without an estimate keep their place and stay empty; those without an interval have a mark alone.
    label : str
        Column with the names of the rows.
    xlabel : str
        What the numbers are, with the unit.
    by : str, optional
        Column that tells up to four series apart, drawn beside each other in each row.
    columns : tuple of str
        Estimate, lower and upper end.
    wide : tuple of str, optional
        Ends of a second, wider interval, drawn as a thin line.
    line : float, optional
        Where a vertical line stands, such as 0 for no difference.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When there are more series than colours.
    """
    labels = list(dict.fromkeys(table[label].astype(str)))
    series = _series(table, by)
    estimate, lower, upper = columns
    with rc_context(STYLE):
        figure = new_figure(7.5, 1.0 + max(0.28 * len(labels), 0.17 * len(labels) * len(series)))
        axes = figure.subplots()
        if line is not None:
            axes.axvline(line, color=GREY, linewidth=0.9)
        for number, (name, part) in enumerate(series):
            y = np.array([labels.index(text) for text in part[label].astype(str)], dtype=float)
            y += 0.6 * ((number + 0.5) / len(series) - 0.5)
            colour = COLOURS[number]
            if wide is not None:
                axes.hlines(y, part[wide[0]], part[wide[1]], color=colour, linewidth=0.8)
            axes.hlines(y, part[lower], part[upper], color=colour, linewidth=2.2)
            axes.plot(part[estimate], y, MARKERS[number], color=colour, markersize=5, label=name)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
        if by is not None:
            figure.legend(loc="outside upper right", ncols=len(series), frameon=False, fontsize=8)
    return figure


def plot_curves(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    by: str,
    xlabel: str,
    ylabel: str,
    band: tuple[str, str] | None = ("lower", "upper"),
    grey: Mapping[str, pd.DataFrame] | None = None,
    floor: float | None = None,
) -> Figure:
    """Draw up to four curves, with their bands, in one field.

    Parameters
    ----------
    table : DataFrame
        The points of all curves.
    x, y : str
        Columns.
    by : str
        Column that tells the curves apart.
    xlabel, ylabel : str
        What the axes are, with the unit.
    band : tuple of str, optional
        Columns with the ends of the band.
    grey : mapping of name to DataFrame with the columns `x` and `y`, optional
        Up to two curves to compare with, such as treating everybody and nobody: in grey.
    floor : float, optional
        Lower end of the vertical axis, where a grey curve falls far below.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When there are more curves than colours.
    """
    series = _series(table, by)
    with rc_context(STYLE):
        figure = new_figure(7, 4)
        axes = figure.subplots()
        for number, (name, other) in enumerate((grey or {}).items()):
            axes.plot(other[x], other[y], color=GREY, linewidth=1.1, linestyle=COMPARED[number % 2], label=name)
        for number, (name, part) in enumerate(series):
            part = part.sort_values(x, kind="stable")  # noqa: PLW2901
            if band is not None:
                axes.fill_between(part[x], part[band[0]], part[band[1]], color=COLOURS[number], alpha=0.15, linewidth=0)
            axes.plot(part[x], part[y], color=COLOURS[number], linestyle=DASHES[number], linewidth=1.6, label=name)
        if floor is not None:
            axes.set_ylim(bottom=floor)
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure

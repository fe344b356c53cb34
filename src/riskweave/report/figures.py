"""Figures of the cohort report: vector graphics whose bytes depend on what they show alone.

Okabe and Ito's colours are told apart with any colour vision; lines differ in their dashes and are named where they
end, so that a print in grey loses nothing.
"""

import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from riskweave.drawing import BLUE, COLOURS, GREY, STYLE, draw_sentence, new_figure, save_figure
from riskweave.page import SUPPRESSED
from riskweave.report.curves import DAYS_PER_YEAR, Curves
from riskweave.report.inputs import EndpointData

__all__ = ["plot_availability", "plot_curves", "plot_flow", "plot_missingness"]

DASHES = ("-", "--", "-.", ":")
LIGHT, PALE = "#BBBBBB", "#F2F2F2"
MOST_BARS, MOST_PATTERNS, MOST_AT_RISK = 40, 12, 7
# The flow chart: inches per unit of its height, where its columns stand, and the room between two boxes.
INCHES, MAIN, SIDE, BETWEEN = 0.5, 3.4, 6.6, 0.75


def _half_height(text: str) -> float:
    """Return half the height of a box, in the units of the flow chart's axis."""
    return (0.165 * (text.count("\n") + 1) / 2 + 0.065) / INCHES


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": GREY, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def _box(axes: Axes, place: tuple[float, float], text: str, *, aside: bool = False) -> None:
    axes.text(
        *place, text, ha="left" if aside else "center", va="center", fontsize=8.5, linespacing=1.35,
        multialignment="center",
        bbox={"boxstyle": "square,pad=0.55", "facecolor": PALE if aside else "white", "edgecolor": GREY},
    )  # fmt: skip


def _number(text: str) -> str:
    return "n not shown" if text == SUPPRESSED else f"n = {int(text):,}"


def plot_flow(*, steps: pd.DataFrame, ways: list[tuple[str, str]], endpoint: str, output: Path) -> None:
    """Draw who was left out at each step, who is at risk, and what became of them.

    Parameters
    ----------
    steps : DataFrame
        step, description, excluded, remaining: numbers as text.
    ways : list of (label, number as text)
        How the subjects at risk leave; empty where that is not shown.
    endpoint : str
        Name of the endpoint.
    output : Path
        SVG file written (PNG by its suffix).
    """
    rows = [row for _, row in steps.iterrows()]
    if len(rows) > 1 and rows[-1]["step"] == "at_risk" and rows[-1]["excluded"] == "0":
        rows.pop()
    texts = [f"{textwrap.fill(row['description'], 46)}\n{_number(row['remaining'])}" for row in rows]
    texts[-1] = f"{textwrap.fill(rows[-1]['description'], 46)}\nat risk: {_number(rows[-1]['remaining'])}"
    ends = [(f"{textwrap.fill(label, 24)}\n{_number(number)}") for label, number in ways]
    half = [_half_height(text) for text in texts]
    centres = [-half[0]]
    for previous, own in pairwise(half):
        centres.append(centres[-1] - previous - own - BETWEEN)
    fork = centres[-1] - half[-1] - 0.4
    bottom = fork - 0.5 - 2 * max(map(_half_height, ends)) if ends else centres[-1] - half[-1]
    with rc_context(STYLE):
        figure = new_figure(8.2, INCHES * (0.5 - bottom) + 0.3)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set(xlim=(0, 10), ylim=(bottom - 0.1, 0.2))
        for position, (row, text, y) in enumerate(zip(rows, texts, centres, strict=True)):
            if position:
                above = centres[position - 1] - half[position - 1]
                _arrow(axes, (MAIN, above), (MAIN, y + half[position]))
                if row["excluded"] != "0":
                    middle = (above + y + half[position]) / 2
                    _arrow(axes, (MAIN, middle), (SIDE - 0.1, middle))
                    _box(axes, (SIDE, middle), f"Left out: {_number(row['excluded'])}", aside=True)
            _box(axes, (MAIN, y), text)
        places = np.linspace(1.2, 8.8, len(ends)) if len(ends) > 1 else [MAIN] * len(ends)
        if ends:
            axes.plot([MAIN, MAIN], [centres[-1] - half[-1], fork], color=GREY, linewidth=0.9)
            axes.plot([min(*places, MAIN), max(*places, MAIN)], [fork, fork], color=GREY, linewidth=0.9)
        for x, text in zip(places, ends, strict=True):
            _arrow(axes, (x, fork), (x, fork - 0.45))
            _box(axes, (x, fork - 0.45 - _half_height(text)), text)
        figure.suptitle(f"{endpoint}: who is in the study", fontsize=10)
        save_figure(figure, output)


def _line(axes: Axes, times: np.ndarray, values: np.ndarray, number: int, *, band: bool = True) -> None:
    colour, dash = COLOURS[number % 4], DASHES[number % 4]
    if values.ndim == 1:
        axes.plot(times, values, color=colour, linestyle=dash, linewidth=1.5)
        return
    if band:
        axes.fill_between(times, values[:, 1], values[:, 2], color=colour, alpha=0.15, linewidth=0)
    axes.plot(times, values[:, 0], color=colour, linestyle=dash, linewidth=1.5)


def _name_ends(axes: Axes, last: float, ends: list[tuple[float, str, int]]) -> None:
    """Name each line where it ends, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    room, previous = 0.075 * (high - low), -np.inf
    for value, text, number in sorted(ends):
        place = max(value, previous + room * (1 + text.count("\n") * 0.9))
        previous = place
        axes.annotate(
            text, xy=(last, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8,
            color=COLOURS[number % 4], annotation_clip=False,
        )  # fmt: skip


def _at_risk(axes: Axes, curves: Curves, ticks: np.ndarray, unit: float) -> None:
    """Write the numbers at risk below an axis, at those safe times that lie nearest to its ticks."""
    axes.annotate(
        "At risk", (0, -0.235), xycoords="axes fraction", xytext=(-20, 0), textcoords="offset points", ha="right",
        va="center", fontsize=8, color=GREY,
    )  # fmt: skip
    # a number belongs to its tick only where the safe time is close to it
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    for tick in ticks:
        place = int(np.abs(curves.times / unit - tick).argmin())
        close = abs(curves.times[place] / unit - tick) <= 0.15 * step
        axes.annotate(
            f"{curves.at_risk[place]:,}" if close else "\u2013", (tick, -0.235),
            xycoords=("data", "axes fraction"), ha="center", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip


def plot_curves(*, curves: Curves | None, data: EndpointData, output: Path) -> None:
    """Draw the cumulative incidence of each cause, and beside it who is free of events and who is not yet censored.

    Parameters
    ----------
    curves : Curves or None
        None where they cannot be shown.
    data : EndpointData
        Names of the endpoint and its causes.
    output : Path
        SVG file written (PNG by its suffix).
    """
    if curves is None or len(curves.times) < 2:
        draw_sentence(f"{data.name}: too few people leave in some way for curves that tell on nobody", output)
        return
    years = data.horizon > 2 * DAYS_PER_YEAR
    unit = DAYS_PER_YEAR if years else 1.0
    times, last = curves.times / unit, curves.times[-1] / unit
    with rc_context(STYLE):
        figure = new_figure(10, 3.7)
        left, right = figure.subplots(1, 2)
        ends = []
        for number, (cause, values) in enumerate(curves.incidence.items()):
            _line(left, times, values, number)
            ends.append((values[-1, 0], textwrap.fill(data.causes[cause], 16), number))
        top = max(float(values[:, 2].max()) for values in curves.incidence.values())
        left.set_ylim(0, top * 1.06 or 1)
        _name_ends(left, last, ends)
        _line(right, times, curves.event_free, 0)
        ends = [(curves.event_free[-1, 0], "free of\nthese events", 0)]
        if curves.observed is not None:
            _line(right, times, curves.observed, 2)
            ends.append((curves.observed[-1], "not censored", 2))
        right.set_ylim(0, 1.03)
        _name_ends(right, last, ends)
        for axes, title in ((left, "Cumulative incidence"), (right, "Free of events, and not censored")):
            axes.set_title(title, fontsize=9, loc="left")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
            # 1,826 days are a little less than 5 years: the tick belongs to it
            axes.set_xlim(0, 1.004 * max(last, data.horizon / unit))
            axes.locator_params(axis="x", nbins=MOST_AT_RISK - 1)
            axes.set_xlabel("Years from the index time" if years else "Days from the index time")
            axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
            axes.set_axisbelow(True)
            if curves.at_risk is not None:
                ticks = np.array([tick for tick in axes.get_xticks() if 0 <= tick <= axes.get_xlim()[1] + 1e-9])
                axes.xaxis.labelpad = 3
                _at_risk(axes, curves, ticks, unit)
        figure.suptitle(f"{data.name}: estimates with 95% confidence intervals", fontsize=10)
        save_figure(figure, output)


def plot_missingness(*, table: pd.DataFrame, output: Path) -> None:
    """Draw the share without a value of each feature column, overall and by group, the largest shares first.

    Parameters
    ----------
    table : DataFrame
        From :func:`riskweave.report.missingness.missingness_table`.
    output : Path
        SVG file written (PNG by its suffix).
    """
    known = table[table["percent"] != SUPPRESSED] if len(table) else table
    values = pd.to_numeric(known["percent"], errors="coerce")
    some = known[values > 0].assign(value=values[values > 0])
    if some.empty:
        hidden = int((table["percent"] == SUPPRESSED).sum()) if len(table) else 0
        rest = f" ({hidden} of {len(table)} columns are not shown)" if hidden else ""
        draw_sentence(f"No column has a share of missing values that can be shown{rest}.", output)
        return
    shown = some.sort_values(["value", "feature_set", "column"], ascending=[False, True, True]).head(MOST_BARS)
    groups = [column for column in table.columns if column.startswith("percent, ")]
    with rc_context(STYLE):
        figure = new_figure(8.5, 1.3 + 0.21 * len(shown))
        axes = figure.subplots()
        y = np.arange(len(shown))
        axes.barh(y, shown["value"], color=LIGHT, height=0.7, label="all")
        for number, column in enumerate(groups):
            axes.plot(
                pd.to_numeric(shown[column], errors="coerce"), y, linestyle="none", markersize=4.5,
                marker="os^Dvx"[number % 6], color=COLOURS[number % 4], markerfacecolor="white",
                label=column.removeprefix("percent, "),
            )  # fmt: skip
        names = zip(shown["feature_set"], shown["column"], strict=True)
        axes.set_yticks(y, [textwrap.shorten(f"{name}: {column}", 58) for name, column in names], fontsize=7.5)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("Subjects without a value (%)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
        if groups:
            figure.legend(loc="outside upper right", ncols=len(groups) + 1, frameon=False, fontsize=8)
        complete, hidden = int((values == 0).sum()), int((table["percent"] == SUPPRESSED).sum())
        more = f" (drawn: the largest {MOST_BARS})" if len(some) > MOST_BARS else ""
        title = f"{len(table)} columns: {len(some)} with missing values{more}, {complete} complete, {hidden} not shown"
        axes.set_title(title, fontsize=9, loc="left")
        save_figure(figure, output)


def plot_availability(*, table: pd.DataFrame, totals: dict[str, int | None], n: int | None, output: Path) -> None:
    """Draw how many people have which modalities: a bar for each pattern above a matrix of what it holds.

    Parameters
    ----------
    table : DataFrame
        From :func:`riskweave.report.missingness.availability_table`.
    totals : dict of modality to int or None
        How many have each.
    n : int or None
        Subjects counted.
    output : Path
        SVG file written (PNG by its suffix).
    """
    if n is None or table.empty:
        draw_sentence("The number of subjects is not shown, so neither are the modalities that they have.", output)
        return
    modalities = list(totals)
    shown = table.head(MOST_PATTERNS)
    counts = pd.to_numeric(shown["subjects"], errors="coerce").to_numpy(float)
    with rc_context(STYLE):
        figure = new_figure(2.6 + 0.85 * max(len(shown), 4), 2.9 + 0.26 * len(modalities))
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 0.34 * len(modalities) + 0.2])
        x = np.arange(len(shown))
        top.bar(x, np.nan_to_num(counts), color=BLUE, width=0.6)
        for place, count in enumerate(counts):
            text = "not\nshown" if np.isnan(count) else f"{int(count):,}\n({shown['percent'].iloc[place]}%)"
            above = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8}
            top.annotate(text, (place, np.nan_to_num(count)), **above)
        top.set_ylim(0, np.nanmax(np.append(counts, 1)) * 1.25)
        top.set_ylabel("Subjects")
        top.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        top.tick_params(axis="x", length=0)
        for row, modality in enumerate(modalities):
            has = (shown[modality] == "yes").to_numpy()
            below.scatter(x[has], np.full(has.sum(), row), s=60, color="black", zorder=3)
            below.scatter(x[~has], np.full((~has).sum(), row), s=60, facecolor="white", edgecolor=LIGHT, zorder=3)
        labels = [m if totals[m] is None else f"{m} ({totals[m]:,})" for m in modalities]
        below.set_yticks(range(len(modalities)), labels)
        below.set_ylim(len(modalities) - 0.5, -0.5)
        below.set_xticks([])
        below.set_xlim(-0.6, len(shown) - 0.4)
        below.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            below.spines[side].set_visible(False)
        figure.suptitle(f"Modalities of {n:,} subjects (filled: has it)", fontsize=10)
        save_figure(figure, output)

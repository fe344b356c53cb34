"""What all figures share: colours, style, and files whose bytes depend on what is drawn alone."""

import textwrap
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from riskweave.files import replacing

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "STYLE",
    "draw_sentence",
    "in_years",
    "new_figure",
    "percent_axis",
    "save_figure",
]

# Okabe and Ito's colours, told apart with any colour vision; lines and markers differ as well, for print in black.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
DAYS_PER_YEAR = 365.25
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
GREY = "#555555"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "riskweave",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 150,
}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, without a window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def percent_axis(axis: Axis) -> None:
    """Write the shares along an axis (0 to 1) as percentages, with no more digits than they need."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def save_figure(figure: Figure, output: Path) -> None:
    """Write SVG (or PNG, by the suffix) without date, whole or not at all."""
    output = Path(output)
    kind = output.suffix.removeprefix(".")
    with replacing(output) as (partial,):
        figure.savefig(partial, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})


def in_years(days: float) -> str:
    """Return what stands behind a number of days that is a number of years: `` (10 years)``; else nothing.

    Examples
    --------
    >>> in_years(3652), in_years(1826), in_years(365), in_years(360)
    (' (10 years)', ' (5 years)', ' (1 year)', '')
    """
    years = round(days / DAYS_PER_YEAR)
    whole = years >= 1 and abs(days - years * DAYS_PER_YEAR) <= 2
    return f" ({years} year{'s' if years > 1 else ''})" if whole else ""


def draw_sentence(text: str, output: Path) -> None:
    """Draw a figure that says why there is nothing to see."""
    with rc_context(STYLE):
        figure = new_figure(7, 1.1)
        figure.text(0.5, 0.5, textwrap.fill(text, 100), ha="center", va="center", color=GREY)
        save_figure(figure, output)

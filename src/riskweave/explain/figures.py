"""Importance, effect curves and shares as figures: vector graphics whose bytes depend on the numbers alone."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from riskweave.drawing import BLUE, GREEN, GREY, ORANGE, STYLE, in_years, new_figure, save_figure
from riskweave.files import replacing
from riskweave.parquet import read_frame

__all__ = ["MOST_COLUMNS", "MOST_CURVES", "draw_effects", "draw_importance", "draw_shapley"]

MOST_COLUMNS = 20
"""Columns in the figure of importance: those of the largest marginal loss."""

MOST_CURVES = 12
"""Effect curves in the figure: of the columns of the largest marginal importance that have one."""

_LEVELS = {"column": "columns", "feature_set": "feature sets", "modality": "modalities"}
_METHODS = {
    "marginal": (BLUE, "o", "values change places among all"),
    "conditional": (ORANGE, "s", "... among people alike in the other columns"),
}
_MEASURES = {
    "share": (BLUE, "o", "share (Shapley)"),
    "alone": (GREEN, "^", "added alone"),
    "last": (ORANGE, "v", "added last"),
}


def _ranked(table: pd.DataFrame, level: str, most: int | None = MOST_COLUMNS) -> pd.DataFrame:
    """Return the rows of a level with a figure, indexed by what they are called, by their marginal loss."""
    rows = table[(table["level"] == level) & table["estimate"].notna()]
    label = rows["name"] if level != "column" else rows["feature_set"] + "." + rows["name"]
    rows = rows.assign(label=label)
    order = rows[rows["method"] == "marginal"].sort_values("estimate", ascending=False, kind="stable")["label"]
    return rows.set_index("label").loc[list(order[:most])]


def _rows(axes: Axes, table: pd.DataFrame, names: list[str], key: str, marks: dict) -> None:
    """Draw estimates with intervals: a row for each name, the marks one below the other."""
    for place, (value, (colour, marker, label)) in enumerate(marks.items()):
        part = table[table[key] == value]
        y = part.index.map({name: row for row, name in enumerate(names)}).to_numpy(dtype=float)
        y = y + 0.22 * (place - (len(marks) - 1) / 2)
        axes.hlines(y, part["lower"], part["upper"], color=colour, linewidth=1.4)
        axes.plot(part["estimate"], y, marker, color=colour, markersize=4, label=label)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as (partial,):
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")


def draw_importance(*, importance: Path, output: Path, csv: Path) -> None:
    """Draw what the concordance at the last horizon loses without columns, feature sets and modalities.

    Parameters
    ----------
    importance : Path
        Parquet table made by :func:`riskweave.explain.experiment.explain_experiment`.
    output : Path
        SVG file written (PNG by its suffix).
    csv : Path
        The whole table, written as CSV.
    """
    table = read_frame(importance)
    last = table["horizon"].max()
    parts = {
        level: _ranked(table[(table["metric"] == "harrell_c") & (table["horizon"] == last)], level) for level in _LEVELS
    }
    parts = {level: part for level, part in parts.items() if len(part)}
    with rc_context(STYLE):
        names = {level: list(dict.fromkeys(part.index)) for level, part in parts.items()}
        sizes = [len(names[level]) + 1 for level in parts]
        figure = new_figure(7.5, 1.4 + 0.27 * sum(sizes))
        panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=sizes, sharex=True)[:, 0] if parts else []
        for axes, (level, part) in zip(panels, parts.items(), strict=True):
            _rows(axes, part, names[level], "method", _METHODS)
            total = int((table.drop_duplicates(["level", "feature_set", "name"])["level"] == level).sum())
            shown = f"{len(names[level])} of {total} {_LEVELS[level]}" if total > MOST_COLUMNS else _LEVELS[level]
            axes.set_title(shown, loc="left", fontsize=9)
        if parts:
            panels[-1].set_xlabel("loss of Harrell's concordance (above 0: the model relies on it)")
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        figure.suptitle(_headline(table, f"importance for the risk at {last} days{in_years(last)}"), fontsize=10)
        save_figure(figure, output)
    _write_csv(table, csv)


def _headline(table: pd.DataFrame, what: str) -> str:
    first = table.iloc[0]
    return f"{first['endpoint']}, {first['experiment']}: {what}"


def _curve(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one effect curve in percentage points: its interval as a band, the range of the folds as dashed lines."""
    percent = rows[["estimate", "lower", "upper", "fold_lowest", "fold_highest"]] * 100
    few = rows["few"].to_numpy(dtype=bool)
    numeric = rows["kind"].iloc[0] == "numeric"
    x = rows["value"].to_numpy(dtype=float) if numeric else np.arange(len(rows), dtype=float)
    if numeric:
        axes.fill_between(x, percent["lower"], percent["upper"], color=BLUE, alpha=0.2, linewidth=0)
        for bound in ("fold_lowest", "fold_highest"):
            axes.plot(x, percent[bound], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(x, percent["estimate"], color=BLUE, linewidth=1.4)
    else:
        axes.vlines(x, percent["lower"], percent["upper"], color=BLUE, linewidth=1.6)
        for bound in ("fold_lowest", "fold_highest"):
            axes.plot(x, percent[bound], linestyle="none", marker="_", markersize=9, color=GREY)
        axes.set_xticks(x, [str(name)[:14] for name in rows["category"]])
        axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.plot(x[~few], percent["estimate"][~few], "o", color=BLUE, markersize=2.5 if numeric else 4)
    axes.plot(x[few], percent["estimate"][few], "o", color=BLUE, markerfacecolor="white", markersize=3.5)
    axes.axhline(0, color=GREY, linewidth=0.6)


def draw_effects(*, effects: Path, importance: Path, output: Path, csv: Path) -> None:
    """Draw effect curves on the risk at the last horizon: small multiples, the most important columns first.

    Parameters
    ----------
    effects, importance : Path
        Parquet tables made by :func:`riskweave.explain.experiment.explain_experiment`.
    output : Path
        SVG file written (PNG by its suffix).
    csv : Path
        All curves, written as CSV.
    """
    table, ranks = read_frame(effects), read_frame(importance)
    last = ranks["horizon"].max()
    shown = table[(table["scale"] == "risk") & (table["horizon"] == last)]
    ranks = ranks[(ranks["metric"] == "harrell_c") & (ranks["horizon"] == last)]
    curves = {key: rows.sort_values("position") for key, rows in shown.groupby(["feature_set", "column"], sort=False)}
    order = _ranked(ranks, "column", most=None)
    ordered = [key for key in dict.fromkeys(zip(order["feature_set"], order["name"], strict=True)) if key in curves]
    chosen = ordered[:MOST_CURVES]
    with rc_context(STYLE):
        columns = max(1, min(4, len(chosen)))
        lines = max(1, -(-len(chosen) // columns))
        figure = new_figure(max(2.4 * columns, 6.5), 1.95 * lines + 0.9)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for axes, key in zip(grid, chosen, strict=False):
            _curve(axes, curves[key])
            unit = curves[key]["unit"].iloc[0]
            axes.set_title(key[0], fontsize=7.5, loc="left", color=GREY)
            axes.set_xlabel(f"{key[1]} ({unit})" if unit else key[1], fontsize=8)
            axes.tick_params(labelsize=7.5)
            axes.locator_params(axis="y", nbins=5)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\u2212")))
        for axes in grid[len(chosen) :]:
            axes.set_axis_off()
        if not chosen:
            grid[0].text(0.5, 0.5, "no column whose values have a meaning", ha="center", color=GREY)
        figure.supylabel("effect on the risk\n(percentage points; 0: mean)", fontsize=9)
        figure.suptitle(
            _headline(
                ranks, f"effects on the risk at {last} days{in_years(last)}, {len(chosen)} of {len(curves)} columns"
            ),
            fontsize=10,
        )
        save_figure(figure, output)
    _write_csv(table, csv)


def draw_shapley(*, shapley: Path, output: Path, csv: Path) -> None:
    """Draw what each feature set adds to the concordance at the last horizon: a panel for each divided experiment.

    Parameters
    ----------
    shapley : Path
        Parquet table made by :func:`riskweave.explain.shapley.divide_concordance`.
    output : Path
        SVG file written (PNG by its suffix).
    csv : Path
        The whole table, written as CSV.
    """
    table = read_frame(shapley)
    last = table["horizon"].max()
    parts = dict(list(table[table["horizon"] == last].groupby("experiment", sort=False)))
    with rc_context(STYLE):
        sizes = [part["name"].nunique() + 1.5 for part in parts.values()]
        figure = new_figure(7, 1.2 + 0.36 * sum(sizes))
        panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=sizes, sharex=True)[:, 0]
        for axes, (name, part) in zip(panels, parts.items(), strict=True):
            rows = part.set_index("name")
            base = rows["base"].iloc[0]
            whole = rows.loc["all", "estimate"]
            start = "0.5" if pd.isna(base) else base
            _rows(axes, rows.drop(index="all"), list(rows.drop(index="all").index.unique()), "measure", _MEASURES)
            axes.set_title(f"{name}: {whole:.3f} beyond {start}", loc="left", fontsize=9)
        panels[-1].set_xlabel("added to Harrell's concordance")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        first = table.iloc[0]
        figure.suptitle(
            f"{first['endpoint']}: what each feature set is worth for the risk at {last} days{in_years(last)}, "
            f"{first['n']} subjects, {first['events']} events",
            fontsize=10,
        )
        save_figure(figure, output)
    _write_csv(table, csv)

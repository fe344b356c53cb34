"""What a search of hyper-parameters did: how much each key mattered, its trials along each key, what was chosen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from riskweave.drawing import COLOURS, GREY, STYLE, new_figure, save_figure
from riskweave.files import replacing
from riskweave.study.base import Block
from riskweave.study.search import Interval
from riskweave.survival.spaces import Range, space_of

__all__ = ["chosen_values", "draw_search", "importances", "read_trials"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_TREES, _SEED = 32, 0
_FEWEST = 4
"""Complete trials of a fold from which importance is told."""


def read_trials(path: Path) -> pd.DataFrame:
    """Read ``trials.csv``; values of the keys stay text, as lists, words and numbers are among them."""
    trials = pd.read_csv(path, dtype=str)
    for column in ("fold", "trial"):
        trials[column] = trials[column].astype(int)
    for column in ("value", "seconds"):
        trials[column] = trials[column].astype(float)
    return trials.assign(chosen=trials["chosen"] == "True")


def _numbers(values: pd.Series, range_: Range) -> pd.Series:
    """Return values on the axis of their range: numbers, orders of magnitude, or the position among the choices."""
    if isinstance(range_, Interval):
        numbers = pd.to_numeric(values, errors="coerce")
        return np.log10(numbers) if range_.log else numbers
    choices = sorted(values.dropna().unique(), key=_natural)
    return values.map({choice: float(place) for place, choice in enumerate(choices)})


def _natural(text: str) -> tuple[bool, float, int, str]:
    """Sort numbers by size, then words and lists by length."""
    try:
        return False, float(text), 0, text
    except ValueError:
        return True, 0.0, len(text), text


def importances(trials: pd.DataFrame, space: Mapping[str, Range]) -> pd.DataFrame:
    """Return the share of the scores' variance that each key explains alone, in each fold.

    Functional analysis of variance on a random forest of the trials (Hutter, Hoos and Leyton-Brown 2014, ICML, as in
    Optuna), on orders of magnitude where the search had them; the shares of the keys sum to 1.

    Parameters
    ----------
    trials : DataFrame
        Those of one model, from `read_trials`.
    space : mapping of key to range
        What was searched.

    Returns
    -------
    DataFrame
        fold, key, importance; no rows for folds with too few complete trials or scores that do not differ.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scaled = trials.assign(**{key: _numbers(trials[key], range_) for key, range_ in space.items()})
    whole = scaled[scaled["state"] == "complete"].dropna(subset=list(space))
    rows = []
    for fold, done in whole.groupby("fold"):
        if len(done) < _FEWEST or done["value"].nunique() < 2:
            continue
        ranges: dict[str, Any] = {}
        for key, range_ in space.items():
            if isinstance(range_, Interval):
                low, high = np.log10((range_.low, range_.high)) if range_.log else (range_.low, range_.high)
                ranges[key] = optuna.distributions.FloatDistribution(
                    min(float(low), done[key].min()), max(float(high), done[key].max())
                )
            else:
                ranges[key] = optuna.distributions.CategoricalDistribution(sorted(whole[key].unique()))
        study = optuna.create_study()
        for _, row in done.iterrows():
            params = {key: float(row[key]) for key in space}
            study.add_trial(optuna.create_trial(params=params, distributions=ranges, value=row["value"]))
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=_SEED)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        rows += [(fold, key, found[key]) for key in space]
    return pd.DataFrame(rows, columns=["fold", "key", "importance"])


def chosen_values(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the chosen trial of each fold: fold, model, trial, value, own_value (of the first trial), the keys."""
    own = trials[trials["trial"] == 0].set_index(["fold", "model"])["value"].rename("own_value")
    rows = trials[trials["chosen"]].join(own, on=["fold", "model"])
    keys = [key for key in trials if key not in {"fold", "model", "trial", "state", "chosen", "value", "seconds"}]
    return rows[["fold", "model", "trial", "value", "own_value", *keys]].reset_index(drop=True)


def draw_search(*, trials: Path, models: Mapping[str, Block], importance: Path, slices: Path, chosen: Path) -> None:
    """Draw what a search did.

    Parameters
    ----------
    trials : path
        ``trials.csv`` of an experiment.
    models : mapping of str to Block
        The models that were searched, by name.
    importance, slices : path
        Figures to write: the share of each key, with a mark for each fold; the trials along each key.
    chosen : path
        CSV to write, see `chosen_values`.
    """
    table = read_trials(trials)
    spaces = {name: space_of(block) for name, block in models.items()}
    parts = {name: _of_model(table, name, space) for name, space in spaces.items()}
    with rc_context(STYLE):
        _importance_figure({name: importances(parts[name], space) for name, space in spaces.items()}, importance)
        _slices_figure(parts, spaces, slices)
    with replacing(chosen) as (partial,):
        chosen_values(table).to_csv(partial, index=False)


def _of_model(table: pd.DataFrame, name: str, space: Mapping[str, Range]) -> pd.DataFrame:
    """Return the trials of a model with a column for each key of its space.

    The table of an experiment in which it has no trial, as where no column varies in any fold, lacks these columns.
    """
    columns = dict.fromkeys([*table.columns, *space])
    return table[table["model"] == name].reindex(columns=list(columns))


def _importance_figure(found: Mapping[str, pd.DataFrame], output: Path) -> None:
    sizes = [max(1, one["key"].nunique()) for one in found.values()]
    figure = new_figure(6.5, 0.9 + sum(0.32 * size + 0.5 for size in sizes))
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=[size + 1 for size in sizes])[:, 0]
    for axes, (name, shares) in zip(panels, found.items(), strict=True):
        axes.set_title(name, loc="left", fontsize=9)
        if shares.empty:
            axes.text(0.5, 0.5, "too few complete trials, or scores that do not differ", ha="center", color=GREY)
            axes.set_axis_off()
            continue
        means = shares.groupby("key")["importance"].mean().sort_values()
        axes.barh(means.index, means.to_numpy(), color=COLOURS[0], alpha=0.35, height=0.6)
        for place, (_, one) in enumerate(shares.groupby("fold")):
            height = one["key"].map({key: row for row, key in enumerate(means.index)})
            axes.scatter(one["importance"], height, s=16, zorder=3, **_mark(place))
        axes.set_xlim(0, 1)
    panels[-1].set_xlabel("share of the score's variance (bar: mean, marks: folds)")
    save_figure(figure, output)


def _mark(place: int) -> dict[str, str]:
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _slices_figure(parts: Mapping[str, pd.DataFrame], spaces: Mapping[str, Mapping[str, Range]], output: Path) -> None:
    panels = [(name, key) for name, space in spaces.items() for key in space]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(2.6 * columns + 0.6, 2.1 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row").ravel()
    for axes, (name, key) in zip(grid, panels, strict=False):
        _slice(axes, parts[name], key, spaces[name][key])
        axes.set_title(f"{name}: {key}" if len(spaces) > 1 else key, loc="left", fontsize=9)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel("score, below the fold's best")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(8, max(1, len(labels))), frameon=False)
    save_figure(figure, output)


def _slice(axes: Axes, trials: pd.DataFrame, key: str, range_: Range) -> None:
    """Draw the scores of complete trials against one key: chosen ones have a dark edge, the lowest lie at the edge."""
    done = trials[trials["state"] == "complete"]
    below = done["value"] - done.groupby("fold")["value"].transform("max")
    floor = 1.5 * below.quantile(0.15) if len(done) else 0.0
    done = done.assign(place=_numbers(done[key], range_), score=below.clip(lower=floor))
    for place, (fold, one) in enumerate(done.dropna(subset=["place"]).groupby("fold")):
        best, mark = one[one["chosen"]], _mark(place)
        axes.scatter(one["place"], one["score"], s=16, label=f"fold {fold}", **mark)
        axes.scatter(best["place"], best["score"], s=46, edgecolors="black", zorder=3, **mark)
    if isinstance(range_, Interval):
        if range_.log:
            axes.xaxis.set_major_formatter(lambda exponent, _: f"{10**exponent:.3g}")
    else:
        choices = sorted(done[key].dropna().unique(), key=_natural)
        axes.set_xticks(range(len(choices)), choices, rotation=30 if max(map(len, choices), default=0) > 5 else 0)

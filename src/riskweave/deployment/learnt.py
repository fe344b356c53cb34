"""What a survival model learnt, as tables in C."""

from collections.abc import Iterator, Sequence

import numpy as np

from riskweave.deployment.recipe import Boosted, Cox, Network, Recipe, Trees, Weibull
from riskweave.deployment.text import array, doubles, literal, structures

__all__ = ["DEEP_SURV", "HEADS", "predictor", "tables_of"]

HEADS = {
    "logistic_hazard": "RW_LOGISTIC_HAZARD",
    "pc_hazard": "RW_PC_HAZARD",
    "pmf": "RW_PMF",
    "deep_hit": "RW_PMF",
    "mtlr": "RW_MTLR",
}
"""Heads whose outputs mean hazards of intervals, by kind: how the library calls them."""

DEEP_SURV = "deep_surv"


def tables_of(recipe: Recipe, model: Cox | Boosted | Weibull | Network, place: int) -> Iterator[str]:
    """Yield the tables of one member's model; the last is ``parameters_<place>``.

    Raises
    ------
    ValueError
        When the model does not have as many causes as the recipe.
    """
    kinds = {Cox: _cox, Boosted: _boosted, Weibull: _weibull, Network: _network}
    return kinds[type(model)](recipe, model, place)


def predictor(model: Cox | Boosted | Weibull | Network) -> str:
    """Return the name of the library's function that predicts with a model."""
    if isinstance(model, Network):
        return "rw_predict_deep_surv" if model.kind == DEEP_SURV else "rw_predict_discrete"
    return {Cox: "rw_predict_cox", Boosted: "rw_predict_boosted", Weibull: "rw_predict_weibull"}[type(model)]


def _cox(recipe: Recipe, model: Cox, place: int) -> Iterator[str]:
    yield from doubles(f"coefficients_{place}", np.ravel(model.coefficients))
    yield from doubles(f"means_{place}", np.ravel(model.means))
    yield from _baselines(recipe, model.baselines, place)
    record = [f"coefficients_{place}", f"means_{place}", f"baselines_{place}"]
    yield f"static const rw_cox parameters_{place} = {{{', '.join(record)}}};"


def _baselines(recipe: Recipe, baselines: Sequence[tuple[np.ndarray, np.ndarray]], place: int) -> Iterator[str]:
    """Yield the baseline hazards, cause by cause."""
    if len(baselines) != len(recipe.causes):
        raise ValueError("a member has a baseline for each cause")
    records = []
    for cause, baseline in enumerate(baselines):
        days, hazards = _needed(recipe, *(np.asarray(values, dtype=np.float64) for values in baseline))
        yield from doubles(f"days_{place}_{cause}", days)
        yield from doubles(f"hazards_{place}_{cause}", hazards)
        records.append([str(len(days)), f"days_{place}_{cause}", f"hazards_{place}_{cause}"])
    yield from structures("rw_baseline", f"baselines_{place}", records, recipe.causes)


def _needed(recipe: Recipe, days: np.ndarray, hazards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of a baseline hazard that the risks need.

    None after the last time; of one cause, those at the times alone. Steps are the days of single people's events,
    which a module need not tell.
    """
    if len(recipe.causes) == 1 and len(days):
        wanted = np.asarray(recipe.times, dtype=np.float64)
        return wanted, np.concatenate([[0.0], hazards])[np.searchsorted(days, wanted, side="right")]
    kept = days <= recipe.times[-1]
    return days[kept], hazards[kept]


def _boosted(recipe: Recipe, model: Boosted, place: int) -> Iterator[str]:
    members = []
    for cause, trees in enumerate(model.trees):
        own = f"{place}_{cause}"
        yield from array("int", f"roots_{own}", map(str, trees.roots))
        yield from structures("rw_split", f"splits_{own}", _splits(trees))
        yield from doubles(f"leaves_{own}", trees.leaves)
        members.append([str(len(trees.roots)), f"roots_{own}", f"splits_{own}", f"leaves_{own}", literal(trees.centre)])
    yield from structures("rw_trees", f"trees_{place}", members, recipe.causes)
    yield from _baselines(recipe, model.baselines, place)
    yield f"static const rw_boosted parameters_{place} = {{trees_{place}, baselines_{place}}};"


def _splits(trees: Trees) -> Iterator[list[str]]:
    for threshold, *places in zip(trees.thresholds, trees.columns, trees.left, trees.right, strict=True):
        yield [literal(threshold), *map(str, places)]


def _weibull(recipe: Recipe, model: Weibull, place: int) -> Iterator[str]:
    if len(model.shapes) != len(recipe.causes):
        raise ValueError("a member has a shape for each cause")
    yield from doubles(f"intercepts_{place}", model.intercepts)
    yield from doubles(f"slopes_{place}", np.ravel(model.slopes))
    yield from doubles(f"shapes_{place}", model.shapes)
    yield from doubles(f"steps_{place}", model.days)
    names = [f"{name}_{place}" for name in ("intercepts", "slopes", "shapes", "steps")]
    yield f"static const rw_weibull parameters_{place} = {{{', '.join(names[:3])}, {len(model.days)}, {names[3]}}};"


def _network(recipe: Recipe, model: Network, place: int) -> Iterator[str]:
    if model.kind == DEEP_SURV:
        yield from _baselines(recipe, model.learnt["baselines"], place)
        yield f"static const rw_deep_surv parameters_{place} = {{network_{place}, baselines_{place}}};"
        return
    yield from doubles(f"cuts_{place}", model.cuts)
    record = [f"network_{place}", str(len(model.cuts) - 1), f"cuts_{place}", HEADS[model.kind]]
    yield f"static const rw_discrete parameters_{place} = {{{', '.join(record)}}};"

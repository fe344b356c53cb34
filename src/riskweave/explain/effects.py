"""Effect curves: what a column does to the risk, as accumulated local effects (ALE).

Each subject is asked about twice, with the two edges of the bin that its own value lies in; the differences are
averaged within the bin and added up over the bins (Apley and Zhu, J R Stat Soc B 2020;82:1059). So the model is never
asked about values far from those of the same subject, as partial dependence does where columns hang together. Curves
are centred: their mean over the subjects is 0.

On the scale ``risk`` an effect is a difference of the cumulative incidence at the horizon, on ``cloglog`` one of its
log(-log(1 - F)): there a proportional-hazards model without competing events has the curves of its own terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.cloglog import cloglog
from riskweave.explain.bins import FEWEST, edges_of, order_of_categories
from riskweave.explain.rows import Column, Explained, Observed, Rows

__all__ = ["FEW", "SCALES", "accumulated_effects", "no_effects"]

FEW = 50
"""People below whom a bin is said to be thin."""

SCALES = {"risk": np.asarray, "cloglog": cloglog}

_BANDS = ("estimate", "lower", "upper", "fold_lowest", "fold_highest")
_TYPES = {
    **dict.fromkeys(("feature_set", "column", "kind"), "object"),
    "horizon": "Int64",
    "scale": "string",
    "position": "Int64",
    "value": "float64",
    "category": "string",
    "n": "Int64",
    "few": "bool",
    **dict.fromkeys(_BANDS, "float64"),
}


@dataclass(frozen=True)
class _Steps:
    """Differences of risks over the steps between neighbouring points of a curve.

    Attributes
    ----------
    points : list
        Edges, or categories in their order.
    rows : (m,) int64 array
        Subject of each difference.
    step : (m,) int64 array
        From point `step` to the next.
    low, high : (m, horizons) arrays
        Risks at the two ends.
    at : (m,) int64 array or None
        For categories: the point that the subject itself is at.
    """

    points: list
    rows: np.ndarray
    step: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: np.ndarray | None


def _numeric_steps(folds: Sequence[Explained], column: Column, edges: np.ndarray) -> _Steps:
    rows, steps, lows, highs = [], [], [], []
    for fold in folds:
        values = fold.rows.values(column).to_numpy(dtype=np.float64, na_value=np.nan)
        inside = np.flatnonzero((values >= edges[0]) & (values <= edges[-1]))
        # A bin holds its upper edge, the first one its lower edge too.
        step = np.clip(np.searchsorted(edges, values[inside], side="left") - 1, 0, None)
        # Both edges in one call: most of a prediction's time is spent before the first row.
        asked = fold.rows.take(np.tile(inside, 2))
        risks = fold.predict(asked.with_values(column, edges[np.concatenate([step, step + 1])]))
        lows.append(risks[: len(inside)])
        highs.append(risks[len(inside) :])
        rows.append(fold.places[inside])
        steps.append(step)
    joined = [np.concatenate(parts) for parts in (rows, steps, lows, highs)]
    return _Steps(list(edges), joined[0], joined[1], joined[2], joined[3], None)


def _category_steps(folds: Sequence[Explained], column: Column, names: list[str]) -> _Steps:
    """Return the differences between neighbouring categories, of the subjects who are in one of the two."""
    parts: list[tuple[np.ndarray, ...]] = []
    for fold in folds:
        values = fold.rows.values(column)
        texts = values.astype(object).map(str).where(values.notna(), None)
        at = pd.Index(names).get_indexer(pd.Index(texts.to_numpy(dtype=object)))
        # The column's own values of the names: text may stand for a number or a truth value.
        own = {name: values[(texts == name).to_numpy()].iloc[0] for name in names if (texts == name).any()}
        for step in range(len(names) - 1):
            inside = np.flatnonzero((at == step) | (at == step + 1))
            if not len(inside):
                continue
            asked = fold.rows.take(inside)
            low, high = (
                fold.predict(asked.with_values(column, own.get(name, name))) for name in names[step : step + 2]
            )
            parts.append((fold.places[inside], np.full(len(inside), step), low, high, at[inside]))
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return _Steps(names, joined[0], joined[1], joined[2], joined[3], joined[4])


def _curves(steps: _Steps, differences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return centred curves (resamples, points) of differences (m,), for rows of weights of the subjects.

    NaN where a step has nobody.
    """
    number = len(steps.points) - 1
    member = steps.step[:, None] == np.arange(number)
    own = weights[:, steps.rows].astype(float)
    counts = own @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        local = (own * differences) @ member / counts
        curve = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(local, axis=1)], axis=1)
        if steps.at is None:
            middle = (curve[:, 1:] + curve[:, :-1]) / 2
            return curve - ((middle * counts).sum(axis=1) / counts.sum(axis=1))[:, None]
        # Every category is at the start of its step, the last one at the end of the one before.
        at = np.where(steps.step == number - 1, steps.at, np.where(steps.at == steps.step, steps.at, -1))
        population = own @ (at[:, None] == np.arange(number + 1))
        return curve - ((curve * population).sum(axis=1) / population.sum(axis=1))[:, None]


def _banded(
    steps: _Steps, observed: Observed, fold_of: np.ndarray, *, scale: str, count: int, seed: int, confidence: float
) -> np.ndarray:
    """Return estimate, lower, upper, fold_lowest and fold_highest (5, horizons, points)."""
    change = SCALES[scale](steps.high) - SCALES[scale](steps.low)
    subjects, horizons = len(observed.time), change.shape[1]
    each = np.stack([fold_of == fold for fold in np.unique(fold_of)]).astype(np.int64)
    result = np.full((5, horizons, len(steps.points)), np.nan)
    drawn: list[list[np.ndarray]] = [[] for _ in range(horizons)]
    for rows in resamples(people=observed.people, count=count, seed=seed):
        for h in range(horizons):
            drawn[h].append(_curves(steps, change[:, h], rows))
    for h in range(horizons):
        result[0, h] = _curves(steps, change[:, h], np.ones((1, subjects), dtype=np.int64))[0]
        result[1, h], result[2, h] = percentile_interval(np.concatenate(drawn[h]), confidence)
        curves = _curves(steps, change[:, h], each)
        curves = curves[np.isfinite(curves).all(axis=1)]
        if len(curves):
            result[3, h], result[4, h] = curves.min(axis=0), curves.max(axis=0)
    return result


def _people_at(steps: _Steps, people: np.ndarray) -> np.ndarray:
    """Return the people of each point: of its category, or of the bins beside it whichever has fewer."""
    number = len(steps.points)
    if steps.at is not None:
        return np.array([len(np.unique(people[steps.rows[steps.at == point]])) for point in range(number)])
    inside = np.array([len(np.unique(people[steps.rows[steps.step == step]])) for step in range(number - 1)])
    return np.minimum(np.append(inside[:1], inside), np.append(inside, inside[-1:]))


def _everyone(folds: Sequence[Explained], column: Column) -> tuple[pd.Series, np.ndarray]:
    values = pd.concat([fold.rows.values(column) for fold in folds], ignore_index=True)
    return values, np.concatenate([fold.places for fold in folds])


def _joined(folds: Sequence[Explained]) -> Rows:
    """Return the rows of all folds one under the other, columns of encoders left out: they differ between folds."""
    first = folds[0].rows
    dropped = {name: [column for owner, column in first.encoded if owner == name] for name in first.tables}
    tables = {
        name: pd.concat([fold.rows.tables[name].drop(columns=dropped[name]) for fold in folds], ignore_index=True)
        for name in first.tables
    }
    present = {name: np.concatenate([fold.rows.present[name] for fold in folds]) for name in first.present}
    return Rows(tables, present, first.modality, first.categorical, first.opaque)


def _nothing(column: Column, kind: str) -> pd.DataFrame:
    """Return the one row of a column of which no curve can be shown."""
    row = dict.fromkeys(_TYPES) | {"feature_set": column[0], "column": column[1], "kind": kind, "few": True}
    return pd.DataFrame([row]).astype(_TYPES)


def no_effects() -> pd.DataFrame:
    """Return the table of no column."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _TYPES.items()})


def accumulated_effects(
    folds: Sequence[Explained],
    observed: Observed,
    column: Column,
    *,
    horizons: Sequence[int],
    bins: int = 20,
    count: int = 200,
    seed: int = 1,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Follow the effect of one column over its values.

    All folds together make one curve, each subject asked about by the model of the fold that tested it. Two bands go
    with it: `lower` and `upper` are pointwise percentile intervals over people, the models as they are; `fold_lowest`
    and `fold_highest` are the range of the folds' own curves, that is of models trained on other rows. Who has no value
    is left out, and so is who lies beyond the outer edges (see `riskweave.explain.bins`).

    Parameters
    ----------
    folds : sequence of Explained
    observed : Observed
    column : (feature set, column)
        Numbers, or categories: these are brought in an order in which neighbours are alike in the other columns.
    horizons : sequence of int
        Days of the columns that `predict` returns.
    bins : int
        Bins at most.
    count, seed, confidence
        Of the resamples.

    Returns
    -------
    DataFrame
        feature_set, column, kind (numeric, categorical), horizon, scale (risk, cloglog), position (0 and on along the
        curve), value (of a number) or category, n (people: of the category, or of the thinner of the bins beside the
        value), few (fewer than 50 of them), estimate, lower, upper, fold_lowest, fold_highest. Nothing is shown of
        fewer than 10 people; where that leaves no curve, there is one row without numbers.
    """
    kind = "categorical" if column in folds[0].rows.categorical else "numeric"
    values, places = _everyone(folds, column)
    people = observed.people[places]
    if kind == "numeric":
        points: list = list(edges_of(values.to_numpy(dtype=np.float64, na_value=np.nan), people, bins))
    else:
        points = order_of_categories(_joined(folds), column, people)
    if len(points) < 2:
        return _nothing(column, kind)
    make = _numeric_steps if kind == "numeric" else _category_steps
    steps = make(folds, column, np.array(points) if kind == "numeric" else points)
    counts = _people_at(steps, observed.people)
    if counts.min() < FEWEST:
        return _nothing(column, kind)
    fold_of = np.zeros(len(observed.time), dtype=np.int64)
    for fold in folds:
        fold_of[fold.places] = fold.fold
    told = {"feature_set": column[0], "column": column[1], "kind": kind}
    tables = []
    for scale in SCALES:
        found = _banded(steps, observed, fold_of, scale=scale, count=count, seed=seed, confidence=confidence)
        for h, horizon in enumerate(horizons):
            along = {"value": points} if kind == "numeric" else {"category": points}
            along |= {"n": counts, "few": counts < FEW, "position": np.arange(len(points))}
            along |= dict(zip(_BANDS, found[:, h], strict=True))
            table = pd.DataFrame(told | {"horizon": horizon, "scale": scale} | along)
            tables.append(table.reindex(columns=list(_TYPES)).astype(_TYPES))
    return pd.concat(tables, ignore_index=True)

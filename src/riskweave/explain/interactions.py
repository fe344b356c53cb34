"""How two columns work together: second-order accumulated local effects of a stated pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.explain.bins import FEWEST, edges_of
from riskweave.explain.effects import SCALES
from riskweave.explain.rows import Column, Explained, Observed

__all__ = ["interaction_effects"]


_NAMES = ["horizon", "scale", "first", "second", "first_value", "second_value", "n", "estimate", "lower", "upper"]
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _numbers(fold: Explained, column: Column) -> np.ndarray:
    return fold.rows.values(column).to_numpy(dtype=np.float64, na_value=np.nan)


def _differences(
    folds: Sequence[Explained], pair: tuple[Column, Column], edges: list[np.ndarray], scale: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return subjects (m,), cells (m, 2) and second differences (m, horizons) of all who lie within the edges."""
    rows, cells, changes = [], [], []
    for fold in folds:
        values = [_numbers(fold, column) for column in pair]
        inside = np.flatnonzero(
            np.all([(v >= e[0]) & (v <= e[-1]) for v, e in zip(values, edges, strict=True)], axis=0)
        )
        cell = [
            np.clip(np.searchsorted(e, v[inside], side="left") - 1, 0, None) for v, e in zip(values, edges, strict=True)
        ]
        asked, total = fold.rows.take(inside), 0.0
        for one, other in _CORNERS:
            moved = asked.with_values(pair[0], edges[0][cell[0] + one])
            moved = moved.with_values(pair[1], edges[1][cell[1] + other])
            total = total + (1 if one == other else -1) * SCALES[scale](fold.predict(moved))
        rows.append(fold.places[inside])
        cells.append(np.column_stack(cell))
        changes.append(total)
    return np.concatenate(rows), np.concatenate(cells), np.concatenate(changes)


def _nearest(shown: np.ndarray) -> np.ndarray:
    """Return for each cell the flat position of the nearest one that is shown; itself where it is."""
    places = np.argwhere(shown)
    grid = np.argwhere(np.ones(shown.shape, dtype=bool))
    scaled = np.array(shown.shape, dtype=float)
    apart = (((grid[:, None, :] - places[None, :, :]) / scaled) ** 2).sum(axis=2)
    return np.ravel_multi_index(places[apart.argmin(axis=1)].T, shown.shape)


def _surface(local: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Accumulate second differences (r, a, b) over cells, and take away the main effects of both columns."""
    total = np.zeros((len(local), local.shape[1] + 1, local.shape[2] + 1))
    total[:, 1:, 1:] = local.cumsum(axis=1).cumsum(axis=2)
    first = np.diff(total, axis=1)
    first = ((first[:, :, :-1] + first[:, :, 1:]) / 2 * counts).sum(axis=2) / np.maximum(counts.sum(axis=2), 1)
    second = np.diff(total, axis=2)
    second = ((second[:, :-1] + second[:, 1:]) / 2 * counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    total[:, 1:] -= first.cumsum(axis=1)[:, :, None]
    total[:, :, 1:] -= second.cumsum(axis=1)[:, None, :]
    corners = (total[:, :-1, :-1] + total[:, 1:, :-1] + total[:, :-1, 1:] + total[:, 1:, 1:]) / 4
    centre = (corners * counts).sum(axis=(1, 2)) / counts.sum(axis=(1, 2))
    return total - centre[:, None, None]


@dataclass(frozen=True)
class _Cells:
    """Who is in which cell between the edges of two columns.

    Attributes
    ----------
    rows : (m,) int64 array
        Subjects.
    member : (m, cells) bool array
    people : (a, b) int64 array
        In each cell; 0 where there are too few to be told of.
    """

    rows: np.ndarray
    member: np.ndarray
    people: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, cells: np.ndarray, shape: tuple[int, int], people: np.ndarray) -> "_Cells":
        member = np.ravel_multi_index(cells.T, shape)[:, None] == np.arange(shape[0] * shape[1])
        counts = np.array([len(np.unique(people[rows[inside]])) for inside in member.T]).reshape(shape)
        return cls(rows, member, np.where(counts >= FEWEST, counts, 0))

    @property
    def shown(self) -> np.ndarray:
        return self.people > 0

    def around(self) -> np.ndarray:
        """Return the people in the cells around each point (a + 1, b + 1)."""
        a, b = self.people.shape
        total = np.zeros((a + 1, b + 1), dtype=np.int64)
        for one, other in _CORNERS:
            total[one : one + a, other : other + b] += self.people
        return total

    def surfaces(self, weights: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Return the effects at the points (resamples, a + 1, b + 1) of second differences (m,)."""
        own = weights[:, self.rows].astype(float)
        counts = own @ self.member
        with np.errstate(invalid="ignore", divide="ignore"):
            local = ((own * change) @ self.member / counts)[:, _nearest(self.shown)]
        return _surface(local.reshape(-1, *self.people.shape), counts.reshape(-1, *self.people.shape))


def interaction_effects(
    folds: Sequence[Explained],
    observed: Observed,
    pair: tuple[Column, Column],
    *,
    horizons: Sequence[int],
    scale: str = "risk",
    bins: int = 8,
    count: int = 200,
    seed: int = 1,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Follow what two numeric columns do together, beyond what each does alone.

    Second-order accumulated local effects (Apley and Zhu, J R Stat Soc B 2020;82:1059, section 2.4): 0 everywhere
    where their effects add up on the scale. Cells with fewer than 10 people take the nearest cell's difference, and
    points between such cells alone are not shown.

    Parameters
    ----------
    folds, observed, horizons, count, seed, confidence
        As in `riskweave.explain.effects.accumulated_effects`.
    pair : two of (feature set, column)
    scale : {"risk", "cloglog"}
    bins : int
        Bins of each column at most.

    Returns
    -------
    DataFrame
        horizon, scale, first, second (columns as ``set.column``), first_value, second_value, n (people in the cells
        around the point), estimate, lower, upper; empty where a column has no two edges, or no cell ten people.
    """
    people = observed.people[np.concatenate([fold.places for fold in folds])]
    edges = [edges_of(np.concatenate([_numbers(fold, column) for fold in folds]), people, bins) for column in pair]
    if min(len(each) for each in edges) < 2:
        return pd.DataFrame(columns=_NAMES)
    rows, cells, changes = _differences(folds, pair, edges, scale)
    grid = _Cells.of(rows, cells, (len(edges[0]) - 1, len(edges[1]) - 1), observed.people)
    if not grid.shown.any():
        return pd.DataFrame(columns=_NAMES)
    around = grid.around()
    values = dict(zip(("first_value", "second_value"), np.meshgrid(*edges, indexing="ij"), strict=True))
    tables = []
    for h, horizon in enumerate(horizons):
        estimate = grid.surfaces(np.ones((1, len(observed.time)), dtype=np.int64), changes[:, h])[0]
        drawn = [
            grid.surfaces(weights, changes[:, h])
            for weights in resamples(people=observed.people, count=count, seed=seed)
        ]
        lower, upper = percentile_interval(np.concatenate(drawn), confidence)
        told = {"horizon": horizon, "scale": scale, "first": ".".join(pair[0]), "second": ".".join(pair[1])}
        numbers = {"estimate": estimate, "lower": lower, "upper": upper}
        found = values | {"n": around}
        found |= {name: np.where(around == 0, np.nan, each) for name, each in numbers.items()}
        tables.append(pd.DataFrame(told | {name: each.ravel() for name, each in found.items()}))
    return pd.concat(tables, ignore_index=True)[_NAMES]

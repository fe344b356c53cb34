"""Where an effect curve is read: edges between values, and an order of categories; nothing that tells of few people."""

from math import floor, log10

import numpy as np
import pandas as pd

from riskweave.explain.rows import Column, Rows

__all__ = ["FEWEST", "edges_of", "order_of_categories", "rounded"]

FEWEST = 10
"""People that a bin, or a category, must have to be shown; and that must lie beyond the outer edges."""


def rounded(values: np.ndarray, spread: float, digits: int = 3) -> np.ndarray:
    """Round to some digits of a spread, so that an edge is nobody's exact value."""
    if spread <= 0:
        return values
    return np.round(values, digits - 1 - floor(log10(spread)))


def _people(people: np.ndarray, mask: np.ndarray) -> int:
    return len(np.unique(people[mask]))


def edges_of(values: np.ndarray, people: np.ndarray, bins: int = 20) -> np.ndarray:
    """Return increasing edges between which a numeric column is followed.

    A column of few values has them as edges, each that ten people or more have. Others have quantiles, rounded, from
    the first beyond which ten people lie; bins with fewer than ten people are joined with the next.

    Parameters
    ----------
    values : (n,) float64 array
        NaN is left out.
    people : (n,) int64 array
    bins : int
        Bins at most.

    Returns
    -------
    (k,) float64 array
        Empty where there are fewer than two.
    """
    known = np.isfinite(values)
    values, people = values[known], people[known]
    distinct = np.unique(values)
    if len(distinct) <= bins:
        kept = [value for value in distinct if _people(people, values == value) >= FEWEST]
        return np.array(kept) if len(kept) > 1 else np.zeros(0)
    number = len(np.unique(people))
    tail = max(FEWEST / max(number, 1), 0.005)
    if tail >= 0.5:
        return np.zeros(0)
    low, high = np.quantile(values, [tail, 1 - tail])
    edges = np.unique(rounded(np.quantile(values, np.linspace(tail, 1 - tail, bins + 1)), float(high - low)))
    kept = list(edges[:1])
    for edge in edges[1:]:
        if _people(people, (values > kept[-1]) & (values <= edge)) >= FEWEST:
            kept.append(edge)
    return np.array(kept) if len(kept) > 1 else np.zeros(0)


def _distance(levels: list[np.ndarray], values: pd.Series, numeric: bool) -> np.ndarray:
    """Return how far apart the distributions of a column are between groups of rows, 0 to 1."""
    if numeric:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        grid = np.unique(numbers[np.isfinite(numbers)])
        grid = grid[np.linspace(0, len(grid) - 1, min(len(grid), 200)).astype(int)] if len(grid) else grid
        shares = [
            np.searchsorted(np.sort(numbers[rows][np.isfinite(numbers[rows])]), grid, side="right")
            / max(1, np.isfinite(numbers[rows]).sum())
            for rows in levels
        ]
        return np.array([[np.abs(a - b).max(initial=0.0) for b in shares] for a in shares])
    texts = values.astype(object).where(values.notna(), "").map(str)
    names = sorted(texts.unique())
    shares = [texts[rows].value_counts(normalize=True).reindex(names, fill_value=0.0).to_numpy() for rows in levels]
    return np.array([[np.abs(a - b).sum() / 2 for b in shares] for a in shares])


def order_of_categories(rows: Rows, column: Column, people: np.ndarray) -> list[str]:
    """Return the categories of a column that ten people or more have, neighbours alike in the other columns.

    Categories have no order of their own, and accumulated effects need one in which a step is small: distances between
    categories are Kolmogorov and Smirnov's of each other column (total variation for categories), summed, and laid out
    on a line by classical scaling, as Apley and Zhu (2020) have it.
    """
    values = rows.values(column)
    texts = values.astype(object).map(str).where(values.notna(), None)
    counts = pd.Series(people).groupby(texts.to_numpy(dtype=object)).nunique()
    names = sorted(str(name) for name in counts.index[counts >= FEWEST])
    if len(names) < 3:
        return names
    levels = [np.flatnonzero((texts == name).to_numpy()) for name in names]
    total = np.zeros((len(names), len(names)))
    for other in rows.columns:
        if other != column and other not in rows.opaque:
            total += _distance(levels, rows.values(other), other not in rows.categorical)
    centre = np.eye(len(names)) - 1 / len(names)
    vectors = np.linalg.eigh(-centre @ total**2 @ centre / 2)[1]
    line = vectors[:, -1] * (1 if vectors[np.argmax(np.abs(vectors[:, -1])), -1] > 0 else -1)
    return [names[i] for i in np.argsort(line, kind="stable")]

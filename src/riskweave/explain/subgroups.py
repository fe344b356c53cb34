"""Subgroups of rows in which a unit no longer depends on the other columns, as far as a tree can tell."""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from riskweave.explain.rows import Column, Rows, Unit

__all__ = ["subgroups"]

LEAF = 10
"""Rows that a leaf should have among the explained ones, on average at least."""

MOST_ROWS = 5000
"""Rows that a tree is fitted on."""

MOST_CATEGORIES = 20

MOST_COLUMNS = 50
"""Columns that a tree may divide by: those with the highest correlations with the unit's."""

HELD_OUT = 4
"""Of so many rows one is held out, to see whether the others tell anything about it."""


def _numbers(rows: Rows, columns: list[Column], levels: dict[Column, list[str]]) -> np.ndarray:
    """Return columns as numbers (n, ...), missing as NaN; categories as one column each."""
    parts = []
    for column in columns:
        values = rows.values(column)
        if column in levels:
            texts = values.astype(object).where(values.notna(), "").map(str)
            parts += [(texts == level).to_numpy(dtype=float) for level in levels[column]]
        else:
            parts.append(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.column_stack(parts) if parts else np.zeros((len(rows), 0))


def _levels(rows: Rows, columns: list[Column]) -> dict[Column, list[str]]:
    """Return the most frequent categories of each column of categories."""
    found = {}
    for column in columns:
        if column in rows.categorical:
            values: pd.Series = rows.values(column)
            texts = values.astype(object).where(values.notna(), "").map(str)
            found[column] = sorted(texts.value_counts().index[:MOST_CATEGORIES])
    return found


def _targets(values: np.ndarray) -> np.ndarray:
    """Return standardised columns without gaps: the mean in their place, and where they are as columns of their own."""
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        filled = np.where(missing, np.nansum(values, axis=0) / np.maximum((~missing).sum(axis=0), 1), values)
    joined = np.hstack([filled, missing[:, missing.any(axis=0)].astype(float)])
    spread = joined.std(axis=0)
    return (joined - joined.mean(axis=0))[:, spread > 0] / spread[spread > 0]


def _screened(others: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return which of the other columns (n, p) a tree may divide by."""
    if others.shape[1] <= MOST_COLUMNS:
        return np.arange(others.shape[1])
    known = ~np.isnan(others)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, others, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, others - mean, 0.0)
        spread = np.sqrt((filled**2).mean(axis=0))
        strength = np.abs(filled.T @ targets).max(axis=1) / np.where(spread > 0, spread, np.inf)
    return np.sort(np.argsort(-strength, kind="stable")[:MOST_COLUMNS])


def _tells(others: np.ndarray, targets: np.ndarray, least: int) -> bool:
    """Tell whether a tree foretells the columns of rows that it has not seen better than their mean does."""
    held = np.arange(len(targets)) % HELD_OUT == 0
    tree = DecisionTreeRegressor(min_samples_leaf=least, random_state=0).fit(others[~held], targets[~held])
    foretold = tree.predict(others[held]).reshape(targets[held].shape)
    mean = targets[~held].mean(axis=0)
    return bool(((targets[held] - foretold) ** 2).sum() < ((targets[held] - mean) ** 2).sum())


def subgroups(rows: Rows, unit: Unit, background: Rows | None = None) -> np.ndarray:
    """Divide rows by a regression tree of a unit's columns on all others.

    The tree (CART, squared error over all of the unit's columns in units of their spread, categories as indicators) is
    fitted on the background's rows that have the unit, 5000 of them at most, with leaves so large that the explained
    rows come to ten in a leaf. Missing values of other columns go the way that divides best. A tree
    that foretells nothing of held-out rows is not used: its leaves would be made of noise.

    Parameters
    ----------
    rows : Rows
        To be divided.
    unit : Unit
        Whose values are about to change places; sparse histories are neither explained nor explaining.
    background : Rows, optional
        Rows of the same columns to fit the tree on; `rows` when not given.

    Returns
    -------
    (n,) int64 array
        Number of the leaf; 0 for rows without the unit, and for all where there is nothing to divide by.
    """
    source = rows if background is None else background
    own = [column for column in unit.columns if column not in rows.opaque]
    others = [column for column in rows.columns if column not in unit.columns and column not in rows.opaque]
    leaf = np.zeros(len(rows), dtype=np.int64)
    have = np.flatnonzero(np.any([source.present[name] for name in unit.sets], axis=0))
    asked = np.flatnonzero(np.any([rows.present[name] for name in unit.sets], axis=0))
    if not own or not others or len(have) < 2 * LEAF or not len(asked):
        return leaf
    have = have[np.linspace(0, len(have) - 1, min(len(have), MOST_ROWS)).astype(np.int64)]
    source = source.take(have)
    levels = _levels(source, [*own, *others])
    targets = _targets(_numbers(source, own, levels))
    if not targets.shape[1]:
        return leaf
    least = max(LEAF, int(np.ceil(LEAF * len(have) / len(asked))))
    numbers = _numbers(source, others, levels)
    used = _screened(numbers, targets)
    numbers = numbers[:, used]
    if _tells(numbers, targets, least):
        tree = DecisionTreeRegressor(min_samples_leaf=least, random_state=0).fit(numbers, targets)
        leaf[asked] = tree.apply(_numbers(rows.take(asked), others, levels)[:, used])
    return leaf

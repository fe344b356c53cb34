"""Raw columns as plain numbers and labels, and a fitted preprocessing of them as operations on arrays.

scikit-learn checks, copies and names a whole table in each of its steps. Explanations ask for thousands of designs, in
which that takes most of the time: the same operations on plain arrays give the same digits in a small part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

__all__ = ["MISSING", "OTHER", "FittedColumns", "as_columns", "floats", "kept_categories"]

MISSING, OTHER = "missing", "other"
"""Labels of missing categories, and of those that few people of the training rows have, or none."""


def floats(values: pd.Series) -> np.ndarray:
    """Return numbers as float64, NaN where missing; not a copy where they are such already."""
    if values.dtype == np.float64:
        return values.to_numpy()
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def kept_categories(table: pd.DataFrame, people: np.ndarray, *, rare: int) -> dict[str, tuple[str, ...]]:
    """Return for each column of categories those that enough people have, sorted; missing is one of them.

    Parameters
    ----------
    table : DataFrame of shape (n, columns)
        The training rows.
    people : int array (n,)
        Whose rows they are.
    rare : int
        Fewest people that a category must have.
    """
    counts = {name: pd.Series(people).groupby(_labels(table[name]).to_numpy()).nunique() for name in table.columns}
    return {name: tuple(sorted(count.index[count >= rare])) for name, count in counts.items()}


def _labels(values: pd.Series) -> pd.Series:
    """Return categories as text, missing ones too."""
    return values.astype(object).where(values.notna(), MISSING).map(str)


def as_columns(table: pd.DataFrame, kept: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Bring a table to plain float and text columns: NaN for missing numbers, one label for all other categories."""
    columns = {}
    for name in table.columns:
        if name in kept:
            labels = _labels(table[name])
            columns[name] = labels.where(labels.isin(kept[name]), OTHER)
        else:
            columns[name] = floats(table[name])
    return pd.DataFrame(columns, index=table.index)


class _Numeric(NamedTuple):
    """How a numeric column was fitted: its bounds, and what missing values become."""

    lower: float
    upper: float
    median: float

    def values(self, numbers: np.ndarray) -> np.ndarray:
        clipped = np.clip(numbers, self.lower, self.upper)
        return np.where(np.isnan(numbers), self.median, clipped)


class _Missing(NamedTuple):
    """An indicator of missing values."""

    def values(self, numbers: np.ndarray) -> np.ndarray:
        return np.isnan(numbers).astype(np.float64)


class _Category(NamedTuple):
    """An indicator of one category, or of all that have none of their own."""

    label: str
    kept: tuple[str, ...]

    def values(self, categories: tuple[np.ndarray, list[str]]) -> np.ndarray:
        codes, labels = categories
        shown = [label if label in self.kept else OTHER for label in labels]
        return np.array([float(label == self.label) for label in shown])[codes]


class _Step(NamedTuple):
    """A column of the design: where it comes from, what it is, and how it is standardised."""

    source: str
    made: _Numeric | _Missing | _Category
    mean: float
    scale: float


@dataclass(frozen=True)
class FittedColumns:
    """What a fitted pipeline of `riskweave.survival.preprocessing.DesignMatrix` does to the columns of a modality.

    Attributes
    ----------
    steps : tuple
        One for each column of the design, in their order.
    """

    steps: tuple[_Step, ...]

    @classmethod
    def of(cls, pipeline: Pipeline, kept: Mapping[str, tuple[str, ...]]) -> "FittedColumns":
        """Read a fitted pipeline; `kept` are the categories of each column that have one of their own."""
        made: list[tuple[str, _Numeric | _Missing | _Category]] = []
        fitted = {name: (part, list(columns)) for name, part, columns in pipeline["columns"].transformers_}
        numbers, numeric = fitted.get("numbers", (None, []))
        if numeric:
            bounds, impute = numbers["winsorise"], numbers["impute"]
            made += [
                (name, _Numeric(float(bounds.lower_[name]), float(bounds.upper_[name]), float(median)))
                for name, median in zip(numeric, impute.statistics_, strict=True)
            ]
            made += [(numeric[place], _Missing()) for place in impute.indicator_.features_]
        encoder, categorical = fitted.get("categories", (None, []))
        if categorical:
            made += [
                (name, _Category(label, kept[name]))
                for name, labels in zip(categorical, encoder.categories_, strict=True)
                for label in labels
            ]
        scaler = pipeline["scale"]
        chosen = np.flatnonzero(pipeline["redundant"].support_)
        standards = zip(scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
        return cls(tuple(_Step(*made[place], *standard) for place, standard in zip(chosen, standards, strict=True)))

    def transform(self, columns: Mapping[str, pd.Series], rows: int) -> np.ndarray:
        """Return the design's columns.

        Parameters
        ----------
        columns : mapping of column to Series of n values
            All that the pipeline was fitted on; others are not looked at.
        rows : int
            Their number n.

        Returns
        -------
        float64 array (n, steps), column after column in memory
        """
        read: dict[str, np.ndarray | tuple[np.ndarray, list[str]]] = {}
        values = np.empty((rows, len(self.steps)), order="F")
        for place, step in enumerate(self.steps):
            if step.source not in read:
                own = columns[step.source]
                read[step.source] = _labelled(own) if isinstance(step.made, _Category) else floats(own)
            values[:, place] = (step.made.values(read[step.source]) - step.mean) / step.scale
        return values


def _labelled(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the position of each category, and the categories as text; -1 and the last are missing ones."""
    codes, found = pd.factorize(values)
    return codes, [*map(str, found), MISSING]

"""Raw feature columns of some subjects, in which values can be exchanged between rows before a model predicts them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

__all__ = ["Column", "Explained", "Observed", "Predict", "Rows", "Unit", "units_of"]

Column = tuple[str, str]
"""Feature set and column."""

ENCODER = "encoder"
"""What the columns that an encoder makes are called as one: they mean something together, and in their fold alone."""


@dataclass(frozen=True)
class Rows:
    """Raw feature columns by feature set, the same rows in each.

    Attributes
    ----------
    tables : mapping of feature set to DataFrame of n rows
        Values in their units; missing in the rows that lack the feature set.
    present : mapping of feature set to (n,) bool array
        Which rows have the feature set at all: others stay without it, which is not the same as missing values.
    modality : mapping of feature set to str
    categorical : frozenset of (feature set, column)
        Columns of categories; the others are numbers.
    opaque : frozenset of (feature set, column)
        Columns that stand for something larger, as the row of a sparse history: their numbers can be exchanged between
        rows, and mean nothing.
    encoded : frozenset of (feature set, column)
        Columns that an encoder made.
    """

    tables: Mapping[str, pd.DataFrame]
    present: Mapping[str, np.ndarray]
    modality: Mapping[str, str]
    categorical: frozenset[Column] = field(default=frozenset())
    opaque: frozenset[Column] = field(default=frozenset())
    encoded: frozenset[Column] = field(default=frozenset())

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the feature sets."""
        return [(name, str(column)) for name, table in self.tables.items() for column in table.columns]

    def values(self, column: Column) -> pd.Series:
        """Return a column."""
        return self.tables[column[0]][column[1]]

    def take(self, positions: np.ndarray) -> "Rows":
        """Return some rows, by position; a row may come several times."""
        return replace(
            self,
            tables={name: table.iloc[positions].reset_index(drop=True) for name, table in self.tables.items()},
            present={name: has[positions] for name, has in self.present.items()},
        )

    def mixed(self, other: "Rows", chosen: Mapping[Column, np.ndarray]) -> "Rows":
        """Return these rows with some values of others in their places.

        A row then has a feature set where some column of it comes from a row that has it.

        Parameters
        ----------
        other : Rows
            As many rows, of the same columns.
        chosen : mapping of (feature set, column) to (n,) bool array
            Where the value of `other` is taken.
        """
        tables, present = dict(self.tables), dict(self.present)
        for name in {owner for owner, _ in chosen}:
            table = tables[name].copy(deep=False)
            kept, taken = np.zeros(len(self), dtype=bool), np.zeros(len(self), dtype=bool)
            for column in table.columns:
                mask = chosen.get((name, column))
                if mask is None:
                    kept[:] = True
                    continue
                kept |= ~mask
                taken |= mask
                source = other.tables[name][column]
                table[column] = source if mask.all() else table[column].where(~mask, source)
            tables[name] = table
            present[name] = (kept & self.present[name]) | (taken & other.present[name])
        return replace(self, tables=tables, present=present)

    def with_values(self, column: Column, values: np.ndarray | float | str) -> "Rows":
        """Return these rows with other values of a column; who has the feature set stays."""
        name = column[0]
        return replace(self, tables={**self.tables, name: self.tables[name].assign(**{column[1]: values})})


Predict = Callable[[Rows], np.ndarray]
"""From n rows to risks (n, horizons): cumulative incidences of the target, 0 to 1. The same rows, the same risks."""


@dataclass(frozen=True)
class Observed:
    """What happened to the explained subjects.

    Attributes
    ----------
    time, event : (n,) arrays
        Days, and 0 censored, 1 target, 2 and up competing.
    people : (n,) int64 array
        The person of each subject: 0 to the number of people - 1.
    """

    time: np.ndarray
    event: np.ndarray
    people: np.ndarray

    def take(self, positions: np.ndarray) -> "Observed":
        """Return some subjects; people are numbered anew."""
        people = np.unique(self.people[positions], return_inverse=True)[1].astype(np.int64)
        return Observed(self.time[positions], self.event[positions], people)


@dataclass(frozen=True)
class Explained:
    """One fold: its model, the rows that it is asked about, and rows that tell what values go together.

    Attributes
    ----------
    fold : int
    predict : callable
        The model of the fold, see `Predict`.
    rows : Rows
        Test rows of the fold.
    places : (rows,) int64 array
        Their positions in the outcomes.
    background : Rows or None
        Training rows of the fold; the test rows take their place where there are none.
    """

    fold: int
    predict: Predict
    rows: Rows
    places: np.ndarray
    background: Rows | None = None


@dataclass(frozen=True)
class Unit:
    """Columns that are explained as one.

    Attributes
    ----------
    level : str
        ``column``, ``feature_set`` or ``modality``.
    name : str
    feature_set, modality : str
        Where it belongs; the feature set is empty for a modality.
    columns : tuple of (feature set, column)
    """

    level: str
    name: str
    feature_set: str
    modality: str
    columns: tuple[Column, ...]

    @property
    def sets(self) -> list[str]:
        """The feature sets that it has columns of."""
        return list(dict.fromkeys(name for name, _ in self.columns))


def units_of(rows: Rows, levels: Iterable[str] = ("column", "feature_set", "modality")) -> list[Unit]:
    """Return what can be explained: each column (those of an encoder as one), feature set and modality."""
    found: dict[tuple[str, str, str], list[Column]] = {}
    for name, column in rows.columns:
        own = ENCODER if (name, column) in rows.encoded else column
        for key in (("column", name, own), ("feature_set", name, name), ("modality", "", rows.modality[name])):
            found.setdefault(key, []).append((name, column))
    units = [
        Unit(level, name, owner, rows.modality[columns[0][0]], tuple(columns))
        for (level, owner, name), columns in found.items()
    ]
    return [unit for level in levels for unit in units if unit.level == level]

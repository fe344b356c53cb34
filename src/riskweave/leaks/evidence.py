"""What the gates look at: the tables of a study's cohort and its blocks, and feature tables column by column."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, read_table
from riskweave.study.cohort import Endpoint, Folds
from riskweave.study.features import FeatureSet
from riskweave.study.population import Population

__all__ = ["AtRisk", "Evidence", "FeatureColumn", "SetRows", "columns_of", "static_columns"]

_BATCH = 16  # columns in memory at once
_STEM = re.compile(r"^(.*):([a-z_]+)(@[^:]*)?$", re.DOTALL)


@dataclass(frozen=True)
class AtRisk:
    """The subjects at risk of an endpoint, by the rows of some table.

    Attributes
    ----------
    endpoint : str
        Name of the endpoint.
    rows : array (n,) of int
        Their rows in the table.
    time : array (n,)
        Days from the index time to the event or to the end of observation.
    event : array (n,) of int
        0 censored, 1 target, 2 and up competing.
    """

    endpoint: str
    rows: np.ndarray
    time: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Tables and blocks of a study.

    Attributes
    ----------
    subjects : DataFrame
        The study's subjects; subject_id, person_id, index_time, followup_end and further columns.
    outcomes : mapping of endpoint to DataFrame
        Indexed by subject_id: time (days), event.
    folds : DataFrame
        subject_id, fold, role.
    tables : mapping of feature set to path
        Feature tables.
    used : mapping of endpoint to feature sets
        Which sets some experiment of the endpoint uses.
    features, endpoints, population, division
        Blocks of the study.
    manifests : mapping
        ``recordings``, ``images`` and ``sounds`` to their tables.
    indices : mapping of feature set to path
        Tables of what encoders read.
    attrition : path or None
        Counts of the selection's steps.
    """

    subjects: pd.DataFrame
    outcomes: Mapping[str, pd.DataFrame]
    folds: pd.DataFrame
    tables: Mapping[str, Path]
    used: Mapping[str, Sequence[str]]
    features: Mapping[str, FeatureSet]
    endpoints: Mapping[str, Endpoint]
    population: Population = field(default_factory=Population)
    division: Folds = field(default_factory=Folds)
    manifests: Mapping[str, Path] = field(default_factory=dict)
    indices: Mapping[str, Path] = field(default_factory=dict)
    attrition: Path | None = None

    @classmethod
    def read(cls, *, subjects: Path, outcomes: Mapping[str, Path], folds: Path, **rest) -> "Evidence":
        """Read the tables that are held in memory; the others are kept as paths."""
        return cls(
            subjects=read_table(subjects, SUBJECTS),
            outcomes={name: read_table(path, OUTCOMES).set_index("subject_id") for name, path in outcomes.items()},
            folds=read_table(folds, FOLDS),
            **rest,
        )

    @cached_property
    def tested(self) -> pd.Series:
        """The fold in which each subject is tested, in the order of `subjects`."""
        test = self.folds.loc[self.folds["role"] == "test"].drop_duplicates("subject_id")
        return self.subjects["subject_id"].map(test.set_index("subject_id")["fold"]).astype("Int64")

    @cached_property
    def dated(self) -> bool:
        """Whether index times differ: a study without dates has one for all."""
        times = self.subjects["index_time"]
        return bool((times != times.iloc[0]).any()) if len(times) else False

    def at_risk(self, endpoint: str, ids: pd.Series) -> AtRisk:
        """Find the subjects at risk among the rows of a table with these identifiers."""
        table = self.outcomes[endpoint]
        position = table.index.get_indexer(ids)
        rows = np.flatnonzero(position >= 0)
        found = position[rows]
        return AtRisk(
            endpoint,
            rows,
            table["time"].to_numpy(dtype=float)[found],
            table["event"].to_numpy(dtype=np.int64)[found],
        )

    def sets(self) -> dict[str, "SetRows"]:
        """Return who has a row in each feature set that some experiment uses."""
        return {name: SetRows.read(self, name) for name in self.tables}


@dataclass(frozen=True)
class SetRows:
    """Who has a row in a feature set."""

    name: str
    ids: pd.Series
    at_risk: Sequence[AtRisk]

    @classmethod
    def read(cls, evidence: Evidence, name: str) -> "SetRows":
        """Read the identifiers of a feature table."""
        ids = pq.read_table(evidence.tables[name], columns=["subject_id"]).column("subject_id").to_pandas()
        endpoints = [endpoint for endpoint, sets in evidence.used.items() if name in sets]
        return cls(name, ids, [evidence.at_risk(endpoint, ids) for endpoint in endpoints])


@dataclass(frozen=True)
class FeatureColumn:
    """A column of a feature table.

    Attributes
    ----------
    feature_set, name : str
        The feature set, and the column.
    numbers : array (n,) of float
        Numbers, NaN where missing; of categories their numbers from 0.
    levels : sequence of str or None
        The categories; None for numbers.
    static : bool
        Whether it is a column of the subject table.
    """

    feature_set: str
    name: str
    numbers: np.ndarray
    levels: Sequence[str] | None
    static: bool

    @property
    def place(self) -> str:
        """What findings call it."""
        return f"{self.feature_set}.{self.name}"

    @property
    def stem(self) -> str:
        """What events the column is made from (``LAB//CHOL`` of ``LAB//CHOL:last@365d``), or its name."""
        found = None if self.static else _STEM.match(self.name)
        return found.group(1) if found else self.name

    @property
    def aggregate(self) -> str | None:
        """How it is made from events (``last``), None for other columns."""
        found = None if self.static else _STEM.match(self.name)
        return found.group(2) if found else None


def static_columns(evidence: Evidence, name: str) -> set[str]:
    """Return the columns of the subject table in a feature set."""
    return set(getattr(evidence.features[name], "static", ()))


def columns_of(evidence: Evidence, name: str) -> Iterator[FeatureColumn]:
    """Read a feature table some columns at a time; columns that are neither numbers nor categories are left out."""
    path, static = evidence.tables[name], static_columns(evidence, name)
    kinds = {
        column.name: (column.metadata or {}).get(b"kind", b"").decode()
        for column in pq.read_schema(path)
        if column.name not in ("subject_id", "fold")
    }
    wanted = [column for column, kind in kinds.items() if kind in ("numeric", "categorical")]
    for start in range(0, len(wanted), _BATCH):
        part = pq.read_table(path, columns=wanted[start : start + _BATCH])
        for column in part.column_names:
            values, levels = _as_numbers(part.column(column), kinds[column])
            yield FeatureColumn(name, column, values, levels, column in static)


def _as_numbers(column: pa.ChunkedArray, kind: str) -> tuple[np.ndarray, Sequence[str] | None]:
    if kind == "numeric":
        return column.cast(pa.float64()).to_numpy().astype(np.float64, copy=False), None
    codes, levels = pd.factorize(column.cast(pa.string()).to_pandas(), sort=True)
    return np.where(codes < 0, np.nan, codes.astype(float)), [str(level) for level in levels]

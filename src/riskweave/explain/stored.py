"""A stored experiment as something that only predicts: its fold models, asked with raw feature columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.explain.rows import Rows
from riskweave.survival.fits import digest_of
from riskweave.survival.preprocessing import FeatureTable
from riskweave.survival.results import MODELS_FORMAT
from riskweave.survival.roles import Roles
from riskweave.survival.sets import StoredSet
from riskweave.survival.stored_models import load_models

__all__ = ["StoredFold", "read_models", "rows_of"]


@dataclass(frozen=True)
class StoredFold:
    """The preprocessing and the model of one fold, asked for risks at the horizons.

    Attributes
    ----------
    preprocessing, model
        As the training stored them.
    tables : sequence of FeatureTable
        The feature sets in this fold.
    horizons : sequence of int
        Days.
    """

    preprocessing: Any
    model: Any
    tables: Sequence[FeatureTable]
    horizons: Sequence[int]

    def __call__(self, rows: Rows) -> np.ndarray:
        """Return the risk of the target (n, horizons); see `riskweave.explain.rows.Predict`."""
        if not len(rows):
            return np.zeros((0, len(self.horizons)))
        names = pd.RangeIndex(len(rows))
        tables = [self._table(table, rows, names) for table in self.tables]
        risks = self.model.predict(self.preprocessing.design(tables, names), list(self.horizons))
        return np.asarray(risks, dtype=np.float64)[:, 0, :]

    @staticmethod
    def _table(table: FeatureTable, rows: Rows, names: pd.Index) -> FeatureTable:
        """Return a feature table of made-up subjects with these values."""
        has = rows.present[table.name]
        frame = rows.tables[table.name]
        frame = frame.set_axis(names, axis=0) if has.all() else frame[has].set_axis(names[has], axis=0)
        sparse = {}
        for column, stored in table.sparse.items():
            places = frame.pop(column)
            known = places.notna().to_numpy()
            matrix = stored.matrix[places[known].to_numpy().astype(np.int64)]
            sparse[column] = replace(stored, subjects=frame.index[known], matrix=matrix)
        return replace(table, frame=frame, sparse=sparse)


def rows_of(sets: Sequence[StoredSet], tables: Sequence[FeatureTable], subjects: pd.Index) -> Rows:
    """Return the raw columns of some subjects in one fold; of a sparse history the place of its row."""
    frames, present = {}, {}
    categorical, opaque, encoded = set(), set(), set()
    for stored, table in zip(sets, tables, strict=True):
        frame = table.frame.reindex(subjects).reset_index(drop=True)
        for column, sparse in table.sparse.items():
            places = sparse.subjects.get_indexer(subjects)
            frame[column] = np.where(places >= 0, places, np.nan)
            opaque.add((table.name, column))
        frames[table.name] = frame
        present[table.name] = np.asarray(subjects.isin(table.frame.index))
        categorical |= {(table.name, column) for column in table.categorical}
        encoded |= {(table.name, column.name) for column in stored.embedding_columns}
    modality = {table.name: table.modality for table in tables}
    return Rows(frames, present, modality, frozenset(categorical), frozenset(opaque), frozenset(encoded))


def read_models(path: Path, *, experiment: Mapping[str, Any], roles: Roles) -> dict[int, dict[str, Any]]:
    """Return the fold models of an experiment, checked to be trained on the training rows of this division.

    Parameters
    ----------
    path : Path
        ``models.zip`` as the training wrote it.
    experiment : mapping
        ``name`` and ``feature_sets``.
    roles : Roles
        The division, at risk.

    Raises
    ------
    DataError
        When the file is of another format or experiment, lacks a fold, or a model saw other rows than its training
        rows.
    """
    content = load_models(path)
    remedy = "Train the experiment again with the current study file"
    if content.get("format") != MODELS_FORMAT:
        raise DataError(str(path), f"its format is {content.get('format')}, not {MODELS_FORMAT}", remedy)
    found = content["experiment"]
    if found["name"] != experiment["name"] or list(found["feature_sets"]) != list(experiment["feature_sets"]):
        raise DataError(str(path), f"it holds the experiment {found['name']}", remedy)
    folds = {int(fold): models for fold, models in content["folds"].items()}
    wrong = [
        fold
        for fold, subjects in roles.items()
        if fold not in folds or folds[fold]["fitted_on"] != digest_of(subjects["train"])
    ]
    if wrong:
        problem = f"the models of {len(wrong)} of {len(roles)} folds are missing, or were fitted on other rows"
        raise DataError(str(path), problem, remedy)
    return folds

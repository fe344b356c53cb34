"""The feature sets of an experiment as they are stored: tables, sparse histories and embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from riskweave.cohort.tables import SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, read_features, read_sparse
from riskweave.modalities.sparse import SparseColumn
from riskweave.survival.fits import check_fits
from riskweave.survival.preprocessing import FeatureTable
from riskweave.survival.roles import Roles

__all__ = ["RecordedFiles", "StoredSet", "check_encoders", "read_people", "read_set"]


class RecordedFiles(NamedTuple):
    """The files of a feature set with an encoder: networks of all folds, their inputs, and which of them are whose."""

    weights: Path
    inputs: Path
    index: Path

    @classmethod
    def of(cls, names: Sequence[str], paths: Sequence[Path]) -> dict[str, "RecordedFiles"]:
        """Return the files of feature sets from the three paths of each, one after the other; no paths: no files."""
        return {name: cls(*paths[3 * i : 3 * i + 3]) for i, name in enumerate(names)} if paths else {}


@dataclass(frozen=True)
class StoredSet:
    """A feature set as stored: its table with sparse histories, and the embeddings of all folds where it has some."""

    name: str
    table: pd.DataFrame
    sparse: dict[str, SparseColumn]
    table_columns: list[Column]
    embeddings: pd.DataFrame | None
    embedding_columns: list[Column]

    @property
    def columns(self) -> list[Column]:
        """The columns of the table, then those of the embeddings."""
        return [*self.table_columns, *self.embedding_columns]

    def of_fold(self, fold: int) -> FeatureTable:
        """Return the features in one fold: embeddings come from the encoder that was trained in it."""
        values = self.table
        if self.embeddings is not None:
            embedded = self.embeddings[self.embeddings["fold"] == fold].drop(columns="fold").set_index("subject_id")
            values = values.join(embedded, how="outer")
        modality = self.columns[0].modality if self.columns else self.name
        categorical = tuple(column.name for column in self.columns if column.kind == "categorical")
        return FeatureTable(
            name=self.name, modality=modality, frame=values, categorical=categorical, sparse=self.sparse
        )


def read_set(name: str, table: Path, embeddings: Path | None) -> StoredSet:
    """Read a feature set.

    Parameters
    ----------
    name : str
        Its name in the study.
    table : path
        Feature table.
    embeddings : path or None
        Table of embeddings, where the set has an encoder.

    Raises
    ------
    DataError
        When a column is in both tables.
    """
    values, columns = read_features(Path(table))
    sparse, sparse_columns = read_sparse(Path(table))
    columns += sparse_columns
    embedded, embedding_columns = (None, []) if embeddings is None else read_features(Path(embeddings))
    twice = sorted({column.name for column in columns} & {column.name for column in embedding_columns})
    if twice:
        raise DataError(
            f"{table} and {embeddings}",
            f"{len(twice)} columns are in both: {', '.join(twice)}",
            "Columns of a feature set need different names",
        )
    return StoredSet(name, values.set_index("subject_id"), sparse, columns, embedded, embedding_columns)


def read_people(subjects: Path) -> pd.Series:
    """Return whose index time each subject is, indexed by subject_id, from the table of the subjects."""
    return read_table(subjects, SUBJECTS).set_index("subject_id")["person_id"]


def check_encoders(sets: list[StoredSet], embeddings: Mapping[str, Path], roles: Roles) -> None:
    """Refuse embeddings of encoders that were fitted on other rows than their fold's training rows (DataError)."""
    for feature_set in sets:
        if feature_set.embeddings is not None:
            check_fits(
                embeddings=Path(embeddings[feature_set.name]),
                feature_set=feature_set.name,
                present={
                    int(fold): pd.Index(rows, dtype=object)
                    for fold, rows in feature_set.embeddings.groupby("fold")["subject_id"]
                },
                train={fold: subjects["train"] for fold, subjects in roles.items()},
            )

"""Sparse histories of many codes, reduced to a few columns that are learnt from the training rows."""

import logging

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD

from riskweave.modalities.sparse import SparseColumn

__all__ = ["HistoryReduction"]

logger = logging.getLogger(__name__)

_SEED = 0
_ITERATIONS = 7


class HistoryReduction:
    """A truncated singular value decomposition of the codes of the training subjects.

    The matrix of subjects and codes stays sparse (randomised algorithm of Halko, Martinsson and Tropp 2011, as in
    scikit-learn); it is neither centred nor scaled. The seed of the algorithm is fixed, so that the same training rows
    give the same columns.

    Parameters
    ----------
    name : str
        Name of the sparse column.
    rare : int
        Fewest people that a code must have, among the training rows, to be used.

    Attributes
    ----------
    codes_ : list of str
        The codes in use.
    components_ : ndarray of float64, shape (columns, codes)
        What is multiplied with a subject's codes.
    columns_ : list of str
        Names of the columns, ``<name>:svd_01`` and on: at most as many as the sparse column asks for, codes in use, or
        training subjects.
    """

    def __init__(self, *, name: str, rare: int):
        self.name = name
        self.rare = rare

    def fit(self, sparse: SparseColumn, subjects: pd.Index, people: np.ndarray | None = None) -> "HistoryReduction":
        """Fit on the training subjects; the others are not looked at.

        Parameters
        ----------
        sparse : SparseColumn
        subjects : Index of subject_id
        people : array of shape (subjects,), optional
            Whose subjects they are; without it each is a person of its own.
        """
        have = np.asarray(subjects.isin(sparse.subjects))
        matrix = sparse.of(subjects[have])
        whose = np.arange(len(subjects)) if people is None else pd.factorize(np.asarray(people))[0]
        # A person of several index times counts once.
        width = max(1, matrix.shape[1])
        pairs = np.unique(np.repeat(whose[have], np.diff(matrix.indptr)) * width + matrix.indices)
        kept = np.flatnonzero(np.bincount(pairs % width, minlength=matrix.shape[1]) >= self.rare)
        if len(kept) < matrix.shape[1]:
            matrix = matrix[:, kept]
        self.codes_ = [sparse.codes[code] for code in kept]
        count = min(sparse.components, len(kept), matrix.shape[0])
        self.components_ = np.empty((0, len(kept)))
        if count:
            svd = TruncatedSVD(count, algorithm="randomized", n_iter=_ITERATIONS, random_state=_SEED)
            self.components_ = svd.fit(matrix.astype(np.float64)).components_
        else:
            logger.warning("%s: no code is one that %d people of the training rows have", self.name, self.rare)
        width = max(2, len(str(count)))
        self.columns_ = [f"{self.name}:svd_{number:0{width}d}" for number in range(1, count + 1)]
        return self

    def transform(self, sparse: SparseColumn, subjects: pd.Index) -> pd.DataFrame:
        """Return the columns of some subjects; missing values for those without a row in the table.

        Codes are found by their name: others than those in use count as absent.
        """
        values = np.full((len(subjects), len(self.columns_)), np.nan)
        have = np.asarray(subjects.isin(sparse.subjects))
        place = pd.Index(sparse.codes).get_indexer(self.codes_)
        known = place >= 0
        rows = sparse.of(subjects[have])[:, place[known]]
        values[have] = rows @ self.components_[:, known].T
        return pd.DataFrame(values, index=subjects, columns=self.columns_)

"""Sparse columns: for each subject the codes that it has, out of thousands, and a number for each of them.

In Parquet such a column is ``list<struct<code: int32, value: float32>>``: `code` is a place in the column's list of
codes, which stands in the metadata of the field, and codes that a subject lacks take no room. In memory it is a SciPy
CSR array.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse

from riskweave.errors import DataError

__all__ = ["SPARSE", "SparseColumn", "from_arrow", "to_arrow"]

_ENTRY = pa.struct([
    pa.field("code", pa.int32(), nullable=False),
    pa.field("value", pa.float32(), nullable=False),
])  # fmt: skip
SPARSE = pa.list_(_ENTRY)


@dataclasses.dataclass(frozen=True)
class SparseColumn:
    """A sparse column in memory.

    Attributes
    ----------
    codes : tuple of str
        What the columns of `matrix` are.
    components : int
        Number of columns to which it is reduced for a model.
    subjects : Index of subject_id
        What the rows of `matrix` are.
    matrix : scipy.sparse.csr_array of float32, shape (subjects, codes)
    """

    codes: tuple[str, ...]
    components: int
    subjects: pd.Index
    matrix: scipy.sparse.csr_array

    def of(self, subjects: pd.Index) -> scipy.sparse.csr_array:
        """Return the rows of these subjects, each of which has one."""
        return self.matrix[self.subjects.get_indexer(subjects)]


def to_arrow(matrix: scipy.sparse.csr_array) -> pa.Array:
    """Return the rows of a matrix as an array of lists, codes in increasing order."""
    rows = scipy.sparse.csr_array(matrix)
    rows.sort_indices()
    entries = pa.StructArray.from_arrays(
        [pa.array(rows.indices, type=pa.int32()), pa.array(rows.data, type=pa.float32())],
        fields=list(_ENTRY),
    )
    return pa.ListArray.from_arrays(pa.array(rows.indptr, type=pa.int32()), entries).cast(SPARSE)


def from_arrow(column: pa.ChunkedArray, *, codes: Sequence[str], where: str) -> scipy.sparse.csr_array:
    """Return the matrix that `to_arrow` stored, of shape (rows, codes).

    Raises
    ------
    DataError
        When the column is of another type, or holds codes that its list lacks or numbers that are not finite.
    """
    if column.type != SPARSE:
        raise DataError(where, f"it is a sparse column of type {column.type}", f"Allowed: {SPARSE}")
    indices, data, lengths = [], [], []
    for chunk in column.chunks:
        entries = chunk.flatten()
        indices.append(entries.field("code").to_numpy(zero_copy_only=False))
        data.append(entries.field("value").to_numpy(zero_copy_only=False))
        lengths.append(np.diff(chunk.offsets.to_numpy()))
    index = np.concatenate([np.empty(0, np.int32), *indices])
    values = np.concatenate([np.empty(0, np.float32), *data])
    wrong = int(((index < 0) | (index >= len(codes)) | ~np.isfinite(values)).sum())
    if wrong:
        raise DataError(where, f"{wrong} entries have no code or no finite value", "Delete the file and make it again.")
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))])
    return scipy.sparse.csr_array((values, index, starts), shape=(len(column), len(codes)))

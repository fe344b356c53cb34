"""The contract of all modalities: a feature table whose columns say what they are.

A feature table has one row per subject that has the modality; a subject without it has no row. What a column is
(modality, unit, kind, description) is kept in the metadata of its Parquet field and travels with the file.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.modalities.sparse import SparseColumn, from_arrow, to_arrow

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Column", "FeatureWriter", "read_features", "read_sparse", "replacing", "write_features"]

KEY_TYPES = {"subject_id": pa.string(), "fold": pa.int16()}
_TOLD = ("modality", "unit", "kind", "description")
_Read = TypeVar("_Read")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column of a feature table is.

    Parameters
    ----------
    name : str
        Name of the column, unique in its table.
    modality : str
        ``"ehr"``, ``"ecg"``, ``"image"``, ...
    unit : str
        Unit of the values (``"mV"``, ``"days"``); empty when they have none, or none that is known.
    kind : {"numeric", "categorical", "sparse"}
        Numbers, names of categories, or thousands of codes at once (`riskweave.modalities.sparse`).
    description : str
        One line for a reader who did not make the column.
    implausible : int or None
        Values left out because they were outside the plausible range; None where the study gives no range.
    codes : tuple of str
        Of a sparse column: the codes, in the order of their numbers.
    components : int
        Of a sparse column: the number of columns that a model gets in its place.
    """

    name: str
    modality: str
    unit: str = ""
    kind: Literal["numeric", "categorical", "sparse"] = "numeric"
    description: str = ""
    implausible: int | None = None
    codes: tuple[str, ...] = ()
    components: int = 0

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the column's Parquet field."""
        told = {key: getattr(self, key) for key in _TOLD}
        if self.implausible is not None:
            told["implausible"] = str(self.implausible)
        if self.kind == "sparse":
            told |= {"codes": json.dumps(self.codes), "components": str(self.components)}
        return told


def write_features(
    frame: pd.DataFrame, path: Path, columns: list[Column], *, keys: tuple[str, ...] = ("subject_id",)
) -> None:
    """Write a feature table, or a table of embeddings, with the description of each column.

    Parameters
    ----------
    frame : pandas.DataFrame
        The key columns and then `columns`. Numeric columns hold numbers or booleans (kept as float32 where they are,
        float64 otherwise; missing values as null), categorical ones strings.
    path : Path
        The Parquet file.
    columns : list of Column
        What the columns are, in their order.
    keys : tuple of str
        What names a row: ``("subject_id",)`` for features, ``("subject_id", "fold")`` for embeddings.

    Raises
    ------
    DataError
        When the table breaks the contract: columns missing or in excess, a row named twice or not at all, infinite
        values, or values of the wrong kind.
    """
    _check_names(list(frame.columns), [*keys, *(column.name for column in columns)], path.name)
    _check_keys(frame, keys, path.name)
    with replacing(path) as (partial,), FeatureWriter(partial, columns, keys=keys, name=path.name) as writer:
        writer.write(frame.sort_values(list(keys), kind="stable"))


class FeatureWriter:
    """Writes a feature table some subjects at a time, with the same checks as `write_features`.

    Parameters
    ----------
    path : Path
        The Parquet file; it is not complete before the writer is closed (`replacing`).
    columns : list of Column
        What the columns are, in their order.
    keys : tuple of str
        What names a row.
    name : str
        What messages call the file.
    """

    def __init__(
        self, path: Path, columns: list[Column], *, keys: tuple[str, ...] = ("subject_id",), name: str | None = None
    ):
        self.path, self.columns, self.keys = path, columns, keys
        self.name = name or path.name
        self._writer: pq.ParquetWriter | None = None
        self._last: tuple | None = None

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, frame: pd.DataFrame, sparse: "Mapping[str, scipy.sparse.csr_array] | None" = None) -> None:
        """Write the next rows, sorted by the keys, as a row group.

        Parameters
        ----------
        frame : DataFrame
            The keys and all columns that are not sparse.
        sparse : mapping of str to csr_array of shape (rows, codes), optional
            The sparse columns.

        Raises
        ------
        DataError
            When the rows break the contract of feature tables, or are not behind those written before.
        """
        sparse = sparse or {}
        named = [*self.keys, *(column.name for column in self.columns)]
        _check_names([*frame.columns, *sparse], named, self.name)
        _check_keys(frame, self.keys, self.name)
        self._check_order(frame)
        fields = [pa.field(key, KEY_TYPES[key], nullable=False) for key in self.keys]
        arrays = [pa.array(frame[key], type=KEY_TYPES[key]) for key in self.keys]
        for column in self.columns:
            if column.kind == "sparse":
                array = to_arrow(sparse[column.name])
            else:
                array = _to_arrow(frame[column.name], column, self.name)
            fields.append(pa.field(column.name, array.type, metadata=column.metadata()))
            arrays.append(array)
        table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def _check_order(self, frame: pd.DataFrame) -> None:
        if frame.empty:
            return
        rows = list(zip(*(frame[key].iloc[[0, -1]] for key in self.keys), strict=True))
        if self._last is not None and rows[0] <= self._last:
            raise DataError(
                self.name, f"{len(frame)} rows come before or repeat rows written already", "Write rows in order."
            )
        self._last = rows[-1]


def read_features(path: Path) -> tuple[pd.DataFrame, list[Column]]:
    """Read a feature table, or a table of embeddings, and what its columns are.

    Parameters
    ----------
    path : Path
        A file written by `write_features`.

    Returns
    -------
    frame : pandas.DataFrame
        ``subject_id`` (and ``fold`` for embeddings), then the columns; missing numbers are NaN, categories None.
    columns : list of Column
        What the columns are, in their order. Sparse columns are not among them: `read_sparse` reads those.

    Raises
    ------
    DataError
        When the file is not a feature table.
    """
    keys, columns = _contents(path)
    columns = [column for column in columns if column.kind != "sparse"]
    frame = _read_table(path, [*keys, *(column.name for column in columns)]).to_pandas()
    _check_keys(frame, keys, path.name)
    for column in columns:
        _to_arrow(frame[column.name], column, path.name)
    return frame, columns


def read_sparse(path: Path) -> tuple[dict[str, SparseColumn], list[Column]]:
    """Read the sparse columns of a feature table, and what they are.

    Returns
    -------
    sparse : dict of str to SparseColumn
        By the name of the column; empty when there is none.
    columns : list of Column
        What the columns are, in their order.

    Raises
    ------
    DataError
        When the file is not a feature table, or a sparse column is broken.
    """
    _, columns = _contents(path)
    columns = [column for column in columns if column.kind == "sparse"]
    if not columns:
        return {}, []
    table = _read_table(path, ["subject_id", *(column.name for column in columns)])
    subjects = pd.Index(table.column("subject_id").to_pandas(), name="subject_id")
    made = {}
    for column in columns:
        matrix = from_arrow(table.column(column.name), codes=column.codes, where=f"{path.name}, column {column.name}")
        made[column.name] = SparseColumn(column.codes, column.components, subjects, matrix)
    return made, columns


def _contents(path: Path) -> tuple[tuple[str, ...], list[Column]]:
    """Return the keys of a feature table and what its columns are."""
    schema = _reading(path, pq.read_schema)
    keys = tuple(name for name in KEY_TYPES if name in schema.names)
    if "subject_id" not in keys:
        raise DataError(path.name, "it has no column subject_id", "A feature table names its subjects.")
    return keys, [_column(field, path) for field in schema if field.name not in keys]


def _read_table(path: Path, columns: list[str]) -> pa.Table:
    return _reading(path, lambda file: pq.read_table(file, columns=columns))


def _reading(path: Path, read: Callable[[Path], _Read]) -> _Read:
    try:
        return read(path)
    except FileNotFoundError:
        raise DataError(
            path.name, "the file does not exist", "Make it first: it is written by the features rules."
        ) from None
    except pa.ArrowInvalid as error:
        raise DataError(path.name, "it is not a readable Parquet file", "Delete it and make it again.") from error


def _column(field: pa.Field, path: Path) -> Column:
    stored = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    needed = {*_TOLD, "codes", "components"} if stored.get("kind") == "sparse" else set(_TOLD)
    if missing := needed - stored.keys():
        raise DataError(
            f"{path.name}, column {field.name}",
            f"the field's metadata lacks {', '.join(sorted(missing))}",
            "Write feature tables with riskweave.modalities.base.write_features.",
        )
    told = {key: stored[key] for key in _TOLD}
    if "implausible" in stored:
        told["implausible"] = int(stored["implausible"])
    if stored["kind"] == "sparse":
        told |= {"codes": tuple(json.loads(stored["codes"])), "components": int(stored["components"])}
    return Column(name=field.name, **told)


def _check_names(found: list[str], expected: list[str], path: str) -> None:
    twice = (
        sorted({name for name in expected if expected.count(name) > 1}) if len(set(expected)) < len(expected) else []
    )
    if twice:
        raise DataError(
            path, f"{len(twice)} column name(s) occur twice, first {twice[0]!r}", "Column names are unique."
        )
    if sorted(found) != sorted(expected):
        missing, excess = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise DataError(
            path,
            f"columns are not as described: {len(missing)} missing {missing[:3]}, {len(excess)} too many {excess[:3]}",
            "Describe each column once.",
        )


def _check_keys(frame: pd.DataFrame, keys: tuple[str, ...], path: str) -> None:
    where = f"{path}, column subject_id"
    ids = frame["subject_id"]
    if pd.api.types.infer_dtype(ids, skipna=True) not in ("string", "empty"):
        raise DataError(where, "the identifiers are not text", "Identifiers are strings in every table.")
    if missing := int(frame[list(keys)].isna().any(axis=1).sum()):
        raise DataError(where, f"{missing} row(s) do not name their subject", "Each row belongs to one subject.")
    if twice := int(frame.duplicated(list(keys)).sum()):
        raise DataError(where, f"{twice} row(s) repeat a subject", f"One row per {' and '.join(keys)}.")


def _to_arrow(values: pd.Series, column: Column, path: str) -> pa.Array:
    where = f"{path}, column {column.name}"
    if column.kind == "categorical":
        if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty", "categorical"):
            raise DataError(where, "the values of a categorical column are not text", "Write categories as strings.")
        return pa.array(values.astype(object), type=pa.string(), from_pandas=True)
    if column.kind != "numeric":
        raise DataError(where, f"its kind is {column.kind!r}", "A column is numeric, categorical or sparse.")
    if not pd.api.types.is_numeric_dtype(values):
        raise DataError(where, "the values of a numeric column are not numbers", "Make the column categorical.")
    numbers = values.to_numpy(dtype=np.float32 if values.dtype == np.float32 else np.float64, na_value=np.nan)
    if infinite := int(np.isinf(numbers).sum()):
        raise DataError(where, f"{infinite} value(s) are infinite", "Values are finite numbers, or missing.")
    return pa.array(numbers, from_pandas=True)

"""The contract of all modalities: a feature table whose columns say what they are.

A feature table has one row per subject that has the modality; a subject without it has no row. What a column is
(modality, unit, kind, description) is kept in the metadata of its Parquet field and travels with the file.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError

__all__ = ["Column", "read_features", "replacing", "write_features"]

KEY_TYPES = {"subject_id": pa.string(), "fold": pa.int16()}


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
    kind : {"numeric", "categorical"}
        Numbers, or names of categories.
    description : str
        One line for a reader who did not make the column.
    """

    name: str
    modality: str
    unit: str = ""
    kind: Literal["numeric", "categorical"] = "numeric"
    description: str = ""

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the column's Parquet field."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "name"}


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a path beside each of `paths` to write to; they take the places of `paths` only when the block succeeds."""
    partial = tuple(path.with_name(f".{path.name}.partial") for path in paths)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        for source, target in zip(partial, paths, strict=True):
            source.replace(target)
    finally:
        for source in partial:
            source.unlink(missing_ok=True)


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
    _check_names(list(frame.columns), [*keys, *(column.name for column in columns)], path)
    _check_keys(frame, keys, path)
    ordered = frame.sort_values(list(keys), kind="stable")
    fields = [pa.field(key, KEY_TYPES[key], nullable=False) for key in keys]
    arrays = [pa.array(ordered[key], type=KEY_TYPES[key]) for key in keys]
    for column in columns:
        array = _to_arrow(ordered[column.name], column, path)
        fields.append(pa.field(column.name, array.type, metadata=column.metadata()))
        arrays.append(array)
    with replacing(path) as (partial,):
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), partial)


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
        What the columns are, in their order.

    Raises
    ------
    DataError
        When the file is not a feature table.
    """
    table = _read_table(path)
    keys = tuple(name for name in KEY_TYPES if name in table.column_names)
    if "subject_id" not in keys:
        raise DataError(path.name, "it has no column subject_id", "A feature table names its subjects.")
    columns = [_column(field, path) for field in table.schema if field.name not in keys]
    frame = table.to_pandas()
    _check_keys(frame, keys, path)
    for column in columns:
        _to_arrow(frame[column.name], column, path)
    return frame, columns


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise DataError(
            path.name, "the file does not exist", "Make it first: it is written by the features rules."
        ) from None
    except pa.ArrowInvalid as error:
        raise DataError(path.name, "it is not a readable Parquet file", "Delete it and make it again.") from error


def _column(field: pa.Field, path: Path) -> Column:
    stored = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    missing = {"modality", "unit", "kind", "description"} - stored.keys()
    if missing:
        raise DataError(
            f"{path.name}, column {field.name}",
            f"the field's metadata lacks {', '.join(sorted(missing))}",
            "Write feature tables with riskweave.modalities.base.write_features.",
        )
    return Column(
        name=field.name,
        modality=stored["modality"],
        unit=stored["unit"],
        kind=stored["kind"],
        description=stored["description"],
    )


def _check_names(found: list[str], expected: list[str], path: Path) -> None:
    twice = (
        sorted({name for name in expected if expected.count(name) > 1}) if len(set(expected)) < len(expected) else []
    )
    if twice:
        raise DataError(
            path.name, f"{len(twice)} column name(s) occur twice, first {twice[0]!r}", "Column names are unique."
        )
    if sorted(found) != sorted(expected):
        missing, excess = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise DataError(
            path.name,
            f"columns are not as described: {len(missing)} missing {missing[:3]}, {len(excess)} too many {excess[:3]}",
            "Describe each column once.",
        )


def _check_keys(frame: pd.DataFrame, keys: tuple[str, ...], path: Path) -> None:
    where = f"{path.name}, column subject_id"
    ids = frame["subject_id"]
    if pd.api.types.infer_dtype(ids, skipna=True) not in ("string", "empty"):
        raise DataError(where, "the identifiers are not text", "Identifiers are strings in every table.")
    if missing := int(frame[list(keys)].isna().any(axis=1).sum()):
        raise DataError(where, f"{missing} row(s) do not name their subject", "Each row belongs to one subject.")
    if twice := int(frame.duplicated(list(keys)).sum()):
        raise DataError(where, f"{twice} row(s) repeat a subject", f"One row per {' and '.join(keys)}.")


def _to_arrow(values: pd.Series, column: Column, path: Path) -> pa.Array:
    where = f"{path.name}, column {column.name}"
    if column.kind == "categorical":
        if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty", "categorical"):
            raise DataError(where, "the values of a categorical column are not text", "Write categories as strings.")
        return pa.array(values.astype(object), type=pa.string(), from_pandas=True)
    if column.kind != "numeric":
        raise DataError(where, f"its kind is {column.kind!r}", "A column is numeric or categorical.")
    if not pd.api.types.is_numeric_dtype(values):
        raise DataError(where, "the values of a numeric column are not numbers", "Make the column categorical.")
    numbers = values.to_numpy(dtype=np.float32 if values.dtype == np.float32 else np.float64, na_value=np.nan)
    if infinite := int(np.isinf(numbers).sum()):
        raise DataError(where, f"{infinite} value(s) are infinite", "Values are finite numbers, or missing.")
    return pa.array(numbers, from_pandas=True)

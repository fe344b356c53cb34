"""What reading writes for networks: an array, and the table of which of its rows are whose.

The schema of the table holds what the array is and a digest of its content, so that an array and a table that do not
belong together are found before anything is trained.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError

__all__ = ["FlatWriter", "Layout", "open_array", "read_index", "write_index"]

_KEY = b"riskweave.inputs"
_CHUNK = 1 << 22
_REMEDY = "Both files are made by the pipeline: remove them and run snakemake again."


@dataclasses.dataclass(frozen=True)
class Layout:
    """What an array of inputs is.

    Attributes
    ----------
    modality : str
        The modality whose raw data it was made from.
    most : int
        Most recordings, notes or events of a subject.
    shape : tuple of int
        Shape of the array.
    dtype : str
        Type of its values, as ``numpy.dtype.str`` (or the list of fields, as JSON).
    sha256 : str
        Digest of the file's content.
    names : tuple of str
        What numbers in the array stand for, where they stand for something.
    """

    modality: str
    most: int
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    names: tuple[str, ...] = ()


class FlatWriter:
    """Writes an array of one axis part by part, whose length is known in the end.

    Parameters
    ----------
    path : Path
        The .npy file.
    dtype : numpy.dtype
        Type of its elements.
    """

    def __init__(self, path: Path, dtype: np.dtype):
        self.dtype, self.length = np.dtype(dtype), 0
        self._file = path.open("wb")
        self._header()

    def __enter__(self) -> "FlatWriter":
        return self

    def __exit__(self, *_: object) -> None:
        # NumPy pads the header so that a longer first axis fits into the same room.
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, part: np.ndarray) -> None:
        """Write the next elements."""
        self._file.write(np.ascontiguousarray(part, dtype=self.dtype).tobytes())
        self.length += len(part)


def write_index(
    index: pd.DataFrame, path: Path, *, inputs: Path, modality: str, most: int, names: Sequence[str] = ()
) -> None:
    """Write the table of which rows of an array are whose.

    Parameters
    ----------
    index : DataFrame
        subject_id and ``row``, or ``start`` and ``stop`` of ragged arrays; further columns say what was found in the
        raw data. Sorted by subject, the latest recording last.
    path : Path
        The Parquet file to write.
    inputs : Path
        The array, written and closed.
    modality : str
        Name of the modality.
    most : int
        Most recordings, notes or events of a subject.
    names : sequence of str
        What numbers in the array stand for.
    """
    array = np.load(inputs, mmap_mode="r" if _has_values(inputs) else None, allow_pickle=False)
    layout = Layout(modality, most, array.shape, _name(array.dtype), _sha256(inputs), tuple(names))
    table = pa.Table.from_pandas(index, preserve_index=False)
    told = {**(table.schema.metadata or {}), _KEY: json.dumps(dataclasses.asdict(layout)).encode()}
    pq.write_table(table.replace_schema_metadata(told), path)


def read_index(path: Path, *, columns: list[str]) -> tuple[pd.DataFrame, Layout]:
    """Read columns of the table that `write_index` wrote, and what its array is.

    Raises
    ------
    DataError
        When there is no such file, or it is something else.
    """
    try:
        table = pq.read_table(path, columns=columns)
        layout = json.loads(table.schema.metadata[_KEY])
    except FileNotFoundError:
        raise DataError(path.name, "the file does not exist", _REMEDY) from None
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        problem = f"it is not a table of an encoder's inputs ({type(error).__name__})"
        raise DataError(path.name, problem, _REMEDY) from error
    if missing := [name for name in columns if name not in table.column_names]:
        raise DataError(path.name, f"it lacks {len(missing)} column(s): {', '.join(missing)}", _REMEDY)
    return table.to_pandas(), Layout(**{**layout, "shape": tuple(layout["shape"]), "names": tuple(layout["names"])})


def open_array(path: Path, layout: Layout, *, index: Path) -> np.ndarray:
    """Return the array, memory-mapped, after a look at all of its bytes.

    Raises
    ------
    DataError
        When it is missing, or another one than the index was written with.
    """
    if not path.is_file():
        raise DataError(path.name, "the file does not exist", _REMEDY)
    if _sha256(path) != layout.sha256:
        problem = f"its content is not that of the {layout.modality} inputs which {index.name} was written with"
        raise DataError(path.name, problem, _REMEDY)
    return np.load(path, mmap_mode="r" if _has_values(path) else None, allow_pickle=False)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _has_values(path: Path) -> bool:
    """Tell whether an array has values: an empty one cannot be mapped."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, *_ = np.lib.format.read_array_header_1_0(file)
    return bool(np.prod(shape))


def _name(dtype: np.dtype) -> str:
    return json.dumps(dtype.descr) if dtype.names else dtype.str

"""What networks read: rows of matrices, recordings of memory-mapped arrays, several recordings of one subject."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from riskweave.errors import DataError

__all__ = ["ArrayInputs", "Inputs", "MatrixInputs", "PooledInputs", "as_inputs", "digest_of_inputs"]

READ = 256
"""Subjects that are read at once where no digest of their inputs is known."""


@runtime_checkable
class Inputs(Protocol):
    """Subjects in a fixed order, whose inputs a network asks for batch by batch."""

    def __len__(self) -> int:
        """Return the number of subjects n."""

    def batch(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Return the inputs of the subjects at positions `rows` (m,), on the CPU.

        The tensors are the positional arguments of the network's ``forward``, whose output has m rows in this order.
        """


class MatrixInputs:
    """Columns of a table.

    Parameters
    ----------
    x : array (n, p)
        Finite numbers; kept as float32.

    Raises
    ------
    DataError
        When values are not finite.
    """

    def __init__(self, x: np.ndarray):
        values = np.ascontiguousarray(x, dtype=np.float32)
        bad = int((~np.isfinite(values).reshape(len(values), -1).all(axis=1)).sum())
        if bad:
            raise DataError(
                "inputs of a network",
                f"{bad} of {len(values)} rows hold values that are not finite",
                "Networks need imputed columns and readable recordings and images.",
            )
        self.values = torch.from_numpy(values)

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: np.ndarray) -> tuple[Tensor]:
        """Return the rows (m, p)."""
        return (self.values[torch.from_numpy(np.asarray(rows))],)

    def fingerprint(self) -> bytes:
        """Return a digest of all values."""
        digest = hashlib.sha256(repr(tuple(self.values.shape)).encode())
        digest.update(self.values.numpy())
        return digest.digest()


def _digest_of_rows(array: np.ndarray, rows: Sequence[np.ndarray], *, content: str) -> bytes:
    """Return a digest of which rows of an array are whose, and of the array: its known digest, or all those rows."""
    flat, shape = np.concatenate([*rows, np.empty(0, dtype=np.int64)]), (len(rows), *array.shape[1:])
    digest = hashlib.sha256(f"{shape} {content}".encode())
    digest.update(np.array([len(own) for own in rows], dtype=np.int64))
    if content:
        digest.update(flat)
    else:
        for start in range(0, len(flat), READ):
            digest.update(_gather(array, flat[start : start + READ]).numpy())
    return digest.digest()


def _gather(array: np.ndarray, rows: np.ndarray) -> Tensor:
    """Return the rows of an array, which may be memory-mapped, as float32; rows are read in their order on the disk."""
    order = np.argsort(rows, kind="stable")
    found = np.empty((len(rows), *array.shape[1:]), dtype=np.float32)
    found[order] = array[rows[order]]
    return torch.from_numpy(found)


class ArrayInputs:
    """One recording or image for each subject, from an array that stays on the disk.

    Parameters
    ----------
    array : array (N, ...)
        Finite numbers, as a rule memory-mapped: batches are read from it, never the whole.
    rows : array (n,)
        Row of each subject.
    content : str
        Digest of the whole array, where it is known; `fingerprint` reads the rows otherwise.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray, *, content: str = ""):
        self.array, self.rows, self.content = array, np.asarray(rows, dtype=np.int64), content

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> tuple[Tensor]:
        """Return the recordings (m, ...) as float32."""
        return (_gather(self.array, self.rows[rows]),)

    def fingerprint(self) -> bytes:
        """Return a digest of the array and of whose its rows are."""
        own = _digest_of_rows(self.array, self.rows[:, None], content=self.content)
        return hashlib.sha256(b"one recording each" + own).digest()


class PooledInputs:
    """Several recordings or images of a subject, which a network pools.

    Parameters
    ----------
    array : array (N, ...)
        Finite numbers, as a rule memory-mapped.
    rows : sequence of arrays of int
        Rows of each subject's recordings, at least one.
    content : str
        Digest of the whole array, where it is known; `fingerprint` reads the rows otherwise.
    """

    def __init__(self, array: np.ndarray, rows: Sequence[np.ndarray], *, content: str = ""):
        self.array, self.rows, self.content = array, [np.asarray(each, dtype=np.int64) for each in rows], content

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the recordings of all asked for (k, ...), and for each the position of its subject in `rows` (k,)."""
        each = [self.rows[row] for row in rows]
        owner = np.repeat(np.arange(len(each)), [len(recordings) for recordings in each])
        return _gather(self.array, np.concatenate(each)), torch.from_numpy(owner)

    def fingerprint(self) -> bytes:
        """Return a digest of the array and of whose its rows are."""
        return hashlib.sha256(b"pooled" + _digest_of_rows(self.array, self.rows, content=self.content)).digest()


def as_inputs(x: "np.ndarray | Inputs") -> Inputs:
    """Return inputs as they are, arrays of two axes as `MatrixInputs` and larger ones as `ArrayInputs` of all rows."""
    if isinstance(x, np.ndarray):
        return MatrixInputs(x) if x.ndim < 3 else ArrayInputs(x, np.arange(len(x)))
    return x


def digest_of_inputs(inputs: Inputs) -> bytes:
    """Return a digest that tells inputs apart: their own (``fingerprint() -> bytes``), or of all that they give."""
    own: Callable[[], bytes] | None = getattr(inputs, "fingerprint", None)
    if own is not None:
        return own()
    digest = hashlib.sha256(f"{type(inputs).__name__} {len(inputs)}".encode())
    for start in range(0, len(inputs), READ):
        for tensor in inputs.batch(np.arange(start, min(start + READ, len(inputs)))):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()))
    return digest.digest()

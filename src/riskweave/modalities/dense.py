"""Inputs of one shape for all recordings: signals, pixels, spectrograms. There is nothing to learn from subjects."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.modalities.contract import Inputs
from riskweave.modalities.stored import open_array, read_index
from riskweave.study.features import RecordedFeatures
from riskweave.survival.training.inputs import ArrayInputs, PooledInputs

__all__ = ["Dense", "PreparedDense", "one_input", "open_inputs", "prepared_from"]


class Dense:
    """Recordings of one shape.

    Parameters
    ----------
    array : ndarray of float32, shape (N, ...)
        Memory-mapped where it is a file.
    subjects : Index of str
        Who has recordings, sorted.
    rows : list of ndarray of int
        The rows of each of them, in time order.
    several : bool
        Whether a subject may have several.
    fingerprint : str
        Digest of the array.
    """

    def __init__(
        self, array: np.ndarray, subjects: pd.Index, rows: list[np.ndarray], *, several: bool, fingerprint: str = ""
    ):
        self.array, self.subjects, self.rows = array, subjects, rows
        self.several, self.fingerprint = several, fingerprint

    def fit(
        self,
        positions: np.ndarray,  # noqa: ARG002 - nothing is learnt
        encoder: Any = None,  # noqa: ARG002
        *,
        people: np.ndarray | None = None,  # noqa: ARG002
    ) -> "PreparedDense":
        """Return the inputs as they are."""
        return PreparedDense(self, self.array.shape[1:])


class PreparedDense:
    """Recordings of one shape, ready for a network.

    Parameters
    ----------
    stored : Dense
    shape : tuple of int
        Shape of one recording.
    """

    def __init__(self, stored: Dense, shape: tuple[int, ...]):
        self.stored, self.shape = stored, tuple(int(size) for size in shape)

    @property
    def several(self) -> bool:
        """Whether a batch ends with the owner of each recording."""
        return self.stored.several

    def inputs(self, positions: np.ndarray) -> Inputs:
        """Return the recordings of some subjects, read from the array batch by batch."""
        rows = [self.stored.rows[position] for position in np.asarray(positions)]
        if self.several:
            return PooledInputs(self.stored.array, rows, content=self.stored.fingerprint)
        latest = np.array([own[-1] for own in rows], dtype=np.int64)
        return ArrayInputs(self.stored.array, latest, content=self.stored.fingerprint)

    def sizes(self) -> dict[str, Any]:
        """Return the shape of one recording."""
        return {"shape": self.shape}

    def state(self) -> dict[str, Any]:
        """Return the shape of one recording: nothing else is learnt."""
        return {"shape": list(self.shape)}


def open_inputs(inputs: Path, index: Path) -> Dense:
    """Open what reading wrote; see `riskweave.modalities.contract.Modality.open_inputs`."""
    table, layout = read_index(index, columns=["subject_id", "row"])
    array = open_array(inputs, layout, index=index)
    remedy = "Both files are made by the pipeline: remove them and run snakemake again."
    outside = int(((table["row"] < 0) | (table["row"] >= len(array))).sum())
    if outside or array.dtype != np.float32:
        raise DataError(f"{index.name}, column row", f"{outside} of {len(table)} rows are not in {inputs.name}", remedy)
    bad = sum(_broken(array[start : start + 256]) for start in range(0, len(array), 256))
    if bad:
        raise DataError(inputs.name, f"{bad} of {len(array)} rows hold values that are not finite", remedy)
    # Stable: the rows of a subject keep their order of time.
    table = table.sort_values("subject_id", kind="stable", ignore_index=True)
    first = ~table["subject_id"].duplicated()
    rows = np.split(table["row"].to_numpy(dtype=np.int64), np.flatnonzero(first)[1:])
    subjects = pd.Index(table.loc[first, "subject_id"], name="subject_id")
    return Dense(array, subjects, rows, several=layout.most > 1, fingerprint=layout.sha256)


def one_input(part: np.ndarray, features: RecordedFeatures) -> Dense:
    """Return one patient's recordings, in time order."""
    return Dense(part, pd.Index(["patient"]), [np.arange(len(part))], several=features.most > 1)


def prepared_from(state: dict[str, Any], stored: Dense) -> PreparedDense:
    """Return stored inputs for a network that was trained on others.

    Raises
    ------
    ValueError
        When its recordings were of another shape.
    """
    if tuple(state["shape"]) != tuple(stored.array.shape[1:]):
        raise ValueError(f"recordings of shape {stored.array.shape[1:]}: the network was trained on {state['shape']}")
    return PreparedDense(stored, tuple(state["shape"]))


def _broken(part: np.ndarray) -> int:
    return int((~np.isfinite(part).reshape(len(part), -1).all(axis=1)).sum())

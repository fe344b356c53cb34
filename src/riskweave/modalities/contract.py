"""The contract of the modalities that are read one recording, note or event at a time.

A modality says how its raw data are read and checked, which plain measurements they give, what an encoder's network
reads of them, and how one raw patient is fed to both. docs/modalities.md shows how one is added.

Reading a feature set writes three files:

- the feature table: a row per subject who has the modality, the measurements as described columns;
- ``inputs.npy``: what networks read. Dense modalities keep a row per recording, float32; ragged ones (words, events) a
  flat array of all subjects' elements;
- ``index.parquet``: which rows are whose, in time order, the latest last (`riskweave.modalities.stored`).

The files of text and events hold what the raw data hold: they stay on the machine, as the raw data do.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from riskweave.modalities.base import Column
from riskweave.modalities.implementations import PARTS
from riskweave.study.features import FeatureSet

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Inputs", "Modality", "Patient", "Prepared", "Stored"]


class Inputs(Protocol):
    """What a network is trained on: a batch is read when it is asked for."""

    def __len__(self) -> int:
        """Return the number of subjects."""
        ...

    def batch(self, rows: np.ndarray) -> "tuple[Tensor, ...]":
        """Return the positional arguments of the network's ``forward`` for these rows of the inputs, on the CPU."""
        ...


class Prepared(Protocol):
    """Stored inputs with what was learnt from some subjects: vocabularies, scales; nothing for dense arrays.

    Attributes
    ----------
    several : bool
        Whether a subject may have several recordings. The last tensor of a batch then holds the owner of each: the
        place of its subject in the batch, int64 of shape (m,).
    """

    several: bool

    def inputs(self, positions: np.ndarray) -> Inputs:
        """Return the inputs of the subjects at these positions of ``Stored.subjects``."""
        ...

    def sizes(self) -> dict[str, Any]:
        """Return what the network has to know of its inputs: the keyword arguments of its ``from_block``."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what was learnt and the sizes, as plain values; `Modality.prepared_from` makes the same of it."""
        ...


class Stored(Protocol):
    """What reading a feature set wrote, opened; arrays stay on disk.

    Attributes
    ----------
    subjects : Index of str
        Who has the modality, sorted, each once.
    fingerprint : str
        Digest of the content of the array, checked when it was opened.
    """

    subjects: pd.Index
    fingerprint: str

    def fit(self, positions: np.ndarray, encoder: Any = None, *, people: np.ndarray | None = None) -> Prepared:
        """Learn what there is to learn from the subjects at these positions, and from nobody else.

        Parameters
        ----------
        positions : array of int
            The training rows of a fold, as positions of `subjects`.
        encoder : Encoder, optional
            The ``encoder`` block, which limits vocabularies; its defaults when not given.
        people : array of shape (positions,), optional
            Whose subjects they are: what few people have is not kept, however many index times they have. Without it
            each subject is a person of its own.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Patient:
    """One patient's raw data, read as the pipeline reads them.

    Attributes
    ----------
    measurements : dict of str to float
        Value of each column of the feature table; NaN where it is missing.
    stored : Stored
        The network's inputs, of one subject.
    """

    measurements: dict[str, float]
    stored: Stored


@dataclasses.dataclass(frozen=True)
class Modality:
    """How raw data of one kind become measurements and inputs of a network.

    Attributes
    ----------
    name : str
        ``modality`` of the study's block; the block's ``raw`` names the table of the source that holds the raw data.
    read : callable
        ``read(subjects=, raw=, features=, table=, inputs=, index=, threads=)``: from the table of subjects and that of
        the raw data, write feature table, array and index; DataError when files or values are wrong, with nothing
        written then.
    columns : callable
        From the block of the study to the columns of the feature table.
    one : callable
        ``one(raw, features)``: from one patient's raw data, in time order, the measurements, and the part of
        ``inputs.npy`` that is the patient's. Raw data are paths of files, or a table of events.
    """

    name: str
    read: Callable[..., None]
    columns: Callable[[FeatureSet], list[Column]]
    one: Callable[[Any, FeatureSet], tuple[dict[str, float], Any]]

    def open_inputs(self, inputs: Path, index: Path) -> Stored:
        """Open what reading wrote, and check that array and index belong together.

        Raises
        ------
        DataError
            When a file is missing or cannot be read, or the array is not the one that the index was written with.
        """
        return self._module("inputs").open_inputs(inputs, index)

    def prepared_from(self, state: dict[str, Any], stored: Stored) -> Prepared:
        """Return stored inputs with what `Prepared.state` kept of others."""
        return self._module("inputs").prepared_from(state, stored)

    def build(self, encoder: Any, prepared: Prepared, **further: Any) -> "nn.Module":
        """Return the untrained network of an encoder block, for one recording; pooling of several comes on top.

        Parameters
        ----------
        encoder : Encoder
            The ``encoder`` block of the feature set.
        prepared : Prepared
            What the network will read.
        **further
            Passed on to the network's ``from_block``, such as weights to start from.

        Returns
        -------
        nn.Module
            Its attribute ``features`` is the width of its output.
        """
        return self._module("network").from_block(encoder, **prepared.sizes(), **further)

    def augmentation(self) -> "Callable[..., tuple[Tensor, ...]] | None":
        """Return the random change of training inputs, from the tensors of a batch to as many; None where none is."""
        name = PARTS[self.name].augmentation
        if name is None:
            return None
        change = getattr(importlib.import_module("riskweave.networks.augment"), name)
        return functools.partial(_first_changed, change)

    def one_patient(self, raw: Sequence[Path] | pd.DataFrame, features: FeatureSet) -> Patient:
        """Read one patient's raw data as the pipeline does.

        Parameters
        ----------
        raw : sequence of Path, or DataFrame
            The patient's files in time order, the latest last; or, for modalities of events, their events up to the
            index time with the columns days (before the index time), code, numeric_value and text_value.
        features : FeatureSet
            The block of the study.

        Raises
        ------
        ValueError
            When the raw data cannot be used.
        """
        measurements, part = self.one(raw, features)
        return Patient(measurements, self._module("inputs").one_input(part, features))

    def _module(self, part: str) -> Any:
        return importlib.import_module(getattr(PARTS[self.name], part))


def _first_changed(change: "Callable[[Tensor], Tensor]", first: "Tensor", *rest: "Tensor") -> "tuple[Tensor, ...]":
    """Change the first tensor of a batch; who owns what stays."""
    return (change(first), *rest)

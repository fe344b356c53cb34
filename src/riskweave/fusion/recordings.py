"""Encoders of a fold with their inputs, as joint fusion trains them on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from riskweave.errors import DataError
from riskweave.modalities.contract import Prepared
from riskweave.modalities.registry import find_modality
from riskweave.survival.encoding.network import Ensemble, load_encoder, read_encoder
from riskweave.survival.fits import digest_of
from riskweave.survival.sets import RecordedFiles
from riskweave.survival.training.inputs import Inputs, digest_of_inputs

__all__ = ["Encoded", "JointInputs", "open_encoded"]


@dataclass(frozen=True)
class Encoded:
    """The encoder of one feature set in one fold, and the inputs of everybody who has them.

    Attributes
    ----------
    name, modality : str
        The feature set and its modality.
    encoder : Ensemble
        Its networks.
    columns : list of str
        What the encoder's outputs are called in a design.
    prepared : Prepared
        The inputs.
    subjects : Index of subject_id
        Who has them.
    fitted_on : str
        Digest of the subjects that the encoder was trained on.
    """

    name: str
    modality: str
    encoder: Ensemble
    columns: list[str]
    prepared: Prepared
    subjects: pd.Index
    fitted_on: str

    def check(self, train: pd.Index) -> None:
        """Refuse an encoder that was fitted on other rows than these training rows of its fold (DataError)."""
        if digest_of(train.intersection(self.subjects)) != self.fitted_on:
            raise DataError(
                f"feature set {self.name}, encoder.zip",
                "the encoder was fitted on rows outside the training rows of the fold",
                "It is no encoder of this division: remove the file and let the pipeline train it again",
            )


def open_encoded(files: Mapping[str, RecordedFiles], *, fold: int) -> list[Encoded]:
    """Return the encoders of a fold with their inputs.

    Parameters
    ----------
    files : mapping of feature set to RecordedFiles
    fold : int

    Raises
    ------
    DataError
        When inputs are missing or broken.
    """
    found = []
    for name, (weights, inputs, index) in files.items():
        content = read_encoder(weights)
        modality = find_modality(content["features"]["modality"])
        stored, encoder = modality.open_inputs(inputs, index), load_encoder(weights, fold=fold)
        found.append(
            Encoded(
                name=name,
                modality=modality.name,
                encoder=encoder,
                columns=[f"{name}.{column}" for column in content["columns"]],
                prepared=modality.prepared_from(encoder.prepared, stored),
                subjects=pd.Index(stored.subjects),
                fitted_on=content["folds"][fold]["fitted_on"],
            )
        )
    return found


class JointInputs:
    """Rows of a design, and of each encoder the inputs of those who have them.

    A batch is the rows (m, p), then for each encoder the places of those in the batch who have its inputs (k,), and the
    inputs themselves. Recordings are read from their memory-mapped arrays batch by batch.

    Parameters
    ----------
    values : ndarray of shape (n, p)
    subjects : Index of subject_id, shape (n,)
    encoded : sequence of Encoded
    """

    def __init__(self, values: np.ndarray, subjects: pd.Index, encoded: Sequence[Encoded]):
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        # Positions of everybody, so that there is always somebody to stand in.
        self.parts: list[tuple[np.ndarray, Inputs]] = [
            (each.subjects.get_indexer(subjects), each.prepared.inputs(np.arange(len(each.subjects))))
            for each in encoded
        ]

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Return the inputs of the subjects at positions `rows`."""
        rows = np.asarray(rows)
        tensors = [self.values[torch.from_numpy(rows)]]
        for own, inputs in self.parts:
            places = np.flatnonzero(own[rows] >= 0)
            # Inputs cannot be empty: where nobody has any, somebody's stand in, at no place of the batch.
            read = own[rows][places] if len(places) else np.array([0])
            tensors += [torch.from_numpy(places), *inputs.batch(read)]
        return tuple(tensors)

    def fingerprint(self) -> bytes:
        """Return a digest of the rows and of who has which inputs."""
        digest = hashlib.sha256(self.values.numpy())
        for own, inputs in self.parts:
            digest.update(np.ascontiguousarray(own))
            digest.update(digest_of_inputs(inputs))
        return digest.digest()

    def widths(self) -> list[int]:
        """Return of how many tensors the inputs of each encoder consist."""
        return [len(inputs.batch(np.array([0]))) for _, inputs in self.parts]

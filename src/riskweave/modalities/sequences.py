"""Events as numbers of codes, scaled values and days: a vocabulary of the training subjects, and batches of one length.

Code 0 stands behind the last event, 1 for a code that the vocabulary lacks, whose value says nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.modalities.stored import open_array, read_index
from riskweave.study.encoders import EventEncoder
from riskweave.study.features import EventSequenceFeatures

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PreparedSequences", "SequenceInputs", "Sequences", "one_input", "open_inputs", "prepared_from"]

UNKNOWN, FIRST = 1, 2
FARTHEST = 4.0
"""Scaled values are held within so many standard deviations: one wrong unit must not outweigh a history."""


class Sequences:
    """The events of some subjects.

    Parameters
    ----------
    events : ndarray of `riskweave.modalities.event_sequence.EVENT`
        All events, one subject's behind the other's, in time order.
    names : sequence of str
        Codes with their units.
    subjects : Index of str
        Whose events there are, sorted.
    bounds : ndarray of int64, shape (subjects, 2)
        Start and stop of each subject's events.
    fingerprint : str
        Digest of `events`.
    """

    def __init__(
        self, events: np.ndarray, names: Sequence[str], subjects: pd.Index, bounds: np.ndarray, *, fingerprint: str = ""
    ):
        self.events, self.names, self.subjects, self.bounds = events, tuple(names), subjects, bounds
        self.fingerprint = fingerprint

    def fit(
        self, positions: np.ndarray, encoder: EventEncoder | None = None, *, people: np.ndarray | None = None
    ) -> "PreparedSequences":
        """Take the vocabulary, and where and how wide the values of each code are, from some subjects.

        A code counts once for each person; see `riskweave.modalities.contract.Stored.fit`.
        """
        encoder = EventEncoder() if encoder is None else encoder
        bounds = self.bounds[np.asarray(positions, dtype=np.int64)]
        lengths = bounds[:, 1] - bounds[:, 0]
        person = np.arange(len(bounds)) if people is None else pd.factorize(np.asarray(people))[0]
        owner = np.repeat(person, lengths)
        place = np.repeat(bounds[:, 0] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        some = self.events[place]
        pairs = np.unique(owner.astype(np.int64) * len(self.names) + some["code"]) % max(1, len(self.names))
        have = np.bincount(pairs, minlength=len(self.names))
        enough = np.flatnonzero(have >= encoder.minimum_subjects)
        often = sorted((-have[code], self.names[code], code) for code in enough)
        chosen = [code for *_, code in often[: encoder.vocabulary]]
        some = some[np.argsort(some["code"], kind="stable")]
        place = np.searchsorted(some["code"], np.arange(len(self.names) + 1))
        values = {code: some["value"][place[code] : place[code + 1]] for code in chosen}
        return PreparedSequences(self, {self.names[code]: _scale(values[code]) for code in chosen})


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Return centre and width of a code's values: median, and interquartile range as a standard deviation.

    Where the middle half of the values are equal it is their standard deviation; (0, 0) without two different values.
    """
    values = values[~np.isnan(values)].astype(np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return 0.0, 0.0
    low, centre, high = np.percentile(values, [25, 50, 75])
    return float(centre), float((high - low) / 1.349 if high > low else values.std())


class PreparedSequences:
    """Events with the vocabulary and the scales of other subjects, or of their own.

    Parameters
    ----------
    stored : Sequences
    scales : mapping of str to (float, float)
        Codes with their units that are told apart, from number 2 on: centre and width of their values; a width of 0
        where values say nothing.
    """

    several = False

    def __init__(self, stored: Sequences, scales: Mapping[str, tuple[float, float]]):
        self.stored, self.scales = stored, dict(scales)
        number = {name: place for place, name in enumerate(self.scales, start=FIRST)}
        self.number_of = np.array([number.get(name, UNKNOWN) for name in stored.names], dtype=np.int64)
        centre, width = np.zeros(len(number) + FIRST), np.zeros(len(number) + FIRST)
        for name, place in number.items():
            centre[place], width[place] = self.scales[name]
        self.centre, self.width = centre, width

    def inputs(self, positions: np.ndarray) -> "SequenceInputs":
        """Return the events of some subjects."""
        return SequenceInputs(self, np.asarray(positions, dtype=np.int64))

    def sizes(self) -> dict[str, Any]:
        """Return the number of codes that are told apart, with the two that stand for others."""
        return {"codes": len(self.scales) + FIRST}

    def state(self) -> dict[str, Any]:
        """Return the vocabulary with centre and width of the values of each code."""
        return {"scales": {name: list(scale) for name, scale in self.scales.items()}}


class SequenceInputs:
    """Events for a network; see `riskweave.modalities.contract.Inputs`.

    Parameters
    ----------
    prepared : PreparedSequences
    positions : ndarray of int64, shape (n,)
        The subjects.
    """

    def __init__(self, prepared: PreparedSequences, positions: np.ndarray):
        self.prepared, self.positions = prepared, positions

    def __len__(self) -> int:
        return len(self.positions)

    def batch(self, rows: np.ndarray) -> "tuple[Tensor, Tensor, Tensor]":
        """Return the events in time order, the latest last, and nothing (code 0) behind them.

        Returns
        -------
        codes : Tensor (n, longest) of int64
        values : Tensor (n, longest, 2)
            The scaled value, 0 without one, and whether there is one (1 or 0).
        days : Tensor (n, longest)
            Days before the index time.
        """
        import torch

        prepared = self.prepared
        bounds = prepared.stored.bounds[self.positions[np.asarray(rows)]]
        shape = (len(bounds), int((bounds[:, 1] - bounds[:, 0]).max()))
        codes, days = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        values = np.zeros((*shape, 2), dtype=np.float32)
        for place, (start, stop) in enumerate(bounds):
            events, own = prepared.stored.events[start:stop], slice(0, stop - start)
            number = prepared.number_of[events["code"]]
            known = ~np.isnan(events["value"]) & (prepared.width[number] > 0)
            width = np.where(known, prepared.width[number], 1.0)
            scaled = (np.where(known, events["value"], 0.0) - np.where(known, prepared.centre[number], 0.0)) / width
            codes[place, own], days[place, own] = number, events["days"]
            values[place, own, 0], values[place, own, 1] = np.clip(scaled, -FARTHEST, FARTHEST), known
        return torch.from_numpy(codes), torch.from_numpy(values), torch.from_numpy(days)

    def fingerprint(self) -> bytes:
        """Return a digest of the events, the vocabulary, who is among the subjects and whose the events are."""
        stored = self.prepared.stored
        digest = hashlib.sha256(f"{stored.fingerprint} {self.prepared.state()!r}".encode())
        digest.update(self.positions.tobytes())
        digest.update(stored.bounds[self.positions].tobytes())
        return digest.digest()


def open_inputs(inputs: Path, index: Path) -> Sequences:
    """Open what reading wrote; see `riskweave.modalities.contract.Modality.open_inputs`."""
    table, layout = read_index(index, columns=["subject_id", "start", "stop"])
    events = open_array(inputs, layout, index=index)
    bounds = table[["start", "stop"]].to_numpy(dtype=np.int64)
    wrong = int(((bounds[:, 0] < 0) | (bounds[:, 1] <= bounds[:, 0]) | (bounds[:, 1] > len(events))).sum())
    if wrong or not events.dtype.names or table["subject_id"].duplicated().any():
        remedy = "Both files are made by the pipeline: remove them and run snakemake again."
        raise DataError(index.name, f"{wrong} of {len(table)} subjects have no events in {inputs.name}", remedy)
    return Sequences(events, layout.names, pd.Index(table["subject_id"]), bounds, fingerprint=layout.sha256)


def one_input(part: tuple[np.ndarray, Sequence[str]], features: EventSequenceFeatures) -> Sequences:  # noqa: ARG001
    """Return one patient's events with the names of their codes."""
    events, names = part
    return Sequences(events, names, pd.Index(["patient"]), np.array([[0, len(events)]]))


def prepared_from(state: dict[str, Any], stored: Sequences) -> PreparedSequences:
    """Return events with the vocabulary and the scales that a network was trained with."""
    return PreparedSequences(stored, {name: (float(a), float(b)) for name, (a, b) in state["scales"].items()})

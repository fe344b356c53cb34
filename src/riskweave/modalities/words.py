"""Notes as numbers of words: a vocabulary of the training subjects, and batches of notes of one length.

0 stands behind the end of a note, 1 for a word and 2 for a number that the vocabulary lacks.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.modalities.stored import open_array, read_index
from riskweave.modalities.tokens import is_number, tokens_of
from riskweave.study.encoders import LstmEncoder
from riskweave.study.features import TextFeatures

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NoteInputs", "Notes", "PreparedNotes", "one_input", "open_inputs", "prepared_from"]

UNKNOWN_WORD, UNKNOWN_NUMBER, FIRST = 1, 2, 3


class Notes:
    """The notes of some subjects.

    Parameters
    ----------
    content : ndarray of uint8
        All notes in UTF-8, one behind the other.
    bounds : ndarray of int64, shape (notes, 2)
        Start and stop of each note in `content`.
    subjects : Index of str
        Whose notes there are, sorted.
    rows : list of ndarray of int
        The notes of each of them, in time order.
    several : bool
        Whether a subject may have several.
    fingerprint : str
        Digest of `content`.
    """

    def __init__(
        self,
        content: np.ndarray,
        bounds: np.ndarray,
        subjects: pd.Index,
        rows: list[np.ndarray],
        *,
        several: bool,
        fingerprint: str = "",
    ):
        self.content, self.bounds, self.subjects, self.rows = content, bounds, subjects, rows
        self.several, self.fingerprint = several, fingerprint

    @cached_property
    def _numbered(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """All words of all notes, the number of each word of each note in turn, and where each note begins."""
        numbers: dict[str, int] = {}
        parts = []
        for start, stop in self.bounds:
            note = bytes(self.content[start:stop]).decode("utf-8")
            parts.append(np.array([numbers.setdefault(w, len(numbers)) for w in tokens_of(note)], dtype=np.int32))
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return list(numbers), np.concatenate([*parts, np.empty(0, np.int32)]), starts

    @property
    def words(self) -> list[str]:
        """The words and numbers of all notes, each once."""
        return self._numbered[0]

    def note(self, row: int) -> np.ndarray:
        """Return a note as places in `words`."""
        _, numbers, starts = self._numbered
        return numbers[starts[row] : starts[row + 1]]

    def fit(
        self, positions: np.ndarray, encoder: LstmEncoder | None = None, *, people: np.ndarray | None = None
    ) -> "PreparedNotes":
        """Take the vocabulary from the notes of some subjects; see `riskweave.modalities.contract.Stored.fit`.

        A word counts once for each person: what stands in the notes of few people (a name) is not kept.
        """
        encoder = LstmEncoder() if encoder is None else encoder
        positions = np.asarray(positions)
        count = np.zeros(len(self.words), dtype=np.int64)
        whose = np.arange(len(positions)) if people is None else np.asarray(people)
        for _, own in pd.Series(positions).groupby(whose):
            found = [self.note(row)[: encoder.tokens] for position in own for row in self.rows[position]]
            count[np.unique(np.concatenate(found))] += 1
        often = [(-count[place], self.words[place]) for place in np.flatnonzero(count >= encoder.minimum_count)]
        vocabulary = [word for _, word in sorted(often)[: encoder.vocabulary]]
        return PreparedNotes(self, vocabulary, tokens=encoder.tokens)


class PreparedNotes:
    """Notes with the vocabulary of other subjects, or of their own.

    Parameters
    ----------
    stored : Notes
    vocabulary : list of str
        Words and numbers that are told apart, from number 3 on.
    tokens : int
        Words of a note that are read.
    """

    def __init__(self, stored: Notes, vocabulary: list[str], *, tokens: int):
        self.stored, self.vocabulary, self.tokens = stored, vocabulary, tokens
        number = {word: place for place, word in enumerate(vocabulary, start=FIRST)}
        self.number_of = np.array(
            [number.get(word, UNKNOWN_NUMBER if is_number(word) else UNKNOWN_WORD) for word in stored.words],
            dtype=np.int64,
        )

    @property
    def several(self) -> bool:
        """Whether a batch ends with the owner of each note."""
        return self.stored.several

    def inputs(self, positions: np.ndarray) -> "NoteInputs":
        """Return the notes of some subjects."""
        return NoteInputs(self, np.asarray(positions, dtype=np.int64))

    def sizes(self) -> dict[str, Any]:
        """Return the number of words that are told apart, with the three that stand for others."""
        return {"words": len(self.vocabulary) + FIRST}

    def state(self) -> dict[str, Any]:
        """Return the vocabulary and the words of a note that are read."""
        return {"words": list(self.vocabulary), "tokens": self.tokens}


class NoteInputs:
    """Notes for a network; see `riskweave.modalities.contract.Inputs`.

    Parameters
    ----------
    prepared : PreparedNotes
    positions : ndarray of int64, shape (n,)
        The subjects.
    """

    def __init__(self, prepared: PreparedNotes, positions: np.ndarray):
        self.prepared, self.positions = prepared, positions

    def __len__(self) -> int:
        return len(self.positions)

    def batch(self, rows: np.ndarray) -> "tuple[Tensor, ...]":
        """Return the notes, int64 (notes, longest), and where there may be several the owner of each (notes,)."""
        import torch

        stored, most = self.prepared.stored, self.prepared.tokens
        each = [stored.rows[position] for position in self.positions[np.asarray(rows)]]
        if not stored.several:
            each = [own[-1:] for own in each]
        notes = [stored.note(row)[:most] for own in each for row in own]
        made = np.zeros((len(notes), max(1, *map(len, notes))), dtype=np.int64)
        for place, note in enumerate(notes):
            made[place, : len(note)] = self.prepared.number_of[note]
        if not stored.several:
            return (torch.from_numpy(made),)
        owner = np.repeat(np.arange(len(each)), [len(own) for own in each])
        return torch.from_numpy(made), torch.from_numpy(owner)

    def fingerprint(self) -> bytes:
        """Return a digest of the notes, the vocabulary, who is among the subjects and whose the notes are."""
        stored = self.prepared.stored
        digest = hashlib.sha256(f"{stored.fingerprint} {self.prepared.state()!r}".encode())
        digest.update(self.positions.tobytes())
        for position in self.positions:
            digest.update(repr(stored.bounds[stored.rows[position]].tolist()).encode())
        return digest.digest()


def open_inputs(inputs: Path, index: Path) -> Notes:
    """Open what reading wrote; see `riskweave.modalities.contract.Modality.open_inputs`."""
    table, layout = read_index(index, columns=["subject_id", "start", "stop"])
    content = open_array(inputs, layout, index=index)
    bounds = table[["start", "stop"]].to_numpy(dtype=np.int64)
    wrong = int(((bounds[:, 0] < 0) | (bounds[:, 1] < bounds[:, 0]) | (bounds[:, 1] > len(content))).sum())
    if wrong or content.dtype != np.uint8:
        remedy = "Both files are made by the pipeline: remove them and run snakemake again."
        raise DataError(index.name, f"{wrong} of {len(table)} notes are not in {inputs.name}", remedy)
    # Sorted by subject and time, as they were written.
    first = np.flatnonzero(~table["subject_id"].duplicated())
    rows = np.split(np.arange(len(table)), first[1:])
    subjects = pd.Index(table["subject_id"].iloc[first], name="subject_id")
    return Notes(content, bounds, subjects, rows, several=layout.most > 1, fingerprint=layout.sha256)


def one_input(part: list[str], features: TextFeatures) -> Notes:
    """Return one patient's notes, in time order."""
    content = [note.encode("utf-8") for note in part]
    stop = np.cumsum([len(note) for note in content])
    bounds = np.column_stack([np.concatenate([[0], stop[:-1]]), stop]).astype(np.int64)
    whole = np.frombuffer(b"".join(content), dtype=np.uint8)
    return Notes(whole, bounds, pd.Index(["patient"]), [np.arange(len(part))], several=features.most > 1)


def prepared_from(state: dict[str, Any], stored: Notes) -> PreparedNotes:
    """Return notes with the vocabulary that a network was trained with."""
    return PreparedNotes(stored, list(state["words"]), tokens=int(state["tokens"]))

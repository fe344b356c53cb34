"""Text features: the latest notes of a subject, measured, and kept as they are for an encoder's own tokeniser.

Notes are dated events of the study's codes that have a text. Nothing of them is in logs, errors or feature tables;
``inputs.npy`` holds them, and stays on the machine as the source's tables do.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.modalities.base import Column, write_features
from riskweave.modalities.contract import Modality
from riskweave.modalities.latest import latest_events, latest_of_one, open_latest
from riskweave.modalities.stored import FlatWriter, write_index
from riskweave.modalities.tokens import tokens_of
from riskweave.study.features import TextFeatures

__all__ = ["MODALITY", "read_notes"]

logger = logging.getLogger(__name__)

MEASUREMENTS = (
    ("notes", "notes", "Notes of the window at or before the index time"),
    ("words", "words", "Words and numbers of the latest note"),
    ("days_since", "days", "Days from the latest note to the index time"),
)


def read_notes(
    *,
    subjects: Path,
    raw: Path,
    features: TextFeatures,
    table: Path,
    inputs: Path,
    index: Path,
    threads: int = 1,
    chunk_events: int = 500_000,
) -> None:
    """Make the feature table of a `text` feature set, and the notes that its encoder reads.

    Parameters
    ----------
    subjects : Path
        Table of subjects (`riskweave.cohort.tables.SUBJECTS`).
    raw : Path
        Table of events (`riskweave.cohort.tables.EVENTS`).
    features : TextFeatures
        The block of the study; its encoder is not looked at.
    table : Path
        Feature table to write: a row for each subject with a note, with the measurements, or subject_id alone.
    inputs : Path
        .npy file to write: the notes in UTF-8, one behind the other, uint8.
    index : Path
        Parquet file to write: for each note subject_id, start and stop (bytes of `inputs`), days before the index time
        and its words; the latest of a subject last.
    threads : int
        Threads that read the events.
    chunk_events : int
        Events held in memory at once, more or less; the files do not depend on it.

    Raises
    ------
    DataError
        When a code pattern finds no event, or no subject has a note at or before the index time. Nothing is written
        then.
    """
    opened = open_latest(subjects=subjects, events=raw, codes=features.codes, table=table, threads=threads)
    with opened as (people, history), replacing(table, inputs, index) as (table_part, inputs_part, index_part):
        frames, start = [], 0
        with FlatWriter(inputs_part, np.dtype(np.uint8)) as writer:
            settings = {"most": features.most, "window": features.window, "notes": True, "events": chunk_events}
            for some in latest_events(history, **settings):
                part, lengths = _encode(some.text)
                writer.write(part)
                stop = start + np.cumsum(lengths)
                words = [len(tokens_of(note)) for note in some.text]
                frame = {"subject_id": people["subject_id"].to_numpy(dtype=object)[some.row]}
                frame |= {"start": stop - lengths, "stop": stop, "days": some.days, "words": words, "notes": some.total}
                frames.append(pd.DataFrame(frame))
                start = int(stop[-1])
        if not frames:
            problem = "no subject of the study has a dated note with a text at or before the index time"
            remedy = "Check `codes` and `window` of the feature set, and that the notes are in text_value"
            raise DataError(f"{raw.name}, column text_value", problem, remedy)
        notes = pd.concat(frames, ignore_index=True)
        latest = notes.drop_duplicates("subject_id", keep="last").rename(columns={"days": "days_since"})
        columns = _columns(features)
        chosen = latest[["subject_id", *(column.name for column in columns)]]
        write_features(chosen, table_part, columns)
        kept = notes[["subject_id", "start", "stop", "days", "words"]]
        write_index(kept, index_part, inputs=inputs_part, modality="text", most=features.most)
    logger.info("%d notes of %d of %d subjects read", len(notes), len(latest), len(people))


def _columns(features: TextFeatures) -> list[Column]:
    if not features.measurements:
        return []
    return [
        Column(name=name, modality="text", unit=unit, description=description)
        for name, unit, description in MEASUREMENTS
    ]


def _encode(notes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of notes, one behind the other, and the number of each."""
    parts = [note.encode("utf-8") for note in notes]
    return np.frombuffer(b"".join(parts), dtype=np.uint8), np.array([len(part) for part in parts], dtype=np.int64)


def _one(raw: pd.DataFrame, features: TextFeatures) -> tuple[dict[str, float], list[str]]:
    """Return the measurements of one patient's events, and the notes that the encoder reads."""
    notes = latest_of_one(raw, features, notes=True)
    if notes.empty:
        raise DataError("events of a patient", "there is no note of the feature set's codes", "Leave the modality out")
    latest = notes.iloc[-1]
    values = {
        "notes": float(notes.attrs["total"]),
        "words": float(len(tokens_of(latest["text"]))),
        "days_since": float(latest["days"]),
    }
    return {column.name: values[column.name] for column in _columns(features)}, notes["text"].tolist()


MODALITY = Modality(name="text", read=read_notes, columns=_columns, one=_one)

"""Event sequences: the latest events of a subject one by one, for a network that learns what they mean together."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.modalities.base import Column, write_features
from riskweave.modalities.contract import Modality
from riskweave.modalities.latest import latest_events, latest_of_one, open_latest
from riskweave.modalities.stored import FlatWriter, write_index
from riskweave.study.features import EventSequenceFeatures

__all__ = ["EVENT", "MODALITY", "read_sequences"]

logger = logging.getLogger(__name__)

EVENT = np.dtype([("code", np.int32), ("days", np.float32), ("value", np.float32)])
"""An event: place of its code and unit among the names, days before the index time, value (NaN without one)."""


def read_sequences(
    *,
    subjects: Path,
    raw: Path,
    features: EventSequenceFeatures,
    table: Path,
    inputs: Path,
    index: Path,
    threads: int = 1,
    chunk_events: int = 500_000,
) -> None:
    """Read the latest events of each subject of an `event_sequence` feature set.

    Parameters
    ----------
    subjects : Path
        Table of subjects (`riskweave.cohort.tables.SUBJECTS`).
    raw : Path
        Table of events (`riskweave.cohort.tables.EVENTS`); undated ones are left out.
    features : EventSequenceFeatures
        The block of the study; its encoder is not looked at.
    table : Path
        Feature table to write: subject_id of those who have an event.
    inputs : Path
        .npy file to write: the events (`EVENT`) of all subjects, one behind the other, in time order.
    index : Path
        Parquet file to write: subject_id, start and stop (events of `inputs`), and how many events there were in the
        window (`events`). Its metadata name the codes with their units, which are apart: a value means something in
        its unit.
    threads : int
        Threads that read the events.
    chunk_events : int
        Events held in memory at once, more or less; the files do not depend on it.

    Raises
    ------
    DataError
        When a code pattern finds no event, or no subject has an event at or before the index time. Nothing is written
        then.
    """
    opened = open_latest(subjects=subjects, events=raw, codes=features.codes, table=table, threads=threads)
    with opened as (people, history), replacing(table, inputs, index) as (table_part, inputs_part, index_part):
        frames, start = [], 0
        with FlatWriter(inputs_part, EVENT) as writer:
            settings = {"most": features.most, "window": features.window, "notes": False, "events": chunk_events}
            for some in latest_events(history, **settings):
                writer.write(_as_events(some.pair, some.days, some.value))
                first = np.flatnonzero(np.diff(some.row, prepend=-1))
                frame = {"subject_id": people["subject_id"].to_numpy(dtype=object)[some.row[first]]}
                frame |= {"start": start + first, "stop": start + np.append(first[1:], len(some.row))}
                frames.append(pd.DataFrame(frame | {"events": some.total[first]}))
                start += len(some.row)
        if not frames:
            problem = "no subject of the study has a dated event of these codes at or before the index time"
            raise DataError(f"{raw.name}, column time", problem, "Check `codes` and `window` of the feature set")
        rows = pd.concat(frames, ignore_index=True)
        write_features(rows[["subject_id"]], table_part, [])
        names = [_name_of(code, unit) for code, unit in history.vocabulary.itertuples(index=False)]
        write_index(rows, index_part, inputs=inputs_part, modality="event_sequence", most=features.most, names=names)
    logger.info("%d events of %d of %d subjects read", start, len(rows), len(people))


def _name_of(code: str, unit: str) -> str:
    """Return what a code and its unit ("" for none) are called together."""
    return json.dumps([code, unit], ensure_ascii=False)


def _as_events(code: np.ndarray, days: np.ndarray, value: np.ndarray) -> np.ndarray:
    events = np.empty(len(code), dtype=EVENT)
    events["code"], events["days"], events["value"] = code, days, value
    return events


def _columns(features: EventSequenceFeatures) -> list[Column]:  # noqa: ARG001 - there is nothing to measure
    return []


def _one(
    raw: pd.DataFrame, features: EventSequenceFeatures
) -> tuple[dict[str, float], tuple[np.ndarray, tuple[str, ...]]]:
    """Return no measurements, and one patient's events with the names of their codes."""
    events = latest_of_one(raw, features, notes=False)
    if events.empty:
        raise DataError("events of a patient", "there is no event of the feature set's codes", "Leave the modality out")
    named = [_name_of(code, unit) for code, unit in zip(events["code"], events["unit"], strict=True)]
    places, names = pd.factorize(np.array(named, dtype=object))
    part = _as_events(places, events["days"].to_numpy(), events["value"].to_numpy())
    return {}, (part, tuple(names))


MODALITY = Modality(name="event_sequence", read=read_sequences, columns=_columns, one=_one)

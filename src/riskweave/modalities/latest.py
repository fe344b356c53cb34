"""The latest events of each subject at or before the index time, read a few subjects at a time."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.cohort.tables import SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.modalities.ehr.history import EventHistory, open_history
from riskweave.study.features import EventSequenceFeatures, TextFeatures

__all__ = ["Latest", "latest_events", "latest_of_one", "open_latest"]

_EVENTS = 500_000


@dataclass(frozen=True)
class Latest:
    """The latest events of some consecutive subjects, sorted by subject and time, the latest last.

    Attributes
    ----------
    row, pair : (n,) int64 arrays
        Row of the subject table; place of code and unit in the vocabulary.
    days : (n,) float64 array
        From the event to the index time.
    value : (n,) float64 array
        NaN when missing or not finite.
    text : (n,) object array
        Without blanks at its ends; None where it was not asked for or there is none.
    total : (n,) int64 array
        Events of the subject that would count if there were no limit to their number.
    """

    row: np.ndarray
    pair: np.ndarray
    days: np.ndarray
    value: np.ndarray
    text: np.ndarray
    total: np.ndarray


@contextlib.contextmanager
def open_latest(
    *, subjects: Path, events: Path, codes: list[str], table: Path, threads: int
) -> Iterator[tuple[pd.DataFrame, EventHistory]]:
    """Open the events of some codes.

    Parameters
    ----------
    subjects, events : Path
        Canonical tables.
    codes : list of str
        Patterns of codes.
    table : Path
        Feature table that will be made: what does not fit into memory is put beside it, and removed.
    threads : int
        Threads of DuckDB.

    Yields
    ------
    subjects : DataFrame
        Sorted by subject_id.
    history : EventHistory

    Raises
    ------
    DataError
        When a pattern stands for no event.
    """
    people = read_table(subjects, SUBJECTS).sort_values("subject_id", kind="stable", ignore_index=True)
    folder = table.with_name(f".{table.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with open_history(table=people, events=events, patterns=codes, threads=threads, folder=folder) as history:
            yield people, history
    finally:
        shutil.rmtree(folder)


def latest_events(
    history: EventHistory, *, most: int, window: int | None, notes: bool, events: int = _EVENTS
) -> Iterator[Latest]:
    """Yield the latest dated events of all subjects, in their order; subjects without any are left out.

    Parameters
    ----------
    history : EventHistory
    most : int
        Events of a subject, the latest.
    window : int or None
        An event counts when it is less than so many days before the index time.
    notes : bool
        Whether only events with a text count, and their text is read.
    events : int
        Events of the file to look at at once, more or less.
    """
    history.register_vocabulary()
    text = "nullif(trim(events.text_value), '')"
    conditions = ["events.time IS NOT NULL", history.in_history()]
    if window is not None:
        conditions.append(f"epoch_us(index_time) - epoch_us(time) < {window} * 86400000000")
    if notes:
        conditions.append(f"{text} IS NOT NULL")
    # A time may have several events: the order of what they say makes the choice, and the result, always the same.
    order = "time DESC, pair DESC, value DESC, text DESC NULLS FIRST"
    for start, stop in history.divided(events):
        some, limits = history.subjects_between(start, stop)
        found = history.connection.execute(
            "SELECT *, count(*) OVER (PARTITION BY subject_row) AS total FROM ("
            "SELECT subject_row, pair, time, (epoch_us(index_time) - epoch_us(time)) / 86400e6 AS days, "
            "CASE WHEN isfinite(numeric_value) THEN numeric_value::DOUBLE ELSE 'nan'::DOUBLE END AS value, "
            f"{text if notes else 'NULL::VARCHAR'} AS text FROM events JOIN ({some}) AS s "
            f"ON events.subject_id = s.person_id JOIN wanted ON {history.same_pair()} "
            f"WHERE events.subject_id BETWEEN $low AND $high AND {' AND '.join(conditions)}) "
            f"QUALIFY row_number() OVER (PARTITION BY subject_row ORDER BY {order}) <= {most} "
            "ORDER BY subject_row, time, pair, value, text",
            limits,
        ).fetchnumpy()
        if len(found["subject_row"]):
            yield Latest(
                found["subject_row"].astype(np.int64),
                found["pair"].astype(np.int64),
                np.asarray(found["days"], dtype=np.float64),
                np.asarray(found["value"], dtype=np.float64),
                np.where(np.ma.getmaskarray(found["text"]), None, np.ma.getdata(found["text"]).astype(object)),
                np.asarray(found["total"], dtype=np.int64),
            )


def latest_of_one(raw: pd.DataFrame, features: TextFeatures | EventSequenceFeatures, *, notes: bool) -> pd.DataFrame:
    """Return those of one patient's events that `latest_events` would read, in its order.

    Parameters
    ----------
    raw : DataFrame
        Events at or before the index time: days before it, code, and where they have them numeric_value, unit,
        text_value.
    features : TextFeatures or EventSequenceFeatures
        The block of the study.
    notes : bool
        Whether only events with a text count.

    Returns
    -------
    DataFrame
        days, code, unit ("" for none), value and text; its attribute ``attrs["total"]`` is their number without the
        limit.

    Raises
    ------
    DataError
        When columns are missing or events are dated after the index time.
    """
    if missing := {"days", "code"} - set(raw.columns):
        raise DataError("events of a patient", f"{len(missing)} columns are missing", f"Give {', '.join(missing)}")
    if later := int((raw["days"] < 0).sum()):
        raise DataError("events of a patient, column days", f"{later} events come after the index time", "Remove them")
    empty = pd.Series(None, index=raw.index, dtype=object)
    value = pd.to_numeric(raw.get("numeric_value", empty)).astype(np.float32).astype(np.float64)
    frame = pd.DataFrame({
        "days": raw["days"].astype(float),
        "code": raw["code"],
        "unit": raw.get("unit", empty).fillna("").astype(str).str.strip(),
        "value": value.where(np.isfinite(value)),
        "text": raw.get("text_value", empty).astype(object),
    })  # fmt: skip
    kept = frame["days"].notna() & matches(frame["code"], features.codes)
    if features.window is not None:
        kept &= frame["days"] < features.window
    if notes:
        frame["text"] = frame["text"].map(lambda text: text.strip(" ") if isinstance(text, str) else None)
        kept &= frame["text"].map(bool)
    # As the database sorts: missing values last, which the descending choice puts first.
    frame = frame[kept].sort_values(["code", "unit", "value", "text"], na_position="last", kind="stable")
    frame = frame.sort_values("days", ascending=False, kind="stable", ignore_index=True)
    chosen = frame.tail(features.most).reset_index(drop=True)
    chosen.attrs["total"] = len(frame)
    return chosen

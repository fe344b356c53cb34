"""The events at or before the index time, a few subjects at a time.

An event at midnight is dated to the day only and may have happened at any hour of it: on the day of an index time with
an hour it does not count. Undated (static) events, whose time is null, belong to every history.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.cohort.times import at_or_before_sql
from riskweave.errors import DataError, nearest
from riskweave.modalities.ehr.groups import shown

__all__ = ["Chunk", "EventHistory", "open_history"]

_IN_HISTORY = f"(time IS NULL OR {at_or_before_sql('time', 'index_time')})"
_UNIT = "coalesce(trim(unit), '')"
_MEMORY = "1GB"
_SUBJECTS_PER_CHUNK = 100_000


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The events of some consecutive subjects, sorted by subject, pair, time and value.

    Attributes
    ----------
    start, stop : int
        The subjects: rows of the subject table, `stop` excluded.
    row, pair : (n,) int32 arrays
        Row of the subject table; place in the vocabulary.
    days : (n,) float64 array
        From the event to the index time; NaN when undated.
    value : (n,) float64 array
        NaN when missing or not finite.
    text : (n,) object array or None
        Text of the events of those pairs that were asked for, else None.
    """

    start: int
    stop: int
    row: np.ndarray
    pair: np.ndarray
    days: np.ndarray
    value: np.ndarray
    text: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class EventHistory:
    """The events of a study's subjects.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        With the view `events` and the table `subjects` (subject_row, person_id, index_time).
    events : Path
        The table of events.
    vocabulary : DataFrame (code, unit)
        The distinct pairs of code and unit ("" for none) of the codes that were asked for, sorted.
    """

    connection: duckdb.DuckDBPyConnection
    events: Path
    vocabulary: pd.DataFrame

    def chunks(self, *, events: int, text: np.ndarray) -> Iterator[Chunk]:
        """Yield the history of all subjects in order.

        Parameters
        ----------
        events : int
            Events of the file to read at once, more or less; those of one subject stay together.
        text : (pairs,) bool array
            The pairs of which the text is needed.
        """
        self.register_vocabulary(text)
        for start, stop in self.divided(events):
            yield self._chunk(start, stop, with_text=bool(text.any()))

    def register_vocabulary(self, text: np.ndarray | bool = False) -> None:
        """Make the table `wanted` of the pairs: code, unit, pair (their number), has_text."""
        wanted = self.vocabulary.assign(pair=np.arange(len(self.vocabulary), dtype=np.int32), has_text=text)
        self.connection.register("wanted_frame", wanted)
        self.connection.execute("CREATE OR REPLACE TEMP TABLE wanted AS FROM wanted_frame")

    def divided(self, events: int) -> Iterator[tuple[int, int]]:
        """Yield the first and behind the last row of consecutive subjects with so many events, more or less."""
        counts = self.connection.execute(
            "SELECT coalesce(n, 0) AS n FROM subjects LEFT JOIN "
            "(SELECT subject_id, count(*) AS n FROM events GROUP BY subject_id) AS c ON c.subject_id = person_id "
            "ORDER BY subject_row"
        ).fetchnumpy()["n"]
        yield from _divide(np.asarray(counts), events)

    def subjects_between(self, start: int, stop: int) -> tuple[str, dict[str, str]]:
        """Return the SQL of some consecutive subjects, and the range of their people's identifiers: low, high."""
        some = f"SELECT * FROM subjects WHERE subject_row >= {start} AND subject_row < {stop}"
        low, high = self.connection.execute(f"SELECT min(person_id), max(person_id) FROM ({some})").fetchone()
        return some, {"low": low, "high": high}

    @staticmethod
    def in_history() -> str:
        """Return the SQL condition that an event is known at the index time; undated ones are."""
        return _IN_HISTORY

    @staticmethod
    def same_pair() -> str:
        """Return the SQL condition that an event has the code and the unit of a pair."""
        return f"wanted.code = events.code AND wanted.unit = {_UNIT.replace('unit', 'events.unit')}"

    def _chunk(self, start: int, stop: int, *, with_text: bool) -> Chunk:
        some, limits = self.subjects_between(start, stop)
        text = ", CASE WHEN has_text THEN nullif(trim(text_value), '') END AS text" if with_text else ""
        # The range of identifiers lets DuckDB skip the row groups of other subjects.
        found = self.connection.execute(
            "SELECT subject_row, pair, "
            "coalesce((epoch_us(index_time) - epoch_us(time)) / 86400e6, 'nan'::DOUBLE) AS days, "
            "CASE WHEN isfinite(numeric_value) THEN numeric_value::DOUBLE ELSE 'nan'::DOUBLE END AS value"
            f"{text} FROM events JOIN ({some}) AS s ON events.subject_id = s.person_id "
            f"JOIN wanted ON {self.same_pair()} "
            f"WHERE events.subject_id BETWEEN $low AND $high AND {_IN_HISTORY} "
            f"ORDER BY subject_row, pair, days, value{', text' if with_text else ''}",
            limits,
        ).fetchnumpy()
        texts = None
        if with_text:
            texts = np.where(np.ma.getmaskarray(found["text"]), None, np.ma.getdata(found["text"]).astype(object))
        return Chunk(start, stop, found["subject_row"], found["pair"], found["days"], found["value"], texts)

    def check(self, patterns: Sequence[str], present: pd.Series) -> None:
        """Refuse patterns that none of the `present` codes matches, saying what there is instead.

        Raises
        ------
        DataError
            When a pattern finds no event at or before the index time of a subject of the study.
        """
        ordered = sorted(set(present))
        for pattern in dict.fromkeys(patterns):
            # The first code at or behind the pattern in the alphabet matches it if any does.
            place = bisect.bisect_left(ordered, pattern.removesuffix("$"))
            if not matches(pd.Series(ordered[place : place + 1], dtype=object), [pattern]).any():
                self._refuse(pattern)

    def _refuse(self, pattern: str) -> None:
        found = self.connection.execute(
            f"SELECT code, count(*) FILTER ({_IN_HISTORY}) AS history FROM events "
            "JOIN subjects ON events.subject_id = person_id GROUP BY code ORDER BY code"
        ).df()
        codes, later = (found.loc[kept, "code"] for kept in (found["history"] > 0, found["history"] == 0))
        where = f"{self.events.name}, column code"
        if matches(later, [pattern]).any():
            raise DataError(
                where,
                f"all events whose code {_asked(pattern)} come after the index time, or on its day without an hour",
                "Features come from events at or before the index time: take the code out of the feature set.",
            )
        # Nearest by the first characters: a prefix is shorter than the codes that it is meant to find.
        bare = pattern.removesuffix("$")
        heads = sorted({code[: len(bare) + 1] for code in codes} | {code[: len(bare)] for code in codes})
        raise DataError(
            where,
            f"no event at or before the index time has a code that {_asked(pattern)}.{nearest(bare, heads)}",
            f"The {len(codes)} codes there begin with: {shown([code.split('//')[0] for code in codes])}.",
        )


def _asked(pattern: str) -> str:
    return f"is {pattern[:-1]!r}" if pattern.endswith("$") else f"starts with {pattern!r}"


def _divide(counts: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Divide consecutive subjects so that none of the parts has many more events than `limit`."""
    start, events = 0, 0
    for place, count in enumerate(counts.tolist()):
        if place > start and (events + count > limit or place - start >= _SUBJECTS_PER_CHUNK):
            yield start, place
            start, events = place, 0
        events += count
    if start < len(counts):
        yield start, len(counts)


@contextlib.contextmanager
def open_history(
    *, table: pd.DataFrame, events: Path, patterns: Sequence[str], threads: int, folder: Path
) -> Iterator[EventHistory]:
    """Open the events of the codes that the patterns stand for.

    Parameters
    ----------
    table : DataFrame (person_id, index_time)
        The subjects of the study.
    events : Path
        Table of events, best sorted by subject: each chunk then reads its own part of the file.
    patterns : sequence of str
    threads : int
        Threads of DuckDB.
    folder : Path
        Where DuckDB puts what does not fit into memory.

    Raises
    ------
    DataError
        When a pattern stands for no event at or before the index time.
    """
    spill = str(folder / "duckdb")
    with duckdb.connect(config={"threads": threads, "temp_directory": spill, "memory_limit": _MEMORY}) as connection:
        subjects = table[["person_id", "index_time"]].assign(subject_row=np.arange(len(table), dtype=np.int32))
        connection.register("subjects_frame", subjects)
        connection.execute("CREATE TEMP TABLE subjects AS FROM subjects_frame")
        path = str(events).replace("'", "''")
        connection.execute(f"CREATE TEMP VIEW events AS FROM read_parquet('{path}')")
        pairs = connection.execute(
            f"SELECT code, {_UNIT} AS unit FROM events WHERE code IS NOT NULL GROUP BY ALL ORDER BY ALL"
        ).df()
        wanted = pairs[matches(pairs["code"], patterns)].reset_index(drop=True)
        history = EventHistory(connection, events, wanted)
        history.check(patterns, wanted["code"])
        yield history

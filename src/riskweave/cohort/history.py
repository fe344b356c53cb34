"""The events of a cohort, asked with DuckDB: which codes there are, and which events of whom have some of them.

Nobody loads the event table. The codes are listed once; the events of the codes that are asked for are gathered once,
as numbers (person, time, code) that every later question reads. DuckDB keeps to a limit of memory and puts the rest in
a folder beside the result, which is removed.
"""

import bisect
import difflib
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import pandas as pd

from riskweave.cohort.tables import EVENTS
from riskweave.errors import DataError
from riskweave.study.population import Values

__all__ = ["BIRTH", "DEATH", "History", "open_history", "values_condition"]

BIRTH = "MEDS_BIRTH"
DEATH = "MEDS_DEATH"
_LOG = logging.getLogger(__name__)
_MEMORY = "2GB"
_THREADS = 2
_REMEDY = "Correct the code: an event counts when its code starts with it (upper and lower case differ)"


@dataclass
class History:
    """The events of a cohort.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        With the view `events` (canonical) and, after `gather`, the table `hits`: person (row of the people), time,
        code (number of the code), number and words (the values); after `look_from`, `frame`: subject, person,
        index_time.
    codes : pandas.Series of str
        The distinct codes, sorted; their index are their numbers.
    several : bool
        Whether some person has several index times. What pairs a person's events with its index times takes another
        way then: a patient with a thousand of each would make a million pairs.
    """

    connection: duckdb.DuckDBPyConnection
    codes: pd.Series
    several: bool = False

    def query(self, statement: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
        """Run a statement and return what it finds."""
        return self.connection.execute(statement, list(parameters)).fetch_df()

    @cached_property
    def _sorted(self) -> list[str]:
        return self.codes.tolist()

    def numbers(self, patterns: Iterable[str]) -> list[int]:
        """Return the numbers of the codes that the patterns stand for, as `riskweave.cohort.codes.matches` reads them.

        The codes are sorted, so that those of a pattern lie side by side: code lists may have thousands of patterns.
        """
        codes, found = self._sorted, set()
        for pattern in patterns:
            bare = pattern.removesuffix("$")
            size = len(bare) + 1 if pattern.endswith("$") else len(bare)
            low = bisect.bisect_left(codes, bare)
            high = bisect.bisect_right(codes, bare, lo=low, key=lambda code, size=size: code[:size])
            found.update(range(low, high))
        return self.codes.index[sorted(found)].tolist()

    def find(self, patterns: Sequence[str], where: str, remedy: str = _REMEDY) -> list[int]:
        """Return the numbers of the codes that the patterns stand for; refuse patterns of which none finds an event.

        Parameters
        ----------
        patterns : sequence of str
            See `riskweave.cohort.codes.matches`.
        where : str
            The study's key.
        remedy : str, optional
            What the user can do.

        Raises
        ------
        DataError
            When no pattern finds an event. Single ones that find none are told in the log.
        """
        found = {pattern: self.numbers([pattern]) for pattern in patterns}
        without = [pattern for pattern in patterns if not found[pattern]]
        if len(without) == len(patterns):
            raise DataError(where, self._no_event(without[0]), remedy)
        if len(without) == 1:
            _LOG.warning("%s: %s", where, self._no_event(without[0]))
        elif without:
            _LOG.warning(
                "%s: %d of %d codes match no event, such as %r", where, len(without), len(patterns), without[0]
            )
        return sorted({number for numbers in found.values() for number in numbers})

    def _no_event(self, pattern: str) -> str:
        codes = self.codes.tolist()
        near = difflib.get_close_matches(pattern.removesuffix("$"), codes, n=3, cutoff=0.5) or codes[:3]
        return (
            f"{pattern!r} matches no event among the {len(codes)} codes of the cohort; nearest: "
            f"{', '.join(near) or 'none'}"
        )

    def gather(self, people: pd.Series, numbers: Iterable[int]) -> None:
        """Make the table `hits` of the events that have one of these codes.

        Parameters
        ----------
        people : pandas.Series of str
            Identifiers of the people; their row numbers stand for them in `hits`.
        numbers : iterable of int
            Numbers of codes.
        """
        wanted = self.codes.loc[sorted(set(numbers))]
        self.connection.register("wanted", pd.DataFrame({"number": wanted.index, "code": wanted.to_numpy(str)}))
        rows = pd.RangeIndex(len(people)).astype("int64")
        self.connection.register("people", pd.DataFrame({"person": rows, "subject_id": people.to_numpy(object)}))
        self.connection.execute(
            "CREATE TABLE hits AS SELECT p.person::INTEGER AS person, e.time, w.number::INTEGER AS code, "
            "CASE WHEN isnan(e.numeric_value) THEN NULL ELSE e.numeric_value END AS number, e.text_value AS words "
            "FROM events e JOIN wanted w ON e.code = w.code JOIN people p ON e.subject_id = p.subject_id"
        )

    def look_from(self, frame: pd.DataFrame) -> None:
        """Make the table `frame`: the subjects, from whose index times later questions look.

        Parameters
        ----------
        frame : pandas.DataFrame
            Columns person (as in `hits`) and index_time; the subject is the number of the row.
        """
        self.several = bool(frame["person"].duplicated().any())
        self.connection.register("frame", frame.assign(subject=range(len(frame))))


@contextmanager
def open_history(events: Path, scratch: Path, memory: str = _MEMORY, threads: int = _THREADS) -> Iterator[History]:
    """Open the event table of a cohort.

    Parameters
    ----------
    events : Path
        Canonical table.
    scratch : Path
        Folder for what exceeds the memory: made, and removed in the end. What a killed run left there goes first.
    memory : str
        Most memory that DuckDB takes.
    threads : int
        Threads of DuckDB; what is found does not depend on it.

    Raises
    ------
    DataError
        When the file is missing or is no event table.
    """
    if not Path(events).is_file():
        raise DataError(str(events), f"there is no such file (table {EVENTS.name})", "Run the rule that makes it")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        settings = {
            "memory_limit": memory,
            "temp_directory": str(scratch),
            "threads": threads,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=settings) as connection:
            connection.read_parquet(str(events)).create_view("events")
            codes = connection.execute("SELECT DISTINCT code FROM events ORDER BY code").fetch_df()["code"]
            yield History(connection, codes)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def values_condition(values: Values | None) -> tuple[str, list[object]]:
    """Return the SQL condition on `number` and `words` of a hit, and its parameters.

    Numbers are compared as the 32-bit numbers that events hold: 0.1 equals a measured 0.1.
    """
    if values is None:
        return "TRUE", []
    parts: list[str] = []
    parameters: list[object] = []
    for sign, limit in ((">", values.above), ("<", values.below)):
        if limit is not None:
            parts.append(f"e.number {sign} CAST(? AS FLOAT)")
            parameters.append(limit)
    if values.equals:
        same = ["e.words = ?" if isinstance(value, str) else "e.number = CAST(? AS FLOAT)" for value in values.equals]
        parts.append("(" + " OR ".join(same) + ")")
        parameters += list(values.equals)
    return " AND ".join(parts), parameters

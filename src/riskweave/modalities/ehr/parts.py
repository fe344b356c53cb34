"""Aggregates of all subjects, computed a chunk at a time and kept on disk in long form: only what there is.

What columns there are is known when all chunks are done: how many subjects have a code, whether a column has any value.
The columns are then made a few subjects at a time.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from riskweave.modalities.ehr.aggregates import Events, aggregate, ranks, segments
from riskweave.modalities.ehr.groups import Group
from riskweave.modalities.ehr.history import Chunk

__all__ = ["Part", "Parts"]


@dataclasses.dataclass(frozen=True)
class Part:
    """Aggregates of some subjects and one group.

    Attributes
    ----------
    row, stem : (n,) int64 arrays
        Subject (row of the subject table), increasing, and place among the group's stems.
    present : (n, windows) bool array
        Whether the subject has such an event in the window.
    numbers : (n, windows, aggregates) float64 array
    """

    row: np.ndarray
    stem: np.ndarray
    present: np.ndarray
    numbers: np.ndarray


class Parts:
    """The aggregates of one group.

    Parameters
    ----------
    group : Group
    folder : Path
        Where the parts are kept.
    name : str
        Start of the names of their files.
    people : (subjects,) int64 array
        The person of each row of the subject table, as a number; the rows of a person follow each other.

    Attributes
    ----------
    people : (stems, windows) int64 array
        People with an event, at any of their index times.
    filled : (stems, windows, aggregates) int64 array
        Subjects with a number that is not missing.
    implausible : (stems,) int64 array
        Values outside the range of their stem, in the longest window.
    categories : list of str
        What the numbers of `category` stand for.
    """

    def __init__(self, group: Group, folder: Path, name: str, people: np.ndarray):
        self.group = group
        shape = (len(group.stems), len(group.windows))
        self.people = np.zeros(shape, dtype=np.int64)
        self.filled = np.zeros((*shape, len(group.aggregates)), dtype=np.int64)
        self.implausible = np.zeros(len(group.stems), dtype=np.int64)
        self.categories: list[str] = []
        self._person = people
        # Of the last person so far, whom the next chunk may go on with: who has been counted for what.
        self._counted = [np.empty(0, dtype=np.int64) for _ in group.windows]
        self._numbers: dict[str, int] = {}
        self._files: list[tuple[int, int, str]] = []
        self._stem = str(folder / name)

    def add(self, chunk: Chunk) -> None:
        """Compute the aggregates of a chunk."""
        group = self.group
        events, keys, names = self._events(chunk)
        distinct, segment = segments(keys)
        events = dataclasses.replace(events, segment=segment)
        shape = (len(distinct), len(group.windows))
        present = np.empty(shape, dtype=bool)
        values = np.empty((*shape, len(group.aggregates)))
        for place, window in enumerate(group.windows):
            some = events if window is None else events.where(events.days < window)
            present[:, place] = np.bincount(some.segment, minlength=len(distinct)) > 0
            values[:, place] = aggregate(some, group.aggregates, len(distinct))
        if names is not None:
            number = group.aggregates.index("category")
            values[:, :, number] = self._numbered(values[:, :, number], names)
        stem = distinct % len(group.stems)
        for window, number in np.ndindex(self.filled.shape[1:]):
            filled = stem[~np.isnan(values[:, window, number])]
            self.filled[:, window, number] += np.bincount(filled, minlength=len(group.stems))
        for window in range(len(group.windows)):
            self._count_people(window, distinct[present[:, window]])
        stored = f"{self._stem}-{len(self._files)}"
        for name, array in (("keys", distinct), ("present", present), ("values", values)):
            np.save(f"{stored}-{name}.npy", array)
        self._files.append((chunk.start, chunk.stop, stored))

    def _count_people(self, window: int, keys: np.ndarray) -> None:
        """Count who has an event in a window; a person of several index times counts once."""
        count = len(self.group.stems)
        found = np.unique(self._person[keys // count] * count + keys % count)
        new = np.setdiff1d(found, self._counted[window], assume_unique=True)
        self.people[:, window] += np.bincount(new % count, minlength=count)
        if len(found):
            last = found[found // count == found[-1] // count]
            self._counted[window] = np.union1d(self._counted[window], last)
            self._counted[window] = self._counted[window][self._counted[window] // count == last[-1] // count]

    def _events(self, chunk: Chunk) -> tuple[Events, np.ndarray, list[str] | None]:
        """Return the events of the group's codes, sorted by the keys of their segments, and the names of categories."""
        group, count = self.group, len(self.group.stems)
        stem = group.stem_of[chunk.pair]
        taken = np.flatnonzero(stem >= 0)
        keys = chunk.row[taken].astype(np.int64) * count + stem[taken]
        if (np.diff(keys) < 0).any():
            # Stable: within a segment the order of the chunk stays.
            order = np.argsort(keys, kind="stable")
            taken, keys = taken[order], keys[order]
        pair, days = chunk.pair[taken], chunk.days[taken]
        value, category, names = None, None, None
        if group.has_values:
            value = chunk.value[taken] * group.factor[pair]
            outside = (value < group.low[pair]) | (value > group.high[pair])
            value[outside] = np.nan
            seen = outside if group.widest is None else outside & (days < group.widest)
            self.implausible += np.bincount(keys[seen] % count, minlength=count)
        if "category" in group.aggregates:
            text = chunk.text[taken]
            category, names = ranks(np.where(text == None, group.rest[pair], text))  # noqa: E711 - elementwise
        return Events(keys, days, value, category), keys, names

    def _numbered(self, local: np.ndarray, names: list[str]) -> np.ndarray:
        """Turn ranks within a chunk into the numbers of all chunks' categories."""
        for name in names:
            if name not in self._numbers:
                self._numbers[name] = len(self.categories)
                self.categories.append(name)
        known = np.array([self._numbers[name] for name in names] + [np.nan])
        return known[np.where(np.isnan(local), len(names), local).astype(np.int64)]

    def between(self, start: int, stop: int) -> Iterator[Part]:
        """Yield the aggregates of the subjects from `start` to before `stop`."""
        count = len(self.group.stems)
        for first, last, stored in self._files:
            if first < stop and last > start:
                keys, present, values = (_load(f"{stored}-{name}.npy") for name in ("keys", "present", "values"))
                low, high = np.searchsorted(keys, [start * count, stop * count])
                row, stem = np.divmod(np.asarray(keys[low:high]), count)
                yield Part(row, stem, np.asarray(present[low:high]), np.asarray(values[low:high]))


def _load(path: str) -> np.ndarray:
    """Open a stored array, of which only the parts that are looked at come into memory."""
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape, *_ = np.lib.format.read_array_header_1_0(file)
    # An array without numbers cannot be mapped.
    return np.load(path, mmap_mode="r" if np.prod(shape) else None)

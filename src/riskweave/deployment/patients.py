"""The people of a study as patients of a bundle: their raw events, static values and files."""

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.cohort.tables import SUBJECTS, read_table
from riskweave.deployment.order import Order
from riskweave.modalities.ehr.aggregates import VALUED
from riskweave.modalities.ehr.history import Chunk, open_history
from riskweave.modalities.files import latest_files
from riskweave.study.ehr import EventFeatures

__all__ = ["Source", "patients_of"]

EVENTS_AT_ONCE = 500_000
"""Events to read at once, more or less: some 50 MB."""


@dataclass(frozen=True)
class Source:
    """Where the raw data of the subjects are.

    Attributes
    ----------
    subjects, events : Path
        Tables of the subjects and of their events.
    recordings, images : Path or None
        Manifests of the files; None where the model reads none.
    windows : mapping of "ecg" and "image" to int or None
        Look-back of the files in days.
    blocks : sequence of EventFeatures
        What reads the values of events: which are plausible, and in what unit those without one are.
    """

    subjects: Path
    events: Path
    recordings: Path | None
    images: Path | None
    windows: Mapping[str, int | None]
    blocks: Sequence[EventFeatures] = ()

    @classmethod
    def of(cls, order: Order, *, subjects: str, events: str, recordings: str, images: str) -> "Source":
        """Return the raw data that an order reads."""
        windows = {
            block.modality: block.window for block in order.feature_sets.values() if block.modality in {"ecg", "image"}
        }
        return cls(
            Path(subjects),
            Path(events),
            Path(recordings) if "ecg" in windows else None,
            Path(images) if "image" in windows else None,
            windows,
            [
                events
                for block in order.feature_sets.values()
                for events in getattr(block, "events", [])
                if VALUED.intersection(events.aggregates)
            ],
        )


def patients_of(
    schema: Mapping[str, Any], source: Source, subjects: pd.Index
) -> Iterator[tuple[str, dict[str, Any], Path | None, Path | None]]:
    """Yield subject_id, patient, and the paths of ECG and image (None: the subject has none), one after the other.

    Events are read some subjects at a time, and those that are too old for every input are left out.

    Parameters
    ----------
    schema : mapping
        Content of ``schema.json``.
    source : Source
    subjects : Index of subject_id
        Whom to yield.

    Yields
    ------
    tuple
        The patient is as in ``patient.json``: `values` and `events`.
    """
    table = read_table(source.subjects, SUBJECTS).sort_values("subject_id", kind="stable", ignore_index=True)
    table = table[table["subject_id"].isin(subjects)].reset_index(drop=True)
    files = {
        "ecg": _files(source.subjects, source.recordings, source.windows.get("ecg")),
        "image": _files(source.subjects, source.images, source.windows.get("image")),
    }
    static = [each for each in schema["inputs"] if each["kind"] != "events"]
    columns = [table[each["name"]] for each in static]
    for place, (name, events) in enumerate(zip(table["subject_id"], _events(schema, source, table), strict=True)):
        given = ((each, column.iloc[place]) for each, column in zip(static, columns, strict=True))
        values = {each["name"]: _static(each, value) for each, value in given if pd.notna(value)}
        yield name, {"values": values, "events": events}, files["ecg"].get(name), files["image"].get(name)


def _static(asked: Mapping[str, Any], value: Any) -> Any:
    """Return a static value as a user gives it: rare categories are `other`."""
    if asked["kind"] == "number":
        return float(value)
    names = [each["name"] for each in asked["categories"]]
    return str(value) if str(value) in names else "other"


def _files(subjects: Path, manifest: Path | None, window: int | None) -> dict[str, Path]:
    if manifest is None:
        return {}
    chosen = latest_files(subjects=subjects, manifest=manifest, most=1, window=window)
    return {name: Path(path) for name, path in zip(chosen["subject_id"], chosen["path"], strict=True)}


def _events(schema: Mapping[str, Any], source: Source, table: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    """Yield the events of each row of the table up to its index time, by days before it."""
    asked = [each for each in schema["inputs"] if each["kind"] == "events"]
    if not asked:
        yield from ([] for _ in range(len(table)))
        return
    patterns = [code for each in asked for code in each["codes"]]
    with (
        tempfile.TemporaryDirectory() as folder,
        open_history(table=table, events=source.events, patterns=patterns, threads=1, folder=Path(folder)) as history,
    ):
        pairs = _Pairs.of(history.vocabulary, asked, source.blocks)
        for chunk in history.chunks(events=EVENTS_AT_ONCE, text=np.zeros(len(pairs.codes), dtype=bool)):
            yield from pairs.events(chunk)


@dataclass(frozen=True)
class _Pairs:
    """The pairs of code and unit that the events have, and how the pipeline takes their values.

    Attributes
    ----------
    codes, units : list of str
    reach : float64 array
        Days before the index time from which on an event counts for no input.
    low, high : float64 arrays
        Plausible range in the unit: values outside count as events without a value.
    factor : float64 array
        What values without a unit are multiplied by: a bundle takes them to be in the model's own.
    """

    codes: list[str]
    units: list[str]
    reach: np.ndarray
    low: np.ndarray
    high: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(
        cls, vocabulary: pd.DataFrame, asked: Sequence[Mapping[str, Any]], blocks: Sequence[EventFeatures]
    ) -> "_Pairs":
        codes, units = vocabulary["code"].tolist(), vocabulary["unit"].tolist()
        reach = np.zeros(len(codes))
        for each in asked:
            window = np.inf if each["window"] is None else each["window"]
            taken = matches(vocabulary["code"], each["codes"]).to_numpy(dtype=bool)
            reach[taken] = np.maximum(reach[taken], window)
        ends = [_plausible(code, unit, blocks) for code, unit in zip(codes, units, strict=True)]
        low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
        bare = [_bare(code, blocks) if unit == "" else 1.0 for code, unit in zip(codes, units, strict=True)]
        return cls(codes, units, reach, low, high, np.array(bare))

    def events(self, chunk: Chunk) -> Iterator[list[dict[str, Any]]]:
        """Yield the events of each subject of a chunk."""
        pair = chunk.pair
        # Undated events count where the whole history does.
        near = (chunk.days < self.reach[pair]) | np.isinf(self.reach[pair])
        plausible = (chunk.value >= self.low[pair]) & (chunk.value <= self.high[pair])
        value = np.where(plausible, chunk.value * self.factor[pair], np.nan)[near]
        row, pair, days = chunk.row[near], pair[near], chunk.days[near]
        ends = np.searchsorted(row, np.arange(chunk.start, chunk.stop + 1))
        for first, last in itertools.pairwise(ends.tolist()):
            some = slice(first, last)
            yield [
                self._event(*each)
                for each in zip(pair[some].tolist(), days[some].tolist(), value[some].tolist(), strict=True)
            ]

    def _event(self, pair: int, days: float, value: float) -> dict[str, Any]:
        event: dict[str, Any] = {"code": self.codes[pair], "days_before": None if np.isnan(days) else days}
        return event if np.isnan(value) else event | {"value": value, "unit": self.units[pair]}


def _takers(code: str, blocks: Sequence[EventFeatures]) -> list[EventFeatures]:
    return [block for block in blocks if matches(pd.Series([code]), block.codes).iloc[0]]


def _plausible(code: str, unit: str, blocks: Sequence[EventFeatures]) -> tuple[float, float]:
    """Return the plausible range of a code's values in a unit, of all blocks that take it."""
    low, high = -np.inf, np.inf
    for block in _takers(code, blocks):
        if block.range is not None:
            ends = sorted(end / block.convert.get(unit, 1.0) for end in block.range)
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def _bare(code: str, blocks: Sequence[EventFeatures]) -> float:
    """Return by what values of a code without a unit are multiplied; the study sees to it that blocks agree."""
    return next((block.convert.get("", 1.0) for block in _takers(code, blocks)), 1.0)

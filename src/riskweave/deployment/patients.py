"""The people of a study as patients of a bundle: their raw events, static values and files."""

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
from riskweave.modalities.ehr.history import open_history
from riskweave.modalities.files import latest_files
from riskweave.study.ehr import EventFeatures

__all__ = ["Source", "patients_of"]


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
    ranges : sequence of EventFeatures
        Blocks with a plausible range: values outside count as events without a value.
    """

    subjects: Path
    events: Path
    recordings: Path | None
    images: Path | None
    windows: Mapping[str, int | None]
    ranges: Sequence[EventFeatures] = ()

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
                if events.range is not None
            ],
        )


def patients_of(
    schema: Mapping[str, Any], source: Source, subjects: pd.Index
) -> Iterator[tuple[str, dict[str, Any], Path | None, Path | None]]:
    """Yield subject_id, patient, and the paths of ECG and image (None: the subject has none), one after the other.

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
    events = _events(schema, source, table)
    files = {
        "ecg": _files(source.subjects, source.recordings, source.windows.get("ecg")),
        "image": _files(source.subjects, source.images, source.windows.get("image")),
    }
    static = [each for each in schema["inputs"] if each["kind"] != "events"]
    for place, row in enumerate(table.to_dict("records")):
        values = {each["name"]: _static(each, row[each["name"]]) for each in static if pd.notna(row[each["name"]])}
        name = row["subject_id"]
        yield (
            name,
            {"values": values, "events": events.get(place, [])},
            files["ecg"].get(name),
            files["image"].get(name),
        )


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


def _events(schema: Mapping[str, Any], source: Source, table: pd.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """Return the events of each row of the table up to its index time, by days before it."""
    patterns = [code for each in schema["inputs"] if each["kind"] == "events" for code in each["codes"]]
    found: dict[int, list[dict[str, Any]]] = {}
    if not patterns:
        return found
    with (
        tempfile.TemporaryDirectory() as folder,
        open_history(table=table, events=source.events, patterns=patterns, threads=1, folder=Path(folder)) as history,
    ):
        codes, units = history.vocabulary["code"].tolist(), history.vocabulary["unit"].tolist()
        plausible = [_plausible(code, unit, source.ranges) for code, unit in zip(codes, units, strict=True)]
        for chunk in history.chunks(events=2_000_000, text=np.zeros(len(codes), dtype=bool)):
            for row, pair, days, value in zip(
                chunk.row.tolist(), chunk.pair.tolist(), chunk.days.tolist(), chunk.value.tolist(), strict=True
            ):
                event: dict[str, Any] = {"code": codes[pair], "days_before": None if np.isnan(days) else days}
                if plausible[pair][0] <= value <= plausible[pair][1]:
                    event |= {"value": value, "unit": units[pair]}
                found.setdefault(row, []).append(event)
    return found


def _plausible(code: str, unit: str, blocks: Sequence[EventFeatures]) -> tuple[float, float]:
    """Return the plausible range of a code's values in a unit, of all blocks that take it."""
    low, high = -np.inf, np.inf
    for block in blocks:
        if matches(pd.Series([code]), block.codes).iloc[0]:
            ends = sorted(end / block.convert.get(unit, 1.0) for end in block.range)
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high

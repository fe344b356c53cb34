"""Which columns a feature set has, decided when the events of all subjects have been counted."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.errors import DataError, StudyError, nearest
from riskweave.modalities.base import Column
from riskweave.modalities.ehr.aggregates import MEANINGS, VALUED
from riskweave.modalities.ehr.groups import Stem, shown
from riskweave.modalities.ehr.parts import Parts
from riskweave.modalities.ehr.units import check_units
from riskweave.study.features import EventFeatures, HistoryFeatures

__all__ = ["Placed", "event_columns", "history_columns", "refuse_repeated", "static_columns"]

logger = logging.getLogger(__name__)

# Columns of the subject table that are never features: who, when, and the follow-up, which only the future knows.
_NOT_FEATURES = ("subject_id", "person_id", "index_time", "followup_end")


@dataclasses.dataclass(frozen=True)
class Placed:
    """A column of the feature table and where its numbers are.

    Attributes
    ----------
    column : Column
    parts : Parts
    stem, window : int
        Places in the group of `parts`.
    aggregate : int or None
        Place in the group; None for `ever`. A history takes the stems in `stems` instead of one.
    stems : (codes,) int64 array or None
        Of a history: the stem of each of its codes.
    """

    column: Column
    parts: Parts
    stem: int
    window: int
    aggregate: int | None
    stems: np.ndarray | None = None


def static_columns(table: pd.DataFrame, names: Sequence[str], subjects: Path) -> tuple[pd.DataFrame, list[Column]]:
    """Take columns of the subject table as features: numbers, and text as categories.

    Raises
    ------
    DataError
        When a column does not exist, cannot be a feature, is empty, or holds neither numbers nor text.
    """
    allowed = [name for name in table.columns if name not in _NOT_FEATURES]
    remedy = f"Static columns can be: {', '.join(allowed) or 'none'}."
    columns, series = [], {}
    for name in names:
        where = f"{subjects.name}, column {name}"
        if name in _NOT_FEATURES:
            raise DataError(where, "it cannot be a feature", remedy)
        if name not in table.columns:
            raise DataError(where, f"there is no such column.{nearest(name, allowed)}", remedy)
        values = table[name]
        if values.isna().all():
            raise DataError(
                where,
                f"the column is empty for all {len(table)} subjects",
                "Fill it, or take it out of `static` in the study file.",
            )
        kind = pd.api.types.infer_dtype(values, skipna=True)
        if kind == "boolean":
            values = values.astype("Float64")
        elif kind in ("string", "categorical"):
            values = values.astype(object)
        elif not pd.api.types.is_numeric_dtype(values):
            raise DataError(
                where,
                f"the column holds {kind} values",
                "A static feature is a number or a category; make a number of a date (age, days before the index).",
            )
        series[name] = values
        kind = "numeric" if pd.api.types.is_numeric_dtype(values) else "categorical"
        columns.append(Column(name, "ehr", kind=kind, description=f"Column {name} of the subject table"))
    return pd.DataFrame(series, index=table.index), columns


def _suffix(window: int | None) -> tuple[str, str]:
    return ("", "") if window is None else (f"@{window}d", f" in the {window} days up to the index time")


def _members(place: int, parts: Sequence[Parts]) -> list[tuple[Parts, int]]:
    return [(some, number) for some in parts for number, stem in enumerate(some.group.stems) if stem.place == place]


def _too_few(block: EventFeatures | HistoryFeatures, window: int | None, events: Path) -> DataError:
    many = isinstance(block, HistoryFeatures) or block.by_code
    asked = " or ".join(repr(pattern) for pattern in block.codes[:5])
    when = "at or before" if window is None else f"in the {window} days up to"
    fewest = f"{block.minimum_subjects} people have" if many else "anybody has"
    return DataError(
        f"{events.name}, column code",
        f"no code that starts with {asked} is one that {fewest} {when} the index time",
        "Take the codes out of the feature set, lengthen its `window` or lower its `minimum_subjects`.",
    )


def event_columns(
    block: EventFeatures, place: int, parts: Sequence[Parts], *, counts: pd.DataFrame, events: Path, total: int
) -> list[Placed]:
    """Return the columns of a block: by code, window and aggregate.

    Parameters
    ----------
    block : EventFeatures
    place : int
        Number of the block.
    parts : sequence of Parts
        The aggregates of all subjects.
    counts : DataFrame (code, unit, values, subjects)
        As for `riskweave.modalities.ehr.units.check_units`.
    events : Path
        The table of events.
    total : int
        Number of subjects.

    Raises
    ------
    DataError
        When too few people have such events, values are in several units, or columns would be empty.
    """
    fewest = block.minimum_subjects if block.by_code else 1
    kept = []
    for some, stem in _members(place, parts):
        enough = [window for window, count in enumerate(some.people[stem]) if count >= fewest]
        if not block.by_code and len(enough) < len(some.group.windows):
            lacking = min(set(range(len(some.group.windows))) - set(enough))
            raise _too_few(block, some.group.windows[lacking], events)
        if enough:
            kept.append((some, stem, enough))
    if not kept:
        widest = None if not block.windows else max(block.windows, key=lambda days: days or np.inf)
        raise _too_few(block, block.window or widest, events)
    units = [""] * len(kept)
    if VALUED.intersection(block.aggregates):
        taken = [(block, some.group.stem_of == stem) for some, stem, _ in kept]
        units = check_units(taken, counts, f"{events.name}, column unit")
    placed, empty = [], []
    for (some, stem, enough), unit in zip(kept, units, strict=True):
        _log_implausible(block, some, stem)
        for window in enough:
            for name in block.aggregates:
                number = None if name == "ever" else some.group.aggregates.index(name)
                column = _column(some, stem, some.group.windows[window], name, unit)
                filled = number is None or some.filled[stem, window, number]
                (placed if filled else empty).append(Placed(column, some, stem, window, number))
    names = [made.column.name for made in empty]
    if empty and (not block.by_code or not placed):
        raise DataError(
            f"{events.name}, column numeric_value",
            f"{len(empty)} feature column(s) would be missing for all {total} subjects: {shown(names)}",
            "`last`, `mean`, `min`, `max` need plausible values, `sd` two of a subject, `slope` values at two times, "
            "`time_since` dated events, `category` text. For codes without values ask for `ever`, `count` or "
            "`time_since`.",
        )
    if empty:
        # Nobody asked for these columns one by one: some codes have no values, or never at two times.
        logger.info("left out %d column(s) that are missing for all subjects: %s", len(empty), shown(names))
    return placed


def _log_implausible(block: EventFeatures, parts: Parts, stem: int) -> None:
    if block.range is not None:
        low, high = block.range
        name = parts.group.stems[stem].name
        logger.info("%s: %d values outside %g to %g are left out", name, parts.implausible[stem], low, high)


def _column(parts: Parts, place: int, window: int | None, name: str, unit: str) -> Column:
    stem: Stem = parts.group.stems[place]
    block = stem.block
    suffix, lookback = _suffix(window)
    meaning = MEANINGS[name]
    described = f"{meaning.description}, {stem.meaning}{lookback}"
    implausible = None
    if block.range is not None and name in VALUED:
        # The count is no part of the description, which reports show: it may be of few subjects.
        described += ", values within {:g} to {:g}".format(*block.range)
        implausible = int(parts.implausible[place])
    return Column(
        name=f"{stem.name}:{name}{suffix}",
        modality="ehr",
        unit=meaning.unit.format(unit).strip(),
        kind="categorical" if name == "category" else "numeric",
        description=described,
        implausible=implausible,
    )


def history_columns(block: HistoryFeatures, place: int, parts: Sequence[Parts], events: Path) -> Placed:
    """Return the sparse column of a history.

    Raises
    ------
    DataError
        When no code is one that enough people have.
    """
    members = _members(place, parts)
    some = members[0][0]
    kept = [stem for _, stem in members if some.people[stem, 0] >= block.minimum_subjects]
    if not kept:
        raise _too_few(block, block.window, events)
    suffix, lookback = _suffix(block.window)
    what = "1 for each code" if block.aggregate == "ever" else "log(1 + number of events) of each code"
    column = Column(
        name=f"{block.name}{suffix}",
        modality="ehr",
        kind="sparse",
        description=f"{what} of {shown([f'{code}*' for code in block.codes])}{lookback}",
        codes=tuple(some.group.stems[stem].name for stem in kept),
        components=block.components,
    )
    logger.info("%s: %d of %d codes kept", column.name, len(kept), len(members))
    return Placed(column, some, -1, 0, 0, stems=np.array(kept))


def refuse_repeated(columns: Sequence[Column]) -> None:
    """Refuse columns of one name.

    Raises
    ------
    StudyError
    """
    names = [column.name for column in columns]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise StudyError(
            f"{len(repeated)} column(s) of the ehr feature set would have the same name, first {repeated[0]!r}: list "
            "an aggregate and a window once, and give blocks that share codes and window a `name` of their own"
        )

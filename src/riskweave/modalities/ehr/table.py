"""The feature table of an ehr feature set, made a few subjects at a time."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

from riskweave.cohort.tables import SUBJECTS, read_table
from riskweave.files import replacing
from riskweave.modalities.base import FeatureWriter
from riskweave.modalities.ehr.aggregates import MEANINGS
from riskweave.modalities.ehr.columns import (
    Placed,
    event_columns,
    history_columns,
    refuse_repeated,
    static_columns,
)
from riskweave.modalities.ehr.groups import make_groups
from riskweave.modalities.ehr.history import Chunk, open_history
from riskweave.modalities.ehr.parts import Parts
from riskweave.study.features import EhrFeatures, EventFeatures, HistoryFeatures

__all__ = ["aggregate_events"]

logger = logging.getLogger(__name__)

# Rows of a row group: at most so many, and fewer of wide tables. Nothing else decides, so that the file is the same.
_ROWS = 16_384
_CELLS = 2**24


def aggregate_events(
    *,
    subjects: Path,
    events: Path,
    features: EhrFeatures,
    output: Path,
    threads: int = 1,
    chunk_events: int = 2_000_000,
) -> None:
    """Make the feature table of an `ehr` feature set.

    Columns of events are named ``<code>:<aggregate>``, with ``@<window>d`` behind it when they look back over a window
    (``LAB//CHOL:last``, ``ICD10//I50:ever@365d``). `count` and `ever` are 0 for a subject without such an event, the
    other aggregates missing. Values that are missing, not finite or implausible count as events without a value.

    Parameters
    ----------
    subjects : Path
        Table of subjects (`riskweave.cohort.tables.SUBJECTS`) with the static columns; events belong to `person_id`.
    events : Path
        Table of events (`riskweave.cohort.tables.EVENTS`).
    features : EhrFeatures
        The block of the study file. Windows are in days: an event counts when it is less than `window` days before the
        index time.
    output : Path
        The feature table to write: a row for every subject of the study or, with ``rows: measured``, for those with
        some value or event. Histories are sparse columns (`riskweave.modalities.sparse`).
    threads : int
        Threads that read, select and sort the events.
    chunk_events : int
        Events held in memory at once, more or less. Neither this nor `threads` changes a bit of the result.

    Raises
    ------
    DataError
        When a static column does not exist, is not a feature or holds no value; when a code pattern finds no event at
        or before the index time; when values that share a column are in several units; when a column would be missing
        for all subjects (with `by_code` single columns are left out, and only a block without any column is an error).
    StudyError
        When two columns would have the same name.
    """
    table = read_table(subjects, SUBJECTS).sort_values("subject_id", kind="stable", ignore_index=True)
    static, columns = static_columns(table, features.static, subjects)
    placed: list[Placed] = []
    with _workspace(output) as folder:
        if features.events or features.history:
            placed = _compute(table, events, features, folder, threads=threads, chunk_events=chunk_events)
        columns = [*columns, *(made.column for made in placed)]
        refuse_repeated(columns)
        rows = 0
        step = max(1, min(_ROWS, _CELLS // max(1, len(columns))))
        with replacing(output) as (partial,), FeatureWriter(partial, columns, name=output.name) as writer:
            for start in range(0, max(1, len(table)), step):
                stop = min(start + step, len(table))
                frame, sparse, measured = _rows(static.iloc[start:stop], placed, start, stop)
                frame.insert(0, "subject_id", table["subject_id"].iloc[start:stop])
                if features.rows == "measured":
                    frame = frame[measured]
                    sparse = {name: matrix[measured] for name, matrix in sparse.items()}
                rows += len(frame)
                writer.write(frame, sparse)
    logger.info("%d columns for %d of %d subjects", len(columns), rows, len(table))


@contextlib.contextmanager
def _workspace(output: Path) -> Iterator[Path]:
    """Yield a folder beside the output for what does not fit into memory; a killed run's is emptied by the next."""
    folder = output.with_name(f".{output.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _compute(
    table: pd.DataFrame, events: Path, features: EhrFeatures, folder: Path, *, threads: int, chunk_events: int
) -> list[Placed]:
    """Aggregate the events of all subjects, and decide which columns that makes."""
    blocks: list[EventFeatures | HistoryFeatures] = [*features.events, *features.history]
    patterns = [pattern for block in blocks for pattern in block.codes]
    with open_history(table=table, events=events, patterns=patterns, threads=threads, folder=folder) as history:
        vocabulary = history.vocabulary
        groups = make_groups(blocks, vocabulary)
        people = pd.factorize(table["person_id"])[0].astype(np.int64)
        parts = [Parts(group, folder, str(number), people) for number, group in enumerate(groups)]
        text = np.zeros(len(vocabulary), dtype=bool)
        for group in groups:
            if "category" in group.aggregates:
                text |= group.stem_of >= 0
        counts = vocabulary.assign(events=0, values=0, subjects=0)
        for chunk in history.chunks(events=chunk_events, text=text):
            _count(chunk, counts)
            for some in parts:
                some.add(chunk)
        history.check(patterns, counts.loc[counts["events"] > 0, "code"])
    placed: list[Placed] = []
    for place, block in enumerate(blocks):
        if isinstance(block, HistoryFeatures):
            placed.append(history_columns(block, place, parts, events))
        else:
            placed.extend(event_columns(block, place, parts, counts=counts, events=events, total=len(table)))
    return placed


def _count(chunk: Chunk, counts: pd.DataFrame) -> None:
    """Count the events, the values and the subjects with values of each pair of code and unit."""
    pairs = len(counts)
    counts["events"] += np.bincount(chunk.pair, minlength=pairs)
    valued = ~np.isnan(chunk.value)
    row, pair = chunk.row[valued], chunk.pair[valued]
    counts["values"] += np.bincount(pair, minlength=pairs)
    # Sorted by subject and pair: each of both begins where one of them changes.
    new = (np.diff(row, prepend=-1) != 0) | (np.diff(pair, prepend=-1) != 0)
    counts["subjects"] += np.bincount(pair[new], minlength=pairs)


def _rows(
    static: pd.DataFrame, placed: Sequence[Placed], start: int, stop: int
) -> tuple[pd.DataFrame, dict[str, scipy.sparse.csr_array], np.ndarray]:
    """Return the features of some subjects, the sparse ones, and who has any of them."""
    dense = [made for made in placed if made.stems is None]
    absent = np.array([_absent(made) for made in dense])
    values = np.empty((stop - start, len(dense)), order="F")
    values[:] = absent
    for parts in dict.fromkeys(made.parts for made in dense):
        _fill(values, parts, [(number, made) for number, made in enumerate(dense) if made.parts is parts], start, stop)
    sparse = {made.column.name: _history(made, start, stop) for made in placed if made.stems is not None}
    columns = {made.column.name: values[:, number] for number, made in enumerate(dense)}
    for made in dense:
        if made.column.kind == "categorical":
            names = np.array([*made.parts.categories, None], dtype=object)
            numbers = columns[made.column.name]
            columns[made.column.name] = names[np.where(np.isnan(numbers), -1, numbers).astype(np.int64)]
    measured = static.notna().to_numpy().any(axis=1)
    measured |= (~np.isnan(values) & (values != absent)).any(axis=1)
    for matrix in sparse.values():
        measured |= np.diff(matrix.indptr) > 0
    frame = pd.concat([static, pd.DataFrame(columns, index=static.index)], axis=1)
    return frame, sparse, measured


def _absent(made: Placed) -> float:
    return MEANINGS["ever" if made.aggregate is None else made.parts.group.aggregates[made.aggregate]].absent


def _fill(values: np.ndarray, parts: Parts, placed: Sequence[tuple[int, Placed]], start: int, stop: int) -> None:
    """Put the aggregates of one group into their columns."""
    targets: dict[tuple[int, int | None], np.ndarray] = {}
    for number, made in placed:
        key = (made.window, made.aggregate)
        targets.setdefault(key, np.full(len(parts.group.stems), -1))[made.stem] = number
    for part in parts.between(start, stop):
        for (window, aggregate), target in targets.items():
            column = target[part.stem]
            kept = np.flatnonzero((column >= 0) & part.present[:, window])
            found = 1.0 if aggregate is None else part.numbers[kept, window, aggregate]
            values[part.row[kept] - start, column[kept]] = found


def _history(made: Placed, start: int, stop: int) -> scipy.sparse.csr_array:
    """Return the codes of a history that some subjects have."""
    stems = made.parts.group.stems
    block = stems[made.stems[0]].block
    code_of = np.full(len(stems), -1)
    code_of[made.stems] = np.arange(len(made.stems))
    rows, codes, counts = [], [], []
    for part in made.parts.between(start, stop):
        code = code_of[part.stem]
        kept = (code >= 0) & part.present[:, made.window]
        rows.append(part.row[kept] - start)
        codes.append(code[kept])
        counts.append(part.numbers[kept, made.window, 0])
    number = np.concatenate(counts)
    values = np.ones(len(number)) if block.aggregate == "ever" else np.log1p(number)
    places = (np.concatenate(rows), np.concatenate(codes))
    shape = (stop - start, len(made.stems))
    return scipy.sparse.csr_array((values.astype(np.float32), places), shape=shape)

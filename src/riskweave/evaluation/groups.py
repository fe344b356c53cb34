"""Groups of subjects that metrics are repeated in: everyone, availability patterns, subgroups, age bands."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import SUBJECTS, read_metadata, read_table
from riskweave.errors import DataError, nearest
from riskweave.evaluation.inputs import FEWEST_SHOWN, Comparison, availability_patterns
from riskweave.study.evaluation import Evaluation

__all__ = ["EVERYONE", "Counts", "check_groups", "count_shown", "group_members"]

EVERYONE = ("all", "all")
MISSING = "missing"
# More values than this are those of a measurement or of an identifier, not of a group.
MOST_VALUES = 100

Counts = tuple[int | None, int | None, bool]


def count_shown(comparison: Comparison, members: np.ndarray, *, everyone: bool = False) -> Counts:
    """Count subjects and target events, and tell whether the group is large enough to be shown.

    Counts of fewer than 10 people (not index times) are None; a group is shown where neither is. Everyone is shown.

    Parameters
    ----------
    comparison : Comparison
    members : (n,) bool array
    everyone : bool, default False
    """
    parts = members, members & (comparison.event == 1)
    counts = [int(part.sum()) for part in parts]
    if everyone:
        return *counts, True
    enough = [len(np.unique(comparison.people[part])) >= FEWEST_SHOWN for part in parts]
    n, events = (count if shown else None for count, shown in zip(counts, enough, strict=True))
    return n, events, all(enough)


def _column(table: pd.DataFrame, column: str, key: str, where: str) -> pd.Series:
    contract = {field.name for field in SUBJECTS.columns}
    allowed = [name for name in table.columns if name not in contract]
    if column not in allowed:
        raise DataError(
            f"{where}, column {column}",
            f"`{key}` names the column {column!r}, which is no column of the subject table to group by."
            f"{nearest(column, allowed)}",
            f"Allowed: {', '.join(allowed) or 'none, the table has no further column'}",
        )
    if table[column].isna().all():
        raise DataError(
            f"{where}, column {column}",
            f"all {len(table)} subjects lack a value (`{key}` names the column)",
            f"Fill the column, or remove it from `{key}`",
        )
    return table[column]


def _values(values: pd.Series, key: str, where: str) -> np.ndarray:
    """Text of each value; whole numbers without decimals, empty ones as `missing`."""
    if values.nunique() > MOST_VALUES:
        raise DataError(
            f"{where}, column {values.name}",
            f"has {values.nunique()} different values, more than {MOST_VALUES}: no subgroups (`{key}` names it)",
            f"Take it out of `{key}`; for age give `evaluation.age_bands`",
        )
    empty = values.isna().to_numpy()
    numbers = pd.api.types.is_float_dtype(values)
    texts = [f"{value:g}" if numbers else str(value) for value in values]
    return np.where(empty, MISSING, np.array(texts, dtype=object)).astype(str)


def _bands(ages: pd.Series, cuts: Sequence[float], where: str) -> tuple[np.ndarray, list[str]]:
    """Name of each age's band, and the bands in order."""
    if not pd.api.types.is_numeric_dtype(ages):
        raise DataError(
            f"{where}, column age", "holds no numbers", "`evaluation.age_bands` needs a column `age` in years"
        )
    inner = [f"{low:g} to <{high:g}" for low, high in pairwise(cuts)]
    names = [f"<{cuts[0]:g}", *inner, f">={cuts[-1]:g}"]
    band = np.array(names)[np.searchsorted(cuts, ages.to_numpy(float, na_value=0.0), side="right")]
    return np.where(ages.isna(), MISSING, band).astype(str), [*names, MISSING]


def _named_groups(table: pd.DataFrame, evaluation: Evaluation, where: str) -> dict[tuple[str, str], np.ndarray]:
    """Members of each subgroup and age band that the study names, among the rows of the subject table."""
    groups = {}
    for place, column in enumerate(evaluation.subgroups):
        key = f"evaluation.subgroups[{place}]"
        values = _values(_column(table, column, key, where), key, where)
        for value in sorted(set(values), key=lambda name: (name == MISSING, name)):
            groups[column, value] = values == value
    if evaluation.age_bands:
        ages = _column(table, "age", "evaluation.age_bands", where)
        bands, names = _bands(ages, evaluation.age_bands, where)
        groups |= {("age", name): bands == name for name in names if (bands == name).any()}
    return groups


def check_groups(*, subjects: Path, evaluation: Evaluation) -> None:
    """Check the columns that subgroups and age bands are made of, before any training.

    Parameters
    ----------
    subjects : Path
        Subject table of the cohort, whatever its source.
    evaluation : Evaluation
        Its `subgroups` and `age_bands`.

    Raises
    ------
    DataError
        When the table lacks a column, a column is empty for all subjects, has too many values to be of groups, or
        `age` holds no numbers. It names the key, the column, the nearest and the allowed ones.
    """
    where = read_metadata(subjects).get("where", str(subjects))
    _named_groups(read_table(Path(subjects), SUBJECTS), evaluation, where)


def group_members(
    comparison: Comparison, *, availability: dict[str, list[Path]], subjects: Path, evaluation: Evaluation
) -> dict[tuple[str, str], np.ndarray]:
    """Members of each group, by (group, group_value).

    Parameters
    ----------
    comparison : Comparison
    availability : dict of modality to list of Path
        As :func:`riskweave.evaluation.inputs.availability_patterns`.
    subjects : Path
        Subject table of the cohort.
    evaluation : Evaluation
        Its `subgroups` and `age_bands`.

    Raises
    ------
    DataError
        When the subject table lacks a column, or a column is none of groups.
    """
    groups = {EVERYONE: np.ones(len(comparison.time), dtype=bool)}
    if availability:
        patterns = availability_patterns(comparison.subject_id, availability)
        for pattern in sorted(set(patterns), key=lambda name: (-name.count("+"), name == "none", name)):
            groups["modalities", str(pattern)] = patterns == pattern
    if not evaluation.subgroups and not evaluation.age_bands:
        return groups
    table = read_table(Path(subjects), SUBJECTS).set_index("subject_id").loc[comparison.subject_id]
    return groups | _named_groups(table, evaluation, str(subjects))

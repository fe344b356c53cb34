"""Division of the subjects into folds, which all experiments of a study share.

`stratified`
    Test folds by stratified k-fold over the type of event (censored, target, each competing cause, not at risk); the
    validation rows of a fold are drawn from its other rows, stratified alike.
`group`
    Whole groups make up a test fold, the folds as even in size as groups allow. The validation rows are whole groups
    too, where in every fold some can be held out whose share is within half and one and a half times the one asked for,
    with target events on both sides; else they are drawn from each fold's other rows, stratified by type of event. The
    metadata of the table tell which (``validation``). Either way no group of a test fold is trained on or tuned with.

What is divided are people. Subjects of one person (several index times) have the same role in every fold; a person
counts by the target event where one of its subjects has it, else by a competing event, else as censored.

Subjects not at risk are divided too, as a stratum of their own: they have a fold in which their features are made.
Competing causes (and the subjects not at risk) with fewer subjects than folds are divided together with the censored.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedKFold

from riskweave.cohort.tables import FINAL, FOLDS, OUTCOMES, SUBJECTS, read_table, write_table
from riskweave.errors import DataError, nearest
from riskweave.study.cohort import Folds

__all__ = ["assign_folds", "divide_everybody"]

_LOG = logging.getLogger(__name__)
_NOT_AT_RISK = -1
_CENSORED, _TARGET = 0, 1


def _strata(subjects: pd.DataFrame, outcome: pd.DataFrame, person: np.ndarray, folds: Folds) -> np.ndarray:
    """Return the type of event of each person, rare types counted with the censored."""
    events = outcome.set_index("subject_id")["event"]
    own = subjects["subject_id"].map(events).fillna(_NOT_AT_RISK).astype(np.int64).to_numpy()
    # Of a person's subjects the event of the lowest rank counts: target, competing by cause, censored, not at risk.
    last = np.iinfo(np.int64).max
    ranks = np.where(own > _CENSORED, own, last - (own == _CENSORED))
    strata = np.full(person.max() + 1, last)
    np.minimum.at(strata, person, ranks)
    strata = np.select([strata == last, strata == last - 1], [_NOT_AT_RISK, _CENSORED], strata)
    targets = int((strata == _TARGET).sum())
    if targets < folds.count:
        problem = f"{targets} subjects have the target event, too few for {folds.count} folds with at least one each"
        raise DataError(
            "folds.count", problem, f"Allowed here: 2 to {targets} folds" if targets >= 2 else "Add subjects"
        )
    values, counts = np.unique(strata, return_counts=True)
    rare = values[(counts < folds.count) & (values != _TARGET)]
    return np.where(np.isin(strata, rare), _CENSORED, strata)


def _groups(subjects: pd.DataFrame, person: np.ndarray, folds: Folds) -> np.ndarray:
    """Return the group of each person as numbers."""
    where = "folds.group"
    further = [name for name in subjects.columns if name not in SUBJECTS.columns.names]
    if folds.group not in further:
        problem = f"there is no column {folds.group!r} in the subject table; it has: {', '.join(further) or 'none'}"
        raise DataError(where, problem, f"Correct folds.group or add the column.{nearest(folds.group, further)}")
    missing = int(subjects[folds.group].isna().sum())
    if missing:
        problem = f"{missing} of {len(subjects)} subjects have no group (column {folds.group} of the subject table)"
        raise DataError(where, problem, "Give every subject a group")
    groups, names = pd.factorize(subjects[folds.group], sort=True)
    if len(names) < folds.count:
        problem = f"column {folds.group} holds {len(names)} groups, fewer than the {folds.count} folds"
        raise DataError(where, problem, f"Allowed for folds.count: 2 to {len(names)}, or use strategy: stratified")
    first, last = np.full(person.max() + 1, len(names)), np.full(person.max() + 1, -1)
    np.minimum.at(first, person, groups)
    np.maximum.at(last, person, groups)
    if mixed := int((first != last).sum()):
        problem = f"{mixed} of {len(first)} people have subjects in several groups (column {folds.group})"
        raise DataError(where, problem, "Take a column that is the same at all index times of a person")
    return first


def _stratified_part(strata: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw that share of each stratum; of two or more target events both sides get some."""
    chosen = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        size = round(share * len(members))
        if stratum == _TARGET and len(members) > 1:
            # Neither side can do without a target event, however few there are.
            size = min(max(size, 1), len(members) - 1)
        chosen[members[:size]] = True
    return chosen


def _group_part(groups: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray | None:
    """Draw whole groups that together come nearest to that share; None where none comes near."""
    members = rng.permutation(np.unique(groups))
    sizes = np.array([(groups == group).sum() for group in members])
    wanted, taken, total = share * len(groups), [], 0
    for group, size in zip(members, sizes, strict=True):
        if abs(total + size - wanted) < abs(total - wanted):
            taken.append(group)
            total += size
    if not wanted / 2 <= total <= 1.5 * wanted:
        return None
    return np.isin(groups, taken)


def _validation(
    rests: dict[int, np.ndarray], strata: np.ndarray, groups: np.ndarray | None, folds: Folds
) -> tuple[list[np.ndarray], str]:
    """Return for each fold which of the rows outside its test rows are for validation, and how they were drawn.

    `rests` holds these rows by the number of the fold.
    """
    if groups is not None:
        parts = [
            _group_part(groups[rest], folds.validation, np.random.default_rng([folds.seed, fold]))
            for fold, rest in rests.items()
        ]
        if all(
            part is not None and all((strata[rest][side] == _TARGET).any() for side in (part, ~part))
            for rest, part in zip(rests.values(), parts, strict=True)
        ):
            return parts, "group"
        _LOG.info("folds: the groups are too few or too large for validation by group; it is stratified by event")
    return [
        _stratified_part(strata[rest], folds.validation, np.random.default_rng([folds.seed, fold]))
        for fold, rest in rests.items()
    ], "stratified"


def _check_roles(roles: np.ndarray, strata: np.ndarray, fold: int, folds: Folds) -> None:
    """Refuse a fold of which a part has no target event: nothing can be learnt, tuned or measured there."""
    for role in ("test", "train", "validation"):
        part = strata[roles == role]
        if not (part == _TARGET).any():
            targets = int((strata == _TARGET).sum())
            problem = (
                f"the {role} rows of fold {fold} hold {len(part)} subjects and 0 of the {targets} target events "
                f"(single-class fold)"
            )
            remedy = "Take fewer folds (folds.count), a larger folds.validation, or other groups"
            raise DataError(f"folds (strategy {folds.strategy})", problem, remedy)


def assign_folds(*, subjects: Path, outcomes: Path, folds: Folds, output: Path) -> None:
    """Divide all subjects into folds and write the table.

    Parameters
    ----------
    subjects : Path
        Canonical subject table.
    outcomes : Path
        Outcomes of the endpoint whose events are balanced.
    folds : Folds
        The study's block.
    output : Path
        Parquet: subject_id, fold (0 to count - 1), role (train, validation, test); `count` rows per subject. Its
        metadata `validation` tells whether validation rows are whole groups (group) or drawn by event (stratified).

    Raises
    ------
    DataError
        When there are fewer target events or groups than folds, a group is missing, or a part of a fold has no target
        event, or a person is in several groups.
    """
    table = read_table(subjects, SUBJECTS)
    person, _ = pd.factorize(table["person_id"])
    strata = _strata(table, read_table(outcomes, OUTCOMES), person, folds)
    groups = None
    if folds.strategy == "group":
        groups = _groups(table, person, folds)
        splits = GroupKFold(n_splits=folds.count).split(strata, groups=groups)
    else:
        splits = StratifiedKFold(n_splits=folds.count, shuffle=True, random_state=folds.seed).split(strata, strata)
    rests = [rest for rest, _ in splits]
    parts, drawn_by = _validation(dict(enumerate(rests)), strata, groups, folds)
    frames = []
    for fold, (rest, held_out) in enumerate(zip(rests, parts, strict=True)):
        roles = np.full(len(strata), "test", dtype=object)
        roles[rest] = np.where(held_out, "validation", "train")
        _check_roles(roles, strata, fold, folds)
        frames.append(pd.DataFrame({"subject_id": table["subject_id"], "fold": np.int16(fold), "role": roles[person]}))
    write_table(pd.concat(frames, ignore_index=True), output, FOLDS, {"validation": drawn_by})


def divide_everybody(*, subjects: Path, outcomes: Path, folds: Folds, validation: float, output: Path) -> None:
    """Divide all subjects for a final fit, which nobody is left to test: most train, a share validates.

    Validation rows choose penalties and stop the training, as in the folds. They are whole groups where the folds are
    and some come near to the share, with target events on both sides; else they are drawn stratified by event.

    Parameters
    ----------
    subjects : Path
        Canonical subject table.
    outcomes : Path
        Outcomes of the endpoint that is fitted.
    folds : Folds
        The study's block: its strategy and seed.
    validation : float
        Share of the people, 0 to 1.
    output : Path
        Parquet, as from `assign_folds`: one row per subject, fold `FINAL`, role train or validation.

    Raises
    ------
    DataError
        When there are fewer target events than folds, or groups are missing.
    """
    table = read_table(subjects, SUBJECTS)
    person, _ = pd.factorize(table["person_id"])
    strata = _strata(table, read_table(outcomes, OUTCOMES), person, folds)
    groups = _groups(table, person, folds) if folds.strategy == "group" else None
    wanted = folds.model_copy(update={"validation": validation})
    (held_out,), drawn_by = _validation({FINAL: np.arange(len(strata))}, strata, groups, wanted)
    roles = np.where(held_out, "validation", "train")[person]
    frame = pd.DataFrame({"subject_id": table["subject_id"], "fold": np.int16(FINAL), "role": roles})
    write_table(frame, output, FOLDS, {"validation": drawn_by})

"""Names under ``deployment.inputs`` that the data have to answer for: codes that feature sets find by themselves."""

from collections.abc import Collection, Mapping
from pathlib import Path

from riskweave.deployment.inputs import source_of
from riskweave.errors import StudyError, nearest
from riskweave.study.ehr import EhrFeatures
from riskweave.survival.sets import read_set

__all__ = ["check_told"]


def check_told(names: Collection[str], sets: Mapping[str, EhrFeatures], tables: Mapping[str, Path]) -> list[str]:
    """Check that each name is an input behind some column of a deployed experiment's tables.

    A column that a model does not need is no mistake: its name may be told, and is not asked for.

    Parameters
    ----------
    names : collection of str
        Keys of ``deployment.inputs``.
    sets : mapping of str to EhrFeatures
        Feature sets of the record, of all deployed experiments.
    tables : mapping of str to Path
        Their feature tables.

    Returns
    -------
    list of str
        All inputs that may be named, sorted.

    Raises
    ------
    StudyError
        With the nearest name, where one is none of them: its limits and units would be dropped without a word.
    """
    known: set[str] = set()
    for name, block in sets.items():
        for column in read_set(name, tables[name], None).table_columns:
            known.add(column.name if column.name in block.static else source_of(column.name, block.events).stem)
    wrong = [
        f"deployment.inputs: no deployed experiment asks for {name!r}.{nearest(name, known)}"
        for name in names
        if name not in known
    ]
    if wrong:
        why = "A code has no column where too few people have it before their index times"
        raise StudyError("\n".join([*wrong, f"{why}. Allowed: {', '.join(sorted(known))}"]))
    return sorted(known)

"""Units of values: converted where the study says how, and never mixed."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.study.features import EventFeatures

__all__ = ["check_units", "factors"]

logger = logging.getLogger(__name__)

_REMEDY = (
    "Give the block a `unit`, and `convert` a factor for each other unit; or give codes that measure different things "
    "blocks of their own."
)


def factors(block: EventFeatures, units: pd.Series) -> np.ndarray:
    """Return by what values in each of the units are multiplied.

    Values without a unit are taken to be in the block's one, unless `convert` has a factor for ``""``.

    Parameters
    ----------
    block : EventFeatures
    units : Series of str
        ``""`` for none.

    Returns
    -------
    numpy.ndarray of float64
        NaN where the block does not say how to convert.
    """
    if block.unit is None:
        return np.ones(len(units))
    known = {"": 1.0, block.unit: 1.0, **block.convert}
    return units.map(known).to_numpy(dtype=np.float64)


def check_units(stems: Sequence[tuple[EventFeatures, np.ndarray]], counts: pd.DataFrame, where: str) -> list[str]:
    """Refuse values in units that cannot be compared, and find the unit of each stem of columns.

    Parameters
    ----------
    stems : sequence of (EventFeatures, (pairs,) bool array)
        The block, and which pairs of code and unit the stem takes in.
    counts : DataFrame (code, unit, values, subjects)
        For each pair the finite values at or before the index time, and the subjects that have them.
    where : str
        What messages call the column of units.

    Returns
    -------
    list of str
        The unit of each stem; empty where none is known.

    Raises
    ------
    DataError
        Naming codes, units, and how many values of how many subjects are in each.
    """
    units = []
    for block, taken in stems:
        used = counts[taken & (counts["values"] > 0).to_numpy()]
        named = list(dict.fromkeys(used.loc[used["unit"] != "", "unit"]))
        if block.unit is None:
            if len(named) > 1:
                raise DataError(where, f"{_told(used)}: values in several units", _REMEDY)
            unit = named[0] if named else ""
        else:
            unit = block.unit
            strange = used[np.isnan(factors(block, used["unit"]))]
            if len(strange):
                known = _quoted([unit, *block.convert])
                raise DataError(where, f"{_told(strange)}: the block knows {known} alone", _REMEDY)
        bare = int(used.loc[used["unit"] == "", "values"].sum())
        if unit and bare and "" not in block.convert:
            total, codes = int(used["values"].sum()), _quoted(dict.fromkeys(used["code"]))
            logger.info("%d of %d values of %s have no unit: taken to be in %s", bare, total, codes, unit)
        units.append(unit)
    return units


def _told(used: pd.DataFrame, limit: int = 6) -> str:
    """Tell how many values each pair of code and unit has; the codes with most units come first."""
    order = used.groupby("code")["unit"].transform("size").sort_values(ascending=False, kind="stable").index
    parts = [
        f"code {row.code!r} has {row.numbers} values of {row.subjects} subjects in {row.unit or 'no unit'}"
        for row in used.loc[order].head(limit).rename(columns={"values": "numbers"}).itertuples()
    ]
    return "; ".join(parts) + (f"; and {len(used) - limit} more" if len(used) > limit else "")


def _quoted(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")

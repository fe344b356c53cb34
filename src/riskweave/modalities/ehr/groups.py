"""Which events make which columns: the blocks of a feature set against the codes and units that the events have.

Blocks that ask for the same aggregates over the same windows are computed together, as long as no code belongs to two
of them: two hundred blocks of one code each cost as much as one.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from riskweave.cohort.codes import matches
from riskweave.modalities.ehr.aggregates import VALUED
from riskweave.modalities.ehr.units import factors
from riskweave.study.features import AGGREGATES, EventFeatures, HistoryFeatures

__all__ = ["Group", "Stem", "make_groups", "shown"]


@dataclasses.dataclass(frozen=True)
class Stem:
    """A group of codes whose events are taken together.

    Attributes
    ----------
    block : EventFeatures or HistoryFeatures
        Which block asks for it.
    place : int
        Number of the block: events first, then histories.
    name : str
        Stem of the column names.
    meaning : str
        The codes, in words.
    """

    block: EventFeatures | HistoryFeatures
    place: int
    name: str
    meaning: str


@dataclasses.dataclass
class Group:
    """Stems that are computed together. Arrays over pairs follow the vocabulary of codes and units.

    Attributes
    ----------
    aggregates : tuple of str
        What is computed; `ever` follows from the presence of an event and is left out.
    windows : tuple of (int or None)
        Look-backs in days.
    stems : list of Stem
    stem_of : (pairs,) int32 array
        Place among `stems`, -1 where the pair belongs to none.
    factor, low, high : (pairs,) float64 arrays
        What a value is multiplied by (NaN: its unit cannot be used), and the plausible range of the product.
    rest : (pairs,) object array
        Category of an event without text.
    """

    aggregates: tuple[str, ...]
    windows: tuple[int | None, ...]
    stems: list[Stem]
    stem_of: np.ndarray
    factor: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rest: np.ndarray

    def takes(self, other: "Group") -> bool:
        """Tell whether another group can join this one."""
        same = (self.aggregates, self.windows) == (other.aggregates, other.windows)
        return same and not ((self.stem_of >= 0) & (other.stem_of >= 0)).any()

    def join(self, other: "Group") -> None:
        """Take in the stems of another group."""
        taken = other.stem_of >= 0
        self.stem_of[taken] = other.stem_of[taken] + len(self.stems)
        for name in ("factor", "low", "high", "rest"):
            getattr(self, name)[taken] = getattr(other, name)[taken]
        self.stems.extend(other.stems)

    @property
    def widest(self) -> int | None:
        """The longest look-back."""
        return None if None in self.windows else max(self.windows)

    @property
    def has_values(self) -> bool:
        """Whether the numbers of the events matter."""
        return bool(VALUED.intersection(self.aggregates))


def shown(names: Sequence[str], limit: int = 8) -> str:
    """List the first distinct names."""
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:limit]) + (", ..." if len(distinct) > limit else "")


def make_groups(blocks: Sequence[EventFeatures | HistoryFeatures], vocabulary: pd.DataFrame) -> list[Group]:
    """Return the groups of all blocks.

    Parameters
    ----------
    blocks : sequence of EventFeatures or HistoryFeatures
    vocabulary : DataFrame (code, unit)
        The pairs of code and unit ("" for none) that the events have, sorted.
    """
    groups: list[Group] = []
    for place, block in enumerate(blocks):
        made = _group(block, place, vocabulary)
        for group in groups:
            if group.takes(made):
                group.join(made)
                break
        else:
            groups.append(made)
    return groups


def _group(block: EventFeatures | HistoryFeatures, place: int, vocabulary: pd.DataFrame) -> Group:
    found = matches(vocabulary["code"], block.codes).to_numpy(dtype=bool)
    numbers, codes = pd.factorize(vocabulary["code"].where(found), sort=True)
    history = isinstance(block, HistoryFeatures)
    if history or block.by_code:
        stem_of = numbers.astype(np.int32)
        stems = [Stem(block, place, code, f"code {code}") for code in codes]
    else:
        stem_of = np.where(found, 0, -1).astype(np.int32)
        patterns = [code.removesuffix("$") if code.endswith("$") else f"{code}*" for code in block.codes]
        name = block.name or block.codes[0].removesuffix("$")
        stems = [Stem(block, place, name, f"codes {shown(patterns)}")]
    if history:
        aggregates, windows = ("count",), (block.window,)
    else:
        # In the order of the language, so that blocks that list them otherwise are computed together.
        aggregates = tuple(name for name in AGGREGATES if name in block.aggregates and name != "ever")
        windows = tuple(block.windows) or (block.window,)
    low, high = (-np.inf, np.inf) if history or block.range is None else block.range
    rest = np.full(len(vocabulary), None, dtype=object)
    if "category" in aggregates:
        rest[found] = _rest(vocabulary["code"][found], block.codes)
    return Group(
        aggregates=aggregates,
        windows=windows,
        stems=stems,
        stem_of=stem_of,
        factor=np.ones(len(vocabulary)) if history else factors(block, vocabulary["unit"]),
        low=np.full(len(vocabulary), low, dtype=np.float64),
        high=np.full(len(vocabulary), high, dtype=np.float64),
        rest=rest,
    )


def _rest(codes: pd.Series, patterns: Sequence[str]) -> list[str | None]:
    """Return what follows the longest pattern that a code starts with, without the separators before it."""
    heads = sorted((pattern.removesuffix("$") for pattern in patterns), key=len, reverse=True)
    return [
        next(code[len(head) :] for head in heads if code.startswith(head)).lstrip("/:|_ ") or None for code in codes
    ]

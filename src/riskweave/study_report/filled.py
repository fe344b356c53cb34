"""What fills an item of the checklist, and how lists are spelt in it."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Filled", "listed", "sentences"]


@dataclass(frozen=True)
class Filled:
    """An answer, and the file or key that it is from.

    Attributes
    ----------
    text : str
        Sentences.
    source : str
        Keys of the study file, files below the results, or pages of the documentation.
    """

    text: str
    source: str


def listed(names: Iterable[object], most: int = 12) -> str:
    """Join names; of many, the first and how many more.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    texts = [str(name) for name in names]
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return ", ".join(texts)


def sentences(parts: Iterable[str]) -> str:
    """Join what is there into sentences, each ended by a full stop."""
    return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part)

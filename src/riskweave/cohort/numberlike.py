"""Text that is meant as numbers: decimal commas, values cut off at an end (``>89``, ``<20``), words among numbers."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Cells", "count_cells"]

# From this share of numbers on, the other text in a column is taken for a slip and not for categories.
_MOSTLY_NUMBERS = 0.9
_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMAS = r"^[+-]?\d+(\.\d{3})*,\d+$"
_CUT = r"^[<>≤≥]=?\s*[+-]?\d+([.,]\d+)?$"


@dataclass(frozen=True)
class Cells:
    """How many cells of a column of text hold what.

    Attributes
    ----------
    given : int
        Cells that are not missing.
    plain : int
        Numbers with a decimal point, or whole ones.
    commas : int
        Numbers with a comma.
    cut : int
        Numbers behind ``<`` or ``>``: top-coded ages, results beyond a detection limit.
    """

    given: int
    plain: int
    commas: int
    cut: int

    @property
    def other(self) -> int:
        """Cells that are no plain number."""
        return self.given - self.plain

    @property
    def meant_as_numbers(self) -> bool:
        """Whether most cells are numbers, in one spelling or another, but not all of them plain ones.

        A column in which every number stands behind a sign (``<65`` and ``>=65``) has categories.
        """
        numbers = self.plain + self.commas + self.cut
        return bool(self.other and self.plain + self.commas and numbers >= _MOSTLY_NUMBERS * self.given)

    @property
    def misspelt(self) -> bool:
        """Whether it is meant as numbers, and decimal commas or cut values tell so: not only single words."""
        return self.meant_as_numbers and bool(self.commas + self.cut)

    @property
    def problem(self) -> str:
        """How many cells are no plain number, for messages."""
        others = ", though the others are" if self.plain else ""
        return f"{self.other} of {self.given} values are no number{self.kinds}{others}"

    @property
    def kinds(self) -> str:
        """What the cells are that are no plain numbers, for messages: in brackets after a blank, or nothing."""
        found = {"with a decimal comma": self.commas, "top-coded or cut off, such as >89 or <20": self.cut}
        words = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
        return f" ({words})" if words else ""

    @property
    def remedies(self) -> list[str]:
        """What to do about the spellings that were found."""
        commas = ["write numbers with a decimal point, no thousands separators"] if self.commas else []
        cut = ["recode what stands behind < or > (90 for >89, the limit for <20)"] if self.cut else []
        return commas + cut


def count_cells(text: pa.ChunkedArray) -> Cells:
    """Count the cells of a column of text that are numbers, in several spellings.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of str
        Missing values are null; blanks at both ends are gone.
    """
    plain, commas, cut = (
        pc.sum(pc.match_substring_regex(text, pattern)).as_py() or 0 for pattern in (_PLAIN, _COMMAS, _CUT)
    )
    return Cells(given=len(text) - text.null_count, plain=plain, commas=commas, cut=cut)

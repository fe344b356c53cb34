"""What goes into a clinical score: numbers, yes/no and words, and who cannot be given a risk."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

__all__ = ["CHOLESTEROL_FACTOR", "MEASURABLE", "Intake", "Scored", "cholesterol_in"]

CHOLESTEROL_FACTOR = 0.02586
"""mmol/L of cholesterol in 1 mg/dL: the factor of the PREVENT equations (Khan et al. 2024, Circulation 149:430,
Supplemental Table S12), which is 1 / 38.67."""

MEASURABLE = {"sbp": (60.0, 280.0), "total_cholesterol": (1.5, 20.0), "hdl": (0.2, 5.0), "bmi": (12.0, 80.0)}
"""Limits of what can be a measurement, for scores whose papers give no range: SBP in mmHg, cholesterol in mmol/L, body
mass index in kg/m2. They are no validity of a paper but keep out slips of a unit or a decimal point."""


@dataclass(frozen=True)
class Scored:
    """The risks that a clinical score gives.

    Attributes
    ----------
    risk : float64 ndarray of shape (n,)
        Probability (0 to 1) of the score's outcome within its horizon; NaN for who is refused.
    reason : object ndarray of shape (n,)
        Why a subject is refused, such as ``age_out_of_range`` or ``sbp_missing``; empty for who is not. The first
        reason where there are several.
    """

    risk: np.ndarray
    reason: np.ndarray

    @property
    def refused(self) -> np.ndarray:
        """Who has no risk: bool ndarray of shape (n,)."""
        return self.reason != ""

    def counts(self) -> dict[str, int]:
        """Return how many subjects are refused for each reason, in the order of the alphabet."""
        reasons, counts = np.unique(self.reason[self.refused].astype(str), return_counts=True)
        return {str(reason): int(count) for reason, count in zip(reasons, counts, strict=True)}


class Intake:
    """Takes the inputs of a score one by one and remembers whom it has to refuse.

    Nothing is clipped, imputed or guessed: who lacks an input, or has one outside the score's range, gets no risk.
    """

    def __init__(self):
        self._reasons: list[tuple[str, np.ndarray]] = []

    def number(
        self, name: str, values: ArrayLike, low: float, high: float, *, below: bool = False, offset: float = 0.0
    ) -> np.ndarray:
        """Return numbers as floats; those missing or outside the range are refused.

        Parameters
        ----------
        name : str
            The input.
        values : array-like of shape (n,)
            NaN or None: missing.
        low, high : float
            Range that the score is valid in, both ends included.
        below : bool
            Whether the upper end is excluded: an age of 69.9 years is within 40 to 69, which is [40, 70).
        offset : float
            Rounding of a converted unit that the ends of the range allow.
        """
        numbers = np.atleast_1d(np.asarray(pd.to_numeric(pd.Series(np.atleast_1d(values))), dtype=np.float64))
        missing = np.isnan(numbers)
        above = numbers >= high if below else numbers > high + offset
        self.refuse(f"{name}_missing", missing)
        self.refuse(f"{name}_out_of_range", ~missing & ((numbers < low - offset) | above))
        return numbers

    def flag(self, name: str, values: ArrayLike) -> np.ndarray:
        """Return yes (1) or no (0) as floats; missing ones are refused.

        Raises
        ------
        ValueError
            When a value is neither 0, 1 nor missing.
        """
        numbers = np.atleast_1d(np.asarray(pd.to_numeric(pd.Series(np.atleast_1d(values))), dtype=np.float64))
        missing = np.isnan(numbers)
        wrong = int((~missing & (numbers != 0) & (numbers != 1)).sum())
        if wrong:
            raise ValueError(f"{name}: {wrong} values are neither 0 (no), 1 (yes) nor missing")
        self.refuse(f"{name}_missing", missing)
        return numbers

    def word(self, name: str, values: ArrayLike, allowed: Collection[str]) -> np.ndarray:
        """Return words in lower case; missing ones and others than the allowed are refused."""
        words = pd.Series(np.atleast_1d(np.asarray(values, dtype=object)))
        missing = words.isna().to_numpy()
        lower = words.astype(str).str.strip().str.lower().to_numpy(dtype=object)
        self.refuse(f"{name}_missing", missing)
        self.refuse(f"{name}_out_of_range", ~missing & ~np.isin(lower.astype(str), list(allowed)))
        return lower

    def without(self, name: str, values: ArrayLike | None) -> None:
        """Refuse who has a condition that the score is not meant for; nobody where it is not known (None)."""
        if values is not None:
            self.refuse(name, self.flag(name, values) == 1)

    def refuse(self, reason: str, who: np.ndarray) -> None:
        """Refuse some subjects for a reason."""
        self._reasons.append((reason, who))

    def scored(self, risk: np.ndarray) -> Scored:
        """Return the risks, without those of the refused."""
        shape = np.broadcast_shapes(risk.shape, *(who.shape for _, who in self._reasons))
        reason = np.full(shape, "", dtype=object)
        for name, who in self._reasons:
            reason[np.broadcast_to(who, shape) & (reason == "")] = name
        return Scored(np.where(reason == "", np.broadcast_to(risk, shape), np.nan), reason)


def cholesterol_in(unit: str, values: ArrayLike, given: str) -> np.ndarray:
    """Return cholesterol in another unit, by `CHOLESTEROL_FACTOR`.

    Parameters
    ----------
    unit, given : {"mmol/L", "mg/dL"}
        Wanted unit, and that of `values`.

    Raises
    ------
    ValueError
        When a unit is another one.
    """
    for name in (unit, given):
        if name not in ("mmol/L", "mg/dL"):
            raise ValueError(f"{name!r} is no unit of cholesterol here. Allowed: mmol/L, mg/dL")
    numbers = np.asarray(pd.to_numeric(pd.Series(np.atleast_1d(values))), dtype=np.float64)
    if unit == given:
        return numbers
    return numbers * CHOLESTEROL_FACTOR if unit == "mmol/L" else numbers / CHOLESTEROL_FACTOR

"""Recordings as their files store them: whole numbers, and what a lead is made of. A module decodes them itself."""

import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from riskweave.deployment.runtime.reading import LEADS

__all__ = ["NO_LAYOUT", "Buffer", "Layout", "Numbers", "Stored", "grid"]

Buffer = Any
"""What gives its bytes by Python's buffer protocol: bytes, an array of `array` or NumPy, a memoryview."""


class Layout(NamedTuple):
    """What a lead is made of, in the order of ``rw_ecg_stored``: ``(number - baseline) / gain * millivolts``.

    Attributes
    ----------
    first, step : int
        Place of the first sample among the numbers, and the way from one to the next.
    gain, baseline, millivolts : float
        The last of a unit.
    none : float
        The number that stands for no value; NaN where none does.
    """

    first: int
    step: int
    gain: float
    baseline: float
    millivolts: float
    none: float


NO_LAYOUT = Layout(0, 0, 0.0, 0.0, 0.0, 0.0)
"""Of a lead that is not among the numbers."""


class Numbers(NamedTuple):
    """What one file holds.

    Attributes
    ----------
    data : bytes or memoryview
        Signed, little-endian.
    size : int
        Bytes of a number, 2 or 4.
    layouts : mapping of int to Layout
        By the place of the lead in `LEADS`.
    """

    data: bytes | memoryview
    size: int
    layouts: Mapping[int, Layout]

    def table(self) -> bytes:
        """Return the layouts of all leads as the module takes them: double[12][6]."""
        rows = [self.layouts.get(lead, NO_LAYOUT) for lead in range(len(LEADS))]
        return struct.pack(f"<{len(LEADS) * len(NO_LAYOUT)}d", *(value for row in rows for value in row))


class Stored(NamedTuple):
    """A recording of one or more files.

    Attributes
    ----------
    samples : int
        Of each lead.
    parts : tuple of Numbers
    """

    samples: int
    parts: tuple[Numbers, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(12, samples), as of an array of leads."""
        return len(LEADS), self.samples

    def leads(self) -> memoryview:
        """Return doubles (12, samples) in mV, NaN where there is no value: to look at; a module does without.

        The same arithmetic as the module's, so that each bit is the same.
        """
        rows = [[math.nan] * self.samples for _ in LEADS]
        for data, size, layouts in self.parts:
            numbers = struct.unpack(f"<{len(data) // size}{'h' if size == 2 else 'i'}", data)
            for lead, (first, step, gain, baseline, millivolts, none) in layouts.items():
                own = numbers[first : first + step * (self.samples - 1) + 1 : step]
                rows[lead] = [math.nan if one == none else (one - baseline) / gain * millivolts for one in own]
        return grid(rows)


def grid(rows: list[list[float]]) -> memoryview:
    """Return rows of one length as doubles (rows, columns)."""
    packed = b"".join(struct.pack(f"{len(row)}d", *row) for row in rows)
    return memoryview(packed).cast("d", (len(rows), len(rows[0])))

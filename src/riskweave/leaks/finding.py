"""What a leak gate reports."""

from dataclasses import dataclass

__all__ = ["SUPPRESS_BELOW", "Finding", "count"]

SUPPRESS_BELOW = 10
"""Counts from 1 to below this are not told: messages end in logs and reports."""


@dataclass(frozen=True)
class Finding:
    """What a gate found, and where.

    Attributes
    ----------
    gate : str
        Name of the gate, of `riskweave.study.gates.GATES`.
    place : str
        Where: ``ehr.los`` (a column of a feature set), ``mi/ehr.los`` (the same, for an endpoint), ``recordings``, ...
        It depends on names of the study alone, so that it stays the same when the data change.
    problem : str
        What was found, for how many subjects; no identifier, no value of a subject, no small count.
    subjects : int or None
        How many subjects it concerns, where that can be told.
    remedy : str
        What to do.
    """

    gate: str
    place: str
    problem: str
    subjects: int | None
    remedy: str

    @property
    def name(self) -> str:
        """What `allow` of the study calls the finding."""
        return f"{self.gate}:{self.place}"


def count(subjects: int) -> str:
    """Return a count for a message: ``fewer than 10`` where it is small."""
    return f"fewer than {SUPPRESS_BELOW}" if 0 < subjects < SUPPRESS_BELOW else str(subjects)

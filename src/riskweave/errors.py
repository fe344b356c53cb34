"""Errors that a user can act on: what is wrong, where, for how many, and what to do."""

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "ResourceError", "StudyError", "nearest"]


class StudyError(ValueError):
    """The study file asks for something that does not exist or cannot be done."""


class DataError(ValueError):
    """The data cannot be used as they are.

    Parameters
    ----------
    where : str
        The file, and the column where there is one: ``"subjects.csv, column index_time"``.
    problem : str
        What is wrong, with the number of subjects, rows or files it is wrong for. Never an identifier or a value of a
        single subject: messages end in logs.
    remedy : str
        What the user can do, and what is allowed.
    """

    def __init__(self, where: str, problem: str, remedy: str):
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}")

    def __reduce__(self):
        return type(self), (self.where, self.problem, self.remedy)


class ResourceError(RuntimeError):
    """The machine lacks what a job needs: room on the disk, memory, a file system that answers.

    Parameters
    ----------
    where, problem, remedy : str
        As of a `DataError`; `where` names outputs, never a raw file, whose path may hold an identifier.
    """

    def __init__(self, where: str, problem: str, remedy: str):
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}.")

    def __reduce__(self):
        return type(self), (self.where, self.problem, self.remedy)


def nearest(name: object, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest allowed name, or an empty string when none is close."""
    matches = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""

"""Tables of constants in C."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = ["array", "doubles", "literal", "structures"]


def literal(value: float) -> str:
    """Return a number in C: the compiler reads the very same one."""
    value = float(value)
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return repr(value)


def _comment(text: str) -> str:
    """Return a name as a comment, without what could end it."""
    return f"/* {re.sub(r'[^A-Za-z0-9_.:=@ -]', '/', text).replace('*/', '').replace('/*', '')} */"


def array(kind: str, name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield a table of constants; an empty one has a zero, which C asks for and nobody looks at."""
    values = list(values) or ["0"]
    yield f"static const {kind} {name}[] = {{"
    for start in range(0, len(values), 8):
        yield "  " + ", ".join(values[start : start + 8]) + ","
    yield "};"


def doubles(name: str, values: Iterable[float]) -> Iterator[str]:
    """Yield a table of numbers in double precision."""
    return array("double", name, map(literal, values))


def structures(kind: str, name: str, records: Iterable[Sequence[str]], comments: Iterable[str] = ()) -> Iterator[str]:
    """Yield a table of structures, one a line."""
    rows = [f"{{{', '.join(record)}}}," for record in records] or ["{0},"]
    comments = [*comments] or [""] * len(rows)
    yield f"static const {kind} {name}[] = {{"
    for row, comment in zip(rows, comments, strict=True):
        yield f"  {row} {_comment(comment)}" if comment else f"  {row}"
    yield "};"

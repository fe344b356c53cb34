"""Values that a run record may hold: settings, names, numbers and counts, never rows of subjects."""

import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LONGEST_LIST", "LONGEST_TEXT", "as_counts", "as_metrics", "plain", "with_nan", "without_nan"]

LONGEST_LIST = 1000
LONGEST_TEXT = 10_000


def _scalar(value: Any) -> Any:
    """Turn the scalars of numpy and torch into Python's; other values pass."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def plain(value: Any, where: str) -> Any:  # noqa: PLR0911 - one return per allowed type
    """Return a value as JSON knows it; refuse whatever could hold rows of subjects."""
    value = _scalar(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{where}: a text of {len(value)} characters; a record takes at most {LONGEST_TEXT}")
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) > LONGEST_LIST:
            raise ValueError(
                f"{where}: a list of {len(value)} values; a record takes at most {LONGEST_LIST}, never rows"
            )
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{where}[]") for item in items]
    raise ValueError(
        f"{where}: {type(value).__name__} cannot be recorded; give settings, names and aggregates, never rows"
    )


def as_metrics(metrics: Mapping[str, float], where: str) -> dict[str, float]:
    """Return metrics as floats."""
    checked = {}
    for key, value in metrics.items():
        number = _scalar(value)
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise TypeError(f"{where}, metric {key}: {type(value).__name__} is not a number")
        checked[str(key)] = float(number)
    return checked


def as_counts(counts: Mapping[str, int], where: str) -> dict[str, int]:
    """Return counts as integers."""
    checked = {}
    for key, value in counts.items():
        number = _scalar(value)
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < 0:
            raise ValueError(f"{where}, count {key}: not a whole number of 0 or more")
        checked[str(key)] = int(number)
    return checked


def without_nan(value: Any) -> Any:
    """Replace what JSON does not know (NaN, infinity) by null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return value


def with_nan(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that `without_nan` took to null."""
    return {key: math.nan if value is None else float(value) for key, value in metrics.items()}

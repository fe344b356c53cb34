"""Which codes a study file's patterns stand for."""

from collections.abc import Iterable

import pandas as pd

__all__ = ["matches"]


def matches(codes: pd.Series, patterns: Iterable[str]) -> pd.Series:
    """Tell which codes start with one of the patterns, or equal one that ends with ``$``.

    Parameters
    ----------
    codes : pandas.Series of str
        Distinct codes, without missing ones.
    patterns : iterable of str
        ``ICD10//I21`` (every code that starts so) or ``ICD10//I21$`` (this code).

    Returns
    -------
    pandas.Series of bool
        With the index of `codes`.
    """
    patterns = list(patterns)
    exact = [pattern[:-1] for pattern in patterns if pattern.endswith("$")]
    prefixes = tuple(pattern for pattern in patterns if not pattern.endswith("$"))
    found = codes.isin(exact)
    return found | codes.str.startswith(prefixes) if prefixes else found

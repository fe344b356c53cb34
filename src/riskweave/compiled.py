"""Functions that numba compiles, wherever the package is installed."""

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function without Python's lock, and keeps the result for further processes.

    It is kept beside the source, or in the user's cache where that cannot be written. Where neither can, as in a
    read-only installation without a home, each process compiles for itself.

    Parameters
    ----------
    **options
        Further options of `numba.njit`.
    """

    def decorate(function: Callable) -> Callable:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba: no folder for the cache
            return njit(nogil=True, **options)(function)

    return decorate

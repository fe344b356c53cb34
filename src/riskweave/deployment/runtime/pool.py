"""Running modules, and memory, for several requests at once: so much and no more."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from riskweave.deployment.runtime.module import Module, ModuleError

__all__ = ["Budget", "BusyError", "Pool"]


class BusyError(RuntimeError):
    """All of it is in use, and was for as long as one waits."""


class Pool:
    """Modules that take turns: one request has one for itself.

    Parameters
    ----------
    first : Module
    make : callable
        Returns a further one; called when it is needed.
    size : int
        Modules at most.
    """

    def __init__(self, first: Module, make: Callable[[], Module], size: int):
        self._make = make
        # The one used last comes first: those that are never needed are never made.
        self._idle: queue.LifoQueue[Module | None] = queue.LifoQueue()
        for place in [*[None] * (size - 1), first]:
            self._idle.put(place)

    @contextmanager
    def module(self, seconds: float) -> Iterator[Module]:
        """Lend a module.

        Parameters
        ----------
        seconds : float
            To wait for one.

        Raises
        ------
        BusyError
            When none was free in this time.
        ModuleError
            When a further one does not start.
        """
        try:
            held = self._idle.get(timeout=seconds)
        except queue.Empty as error:
            raise BusyError from error
        try:
            held = held or self._make()
            yield held
        finally:
            self._idle.put(_anew(held))


def _anew(module: Module | None) -> Module | None:
    """Return the module, started again when it was stopped; None, for another in its place, when it does not start."""
    try:
        if module is not None and module.host.stopped:
            module.reset()
    except ModuleError:
        return None
    return module


class Budget:
    """Bytes that the requests of one moment may hold together.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int):
        self._left, self._changed = size, threading.Condition()

    @contextmanager
    def held(self, size: int, seconds: float) -> Iterator[None]:
        """Hold so many bytes.

        Raises
        ------
        BusyError
            When they were not free for so many seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._left >= size, timeout=seconds):
                raise BusyError
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()

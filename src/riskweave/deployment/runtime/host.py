"""A model.wasm in a sandbox of its own: calls, its memory, and errors instead of crashes."""

import ctypes
import hashlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import wasmtime

from riskweave.deployment.runtime.stored import Buffer

__all__ = ["ABI", "Host", "ModuleError"]

ABI = 2
"""Version of the interface (``c/riskweave.h``) that this host speaks."""

MEMORY = 1 << 30
"""Bytes that a module may take."""

FUEL = 10**11
"""Instructions that a call may take, roughly: half a minute, and some hundred times what reading an ECG takes. Counting
them makes a prediction slower by a seventh, and a module that never ends an error. A clock instead (wasmtime's epochs)
costs as much where it is looked at, which is at the end of each loop."""


class ModuleError(RuntimeError):
    """The module is damaged, of another version, or stopped: never an answer about a patient."""


class Host:
    """A running module. It can reach nothing outside its memory: it has no imports.

    A stopped module is started again by `restart`. Not for several threads at once.

    Parameters
    ----------
    wasm : bytes

    Attributes
    ----------
    sha256 : str
        Of `wasm`, in hexadecimal.

    Raises
    ------
    ModuleError
        When it is no module, wants something of the host, or is of another version.
    """

    def __init__(self, wasm: bytes):
        self.sha256 = hashlib.sha256(wasm).hexdigest()
        self._engine = wasmtime.Engine(_config())
        try:
            self._module = wasmtime.Module(self._engine, wasm)
        except wasmtime.WasmtimeError as error:
            raise ModuleError("this is no WebAssembly module, or it is damaged: compare its SHA-256") from error
        if self._module.imports:
            raise ModuleError("the module wants something of its host; a riskweave module wants nothing")
        self.restart()

    def restart(self) -> None:
        """Start the module anew, in empty memory."""
        self._store = wasmtime.Store(self._engine)
        self._store.set_limits(memory_size=MEMORY)
        self._store.set_fuel(FUEL)
        try:
            instance = wasmtime.Instance(self._store, self._module, [])
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise ModuleError("the module does not start: it needs too much memory, or is damaged") from error
        self._exports: Any = instance.exports(self._store)
        self.stopped = False
        self._memory = self._exports.get("memory")
        self.call("_initialize")
        version = self.call("rw_abi")
        if version != ABI:
            raise ModuleError(f"the module is of interface version {version}, this host speaks {ABI}")

    def call(self, name: str, *arguments: float) -> Any:
        """Call a function of the module.

        Raises
        ------
        ModuleError
            When it has no such function, was stopped before, or is stopped now: by a fault or by `FUEL`.
        """
        if self.stopped:
            raise ModuleError("the module was stopped: start it again")
        function: Callable[..., Any] | None = self._exports.get(name)
        if not isinstance(function, wasmtime.Func):
            raise ModuleError(f"the module has no function {name}: it is no riskweave module, or of another version")
        self._store.set_fuel(FUEL)
        try:
            return function(self._store, *arguments)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            self.stopped = True
            reason = str(error).strip().splitlines()[-1]
            raise ModuleError(f"the module was stopped in {name}: {reason}") from error

    def read(self, pointer: int, count: int, kind: str = "d") -> array:
        """Return a copy of numbers in the module's memory; `kind` is a code of `array`: doubles, unless said."""
        found = array(kind)
        size = count * found.itemsize
        found.frombytes(ctypes.string_at(self._address(pointer, size), size))
        return found

    def write(self, pointer: int, values: Buffer) -> int:
        """Write numbers into the module's memory, row by row; return how many bytes that were."""
        values = memoryview(values)
        if not values.c_contiguous:
            values = memoryview(values.tobytes())
        size = values.nbytes
        room = (ctypes.c_ubyte * size).from_address(self._address(pointer, size))
        if size:
            memoryview(room).cast("B")[:] = values.cast("B")
        return size

    def _address(self, pointer: int, size: int) -> int:
        """Return where some bytes of the module's memory are, after a check that they are in it."""
        if not 0 <= pointer <= self._memory.data_len(self._store) - size:
            raise ModuleError("the module points outside its memory: it is damaged")
        return ctypes.addressof(self._memory.data_ptr(self._store).contents) + pointer


def _config() -> wasmtime.Config:
    """Return how modules run: counted, and compiled once where the user has a folder for caches.

    Compiling takes longer than the rest of a start. wasmtime keeps the machine code there by the module's content and
    its own version; where it cannot, as in a container that writes nothing, each start compiles.
    """
    config = wasmtime.Config()
    config.consume_fuel = True
    with suppress(wasmtime.WasmtimeError):
        config.cache = True
    return config

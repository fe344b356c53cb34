"""A model.wasm in a sandbox of its own: calls, its memory, and errors instead of crashes."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import wasmtime

__all__ = ["ABI", "Host", "ModuleError"]

ABI = 1
"""Version of the interface (``c/riskweave.h``) that this host speaks."""

MEMORY = 1 << 30
"""Bytes that a module may take."""

FUEL = 10**11
"""Instructions that a call may take, roughly: half a minute, and some hundred times what reading an ECG takes. Counting
them makes the module slower by a third, and a module that never ends an error."""


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
        config = wasmtime.Config()
        config.consume_fuel = True
        self._engine = wasmtime.Engine(config)
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

    def read(self, pointer: int, count: int, kind: type = np.float64) -> np.ndarray:
        """Return a copy of numbers in the module's memory."""
        size = count * np.dtype(kind).itemsize
        found = self._memory.read(self._store, pointer, pointer + size)
        if len(found) != size:
            raise ModuleError("the module points outside its memory: it is damaged")
        return np.frombuffer(bytes(found), dtype=kind)

    def write(self, pointer: int, values: np.ndarray) -> None:
        """Write numbers into the module's memory."""
        try:
            self._memory.write(self._store, bytearray(np.ascontiguousarray(values).data.cast("B")), pointer)
        except IndexError as error:
            raise ModuleError("the module points outside its memory: it is damaged") from error

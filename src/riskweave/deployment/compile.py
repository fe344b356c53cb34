"""C to WebAssembly: zig's clang with wasi-libc, as a module without imports, the same bytes each time."""

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

__all__ = ["FLAGS", "CompileError", "compile_wasm", "library"]

FLAGS = (
    "--target=wasm32-wasi",
    "-mexec-model=reactor",
    "-std=c11",
    "-O3",
    "-msimd128",
    # Fused multiplications would round otherwise than other machines.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Werror",
    "-s",
    "-Wl,-z,stack-size=1048576",
)
"""Flags of the compiler. No -ffast-math: the same bits on every machine are worth more than the last percent."""


class CompileError(RuntimeError):
    """The compiler refused generated code: a fault of riskweave, not of the user."""


def library() -> dict[str, str]:
    """Return the sources in C that every module shares, by file name."""
    folder = resources.files("riskweave.deployment") / "c"
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))}


def compile_wasm(sources: Mapping[str, str], folder: Path) -> bytes:
    """Compile sources, all in one call, into a module.

    Parameters
    ----------
    sources : mapping of str to str
        Text of each file by its name; those that end in ``.c`` are compiled.
    folder : Path
        An empty folder to work in. Its name does not get into the module.

    Returns
    -------
    bytes

    Raises
    ------
    CompileError
        With what the compiler said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = sorted(name for name in sources if name.endswith(".c"))
    # One name for all clones: the compiler keeps its own library there, which takes it a minute to build.
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "riskweave-zig"
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-I.", "-o", "model.wasm", *files]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"the C compiler failed:\n{done.stderr.strip()[-4000:]}")
    return (folder / "model.wasm").read_bytes()

"""What a module was compiled with, told when it is compiled: later the tools and the code may be others."""

from importlib import metadata
from typing import Any

from riskweave.tracking.provenance import git_state

__all__ = ["TOOLS", "built", "tools"]

TOOLS = ("emx-onnx-cgen", "numpy", "onnx", "onnxscript", "riskweave", "scikit-learn", "torch", "wasmtime", "ziglang")
"""Packages that the bytes of a bundle depend on."""


def tools() -> dict[str, str]:
    """Return the versions of what the bytes of a bundle depend on."""
    return {name: metadata.version(name) for name in TOOLS}


def built() -> dict[str, Any]:
    """Return the content of ``built.json``.

    Returns
    -------
    dict
        ``version`` (of riskweave), ``tools``, ``commit`` (None outside of a checkout), ``dirty`` (whether the code
        differed from that commit) and ``diff`` (SHA-256 of the difference, or None).
    """
    state = git_state()
    return {
        "version": metadata.version("riskweave"),
        "tools": tools(),
        "commit": state.get("commit"),
        "dirty": state.get("dirty", False),
        "diff": state.get("diff"),
    }

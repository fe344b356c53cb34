"""What a training depends on, as digests: the same fingerprint means that training again would repeat a finished one.

Nothing here imports torch, pandas or mlflow: a job asks before it loads what trains, and a plan asks for all at once.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from riskweave.study.raw import digests
from riskweave.tracking.provenance import MIXED, PACKAGES, package_versions

__all__ = ["EARLIER", "PARTS", "Digests", "asks_for_mixed", "settings_digest", "training_facts"]

FORMAT = "2"
"""Goes into every fingerprint: those of two versions of this module are never equal by chance."""

PARTS = ("data", "inputs", "settings", "code", "packages")
"""What a fingerprint is made of."""

EARLIER = "earlier"
"""Parameter of the training rules that tells where to look for earlier runs, and the blocks behind the tables."""

_NOT_SETTINGS = ("study", EARLIER)
"""Parameters that no result depends on."""

_NOT_CONTENT = ("code", "data", "checked")
"""Inputs that are no table: modules and the data's description count on their own, passed checks not at all."""

_NOT_NUMERIC = ("riskweave", "cloudpickle", "matplotlib", "pydantic", "snakemake", "threadpoolctl")
"""Packages whose version changes no result: our code counts by its content; figures, checks of settings."""

Digests = Callable[[Iterable[Path]], dict[Path, str]]
"""Returns the sha256 of files, by their paths."""


def training_facts(
    *,
    rule: str,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    known: Callable[[Path], bool] = Path.is_file,
    digests_of: Digests = digests,
) -> dict[str, str | None]:
    """Return the fingerprint of a training and its parts.

    Parameters
    ----------
    rule : str
        Name of the rule that trains.
    inputs : mapping of str to path or list of paths
        The job's named inputs: ``code``, ``data`` (``data.json``) and the tables that are read.
    params : mapping
        The job's parameters: plain nested values. ``earlier`` may hold ``blocks``, the blocks of the study that the
        tables are made by.
    known : callable, optional
        Tells of a path whether its content is the one that the training will read; by default whether it exists.
    digests_of : callable, optional
        Returns the sha256 of files; a plan remembers them.

    Returns
    -------
    dict
        ``data``: fingerprint of the raw data. ``inputs``: sha256 over the contents of subjects, folds, outcomes,
        features and embeddings. ``settings``: over all parameters, the seed included, and the blocks behind the inputs.
        ``code``: over the modules that the job executes. ``packages``: over the versions of Python and of the packages
        that results depend on. ``fingerprint``: over all of these. `data`, `inputs` and `fingerprint` are None where
        an input is not known yet.
    """
    parts: dict[str, str | None] = {
        "data": _data(inputs, known),
        "inputs": _inputs(inputs, known, digests_of),
        "settings": settings_digest(rule, params),
        "code": _code(_paths(inputs["code"])),
        "packages": _packages(),
    }
    whole = None if None in parts.values() else _sha256(FORMAT, *(parts[name] or "" for name in PARTS))
    return {"fingerprint": whole, **parts}


def settings_digest(rule: str, params: Mapping[str, Any]) -> str:
    """Return the sha256 over the rule, its parameters and the study's blocks behind its inputs, in a fixed order."""
    own = {key: value for key, value in params.items() if key not in _NOT_SETTINGS}
    blocks = (params.get(EARLIER) or {}).get("blocks", {})
    return _sha256(FORMAT, rule, _canonical({"params": own, "blocks": blocks}))


def asks_for_mixed(params: Mapping[str, Any]) -> bool:
    """Return whether some network that a training fits is to be computed in mixed precision, where there is a device.

    The fingerprint holds what is asked for. What comes of it is the machine's: the record of the training tells.
    """
    return _holds_mixed({key: value for key, value in params.items() if key != EARLIER})


def _holds_mixed(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("precision") == MIXED or any(map(_holds_mixed, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_mixed, value))


def _data(inputs: Mapping[str, Any], known: Callable[[Path], bool]) -> str | None:
    (path,) = _paths(inputs["data"])
    return json.loads(path.read_text(encoding="utf-8"))["fingerprint"] if known(path) else None


def _inputs(inputs: Mapping[str, Any], known: Callable[[Path], bool], digests_of: Digests) -> str | None:
    """Return one digest of what is read; by place and not by path, in which the study's name would stand."""
    read = {name: _paths(value) for name, value in sorted(inputs.items()) if name not in _NOT_CONTENT}
    files = [path for paths in read.values() for path in paths]
    if not all(known(path) for path in files):
        return None
    content = digests_of(files)
    return _sha256(_canonical({name: [content[path] for path in paths] for name, paths in read.items()}))


def _code(files: list[Path]) -> str:
    """Return one digest of modules by their name in the package, wherever the checkout lies."""
    named = sorted((_module(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)
    return _sha256(_canonical(named))


def _module(path: Path) -> str:
    parts = path.parts
    return "/".join(parts[parts.index("src") + 1 :]) if "src" in parts else path.name


def _packages() -> str:
    wanted = tuple(name for name in PACKAGES if name not in _NOT_NUMERIC)
    return _sha256(_canonical({"python": platform.python_version(), **package_versions(wanted)}))


def _paths(value: Any) -> list[Path]:
    """Return the path or paths that an input holds."""
    return [Path(value)] if isinstance(value, (str, Path)) else [Path(path) for path in value]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()

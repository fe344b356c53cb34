"""Where a result comes from: code, packages, machine, person, data."""

import functools
import getpass
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["code_fingerprint", "data_facts", "git_state", "package_versions", "precision_here", "provenance"]

PACKAGES = (
    "riskweave",
    "autograd",
    "cloudpickle",
    "duckdb",
    "hazardous",
    "joblib",
    "lifelines",
    "matplotlib",
    "numba",
    "numpy",
    "optuna",
    "pandas",
    "pillow",
    "pyarrow",
    "pycox",
    "pydantic",
    "pydicom",
    "pytorch-lightning",
    "safetensors",
    "scikit-learn",
    "scikit-survival",
    "scipy",
    "skglm",
    "snakemake",
    "threadpoolctl",
    "torch",
    "torchtuples",
    "torchvision",
    "wfdb",
)
"""All that is imported where features are made and models trained, and what fits beneath it."""
PACKAGE_FOLDER = Path(__file__).parents[1]


def provenance() -> dict[str, Any]:
    """Describe the code, the packages, the machine and the person of this process.

    Returns
    -------
    dict
        ``git`` (see `git_state`), ``code`` (sha256 of the package's modules), ``packages``, ``python``, ``platform``,
        ``host``, ``user``. It stays in the lab's own store.
    """
    return {
        "git": git_state(),
        "code": code_fingerprint(PACKAGE_FOLDER),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "user": _user(),
    }


def git_state(folders: tuple[Path, ...] | None = None) -> dict[str, Any]:
    """Describe the checkout that holds the code.

    Parameters
    ----------
    folders : tuple of Path, optional
        Where to look; the first that lies in a git checkout is described. By default the package's folder, then the
        working folder.

    Returns
    -------
    dict
        ``commit`` (null before the first commit), ``dirty`` (tracked files differ from the commit), ``diff`` (sha256 of
        that difference, null when clean), ``untracked`` (number of untracked files). Empty outside of a checkout (an
        unpacked archive), and where git is not installed.
    """
    for folder in folders or (PACKAGE_FOLDER, Path.cwd()):
        inside = _git(folder, "rev-parse", "--show-toplevel")
        if inside is None:
            continue
        top = Path(os.fsdecode(inside.strip()))
        commit = _git(top, "rev-parse", "--verify", "--quiet", "HEAD")
        status = _git(top, "status", "--porcelain", "--untracked-files=all") or b""
        lines = status.splitlines()
        untracked = sum(line.startswith(b"??") for line in lines)
        dirty = len(lines) > untracked
        diff = _git(top, "diff", "--binary", "--no-ext-diff", "HEAD") if dirty and commit else None
        return {
            "commit": commit.decode().strip() if commit else None,
            "dirty": dirty,
            "diff": hashlib.sha256(diff).hexdigest() if diff else None,
            "untracked": untracked,
        }
    return {}


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Run git in a folder; None when it fails or is not there."""
    # Hooks set GIT_DIR and its like for another repository; and a job must not write to the index of a checkout.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@functools.cache
def code_fingerprint(folder: Path) -> str:
    """Return the sha256 over names and contents of all Python modules below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def package_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


MIXED, SINGLE = "bf16-mixed", "32-true"
"""What the study may ask for, and what it gets where there is no device for it; as Lightning names them."""

_ASK = "import torch; print(torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False))"


def precision_here(*, apart: bool) -> str:
    """Return the precision that a training which asks for `MIXED` computes in on this machine.

    Parameters
    ----------
    apart : bool
        Ask in a process of its own, once: when torch has looked for devices, it keeps to them whatever is leased.
        Otherwise torch is asked here, as by a training that has just ended.
    """
    if apart:
        return _asked(os.environ.get("CUDA_VISIBLE_DEVICES"))
    import torch

    there = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return MIXED if there else SINGLE


@functools.cache
def _asked(visible: str | None) -> str:  # noqa: ARG001 - the answer of other visible devices is another
    """Return what torch says in a process of its own: it takes seconds, and a plan asks for many trainings."""
    try:
        done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return SINGLE
    return MIXED if done.stdout.strip() == "True" else SINGLE


def data_facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``data.json`` with the date of the newest configured file or folder, where any is there.

    Parameters
    ----------
    data : mapping
        ``source``, ``fingerprint``, ``tables``, ``files``, ...

    Returns
    -------
    dict
        The same, and ``modified`` (ISO 8601, UTC) when one of the files exists.
    """
    times = [
        os.stat(file).st_mtime for file in data.get("files") or [] if isinstance(file, str) and os.path.exists(file)
    ]
    if not times:
        return dict(data)
    newest = datetime.fromtimestamp(max(times), tz=UTC)
    return {**data, "modified": newest.isoformat(timespec="seconds")}


def _user() -> str:
    """Return the login name; the number of the user where the machine knows no name (containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())

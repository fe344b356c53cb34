"""Write what is made from pyproject.toml and requirements.lock: environments that need less than the lock.

``python envs/update.py`` writes riskweave.yaml (the conda environment of `snakemake --sdm conda`) and runtime.txt (what
runs a bundle) beside it; ``--check`` tells whether they are up to date.
"""

import re
import sys
import tomllib
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["ENVIRONMENT", "RUNTIME", "RUNTIME_PACKAGES", "direct", "main", "pins", "render", "render_runtime"]

PYTHON = "3.11"
ENVIRONMENT = Path("envs", "riskweave.yaml")
RUNTIME = Path("envs", "runtime.txt")
RUNTIME_PACKAGES = ("numpy", "pillow", "pydicom", "wasmtime")
"""What `riskweave.deployment.runtime` imports; pydicom and numpy for DICOM alone."""

HEADER = """\
# The environment of the rules under `snakemake --sdm conda`: what riskweave imports, as requirements.lock pins it.
# Made by `python envs/update.py` (part of `make lock`): edit requirements.in, not this file.
channels:
  - conda-forge
  - nodefaults
dependencies:
"""

RUNTIME_HEADER = """\
# What runs a bundle (riskweave predict, riskweave serve): versions and hashes as in requirements.lock.
# Made by `python envs/update.py` (part of `make lock`): edit requirements.in, not this file.
"""


def pins(lock: str) -> dict[str, str]:
    """Return the locked version of each package for the environment's Python, by canonical name."""
    target = default_environment() | {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    found = {}
    for line in lock.splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.rstrip(" \\"))
            if pin.marker is None or pin.marker.evaluate(dict(target)):
                found[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    return found


def direct(project: dict) -> list[Requirement]:
    """Return what a pyproject table names: its dependencies and those of its extras."""
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(text) for text in [*project["dependencies"], *(name for extra in extras for name in extra)]]


def render(root: Path) -> str:
    """Return the content of the environment file.

    Raises
    ------
    KeyError
        When the lock lacks a package that pyproject.toml names: `make lock` resolves it.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = pins((root / "requirements.lock").read_text(encoding="utf-8"))
    names = sorted(canonicalize_name(requirement.name) for requirement in direct(project))
    lines = [f"  - python={PYTHON}", "  - pip", "  - pip:", *(f"      - {name}=={locked[name]}" for name in names)]
    return HEADER + "\n".join(lines) + "\n"


def render_runtime(root: Path) -> str:
    """Return the content of the runtime's requirements: its packages and whatever these need, as locked.

    Raises
    ------
    KeyError
        When the lock lacks one of them.
    """
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    entries: dict[str, list[str]] = {}
    needed_by: dict[str, set[str]] = {}
    for entry in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        name = canonicalize_name(re.match(r"[\w.-]+", entry)[0])
        lines = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
        entries.setdefault(name, []).append("\n".join(lines) + "\n")
        # "# via x" or, below "# via", a line for each.
        above = re.findall(r"^ +#(?: via)? +(?!via\b)([\w.-]+)$", entry, flags=re.MULTILINE)
        needed_by.setdefault(name, set()).update(map(canonicalize_name, above))
    wanted: set[str] = set()
    more = set(RUNTIME_PACKAGES)
    while more:
        wanted |= more
        more = {name for name, above in needed_by.items() if above & wanted} - wanted
    return RUNTIME_HEADER + "".join(text for name in sorted(wanted) for text in entries[name])


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` return 1 when one is out of date."""
    root = Path(__file__).parents[1]
    stale = 0
    for path, made in ((ENVIRONMENT, render(root)), (RUNTIME, render_runtime(root))):
        if (root / path).is_file() and (root / path).read_text(encoding="utf-8") == made:
            continue
        if "--check" in arguments:
            print(f"{path} is out of date: run python envs/update.py")
            stale = 1
        else:
            (root / path).write_text(made, encoding="utf-8")
            print(f"wrote {path}")
    return stale


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

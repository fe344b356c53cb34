"""Write the conda environment of `snakemake --sdm conda` from pyproject.toml and requirements.lock.

``python envs/update.py`` writes riskweave.yaml beside it; ``--check`` tells whether it is up to date.
"""

import sys
import tomllib
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["ENVIRONMENT", "direct", "main", "pins", "render"]

PYTHON = "3.11"
ENVIRONMENT = Path("envs", "riskweave.yaml")

HEADER = """\
# The environment of the rules under `snakemake --sdm conda`: what riskweave imports, as requirements.lock pins it.
# Made by `python envs/update.py` (part of `make lock`): edit requirements.in, not this file.
channels:
  - conda-forge
  - nodefaults
dependencies:
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


def main(arguments: list[str]) -> int:
    """Write the file, or with ``--check`` return 1 when it is out of date."""
    root = Path(__file__).parents[1]
    path, content = root / ENVIRONMENT, render(root)
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return 0
    if "--check" in arguments:
        print(f"{ENVIRONMENT} is out of date: run python envs/update.py")
        return 1
    path.write_text(content, encoding="utf-8")
    print(f"wrote {ENVIRONMENT}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

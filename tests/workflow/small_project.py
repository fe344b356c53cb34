"""A copy of the pipeline in a folder of its own, driven by the snakemake command as a user drives it."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

__all__ = ["REPOSITORY", "SMALL", "Project", "copy_project", "environment_of", "offline"]

REPOSITORY = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small.yaml")
PARTS = ("LICENSE", "Snakefile", "config", "envs", "profiles", "src", "workflow")


@dataclass(frozen=True)
class Project:
    """A copy of the pipeline in a folder of its own, with one study."""

    root: Path

    @property
    def results(self) -> Path:
        """Folder of the study's results."""
        return self.root / "results" / "small"

    def study(self) -> dict:
        """Return the study file's content."""
        return yaml.safe_load((self.root / "config/config.yaml").read_text())

    def write_study(self, study: dict) -> None:
        """Replace the study file."""
        (self.root / "config/config.yaml").write_text(yaml.safe_dump(study, sort_keys=False))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run snakemake as a user would, from the project's folder, without network where that can be had."""
        return subprocess.run(
            [*offline(), sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root, env=environment_of(self.root), capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip

    def planned(self, *arguments: str) -> list[str]:
        """Return the jobs that a run would do, as `rule folder-of-its-outputs`, sorted."""
        done = self.snakemake(*arguments, "--summary")
        assert done.returncode == 0, done.stdout + done.stderr
        table = pd.read_csv(io.StringIO(done.stdout), sep="\t")
        pending = table[table["plan"] != "no update"]
        folders = pending["output_file"].map(lambda path: os.path.relpath(os.path.dirname(path), "results/small"))
        return sorted(set(pending["rule"] + " " + folders))


def environment_of(root: Path) -> dict[str, str]:
    """Return the environment in which programs run a project's own copy of the package.

    Where Python may not write its caches, each of many hundred jobs would compile the package anew: a project is the
    test's own folder, and holds its caches.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPATH": str(root / "src"), "PYTHONWARNINGS": "default"}


@cache
def offline() -> list[str]:
    """Return a command prefix that takes the network away, or nothing where the machine does not allow that."""
    prefix = ["unshare", "--net", "--map-root-user"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


@cache
def compile_evaluation() -> None:
    """Compile in the checkout what evaluations run, unless that was done: each project would spend 25 s on it."""
    command = [sys.executable, Path(__file__).with_name("compile_evaluation.py")]
    path = os.pathsep.join(map(str, (REPOSITORY / "src", REPOSITORY / "tests/unit")))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


def copy_project(root: Path, study: Path) -> Project:
    """Copy the pipeline's files into a folder, compiled functions and all, and give it a study."""
    compile_evaluation()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            # Times of change are kept: by them a cache knows its source.
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            shutil.copy2(source, root / part)
    shutil.copy2(study, root / "config/config.yaml")
    return Project(root)

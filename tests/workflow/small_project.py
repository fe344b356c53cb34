"""A copy of the pipeline in a folder of its own, driven by the snakemake command as a user drives it."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

__all__ = ["REPOSITORY", "SMALL", "Project", "copy_project"]

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
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "PYTHONWARNINGS": "default"}
        return subprocess.run(
            [*offline(), sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip

    def planned(self, *arguments: str) -> list[str]:
        """Return the jobs that a run would do, as `rule folder-of-its-outputs`, sorted."""
        done = self.snakemake(*arguments, "--summary")
        assert done.returncode == 0, done.stdout + done.stderr
        table = pd.read_csv(io.StringIO(done.stdout), sep="\t")
        pending = table[table["plan"] != "no update"]
        folders = pending["output_file"].map(lambda path: os.path.relpath(os.path.dirname(path), "results/small"))
        return sorted(set(pending["rule"] + " " + folders))


def offline() -> list[str]:
    """Return a command prefix that takes the network away, or nothing where the machine does not allow that."""
    prefix = ["unshare", "--net", "--map-root-user"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


def copy_project(root: Path, study: Path) -> Project:
    """Copy the pipeline's files into a folder and give it a study."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, root / part)
    shutil.copy2(study, root / "config/config.yaml")
    return Project(root)

"""A copy of the pipeline in a folder of its own, driven by the snakemake command as a user drives it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["REPOSITORY", "SMALL", "Project", "copy_project", "planned_jobs"]

REPOSITORY = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small.yaml")
PARTS = ("Snakefile", "config", "envs", "profiles", "src", "workflow")


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
        """Return the jobs that a dry run would do, as `rule wildcards`, sorted, goal rules left out."""
        done = self.snakemake("--dry-run", "--quiet", "progress", "host", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return planned_jobs(done.stdout + done.stderr)


def offline() -> list[str]:
    """Return a command prefix that takes the network away, or nothing where the machine does not allow that."""
    prefix = ["unshare", "--net", "--map-root-user"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


def planned_jobs(output: str) -> list[str]:
    """Read the jobs of a dry run from its output."""
    jobs, rule, wildcards = [], None, ""
    for line in [*output.splitlines(), "rule end:"]:
        words = line.strip()
        if words.startswith(("rule ", "localrule ")) and words.endswith(":"):
            if rule not in (None, "all"):
                jobs.append(f"{rule} {wildcards}".strip())
            rule, wildcards = words.split()[1].rstrip(":"), ""
        elif words.startswith("wildcards: "):
            wildcards = words.removeprefix("wildcards: ")
    return sorted(jobs)


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

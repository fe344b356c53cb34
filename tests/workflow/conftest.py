"""A small study, run once from raw files to tracked runs, that the workflow tests look at and poke."""

import shutil

import pytest
from small_project import SMALL, Project, copy_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """Return a project whose study has run; tests must leave it as they found it."""
    project = copy_project(tmp_path_factory.mktemp("project"), SMALL)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """Return a copy of the finished project that a test may change; times of change are kept."""
    root = tmp_path / "project"
    shutil.copytree(finished.root, root, copy_function=shutil.copy2, symlinks=True)
    return Project(root)

"""What all tests share."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    """Start with the tests that run snakemake: they last longest, and two workers then end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data that are too large for the repository; tests that need it skip where it is not set."""
    folder = os.environ.get("RISKWEAVE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set RISKWEAVE_DATA to the folder that holds them")
    return Path(folder)


@pytest.fixture(autouse=True)
def mask():
    """The rights withheld from new files, as they were: command lines make them stricter for their process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def plain_bfloat16(monkeypatch):
    """Compute with bfloat16 without oneDNN: its instructions (AMX) some virtual machines announce and do not have."""
    import torch

    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)

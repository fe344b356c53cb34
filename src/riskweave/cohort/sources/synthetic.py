"""The demo cohort, read from the generator's files by the same reader as a user's own tables."""

from dataclasses import replace
from pathlib import Path

from riskweave.cohort.sources.base import CanonicalTables
from riskweave.cohort.sources.shared import with_manifests
from riskweave.cohort.sources.tables import read_tables
from riskweave.study.sources import TablesSource

__all__ = ["read_synthetic", "synthetic_tables"]


def synthetic_tables(directory: Path) -> TablesSource:
    """Return the generator's directory as the block `cohort` of a user who has these files.

    The truth that lies next to them is not among them.
    """
    directory = Path(directory)
    sounds = directory / "sounds.csv"
    return TablesSource(
        source="tables",
        subjects=(directory / "subjects.csv").as_posix(),
        events=(directory / "data").as_posix(),
        recordings=(directory / "recordings.csv").as_posix(),
        images=(directory / "images.csv").as_posix(),
        sounds=sounds.as_posix() if sounds.is_file() else None,
    )


def read_synthetic(directory: Path) -> CanonicalTables:
    """Read the demo cohort; see `riskweave.cohort.sources.tables.read_tables`."""
    from riskweave import __version__

    source = synthetic_tables(directory)
    tables = with_manifests(read_tables(source), source, allow_empty=True)
    return replace(tables, version=f"riskweave {__version__}")

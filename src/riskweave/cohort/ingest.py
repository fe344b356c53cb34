"""The stage "ingest": from a source, read by its own module, to the canonical tables and the version of the data."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from riskweave.cohort.checks import check_zones, zone_fact
from riskweave.cohort.events import store_events
from riskweave.cohort.sources.base import CanonicalTables
from riskweave.cohort.sources.shared import with_further, with_manifests
from riskweave.cohort.tables import IMAGES, RECORDINGS, SOUNDS, SOURCE_SUBJECTS, TIME, read_arrow, write_table
from riskweave.cohort.version import describe_data, log_changes, read_data, table_facts, write_data
from riskweave.errors import DataError
from riskweave.files import place
from riskweave.study.sources import Cohort, FileSource, SyntheticSource

__all__ = ["ingest"]

_LOG = logging.getLogger(__name__)
_SMALL = {"subjects": SOURCE_SUBJECTS, "recordings": RECORDINGS, "images": IMAGES, "sounds": SOUNDS}


def _read(cohort: Cohort, synthetic: Path | None) -> CanonicalTables:
    """Read a source by its own module, and what every source of files may have beside its tables."""
    module = import_module(f"riskweave.cohort.sources.{cohort.source}")
    if isinstance(cohort, SyntheticSource):
        if synthetic is None or not Path(synthetic).is_dir():
            where = f"cohort (source synthetic, folder {synthetic})"
            raise DataError(where, "the generated cohort is not there", "Run the rule that generates it")
        return module.read_synthetic(Path(synthetic))
    tables = getattr(module, f"read_{cohort.source}")(cohort)
    if isinstance(cohort, FileSource):
        tables = with_manifests(with_further(tables, cohort), cohort)
    return tables


def _typed(subjects: pa.Table) -> pa.Table:
    """Return the subject table with times in microseconds."""
    for name in ("index_time", "followup_end"):
        if name in subjects.column_names:
            place = subjects.column_names.index(name)
            subjects = subjects.set_column(place, name, subjects.column(name).cast(TIME))
    return subjects


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """Make a folder beside the output, which is gone afterwards; what a killed job left there goes first."""
    work = output.with_name(f".{output.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work)


def ingest(*, cohort: Cohort, output: Path, synthetic: Path | None = None, threads: int = 2) -> None:
    """Read and check a source, and write the canonical tables and `data.json`.

    Parameters
    ----------
    cohort : Cohort
        The study's block.
    output : Path
        Folder for subjects, events, recordings, images and sounds (Parquet; all of them, some without rows) and
        data.json, the version of the data (`riskweave.cohort.version`). The metadata of the subject table hold what
        messages call it, and whether the source's times have a time zone (`riskweave.cohort.checks.zone_fact`).
    synthetic : Path, optional
        The generator's folder, for source synthetic.
    threads : int
        Threads that sort the events; what is written does not depend on it.

    Raises
    ------
    DataError
        For data that cannot be used as they are. Nothing is written then.
    """
    output = Path(output)
    tables = _read(cohort, synthetic)
    check_zones(tables.zones)
    tables = replace(tables, subjects=_typed(tables.subjects))
    with _workplace(output) as work:
        facts = {}
        for key, schema in _SMALL.items():
            known = {"where": tables.where, **zone_fact(tables.zones)} if key == "subjects" else None
            write_table(getattr(tables, key), work / f"{key}.parquet", schema, known)
            facts[key] = table_facts(read_arrow(work / f"{key}.parquet", schema))
        events = store_events(tables, work / "events.parquet", work=work, threads=threads)
        facts["events"] = {"rows": events.rows, "subjects": events.subjects, "sha256": events.sha256}
        _LOG.info("%d subjects, %d events", facts["subjects"]["rows"], events.rows)
        previous = read_data(output / "data.json")
        data = describe_data(cohort=cohort, tables=tables, events=events, facts=facts, previous=previous)
        log_changes(data, previous)
        place({work / f"{key}.parquet": output / f"{key}.parquet" for key in facts})
        write_data(data, output / "data.json")

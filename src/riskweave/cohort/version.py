"""The version of a cohort's data: a fingerprint of each table, its size, version and date, and what changed."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from riskweave.cohort.contents import content_sha256
from riskweave.cohort.events import StoredEvents
from riskweave.cohort.sources.base import CanonicalTables
from riskweave.files import write_text
from riskweave.study.sources import Cohort

__all__ = ["describe_data", "log_changes", "read_data", "table_facts", "write_data"]

_LOG = logging.getLogger(__name__)


def table_facts(table: pa.Table) -> dict[str, Any]:
    """Return rows, subjects and sha256 of a table."""
    subjects = len(table.column("subject_id").unique())
    return {"rows": table.num_rows, "subjects": subjects, "sha256": content_sha256(table)}


def read_data(path: Path) -> dict[str, Any]:
    """Return the content of a ``data.json``; empty where there is none, or none that can be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _changes(tables: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables that changed, with the rows before and after; the last change where nothing did."""
    before = previous.get("tables") or {}
    changed = {
        name: {"rows_before": before[name]["rows"], "rows": facts["rows"]}
        for name, facts in tables.items()
        if name in before and before[name]["sha256"] != facts["sha256"]
    }
    return changed or previous.get("changed") or {}


def _date(tables: CanonicalTables, events: StoredEvents) -> tuple[str | None, str | None]:
    if tables.date is not None:
        return tables.date, tables.date_of
    if events.latest is None or not tables.dated:
        return None, None
    return events.latest.date().isoformat(), "latest event"


def describe_data(
    *,
    cohort: Cohort,
    tables: CanonicalTables,
    events: StoredEvents,
    facts: Mapping[str, Mapping[str, Any]],
    previous: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``data.json``.

    Parameters
    ----------
    cohort : Cohort
        The study's block.
    tables : CanonicalTables
        What the source handed over.
    events : StoredEvents
        What was stored of its events.
    facts : mapping
        Rows, subjects and sha256 of each stored table.
    previous : mapping
        The ``data.json`` that was there before; empty where there was none.

    Returns
    -------
    dict
        source, fingerprint (over all tables, wherever their files lie), tables, version, date, date_of, files, and
        changed: the tables that differ from the previous ones, with rows_before and rows. Where nothing changed it
        tells the change before, so that reading the same data again gives the same file.
    """
    together = "\n".join(f"{name} {table['sha256']}" for name, table in facts.items())
    date, date_of = _date(tables, events)
    return {
        "source": cohort.source,
        "fingerprint": hashlib.sha256(together.encode()).hexdigest(),
        "tables": {name: dict(table) for name, table in facts.items()},
        "repeated_events": events.repeated,
        "version": getattr(cohort, "release", None) or tables.version,
        "date": date,
        "date_of": date_of,
        "files": list(tables.files),
        "changed": _changes(facts, previous),
    }


def log_changes(data: Mapping[str, Any], previous: Mapping[str, Any]) -> None:
    """Tell in the log which tables changed since the data were read last."""
    if not previous:
        return
    if data["fingerprint"] == previous.get("fingerprint"):
        _LOG.info("The content of all tables is the same as before")
        return
    for name, rows in data["changed"].items():
        if rows["rows"] == rows["rows_before"]:
            _LOG.warning("The table %s changed: other content, the same number of rows (%d)", name, rows["rows"])
        else:
            _LOG.warning("The table %s changed: %d rows, %d before", name, rows["rows"], rows["rows_before"])


def write_data(data: Mapping[str, Any], path: Path) -> None:
    """Write ``data.json``, all at once or not at all."""
    write_text(json.dumps(data, indent=2) + "\n", path)

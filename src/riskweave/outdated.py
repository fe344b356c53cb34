"""Outputs that were made from a file which is gone, because the job that was to make that file again did not end well.

Snakemake removes a job's outputs when it starts. If the job then fails or is killed, its output is missing, and what
was made from the former one is still there; the next run finds all that was asked for, and does not look at what is
missing in between. Snakemake even notes a failed job's inputs as if it had succeeded. Here such outputs are marked as
incomplete in Snakemake's own notes, so that ``rerun-incomplete``, which all profiles set, makes them again.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from riskweave.files import write_text

__all__ = ["mark_outdated"]

# In .snakemake: a record of each output's making, and a mark for each whose job has begun and not ended.
RECORDS, MARKS = "metadata", "incomplete"


def mark_outdated(folder: Path = Path()) -> list[str]:
    """Mark the outputs of a folder that are older than what a failed or killed job was to make them from.

    Not while a run is at work there: its jobs have removed what they make.

    Parameters
    ----------
    folder : Path
        Where snakemake runs. Files that the user has removed mark nothing.

    Returns
    -------
    list of str
        The outputs that will be made again, as their rules name them.
    """
    notes = Path(folder) / ".snakemake"
    marked = {name for name, _ in _noted(notes / MARKS)}
    records = dict(_noted(notes / RECORDS))
    gone = {name for name in marked | set(records) if not (Path(folder) / name).exists()}
    if not gone:
        return []
    made = {name: record for name, path in records.items() if (record := _read(path))}
    # A job that failed counts as one that ended, later than what had been made from its former output.
    broken = {name: float("inf") if name in marked else made.get(name, {}).get("endtime") or 0.0 for name in gone}
    found = []
    for name, record in made.items():
        began = record.get("starttime") or 0.0
        if name not in gone and any(broken.get(each, 0.0) > began for each in record.get("input") or ()):
            write_text(json.dumps({"external_jobid": None}), notes / MARKS / records[name].relative_to(notes / RECORDS))
            found.append(name)
    return sorted(found)


def _noted(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield outputs and the files of what Snakemake notes of them, which are named by base64, in pieces if long."""
    for path in folder.rglob("*"):
        if path.is_file():
            with suppress(ValueError):
                coded = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
                yield urlsafe_b64decode(coded).decode(), path


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

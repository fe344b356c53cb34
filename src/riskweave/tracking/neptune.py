"""A lab's past: runs that were exported from Neptune, into the store of runs.

neptune.ai ended its service in 2026. Its exporter (github.com/neptune-ai/neptune-exporter) leaves Parquet files with
one row per value, described in its README ("Parquet schema"): `project_id`, `run_id`, `attribute_path`,
`attribute_type`, `step`, `timestamp` and one column per type of value.
"""

import csv
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.tracking.contents import LONGEST_PARAM, Contents, flatten
from riskweave.tracking.database import locked, open_store
from riskweave.tracking.store import set_status
from riskweave.tracking.trees import CURRENT, FINGERPRINT, PARENT, RECORD, STATUS, Node

__all__ = ["import_neptune"]

KIND = "neptune"
COLUMNS = ("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp")
SETTINGS = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
"""Types that become parameters, and the column of each."""
PART = re.compile(r"_?part_\d+$")
LONG = "neptune_parameters.json"
"""Artifact of the settings that are too long for a parameter, by their paths in Neptune."""
FINEST = 6
"""Decimals of a step."""


@dataclass
class _Run:
    """What an export tells of a run."""

    project: str
    run: str
    settings: dict[str, Any] = field(default_factory=dict)
    series: list[tuple[str, float, datetime | None, Decimal]] = field(default_factory=list)
    named: list[tuple[str, str, str, str]] = field(default_factory=list)


def import_neptune(*, folder: Path, directory: Path) -> dict[str, int]:
    """Import an export; again, only what is new or changed.

    A project becomes the experiment ``neptune/<project>``. Single values become parameters (what is too long stands
    in the artifact ``neptune_parameters.json``), series of numbers metrics with their steps and times, and `sys/tags`,
    `sys/owner`, `sys/name` tags. Of files, series of files, of texts and of histograms the names alone are kept, in the
    artifact ``neptune_attributes.csv``: texts and files may hold rows of subjects, which the store never takes.

    Parameters
    ----------
    folder : Path
        Folder with the Parquet files, at any depth (the exporter's ``--data-path``).
    directory : Path
        Folder of the store; made when missing.

    Returns
    -------
    dict of str to int
        Number of runs ``stored`` now, ``unchanged``, ``superseded`` by a later export of the same run.

    Raises
    ------
    DataError
        When there are no such files, or one is not of the exporter's schema.
    """
    groups = _groups(Path(folder))
    counts = {"stored": 0, "unchanged": 0, "superseded": 0}
    with locked(directory), open_store(Path(directory)) as store, tempfile.TemporaryDirectory() as scratch:
        for place, files in enumerate(groups):
            digest = _digest(files)
            for run in _read(files):
                experiment = store.experiment(f"{KIND}/{run.project}")
                stored = store.runs(experiment, (FINGERPRINT, STATUS, "kind"))
                key = f"{KIND}//{run.run}"
                tops = [one for one in stored if one.tags[RECORD] == key and PARENT not in one.tags]
                known = next((one.run_id for one in tops if one.tags.get(FINGERPRINT) == digest), None)
                if known is None:
                    node = _node(run, key, digest, Path(scratch) / str(place))
                    store.write(experiment, [node])
                counts["stored" if known is None else "unchanged"] += 1
                changed = set_status(store, stored, {key: known or node.run_id})
                counts["superseded"] += changed["superseded"]
    return counts


def _groups(folder: Path) -> list[list[Path]]:
    """Return the files of each run: one with many values is split into parts."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        found.setdefault((path.parent, PART.sub("", path.stem)), []).append(path)
    if not found:
        remedy = "Name the folder that the exporter wrote by --data-path"
        raise DataError(str(folder), "holds no Parquet files of a Neptune export", remedy)
    return list(found.values())


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _read(files: list[Path]) -> list[_Run]:
    """Return the runs in the files of one group."""
    runs: dict[tuple[str, str], _Run] = {}
    for file in files:
        try:
            table = pq.read_table(file)
        except (pa.ArrowInvalid, OSError):
            raise DataError(str(file), "cannot be read as Parquet", "Export the project again") from None
        missing = [name for name in (*COLUMNS, "float_value", *SETTINGS.values()) if name not in table.column_names]
        if missing:
            problem = f"lacks the columns {', '.join(missing)} of a Neptune export"
            raise DataError(str(file), problem, "Give files of neptune-exporter, version 2.x or 3.x")
        for row in table.to_pylist():
            key = (str(row["project_id"]), str(row["run_id"]))
            _add(runs.setdefault(key, _Run(*key)), row)
    return list(runs.values())


def _add(run: _Run, row: dict[str, Any]) -> None:
    path, kind = str(row["attribute_path"]), str(row["attribute_type"])
    if kind in SETTINGS:
        value = row[SETTINGS[kind]]
        if value is not None:
            run.settings[path] = value
    elif kind == "float_series":
        if row["float_value"] is not None and row["step"] is not None:
            run.series.append((path, float(row["float_value"]), row["timestamp"], Decimal(row["step"])))
    else:
        file = (row.get("file_value") or {}).get("path") or ""
        run.named.append((path, kind, "" if row["step"] is None else str(row["step"].normalize()), file))


def _node(run: _Run, key: str, digest: str, scratch: Path) -> Node:
    """Return what is stored of a run."""
    start = _milliseconds(run.settings.get("sys/creation_time"), 0)
    end = max(start, _milliseconds(run.settings.get("sys/modification_time"), start))
    decimals = max((-step.normalize().as_tuple().exponent for _, _, _, step in run.series), default=0)
    factor = 10 ** min(max(decimals, 0), FINEST)
    names = dict(_names(sorted({path for path, *_ in run.series})))
    name = str(run.settings.get("sys/custom_run_id") or run.run)
    labels = [*(run.settings.get("sys/tags") or ()), *(run.settings.get("sys/group_tags") or ())]
    tags = {
        "study": f"{KIND}/{run.project}",
        "kind": KIND,
        "experiment": str(run.settings.get("sys/name") or name),
        "user": str(run.settings.get("sys/owner") or ""),
        "neptune.project": run.project,
        "neptune.run": run.run,
        "neptune.tags": ", ".join(sorted(map(str, labels))),
        "neptune.step_factor": str(factor) if factor > 1 else "",
        RECORD: key,
        FINGERPRINT: digest,
        STATUS: CURRENT,
    }
    tags = {tag: value[:5000] for tag, value in tags.items() if value}
    settings = {own: _text(run.settings[path]) for path, own in _names(sorted(run.settings))}
    contents = Contents(name[:250], params=flatten(settings, whole=LONG), tags=tags)
    timed = [
        (names[path], value, _milliseconds(moment, start), int(step * factor))
        for path, value, moment, step in run.series
    ]
    return Node(contents, start, end, files=_files(run, scratch), timed=timed)


def _names(paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each path with the key that MLflow takes in its place; no two paths share one."""
    taken: set[str] = set()
    for path in paths:
        key = first = re.sub(r"[^\w.\- :]", "_", path.replace("/", "."))[:240]
        number = 2
        while key in taken:
            key, number = f"{first}_{number}", number + 1
        taken.add(key)
        yield path, key


def _files(run: _Run, scratch: Path) -> list[tuple[Path, str]]:
    """Write the names of what is not imported, and the settings that are too long for a parameter."""
    folder = scratch / hashlib.sha256(f"{run.project}/{run.run}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True)
    long = {path: text for path, value in sorted(run.settings.items()) if len(text := _text(value)) > LONGEST_PARAM}
    if long:
        (folder / LONG).write_text(json.dumps(long, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if run.named:
        with (folder / "neptune_attributes.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("attribute", "type", "step", "file"))
            writer.writerows(sorted(run.named))
    return [(file, "") for file in sorted(folder.iterdir())]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple | set):
        return ", ".join(sorted(map(str, value)))
    return str(value)


def _milliseconds(moment: Any, otherwise: int) -> int:
    if not isinstance(moment, datetime):
        return otherwise
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

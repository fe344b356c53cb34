"""Runs as the store holds them, read back with all that is below them: to be sent on, or compared."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from riskweave.tracking.contents import Contents
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.trees import PARENT, DataSet, Node

__all__ = ["read_trees"]

AT_ONCE = 500


def read_trees(store: SqlStore, run_ids: Sequence[str]) -> list[Node]:
    """Read runs with those below them, and name the files that they keep.

    Parameters
    ----------
    store : SqlStore
    run_ids : sequence of str
        MLflow's ids of the runs at the top.

    Returns
    -------
    list of Node
        In the order of the ids. Metrics have their times; tags do not tell MLflow's name of the run, nor its parent.
    """
    below = _below(store, run_ids)
    everyone = [*run_ids, *(child for children in below.values() for child in children)]
    nodes = _nodes(store, everyone)
    for parent, children in below.items():
        nodes[parent].children = [nodes[child] for child in children]
    return [nodes[run_id] for run_id in run_ids]


def _below(store: SqlStore, run_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the runs directly below each of the runs, and of those below them."""
    runs, tags = store.tables["runs"], store.tables["tags"]
    found: dict[str, list[str]] = {}
    level = list(run_ids)
    while level:
        children: list[str] = []
        for some in _portions(level):
            query = (
                sa.select(tags.c.value, runs.c.run_uuid)
                .join(runs, runs.c.run_uuid == tags.c.run_uuid)
                .where(tags.c.key == PARENT, tags.c.value.in_(some), runs.c.lifecycle_stage == "active")
                .order_by(runs.c.name, runs.c.run_uuid)
            )
            for parent, child in _rows(store, query):
                found.setdefault(parent, []).append(child)
                children.append(child)
        level = children
    return found


def _nodes(store: SqlStore, run_ids: Sequence[str]) -> dict[str, Node]:
    runs, tables = store.tables["runs"], store.tables
    nodes: dict[str, Node] = {}
    for some in _portions(run_ids):
        values = {name: _by_run(store, name, some) for name in ("tags", "params")}
        for run in _rows(store, sa.select(runs).where(runs.c.run_uuid.in_(some))):
            tags = {key: value for key, value in values["tags"][run.run_uuid] if key not in ("mlflow.runName", PARENT)}
            contents = Contents(run.name, params=dict(values["params"][run.run_uuid]), tags=tags)
            files = _files(store.folder_of(run.artifact_uri))
            nodes[run.run_uuid] = Node(contents, run.start_time, run.end_time, files=files, run_id=run.run_uuid)
        metrics = tables["metrics"]
        query = sa.select(metrics).where(metrics.c.run_uuid.in_(some))
        for row in _rows(store, query.order_by(metrics.c.step, metrics.c.timestamp, metrics.c.key)):
            value = math.nan if row.is_nan else row.value
            nodes[row.run_uuid].timed.append((row.key, value, row.timestamp, row.step))
        for run_id, data in _data_sets(store, some):
            nodes[run_id].data = data
    return nodes


def _by_run(store: SqlStore, name: str, run_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    table, found = store.tables[name], defaultdict(list)
    query = sa.select(table.c.run_uuid, table.c.key, table.c.value).where(table.c.run_uuid.in_(run_ids))
    for run_id, key, value in _rows(store, query.order_by(table.c.key)):
        found[run_id].append((key, value))
    return found


def _data_sets(store: SqlStore, run_ids: Sequence[str]) -> Iterator[tuple[str, DataSet]]:
    inputs, sets = store.tables["inputs"], store.tables["datasets"]
    query = (
        sa.select(inputs.c.destination_id, sets.c.name, sets.c.digest, sets.c.dataset_source, sets.c.dataset_profile)
        .join(sets, sets.c.dataset_uuid == inputs.c.source_id)
        .where(inputs.c.destination_type == "RUN", inputs.c.destination_id.in_(run_ids))
    )
    for run_id, *facts in _rows(store, query):
        yield run_id, DataSet(*facts)


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Return the files below a folder, each with the folder that it lies in there."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    places = [path.parent.relative_to(folder).as_posix() for path in found]
    return [(path, "" if place == "." else place) for path, place in zip(found, places, strict=True)]


def _rows(store: SqlStore, query: sa.Select) -> Iterable[Any]:
    with store.engine.connect() as connection:
        return connection.execute(query).all()


def _portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(values), AT_ONCE):
        yield values[first : first + AT_ONCE]

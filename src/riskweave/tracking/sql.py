"""Writing and reading the database of MLflow in its own tables: a record in a millisecond, wholly or not at all.

MLflow's client opens a transaction for each run and each batch, and takes seconds to import. The tables are read from
the database (SQLite or PostgreSQL), which MLflow has made (:mod:`riskweave.tracking.database`); a test compares what is
written here with what MLflow's client writes and reads.
"""

import math
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from riskweave.errors import DataError
from riskweave.tracking.trees import PARENT, RECORD, Node, StoredRun

__all__ = ["SqlStore"]

TABLES = (
    "experiments",
    "runs",
    "tags",
    "params",
    "metrics",
    "latest_metrics",
    "datasets",
    "inputs",
    "input_tags",
)
LARGEST = 1.7976931348623157e308
"""Stands for infinity, as MLflow stores it."""
PATIENCE = 20
"""Seconds to wait for a program that holds the database, such as the interface."""
PROXIED = "mlflow-artifacts:"
AT_ONCE = 500
"""Values of one IN list; SQLite takes no more than some thousand variables."""


class SqlStore:
    """The tables of one store.

    Parameters
    ----------
    url : str
        SQLAlchemy's address of the database.
    artifacts : Path
        Folder of the artifacts.
    proxied : bool
        Whether a server hands the artifacts out (their location then names no folder) or they are read from the folder.
    """

    def __init__(self, url: str, artifacts: Path, *, proxied: bool):
        self.artifacts, self.proxied = Path(artifacts).resolve(), proxied
        waiting = {"timeout": PATIENCE} if url.startswith("sqlite") else {}
        self.engine = sa.create_engine(url, connect_args=waiting, poolclass=sa.pool.NullPool)
        meta = sa.MetaData()
        meta.reflect(self.engine, only=TABLES, resolve_fks=False)
        self.tables = {name: meta.tables[name] for name in TABLES}

    def __enter__(self) -> "SqlStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made when missing, restored when it was deleted in the interface."""
        table = self.tables["experiments"]
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.select(table.c.experiment_id, table.c.lifecycle_stage).where(table.c.name == name)
            ).one_or_none()
            if row is not None:
                own = table.c.experiment_id == row.experiment_id
                if row.lifecycle_stage != "active":
                    connection.execute(sa.update(table).where(own).values(lifecycle_stage="active"))
                return str(row.experiment_id)
            now = round(time.time() * 1000)
            made = {"name": name, "lifecycle_stage": "active", "creation_time": now, "last_update_time": now}
            (number,) = connection.execute(sa.insert(table).values(made)).inserted_primary_key
            own = table.c.experiment_id == number
            place = f"{PROXIED}/{number}" if self.proxied else str(self.artifacts / _folder(name))
            connection.execute(sa.update(table).where(own).values(artifact_location=place))
        return str(number)

    def experiments(self) -> list[str]:
        """Return the names of the experiments that are not deleted; MLflow's own first one is none of ours."""
        table = self.tables["experiments"]
        query = sa.select(table.c.name).where(table.c.lifecycle_stage == "active", table.c.experiment_id != 0)
        with self.engine.connect() as connection:
            return list(connection.execute(query.order_by(table.c.name)).scalars())

    def runs(self, experiment: str, keys: Sequence[str]) -> list[StoredRun]:
        """Return the runs of an experiment that are not deleted and describe a record, with the tags of these keys."""
        runs, tags = self.tables["runs"], self.tables["tags"]
        query = (
            sa.select(runs.c.run_uuid, runs.c.status, tags.c.key, tags.c.value)
            .join(tags, tags.c.run_uuid == runs.c.run_uuid)
            .where(runs.c.experiment_id == int(experiment), runs.c.lifecycle_stage == "active")
            .where(tags.c.key.in_([RECORD, PARENT, *keys]))
        )
        found: dict[str, StoredRun] = {}
        with self.engine.connect() as connection:
            for run_id, status, key, value in connection.execute(query):
                found.setdefault(run_id, StoredRun(run_id, status == "FINISHED", {})).tags[key] = value
        return [run for run in found.values() if RECORD in run.tags]

    def write(self, experiment: str, trees: Iterable[Node]) -> None:
        """Store runs and all below them in one transaction; their files are there before it ends."""
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        root = self._location(experiment)
        for tree in trees:
            for node in tree.walk():
                _add_rows(rows, node, int(experiment), f"{root}/{node.run_id}/artifacts")
                self._keep_files(root, node)
        with self.engine.begin() as connection:
            self._add_data_sets(connection, rows)
            for name in ("runs", "tags", "params", "metrics", "latest_metrics", "inputs", "input_tags"):
                if rows[name]:
                    connection.execute(sa.insert(self.tables[name]), rows[name])

    def set_tag(self, run_ids: Sequence[str], key: str, value: str) -> None:
        """Give runs a tag, in place of the value that they had."""
        table = self.tables["tags"]
        with self.engine.begin() as connection:
            for some in _portions(run_ids):
                connection.execute(sa.delete(table).where(table.c.key == key, table.c.run_uuid.in_(some)))
                connection.execute(sa.insert(table), [{"run_uuid": one, "key": key, "value": value} for one in some])

    def set_metrics(self, run_id: str, values: Mapping[str, float]) -> None:
        """Give a run metrics, which are then the latest of their keys."""
        now = round(time.time() * 1000)
        rows = _metric_rows(run_id, [(key, value, now, 0) for key, value in values.items()])
        latest = self.tables["latest_metrics"]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(self.tables["metrics"]), rows)
            own = sa.delete(latest).where(latest.c.run_uuid == run_id)
            for some in _portions(list(values)):
                connection.execute(own.where(latest.c.key.in_(some)))
            connection.execute(sa.insert(latest), rows)

    def delete(self, run_ids: Sequence[str]) -> None:
        """Delete runs as the interface does: they can be restored there."""
        table = self.tables["runs"]
        gone = {"lifecycle_stage": "deleted", "deleted_time": round(time.time() * 1000)}
        with self.engine.begin() as connection:
            for some in _portions(run_ids):
                connection.execute(sa.update(table).where(table.c.run_uuid.in_(some)).values(gone))

    def folder_of(self, uri: str) -> Path:
        """Return the folder of a run's artifacts.

        Raises
        ------
        DataError
            When they lie elsewhere, such as on another server.
        """
        if uri.startswith(f"{PROXIED}/"):
            return self.artifacts / uri.removeprefix(f"{PROXIED}/").lstrip("/")
        if "://" in uri:
            raise DataError(
                "the store of runs", f"artifacts lie at {uri.split(':', maxsplit=1)[0]}:", "Keep them in the store"
            )
        return Path(uri)

    def _location(self, experiment: str) -> str:
        table = self.tables["experiments"]
        query = sa.select(table.c.artifact_location).where(table.c.experiment_id == int(experiment))
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def _keep_files(self, root: str, node: Node) -> None:
        for file, folder in node.files:
            place = self.folder_of(f"{root}/{node.run_id}/artifacts") / folder
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / file.name)

    def _add_data_sets(self, connection: sa.Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Store the data sets that are new to their experiment, and name them in the rows of inputs."""
        table = self.tables["datasets"]
        known: dict[tuple[int, str, str], str] = {}
        for row, link in zip(rows["datasets"], rows["inputs"], strict=True):
            key = (row["experiment_id"], row["name"], row["digest"])
            if key not in known:
                where = [table.c[column] == row[column] for column in ("experiment_id", "name", "digest")]
                found = connection.execute(sa.select(table.c.dataset_uuid).where(*where)).scalar_one_or_none()
                if found is None:
                    connection.execute(sa.insert(table), row)
                known[key] = found or row["dataset_uuid"]
            link["source_id"] = known[key]


def _folder(name: str) -> str:
    """Return the folder of an experiment's artifacts."""
    return name.replace("/", "_")


def _portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(values), AT_ONCE):
        yield values[first : first + AT_ONCE]


def _add_rows(rows: dict[str, list[dict[str, Any]]], node: Node, experiment: int, uri: str) -> None:
    """Add the rows of one run, as MLflow's own store would write them."""
    contents, run_id = node.contents, node.run_id
    rows["runs"].append(
        {
            "run_uuid": run_id,
            "name": contents.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": contents.tags.get("mlflow.user", "unknown"),
            "status": "FINISHED",
            "start_time": node.start,
            "end_time": node.end,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": uri,
            "experiment_id": experiment,
        }
    )
    for table, values in (("tags", {"mlflow.runName": contents.name, **contents.tags}), ("params", contents.params)):
        rows[table] += [{"run_uuid": run_id, "key": key, "value": value} for key, value in values.items()]
    metrics = _metric_rows(run_id, node.points())
    rows["metrics"] += metrics
    rows["latest_metrics"] += _latest(metrics)
    if node.data is not None:
        link = uuid.uuid4().hex
        rows["datasets"].append(
            {
                "dataset_uuid": uuid.uuid4().hex,
                "experiment_id": experiment,
                "name": node.data.name,
                "digest": node.data.digest,
                "dataset_source_type": "local",
                "dataset_source": node.data.source,
                "dataset_profile": node.data.profile,
            }
        )
        end = {"destination_type": "RUN", "destination_id": run_id, "step": 0}
        rows["inputs"].append({"input_uuid": link, "source_type": "DATASET", **end})
        rows["input_tags"].append({"input_uuid": link, "name": "mlflow.data.context", "value": "training"})


def _metric_rows(run_id: str, metrics: Iterable[tuple[str, float, int, int]]) -> list[dict[str, Any]]:
    """Return rows of (key, value, time, step); the same point given twice is one."""
    rows = {}
    for key, value, moment, step in metrics:
        nan = math.isnan(value)
        stored = 0.0 if nan else max(min(value, LARGEST), -LARGEST)
        rows[key, moment, step, stored, nan] = {
            "run_uuid": run_id,
            "key": key,
            "value": stored,
            "timestamp": moment,
            "step": step,
            "is_nan": nan,
        }
    return list(rows.values())


def _latest(metrics: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each metric the row of its last step."""
    latest: dict[str, dict[str, Any]] = {}
    for row in metrics:
        order = (row["step"], row["timestamp"], row["value"])
        best = latest.get(row["key"])
        if best is None or order > (best["step"], best["timestamp"], best["value"]):
            latest[row["key"]] = row
    return list(latest.values())

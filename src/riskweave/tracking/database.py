"""The SQLite store of MLflow: made safely, opened quietly, movable as a folder."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from riskweave.errors import DataError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["DATABASE", "init_store", "locked", "open_store", "relocate", "ui_command"]

logger = logging.getLogger(__name__)

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
LOCK = ".lock"
MADE_BY = ".made_by"
"""File with the version of MLflow whose schema the database has."""

_SETTINGS = {
    # Nothing about a study leaves the machine: mlflow reports its use to its makers unless told otherwise.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Workers for language models: eight processes and more than a gigabyte that a store of risk models never uses.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # A value that is too long is an error to us; mlflow would cut it in silence.
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
}


def init_store(*, directory: Path) -> None:
    """Make the store, or bring it up to date; safe to be called by several processes at once, and again.

    Parameters
    ----------
    directory : Path
        Folder of the store: ``mlflow.db`` and ``artifacts/``.

    Raises
    ------
    DataError
        When the store cannot be opened.
    """
    directory = Path(directory)
    with locked(directory):
        if _is_ready(directory):
            relocate(directory=directory)
        else:
            open_store(directory)


def _is_ready(directory: Path) -> bool:
    """Tell, without the seconds that mlflow takes to import, whether this version of it has made the schema."""
    made_by = directory / MADE_BY
    if not made_by.is_file() or made_by.read_text(encoding="utf-8") != metadata.version("mlflow"):
        return False
    _prepare(directory / DATABASE)
    with contextlib.closing(sqlite3.connect(directory / DATABASE)) as connection:
        query = "SELECT count(*) FROM sqlite_master WHERE name IN ('experiments', 'runs', 'alembic_version')"
        return connection.execute(query).fetchone()[0] == 3


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the store for one process: others wait.

    Parallel first writers break the migration of MLflow's schema, and parallel collectors would store a run twice.
    """
    where = str(directory)
    remedy = "Put the folder on a local disk that you may write to"
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        lock = (Path(directory) / LOCK).open("w")
    except OSError as error:
        raise DataError(where, f"the store's folder cannot be written: {error.strerror}", remedy) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise DataError(where, f"the store cannot be locked here: {error.strerror}", remedy) from None
        yield


def open_store(directory: Path) -> "MlflowClient":
    """Open the store for writing; the caller holds the lock.

    Creates the database when there is none, upgrades the schema of an older MLflow, switches to write-ahead logging and
    repairs the locations of artifacts when the folder has been moved.

    Raises
    ------
    DataError
        When the database cannot be opened: damaged, not a database, or written by a newer MLflow.
    """
    database = _path(directory)
    (Path(directory) / ARTIFACTS).mkdir(exist_ok=True)
    _prepare(database)
    os.environ.update(_SETTINGS)
    # Alembic tells each of its fifty migrations at level INFO: that would bury the job's own messages.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here and below: mlflow takes seconds to import, and only what opens the store should pay for it.
    import sqlalchemy.exc
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = f"sqlite:///{database}"
    try:
        _upgrade(uri, database)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.get_experiment("0")
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise _unusable(database, str(error).splitlines()[0]) from error
    relocate(directory=directory)
    (Path(directory) / MADE_BY).write_text(metadata.version("mlflow"), encoding="utf-8")
    return client


def _path(directory: Path) -> Path:
    return Path(directory).resolve() / DATABASE


def _unusable(database: Path, problem: str) -> DataError:
    remedy = (
        f"Move {database.parent.name}/ away and collect again: the store is rebuilt from the run records (run.json), "
        "which are not touched"
    )
    return DataError(f"{database.parent.name}/{database.name}", f"the store cannot be opened: {problem}", remedy)


def _prepare(database: Path) -> None:
    """Check that the file is a database, or make it, and switch to write-ahead logging (readers never block)."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise _unusable(database, str(error)) from None
    if mode != "wal":
        logger.warning("the store's disk has no write-ahead logging: do not open it while runs are collected")


def _upgrade(uri: str, database: Path) -> None:
    """Bring the schema of an older MLflow up to date, as `mlflow db upgrade` does."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        made = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone() if made else None
    if version is None:
        return  # a new database: MLflow makes its tables when it opens it
    import mlflow.store.db.utils as mlflow_database

    if version[0] == mlflow_database._get_latest_schema_revision():
        return
    engine = mlflow_database.create_sqlalchemy_engine(uri)
    try:
        mlflow_database._upgrade_db(engine)
    except Exception as error:  # alembic's errors share no base; whichever it is, the store is not usable
        raise _unusable(database, str(error).splitlines()[0]) from error
    finally:
        engine.dispose()


def relocate(*, directory: Path) -> bool:
    """Repair the locations of artifacts after the folder was moved or copied.

    MLflow stores absolute paths, and shows no artifacts and no error when they are wrong. `init_store`, `collect` and
    the user interface call this function by themselves.

    Parameters
    ----------
    directory : Path
        Folder of the store.

    Returns
    -------
    bool
        Whether anything had to be repaired.
    """
    new = str(_path(directory).parent / ARTIFACTS)
    with contextlib.closing(sqlite3.connect(_path(directory), timeout=20)) as connection, connection:
        # All locations are <root>/<one name>, MLflow's own first experiment included.
        first = connection.execute(
            "SELECT artifact_location FROM experiments ORDER BY experiment_id LIMIT 1"
        ).fetchone()
        old = os.path.dirname(first[0]) if first else new
        if old == new:
            return False
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )
    return True


def ui_command(*, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that show the store in a browser, for this machine only.

    Parameters
    ----------
    directory : Path
        Folder of the store.
    port : int
        Port on the loopback interface, 1 to 65535.

    Returns
    -------
    command : list of str
    environment : dict of str to str
        The environment of this process with the settings that keep MLflow private.

    Raises
    ------
    DataError
        When there is no store yet.
    """
    database = _path(directory)
    if not database.is_file():
        remedy = "Run `snakemake track`: it makes the store from the run records"
        raise DataError(str(directory), "there is no store of runs", remedy)
    artifacts = database.parent / ARTIFACTS
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts)]
    return command, {**os.environ, **_SETTINGS}

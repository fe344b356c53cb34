"""The store of MLflow: a folder with artifacts and a database, made safely, opened quietly, movable.

The database is SQLite in the folder, or PostgreSQL at the address that the file `database.url` in the folder holds.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from riskweave.errors import DataError
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.web import SETTINGS, web_server

__all__ = [
    "ARTIFACTS",
    "DATABASE",
    "SETTINGS",
    "address_of",
    "init_store",
    "locked",
    "open_store",
    "relocate",
    "ui_command",
    "write_private",
    "writing",
]

logger = logging.getLogger(__name__)

DATABASE = "mlflow.db"
ADDRESS = "database.url"
"""File with the address of a PostgreSQL database; private, since the address may hold a password."""
ARTIFACTS = "artifacts"
LOCK = ".lock"
MADE_BY = ".made_by"
"""File with the version of MLflow whose schema the database has."""

WRITABLE = (
    "Look whether your user may write to its files (a store that a group shares is made with RISKWEAVE_UMASK=007), "
    "whether the disk has room, and whether another program holds the database; then collect again: nothing is stored "
    "by halves"
)


def init_store(*, directory: Path, database: str | None = None) -> None:
    """Make the store, or bring it up to date; safe to be called by several processes at once, and again.

    Parameters
    ----------
    directory : Path
        Folder of the store: ``mlflow.db`` and ``artifacts/``.
    database : str, optional
        Address of a PostgreSQL database (``postgresql://user:password@host/name``) that takes the place of
        ``mlflow.db``. It is kept in the folder, readable by its owner alone.

    Raises
    ------
    DataError
        When the store cannot be opened.
    """
    directory = Path(directory)
    with locked(directory):
        if database is not None:
            if not database.startswith("postgresql"):
                problem = f"a database of kind {database.partition(':')[0]!r} cannot hold the store"
                raise DataError(str(directory), problem, "Give an address that begins with postgresql://")
            write_private(directory / ADDRESS, f"{database}\n")
        _make_ready(directory)


def address_of(directory: Path) -> str:
    """Return SQLAlchemy's address of the store's database."""
    file = Path(directory) / ADDRESS
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    return f"sqlite:///{_path(directory)}"


def open_store(directory: Path) -> SqlStore:
    """Open the store for writing; the caller holds the lock.

    Raises
    ------
    DataError
        When the database cannot be opened: damaged, not a database, not reached, or written by a newer MLflow.
    """
    import sqlalchemy.exc

    directory = Path(directory)
    _make_ready(directory)
    url = address_of(directory)
    try:
        return SqlStore(url, directory / ARTIFACTS, proxied=not _is_sqlite(url))
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _unusable(directory, _first_line(error)) from None


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Say what to do where the database refuses to be read or written, such as when it is locked or not yours."""
    import sqlalchemy.exc

    try:
        yield
    except (sqlalchemy.exc.OperationalError, sqlite3.OperationalError) as error:
        name = ADDRESS if (Path(directory) / ADDRESS).is_file() else DATABASE
        where = f"{Path(directory).resolve().name}/{name}"
        raise DataError(where, f"the store cannot be written: {_first_line(error)}", WRITABLE) from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whatever the process's mask."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _first_line(error: Exception) -> str:
    """Return what went wrong, without the statement and its values that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _make_ready(directory: Path) -> None:
    """Make the tables where they are missing or of an older MLflow, and repair locations; the caller holds the lock."""
    if not _is_ready(directory):
        _migrate(directory)
    relocate(directory=directory)


def _is_ready(directory: Path) -> bool:
    """Tell, without the seconds that mlflow takes to import, whether this version of it has made the schema."""
    import sqlalchemy as sa

    made_by = directory / MADE_BY
    if not made_by.is_file() or made_by.read_text(encoding="utf-8") != metadata.version("mlflow"):
        return False
    url = address_of(directory)
    if _is_sqlite(url):
        _prepare(directory / DATABASE)
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        return {"experiments", "runs", "alembic_version"} <= set(sa.inspect(engine).get_table_names())
    except sa.exc.SQLAlchemyError as error:
        raise _unusable(directory, _first_line(error)) from None
    finally:
        engine.dispose()


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


def _migrate(directory: Path) -> None:
    """Let MLflow make its tables, or upgrade those of an older MLflow, in write-ahead logging where it is SQLite."""
    (directory / ARTIFACTS).mkdir(exist_ok=True)
    url = address_of(directory)
    if _is_sqlite(url):
        _prepare(_path(directory))
    os.environ.update(SETTINGS)
    # Alembic tells each of its fifty migrations at level INFO: that would bury the job's own messages.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here and below: mlflow takes seconds to import, and only what makes the tables should pay for it.
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    root = str(directory.resolve() / ARTIFACTS) if _is_sqlite(url) else "mlflow-artifacts:/"
    try:
        _upgrade(url, directory)
        made = SqlAlchemyStore(url, root)
        made.get_experiment("0")
        # MLflow keeps it for the process, with connections to a file that may be deleted and made again.
        made.engine.dispose()
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise _unusable(directory, _first_line(error)) from error
    (directory / MADE_BY).write_text(metadata.version("mlflow"), encoding="utf-8")


def _path(directory: Path) -> Path:
    return Path(directory).resolve() / DATABASE


def _unusable(directory: Path, problem: str) -> DataError:
    name = Path(directory).resolve().name
    if (Path(directory) / ADDRESS).is_file():
        remedy = f"Start the PostgreSQL server, or give its address anew in {name}/{ADDRESS}"
        return DataError(f"{name}/{ADDRESS}", f"the store cannot be opened: {problem}", remedy)
    remedy = (
        f"Move {name}/ away and collect again: the store is rebuilt from the run records (run.json), "
        "which are not touched"
    )
    return DataError(f"{name}/{DATABASE}", f"the store cannot be opened: {problem}", remedy)


def _prepare(database: Path) -> None:
    """Check that the file is a database, or make it, and switch to write-ahead logging (readers never block)."""
    try:
        # SQLite would make it 0644 less the mask: a group that the mask lets write could not.
        os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o666))
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except OSError as error:
        problem = f"the store cannot be written: {error.strerror}"
        raise DataError(f"{database.parent.name}/{DATABASE}", problem, WRITABLE) from None
    except sqlite3.Error as error:
        raise _unusable(database.parent, str(error)) from None
    if mode != "wal":
        logger.warning("the store's disk has no write-ahead logging: do not open it while runs are collected")


def _upgrade(url: str, directory: Path) -> None:
    """Bring the schema of an older MLflow up to date, as `mlflow db upgrade` does."""
    import mlflow.store.db.utils as mlflow_database
    import sqlalchemy as sa

    engine = mlflow_database.create_sqlalchemy_engine(url)
    try:
        if "alembic_version" not in sa.inspect(engine).get_table_names():
            return  # a new database: MLflow makes its tables when it opens it
        with engine.connect() as connection:
            version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        if version != mlflow_database._get_latest_schema_revision():
            mlflow_database._upgrade_db(engine)
    except Exception as error:  # alembic's errors share no base; whichever it is, the store is not usable
        raise _unusable(directory, _first_line(error)) from error
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
    if not _is_sqlite(address_of(directory)):
        return False  # a server hands these artifacts out: their locations name no folder
    new = str(_path(directory).parent / ARTIFACTS)
    connected = contextlib.closing(sqlite3.connect(_path(directory), timeout=20))
    with writing(directory), connected as connection, connection:
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
    url = address_of(directory)
    if _is_sqlite(url) and not _path(directory).is_file():
        remedy = "Run `snakemake track`: it makes the store from the run records"
        raise DataError(str(directory), "there is no store of runs", remedy)
    settings = {"MLFLOW_BACKEND_STORE_URI": url}
    return web_server(artifacts=Path(directory).resolve() / ARTIFACTS, port=port, workers=1, settings=settings)

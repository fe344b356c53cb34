"""The team's tracking server: MLflow with accounts, its artifacts handed out by it, and nothing sent anywhere."""

import configparser
import contextlib
import re
import secrets
from pathlib import Path

from riskweave.errors import DataError
from riskweave.tracking.database import ARTIFACTS, address_of, init_store, write_private
from riskweave.tracking.remote import Server
from riskweave.tracking.web import LOOPBACK, web_server

__all__ = ["ADMIN", "add_user", "server_command"]

ADMIN = "admin"
FOLDER, CONFIGURATION, SECRET, USERS = "server", "auth.ini", "secret_key", "users.db"
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


def server_command(
    *,
    directory: Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    names: tuple[str, ...] = (),
    database: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    workers: int = 2,
) -> tuple[list[str], dict[str, str]]:
    """Make the server's folder ready and return the command and the environment that start it.

    At the first call the password of the administrator and the key that signs forms are drawn by chance and kept in
    ``<directory>/server/``, which only its owner may read.

    Parameters
    ----------
    directory : Path
        Folder of the store: ``artifacts/``, ``server/`` and ``mlflow.db`` or ``database.url``.
    host : str
        Interface; another than the loopback needs a certificate.
    port : int
        1 to 65535.
    names : tuple of str
        Further names by which the server is called (``Host`` headers); all others are refused.
    database : str, optional
        Address of a PostgreSQL database; kept in the folder, so that it is given once.
    certificate, key : Path, optional
        For https, in PEM.
    workers : int
        Processes.

    Raises
    ------
    DataError
        When the store cannot be opened, or passwords would cross the network readable.
    """
    directory = Path(directory)
    if (certificate is None) != (key is None):
        raise DataError("the server", "has one of certificate and key", "Give both: --certificate and --key")
    if host not in LOOPBACK and certificate is None:
        remedy = "Give --certificate and --key, or listen on 127.0.0.1 behind a proxy of yours that has them"
        raise DataError(f"--host {host}", "passwords would cross the network readable", remedy)
    init_store(directory=directory, database=database)
    folder = directory.resolve() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / SECRET).is_file():
        write_private(folder / SECRET, secrets.token_hex(32))
    if not (folder / CONFIGURATION).is_file():
        write_private(folder / CONFIGURATION, _configuration(folder))
    settings = {
        "MLFLOW_BACKEND_STORE_URI": address_of(directory),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / CONFIGURATION),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": (folder / SECRET).read_text(encoding="utf-8"),
    }
    command, environment = web_server(
        artifacts=directory.resolve() / ARTIFACTS,
        host=host,
        port=port,
        names=names,
        workers=workers,
        certificate=certificate,
        key=key,
        settings=settings,
    )
    return [*command, "--app-name", "basic-auth"], environment


def add_user(*, directory: Path, address: str, name: str, credentials: Path) -> None:
    """Give somebody access to the running server, and write the file of credentials to hand over.

    Parameters
    ----------
    directory : Path
        Folder of the server's store, which knows the administrator's password.
    address : str
        Of the server.
    name : str
        User name, of letters, digits, dots, - and _: it becomes a part of names of experiments.
    credentials : Path
        New file, readable by its owner alone: name and a password drawn by chance, as MLflow's clients and
        :data:`riskweave.tracking.sending.CREDENTIALS` read it.

    Raises
    ------
    DataError
        When the name or the file is none that can be, or the server cannot be asked or refuses: then no file is left.
    """
    if not NAME.fullmatch(name):
        remedy = "Take letters (A-Z, a-z) and digits, and after the first of them also . - and _"
        raise DataError(f"user {name!r}", "is no name for a user", remedy)
    file = configparser.ConfigParser(interpolation=None)
    path = Path(directory) / FOLDER / CONFIGURATION
    try:
        file.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "Start the server once by `python -m riskweave.tracking server`, and add users as who started it"
        raise DataError(str(path), f"the administrator's password cannot be read: {error.strerror}", remedy) from None
    credentials, password = Path(credentials), secrets.token_urlsafe(18)
    if credentials.exists():
        raise DataError(str(credentials), "is there already", "Name a new file")
    text = f"[mlflow]\nmlflow_tracking_username = {name}\nmlflow_tracking_password = {password}\n"
    try:  # before the account: one whose password nobody holds could not be made again
        write_private(credentials, text)
    except OSError as error:
        remedy = "Name a file in a folder that is there and that you may write to"
        raise DataError(str(credentials), f"cannot be written: {error.strerror}", remedy) from None
    known = file["mlflow"]
    with contextlib.ExitStack() as undo:
        undo.callback(credentials.unlink)
        Server(address, known["admin_username"], known["admin_password"]).add_user(name, password)
        undo.pop_all()


def _configuration(folder: Path) -> str:
    """Return the settings of accounts: everybody may read all runs, and write only into own experiments."""
    return (
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / USERS}\n"
        f"admin_username = {ADMIN}\n"
        f"admin_password = {secrets.token_urlsafe(18)}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        # Passwords are hashed slowly, on purpose: not anew for each of the requests of one collection.
        "auth_cache_ttl_seconds = 60\n"
    )

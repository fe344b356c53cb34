"""How MLflow is put on a port: its pages of runs alone, for the names that it is called by, and nothing sent anywhere.

MLflow 3 has a second web application, served by uvicorn, with an assistant that runs commands as the owner of the
server for every user of the machine, and no setting turns it off. Behind gunicorn only the first application is served.
"""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["LOOPBACK", "SETTINGS", "web_server"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")

SETTINGS = {
    # Nothing about a study leaves the machine: mlflow reports its use to its makers unless told otherwise.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Workers for language models: eight processes and more than a gigabyte that a store of risk models never uses.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # A value that is too long is an error to us; mlflow would cut it in silence.
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
}


def web_server(
    *,
    artifacts: Path,
    host: str = "127.0.0.1",
    port: int,
    names: tuple[str, ...] = (),
    workers: int,
    certificate: Path | None = None,
    key: Path | None = None,
    settings: Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that start MLflow's web server.

    Parameters
    ----------
    artifacts : Path
        Folder of the artifacts.
    host, port : str, int
        Interface and port.
    names : tuple of str
        Names by which the server is called (``Host`` headers) beside the loopback's and `host`.
    workers : int
        Processes.
    certificate, key : Path, optional
        For https, in PEM.
    settings : mapping of str to str
        Further environment variables: whoever lists processes sees arguments, and addresses may hold passwords.
    """
    options = ["--config", "python:riskweave.tracking.gunicorn_settings"]
    if certificate is not None:
        options += ["--certfile", str(Path(certificate).resolve()), "--keyfile", str(Path(key).resolve())]
    interface = f"[{host}]" if ":" in host else host
    command = [sys.executable, "-m", "mlflow", "server", "--host", interface, "--port", str(port)]
    command += ["--workers", str(workers), "--artifacts-destination", str(artifacts)]
    command += ["--gunicorn-opts", shlex.join(options)]
    called = list(dict.fromkeys((*LOOPBACK, host, *names)))
    protocol = "http" if certificate is None else "https"
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_UVICORN_OPTS"}
    environment = {
        **kept,
        **SETTINGS,
        # By the environment: beside gunicorn mlflow refuses them as options. What the user's own says is overridden:
        # mlflow would let in any name that begins as a private address does, such as 10.evil.example.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(pattern for name in called for pattern in _patterns(name)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"{protocol}://{_bracketed(name)}:{port}" for name in called),
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
        # mlflow recommends uvicorn at each start.
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore::FutureWarning"))),
        **settings,
    }
    return command, environment


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _patterns(name: str) -> tuple[str, str]:
    """Return how a name may stand in a ``Host`` header, without a port and with any."""
    written = _bracketed(name)
    return written, f"{written.replace('[', '[[]', 1)}:*"

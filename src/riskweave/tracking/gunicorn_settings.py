"""Settings of gunicorn, which reads them as ``--config python:riskweave.tracking.gunicorn_settings``."""

import ctypes
import signal
import sys
from typing import Any

from riskweave.tracking.guard import own_places

__all__ = ["on_starting", "post_worker_init"]

loglevel = "warning"
# Threads: a worker without them serves one connection at a time, and an idle browser's is one.
worker_class, threads = "gthread", 8
# Of a worker's main loop, not of a request; to import mlflow takes a busy machine more than the usual 30 seconds.
timeout = 300
# Sending a study asks again and again: connections that end in between would look like a server that went down.
keepalive = 20
# An idle browser holds up the end no longer than this.
graceful_timeout = 10
# The interface asks for the curves of a hundred runs in one address: longer than the usual 4094 characters.
limit_request_line = 8190
# No second way to govern the server, by a socket in the home folder.
control_socket_disable = True

PR_SET_PDEATHSIG = 1


def on_starting(_: object) -> None:
    """End with the process that started gunicorn, even if it was killed; workers end with gunicorn."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def post_worker_init(worker: Any) -> None:
    """Put the guard before MLflow."""
    worker.wsgi = own_places(worker.wsgi)

"""What MLflow's web server would do for whoever may ask it, and must not: keep artifacts where the asker says."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["own_places"]

CREATE = "/mlflow/experiments/create"
LOCATIONS = ("artifact_location", "artifactLocation")
LARGEST = 1_000_000
"""Bytes of a request to create an experiment."""

REFUSED = "An experiment's artifacts are kept by the server: leave out artifact_location."

Application = Callable[[dict[str, Any], Callable], Iterable[bytes]]


def own_places(application: Application) -> Application:
    """Wrap a WSGI application: experiments keep their artifacts in the server's own folder.

    MLflow takes any path as an experiment's ``artifact_location``, and writes what is uploaded to its runs there, with
    the rights of the server's owner.
    """

    def guarded(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").rstrip("/").endswith(CREATE):
            body = environ["wsgi.input"].read(LARGEST + 1)
            if len(body) > LARGEST or _tells_place(body):
                answer = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": REFUSED}).encode()
                headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
                start_response("400 Bad Request", headers)
                return [answer]
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        return application(environ, start_response)

    return guarded


def _tells_place(body: bytes) -> bool:
    """Tell whether a request names a location; MLflow reads objects, and texts that hold one."""
    asked: Any = body
    while isinstance(asked, (bytes, str)):
        try:
            asked = json.loads(asked)
        except ValueError:
            return any(name.encode() in body for name in LOCATIONS)
    return isinstance(asked, Mapping) and any(asked.get(name) for name in LOCATIONS)

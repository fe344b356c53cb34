"""The Python pipeline behind a local HTTP endpoint of the standard library, one process, one thread.

    python -m deployment_ways.rest_server BUNDLE

Prints its port when it listens. ``POST /`` takes ``{"patient": {...}, "ecg": {name: base64}, "image": base64}`` and
answers with the bits of the risks; ``GET /`` tells which files the process has loaded.
"""

import base64
import json
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from deployment_ways.pipeline import Pipeline
from riskweave.deployment.runtime.golden import hexes_of


def answer(pipeline: Pipeline, asked: dict[str, Any]) -> list[str]:
    """Return the bits of the risks of one raw patient; wfdb reads records from files."""
    with tempfile.TemporaryDirectory() as name:
        folder, ecg, image = Path(name), None, None
        for file, content in (asked.get("ecg") or {}).items():
            (folder / file).write_bytes(base64.b64decode(content))
            ecg = folder / file if file.endswith(".hea") else ecg
        if asked.get("image"):
            image = folder / "image"
            image.write_bytes(base64.b64decode(asked["image"]))
        return hexes_of(pipeline.predict(asked["patient"], ecg, image))


def loaded() -> list[str]:
    """Return the files of all modules and shared libraries of this process."""
    modules = {str(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted(modules | {line.split(maxsplit=5)[5] for line in lines if ".so" in line})


def serve(pipeline: Pipeline) -> None:
    """Answer until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One write for head and body: two would wait for each other's acknowledgement.
        wbufsize = -1

        def _send(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._send(loaded())

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._send(answer(pipeline, json.loads(self.rfile.read(length))))

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        print(json.dumps({"port": server.server_port}), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(Pipeline.open(Path(sys.argv[1])))

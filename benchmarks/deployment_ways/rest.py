"""The Python pipeline behind a local endpoint, in a folder of exactly the packages that it loads."""

import base64
import http.client
import json
import time

from deployment_ways.measure import Packages, Worker, folder_bytes, python
from deployment_ways.runs import Row, Setting


class Served:
    """A running server that has told its first risks.

    Parameters
    ----------
    worker : Worker
    body : bytes
        Of the request.
    """

    def __init__(self, worker: Worker, body: bytes):
        self.worker, self.body = worker, body
        self.connection = http.client.HTTPConnection("127.0.0.1", worker.told()["port"], timeout=300)
        self.risks = self._posted()
        self.cold, self.cpu = worker.seconds(), worker.cpu()

    def worked(self) -> float:
        """Return the seconds that processors worked for it so far."""
        return self.worker.cpu()

    def _posted(self) -> list[str]:
        self.connection.request("POST", "/", self.body, {"Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())

    def loaded(self) -> list[str]:
        """Return the files that the server has loaded."""
        self.connection.request("GET", "/")
        return json.loads(self.connection.getresponse().read())

    def times(self, count: int) -> list[float]:
        """Return the times of so many round trips, in milliseconds."""
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            self._posted()
            taken.append(1e3 * (time.perf_counter() - began))
        return taken

    def memory(self) -> float:
        """Return the resident memory in MB."""
        return self.worker.memory()

    def close(self) -> None:
        """End the server."""
        self.connection.close()
        self.worker.close()


class Rest:
    """What a hospital would otherwise deploy.

    Attributes
    ----------
    bytes, without_cuda : int
        Size of the packages that it loads; and less what a PyTorch for processors alone does without.
    """

    def __init__(self, setting: Setting, packages: Packages):
        self.setting = setting
        coded = {
            name: base64.b64encode((setting.folder / name).read_bytes()).decode()
            for name in ("rec.hea", "rec.dat", "image.png")
        }
        image = coded.pop("image.png")
        self.body = json.dumps({"patient": setting.patient["patient"], "ecg": coded, "image": image}).encode()
        served = self._served(python(), setting.environment)
        needed = packages.of(served.loaded())
        served.close()
        self.folder = setting.work / "site"
        self.folder.mkdir()
        packages.link(needed, self.folder)
        self.bytes = packages.bytes(needed)
        cuda = {name for name in needed if name.startswith(("nvidia", "cuda", "triton"))}
        libraries = [path for path in packages.files["torch"] if "cuda" in path.name and path.suffix == ".so"]
        self.without_cuda = packages.bytes(needed - cuda) - folder_bytes(libraries)

    def _served(self, interpreter: list[str], environment: dict[str, str]) -> Served:
        command = [*interpreter, "-m", "deployment_ways.rest_server", str(self.setting.bundle)]
        return Served(Worker(command, environment), self.body)

    def start(self) -> Served:
        """Start the server where it sees its own packages alone."""
        environment = dict(self.setting.environment)
        environment["PYTHONPATH"] = f"{self.folder}:{environment['PYTHONPATH']}"
        return self._served(python("-S"), environment)

    def row(self) -> Row:
        """Return the way."""
        folder = self.setting.bundle.parents[2] / "deployment"
        stored = [path for path in folder.rglob("*") if path.suffix == ".zip"]
        return Row("Python pipeline, REST", self.start, folder_bytes(stored), self.bytes)

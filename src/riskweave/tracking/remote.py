"""The team's tracking server, spoken to by MLflow's REST interface: without mlflow, which takes seconds to import."""

import ipaddress
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from riskweave.errors import DataError
from riskweave.tracking.trees import PARENT, DataSet, Node, StoredRun

__all__ = ["BEGUN", "SENDER", "Server", "ServerError"]

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PROXIED = "mlflow-artifacts:/"
SECONDS = (5, 60)
"""Patience with connecting, and with an answer."""
PAGE = 500
SENDER = "riskweave.sender"
BEGUN = "riskweave.begun"
"""Tags of what was sent: the store that it came from, and when it began to be sent (milliseconds since 1970)."""
CERTIFICATES = "REQUESTS_CA_BUNDLE"


TAKEN = "RESOURCE_ALREADY_EXISTS"
"""MLflow's name of the error that what should be made is there."""


class ServerError(DataError):
    """The server is down, refuses, or does not understand.

    Attributes
    ----------
    code : str
        MLflow's name of the error; empty where the server gave none.
    """

    code = ""


class Server:
    """A connection to a server.

    Parameters
    ----------
    address : str
        ``https://host[:port]``; plain ``http`` to this machine only, since it shows the password to the network.
    username, password : str
    page : int
        Runs that are asked for at once.

    Raises
    ------
    ServerError
        When the address would send the password in the clear, or is none, or there are no certificates where the
        environment names them.
    """

    def __init__(self, address: str, username: str, password: str, *, page: int = PAGE):
        try:
            parts = urlsplit(address)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # brackets without their other half; a port that is none
            whole = False
        if not whole:
            raise ServerError(address, "is not the address of a server", "Give it as https://host:port")
        if parts.scheme == "http" and not _is_this_machine(parts.hostname):
            remedy = "Give the server a certificate (https), or reach it through an SSH tunnel to 127.0.0.1"
            raise ServerError(address, "plain http would send the password readable over the network", remedy)
        certificates = os.environ.get(CERTIFICATES)
        if certificates and not Path(certificates).exists():
            remedy = f"Name the PEM file of who signed the server's certificate in {CERTIFICATES}, or unset it"
            raise ServerError(certificates, "there are no certificates here", remedy)
        self.address, self.username, self.page = address.rstrip("/"), username, page
        self.session = requests.Session()
        # Neither proxies nor passwords from elsewhere: the server is in the house, and so is what is sent to it.
        self.session.trust_env = False
        self.session.verify = certificates or True
        # As bytes: of text, requests knows the letters of western Europe alone.
        self.session.auth = (username.encode(), password.encode())
        self.linking = threading.Lock()

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made when missing, restored when it was deleted in the interface."""
        found = self._ask("GET", "/experiments/get-by-name", params={"experiment_name": name}, missing=True)
        if found is None:
            return self._part(self._ask("POST", "/experiments/create", json={"name": name}), "experiment_id")
        number = self._part(found, "experiment", "experiment_id")
        if found["experiment"].get("lifecycle_stage") == "deleted":
            self._ask("POST", "/experiments/restore", json={"experiment_id": number})
        return number

    def runs(self, experiment: str, condition: str) -> Iterator[StoredRun]:
        """Yield the runs of an experiment that meet a condition of MLflow's search.

        Ask for all before you delete any: a page begins where the one before ended by number, so that a run that goes
        meanwhile hides another.
        """
        for run in self._pages("/runs/search", "runs", {"experiment_ids": [experiment], "filter": condition}):
            tags = {tag["key"]: tag.get("value", "") for tag in self._part(run, "data").get("tags", [])}
            yield StoredRun(self._part(run, "info", "run_id"), run["info"].get("status") == "FINISHED", tags)

    def everywhere(self, condition: str) -> Iterator[Mapping[str, Any]]:
        """Yield the runs of all experiments that meet a condition, as the interface gives them: ``info``, ``data``."""
        found = self._pages("/experiments/search", "experiments", {})
        experiments = [self._part(one, "experiment_id") for one in found]
        for first in range(0, len(experiments), PAGE):
            body = {"experiment_ids": experiments[first : first + PAGE], "filter": condition}
            yield from self._pages("/runs/search", "runs", body)

    def _pages(self, path: str, what: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            answer = self._ask("POST", path, json={**body, "max_results": self.page, **more})
            yield from answer.get(what, [])
            token = answer.get("next_page_token", "")
            if not token:
                return

    def below(self, experiment: str, run_id: str) -> list[str]:
        """Return the ids of a run and of all below it."""
        found = [run_id]
        for parent in found:
            found += [run.run_id for run in self.runs(experiment, f"tags.`{PARENT}` = '{parent}'")]
        return found

    def write(self, experiment: str, node: Node, *, sender: str) -> str:
        """Store a run and all below it; the run is finished last, so that one that broke off is known by that.

        A run that somebody else deletes meanwhile is begun again, once. `sender` names the store that it comes from.
        """
        run_id, place = self._begin(experiment, node, sender)
        try:
            self._fill(experiment, node, run_id, place)
        except ServerError:
            if self._is_active(run_id):
                raise
            self.delete(self.below(experiment, run_id))
            run_id, place = self._begin(experiment, node, sender)
            self._fill(experiment, node, run_id, place)
        return run_id

    def _begin(self, experiment: str, node: Node, sender: str = "") -> tuple[str, str]:
        """Make a run; return its id and the place of its artifacts."""
        own = {SENDER: sender, BEGUN: str(round(time.time() * 1000))} if sender else {}
        body = {
            "experiment_id": experiment,
            "start_time": node.start,
            "run_name": node.contents.name,
            "tags": _pairs(node.contents.tags | own),
        }
        info = self._part(self._ask("POST", "/runs/create", json=body), "run", "info")
        return self._part(info, "run_id"), self._part(info, "artifact_uri")

    def _fill(self, experiment: str, node: Node, run_id: str, place: str) -> None:
        """Give a run all that it holds, the runs below it too, and finish it."""
        self.log(run_id, params=node.contents.params, points=node.points())
        for child in node.children:
            child.contents.tags[PARENT] = run_id
            self._fill(experiment, child, *self._begin(experiment, child))
        if node.data is not None:
            self._link(run_id, node.data)
        for file, folder in node.files:
            self._upload(place, f"{folder}/{file.name}".lstrip("/"), file.read_bytes())
        finished = {"run_id": run_id, "status": "FINISHED", "end_time": node.end}
        self._ask("POST", "/runs/update", json=finished)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, str] | None = None,
        points: Sequence[tuple[str, float, int, int]] = (),
    ) -> None:
        """Add parameters and metrics (key, value, time, step) to a run, in as few requests as MLflow's limits allow."""
        left = _pairs(params or {})
        metrics = [
            {"key": key, "value": _number(value), "timestamp": moment, "step": step}
            for key, value, moment, step in points
        ]
        while left or metrics:
            body = {"run_id": run_id, "params": left[:100], "metrics": metrics[:900]}
            self._ask("POST", "/runs/log-batch", json=body)
            left, metrics = left[100:], metrics[900:]

    def set_tag(self, run_ids: Sequence[str], key: str, value: str) -> None:
        """Give runs a tag."""
        for run_id in run_ids:
            self._ask("POST", "/runs/set-tag", json={"run_id": run_id, "key": key, "value": value})

    def delete(self, run_ids: Sequence[str]) -> None:
        """Delete runs; they can be restored in the interface."""
        for run_id in run_ids:
            self._ask("POST", "/runs/delete", json={"run_id": run_id})

    def add_user(self, name: str, password: str) -> None:
        """Give somebody access; only the administrator may, and a name that has an account is refused."""
        try:
            self._ask("POST", "/users/create", json={"username": name, "password": password})
        except ServerError as error:
            if not error.code:
                raise
            # Without what the server says: it quotes its SQL, and in it the hash of the password.
            problem, remedy = f"was not added: the server answered {error.code}", "Look at the server's log"
            if error.code == TAKEN:
                problem = f"has an account on {self.address} already"
                remedy = (
                    "Use the file of credentials that was written for it, or take another name; docs/tracking.md says "
                    "how a lost password is replaced"
                )
            raise ServerError(f"user {name!r}", problem, remedy) from None

    def _is_active(self, run_id: str) -> bool:
        """Return whether a run is there and not deleted."""
        found = self._ask("GET", "/runs/get", params={"run_id": run_id}, missing=True)
        return found is not None and self._part(found, "run", "info").get("lifecycle_stage") == "active"

    def _part(self, answer: Any, *keys: str) -> Any:
        """Return what stands in an answer below these keys; another service has none of MLflow's."""
        for key in keys:
            if not isinstance(answer, Mapping) or key not in answer:
                raise self._no_server()
            answer = answer[key]
        return answer

    def _no_server(self) -> ServerError:
        problem = "what answers there is no tracking server"
        return ServerError(self.address, problem, "Look at the address, and at proxies on the way")

    def _link(self, run_id: str, data: DataSet) -> None:
        """Link a run to its data set; a server that is told of a new one twice at a time fails the second."""
        body = {"run_id": run_id, "datasets": [_data(data)]}
        with self.linking:
            try:
                self._ask("POST", "/runs/log-inputs", json=body)
            except ServerError:  # another sender was first: now the data set is there
                self._ask("POST", "/runs/log-inputs", json=body)

    def _upload(self, place: str, name: str, content: bytes) -> None:
        if not place.startswith(PROXIED):
            remedy = "Start it by `python -m riskweave.tracking server`"
            raise ServerError(self.address, "the server does not take artifacts itself", remedy)
        self._request(
            "PUT", f"{ARTIFACTS}/{quote(place.removeprefix(PROXIED).lstrip('/'))}/{quote(name)}", data=content
        )

    def _ask(self, method: str, path: str, *, missing: bool = False, **more: Any) -> dict[str, Any] | None:
        """Ask the interface; None where what is asked for does not exist and `missing` allows it."""
        answer = self._request(method, f"{API}{path}", missing=missing, **more)
        if answer is None:
            return None
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self._no_server()
        return content

    def _request(self, method: str, path: str, *, missing: bool = False, **more: Any) -> requests.Response | None:
        try:
            answer = self.session.request(method, f"{self.address}{path}", timeout=SECONDS, **more)
        except requests.exceptions.SSLError as error:
            told = re.search(r"\[SSL[^]]*] ([^('\"]+)", str(error))
            problem = f"no safe connection: {told[1].strip() if told else 'the certificate is refused'}"
            remedy = (
                f"Name the PEM file of who signed the server's certificate in {CERTIFICATES}, and look at the address"
            )
            raise ServerError(self.address, problem, f"{remedy}; nothing is lost") from None
        except (OSError, ValueError) as error:  # ValueError: a host that cannot be a name
            problem = f"the tracking server cannot be reached: {type(error).__name__}"
            raise ServerError(self.address, problem, "Start it, or look at the network; nothing is lost") from None
        if missing and answer.status_code == 404:
            return None
        if answer.status_code in (401, 403):
            problem = f"the server refuses {self.username!r} ({answer.status_code})"
            raise ServerError(self.address, problem, "Look at the file of credentials, and ask who runs the server")
        if not answer.ok:
            code, told = _told(answer)
            problem = f"the server answered {answer.status_code} to {path.rpartition('/')[2]}: {told}"
            error = ServerError(self.address, problem, "Look at the server's log")
            error.code = code
            raise error
        return answer


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(answer: requests.Response) -> tuple[str, str]:
    """Return what the server calls an error, where it does, and what it says of it, in one short line."""
    try:
        content = answer.json()
    except ValueError:
        content = None
    about = content if isinstance(content, dict) else {"message": answer.text}
    return str(about.get("error_code", "")), " ".join(str(about.get("message", "")).split())[:200]


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _number(value: float) -> float | str:
    """Return a number as MLflow's interface takes it: those that JSON does not know by name."""
    if value != value:  # noqa: PLR0124 - not a number
        return "NaN"
    return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")


def _data(data: DataSet) -> dict[str, Any]:
    about = {"name": data.name, "digest": data.digest, "source_type": "local", "source": data.source}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    return {"dataset": {**about, "profile": data.profile}, "tags": tags}

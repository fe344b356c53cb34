"""What the server answers, without the network: requests as values, replies as values."""

import datetime
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from riskweave.deployment.runtime.apipage import api_page, page_policy
from riskweave.deployment.runtime.bundle import Bundle
from riskweave.deployment.runtime.fhir import risk_assessment
from riskweave.deployment.runtime.given import PatientError, Problem
from riskweave.deployment.runtime.module import ModuleError
from riskweave.deployment.runtime.multipart import FormError, Part, parse_form
from riskweave.deployment.runtime.openapi import FHIR, FORM, JSON, openapi_of
from riskweave.deployment.runtime.pool import BusyError, Pool
from riskweave.deployment.runtime.predict import Answer, Given, as_errors, ask, parse_patient
from riskweave.deployment.runtime.readers import parse_ecg, parse_image
from riskweave.deployment.runtime.words import LANGUAGES

__all__ = ["LIMITS", "Api", "RefusalError", "Reply", "Request"]

MEBIBYTE = 1024 * 1024
LIMITS = {"json": 4 * MEBIBYTE, "form": 72 * MEBIBYTE}
"""Bytes of a body: a JSON of the most events that a module takes has under 3 MB, a radiograph under 40 MB."""

QUEUE_SECONDS = 30.0
"""How long a request waits for its turn."""

ROUTES = {
    "/": ("GET", "HEAD"),
    "/openapi.json": ("GET", "HEAD"),
    "/health": ("GET", "HEAD"),
    "/model": ("GET", "HEAD"),
    "/predict": ("POST",),
}


@dataclass(frozen=True)
class Request:
    """A request whose body was read."""

    path: str
    query: str = ""
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """A request that gets an error for an answer.

    Parameters
    ----------
    status : int
    problems : sequence of Problem
    headers : mapping, optional
        Further ones of the answer.
    """

    def __init__(self, status: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None):
        self.status, self.problems, self.headers = status, problems, dict(headers or {})
        super().__init__(f"{status}")

    @classmethod
    def of(cls, status: int, message: str, **headers: str) -> "RefusalError":
        """Return a refusal of the whole request."""
        return cls(status, [Problem(None, message)], {key.replace("_", "-"): value for key, value in headers.items()})

    def reply(self) -> Reply:
        """Return the answer."""
        return Reply(self.status, JSON, _json({"errors": as_errors(self.problems)}), self.headers)


class Api:
    """The routes of a server.

    Parameters
    ----------
    bundle : Bundle
    workers : int
        Predictions at the same time.
    """

    def __init__(self, bundle: Bundle, workers: int):
        self.bundle = bundle
        self.pool = Pool(bundle.module, bundle.another, workers)
        openapi = openapi_of(bundle, LIMITS)
        page = {"Content-Security-Policy": page_policy()}
        self._fixed = {
            "/": Reply(200, "text/html; charset=utf-8", api_page(bundle, openapi).encode(), page),
            "/openapi.json": Reply(200, JSON, _json(openapi)),
            "/model": Reply(200, JSON, _json({"schema": bundle.schema, "manifest": bundle.manifest})),
            "/health": Reply(200, JSON, _json({"status": "ok", "fingerprint": bundle.fingerprint})),
        }

    def check(self, method: str, path: str) -> None:
        """Refuse what is no route, before anything of its body is read."""
        if path not in ROUTES:
            raise RefusalError.of(404, f"there is nothing here; known are {', '.join(ROUTES)}")
        if method not in ROUTES[path]:
            allowed = ", ".join(ROUTES[path])
            raise RefusalError.of(405, f"this address takes {allowed} alone", Allow=allowed)

    def most(self, content_type: str) -> int:
        """Return how many bytes a body of this kind may have."""
        kind = _kind(content_type)
        if kind not in (JSON, FORM):
            raise RefusalError.of(415, f"send the patient as {JSON}, or with files as {FORM}")
        return LIMITS["json" if kind == JSON else "form"]

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request that `check` let through.

        Raises
        ------
        RefusalError
        """
        if request.path in self._fixed:
            return self._fixed[request.path]
        options = _options(request.query)
        try:
            given = _given(request)
        except PatientError as error:
            raise RefusalError(400, error.problems) from error
        answer = self._ask(given)
        if options["format"] != "fhir":
            return Reply(200, JSON, _json(answer.result.as_dict()))
        return Reply(200, FHIR, _json(risk_assessment(self.bundle, answer, options["date"], options["language"])))

    def _ask(self, given: Given) -> Answer:
        try:
            with self.pool.module(QUEUE_SECONDS) as module:
                return ask(module, given)
        except PatientError as error:
            raise RefusalError(422, error.problems) from error
        except BusyError as error:
            raise RefusalError.of(503, "the server is busy: try again", Retry_After="5") from error
        except ModuleError as error:
            message = "the model stopped at this patient, and there is no prediction; it was started again"
            raise RefusalError.of(500, message) from error
        except MemoryError as error:
            raise RefusalError.of(413, "the files need more memory than there is: send smaller ones") from error


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _options(query: str) -> dict[str, Any]:
    """Return what the query asks for."""
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError as error:
        raise RefusalError.of(400, "the query of the address cannot be read") from error
    found = dict(pairs)
    if len(found) < len(pairs) or set(found) - {"format", "language", "date"}:
        raise RefusalError.of(400, "the query may have `format`, `language` and `date`, each once")
    form, language = found.get("format", "json"), found.get("language", "en")
    if form not in ("json", "fhir") or language not in LANGUAGES:
        raise RefusalError.of(400, f"`format` is json or fhir, `language` one of {', '.join(sorted(LANGUAGES))}")
    return {"format": form, "language": language, "date": _date(found.get("date"))}


def _date(text: str | None) -> datetime.date:
    if text is None:
        return datetime.datetime.now().astimezone().date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise RefusalError.of(400, "`date` is a day such as 2026-01-31") from error


def _given(request: Request) -> Given:
    if _kind(request.content_type) == JSON:
        return Given(parse_patient(request.body))
    try:
        parts = parse_form(request.body, request.content_type)
    except FormError as error:
        raise RefusalError.of(400, f"the form cannot be read: {error}") from error
    return _of_form(parts)


def _of_form(parts: Sequence[Part]) -> Given:
    """Return what a form holds; a browser sends files that were not chosen as empty ones without a name."""
    parts = [part for part in parts if part.filename is None or part.filename or part.data]
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part)
    if set(by_name) - {"patient", "ecg", "ecg_rate", "image"}:
        raise RefusalError.of(400, "a form has the fields `patient`, `ecg`, `ecg_rate` and `image`")
    for name, own in by_name.items():
        if len(own) > 1 and name != "ecg":
            raise RefusalError.of(400, f"the field `{name}` is there {len(own)} times: which one is meant?")
    if "patient" not in by_name:
        raise RefusalError.of(400, "the field `patient` is missing: the content of patient.json")
    rate = _rate(by_name["ecg_rate"][0].data) if "ecg_rate" in by_name else None
    ecg = {part.filename or f"part {place}": part.data for place, part in enumerate(by_name.get("ecg", []), start=1)}
    if len(ecg) < len(by_name.get("ecg", [])):
        raise RefusalError.of(400, "two files of the ECG have the same name")
    image = by_name["image"][0].data if "image" in by_name else None
    return Given(
        parse_patient(by_name["patient"][0].data),
        ecg=(lambda: parse_ecg(ecg, rate=rate)) if ecg else None,
        image=None if image is None else lambda: parse_image(image),
    )


def _rate(data: bytes) -> float | None:
    text = data.decode("utf-8", errors="replace").strip()
    try:
        return float(text) if text else None
    except ValueError as error:
        problem = "`ecg_rate` is a number, in samples a second, such as 500"
        raise RefusalError(400, [Problem("ecg", problem)]) from error

"""One patient and the files beside it, from outside: read, judged all at once, predicted."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from riskweave.deployment.runtime.given import RECORDINGS, PatientError, Problem, days_before, too_old
from riskweave.deployment.runtime.module import FLAT, NONE, Module
from riskweave.deployment.runtime.reading import LEADS, ReadError
from riskweave.deployment.runtime.result import Result
from riskweave.deployment.runtime.stored import Buffer

__all__ = ["Answer", "Given", "as_errors", "ask", "parse_patient"]

MOST_ERRORS = 50
LONGEST = 600
"""Characters of a message; a longer one repeats what somebody sent by mistake."""


class Given(NamedTuple):
    """What came from outside.

    Attributes
    ----------
    patient : mapping
        As in ``patient.json``.
    ecg : callable, optional
        Returns `readers.Ecg`, or raises `ReadError`.
    image : callable, optional
        Returns greys (height, width), or raises `ReadError`.
    """

    patient: Mapping[str, Any]
    ecg: Callable[[], Any] | None = None
    image: Callable[[], Buffer] | None = None


class Answer(NamedTuple):
    """A prediction and what it was made from.

    Attributes
    ----------
    result : Result
    patient : mapping
    ecg_seconds : float or None
        Length of the recording.
    image_size : (int, int) or None
        Width and height of the picture, in pixels.
    """

    result: Result
    patient: Mapping[str, Any]
    ecg_seconds: float | None = None
    image_size: tuple[int, int] | None = None


def parse_patient(data: bytes) -> Mapping[str, Any]:
    """Return the content of a ``patient.json``.

    Raises
    ------
    PatientError
        When it is no JSON object, holds NaN or infinity, or names something twice.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("it is no text in UTF-8: save it as UTF-8") from error
    try:
        patient = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise _refused(f"it is no JSON; line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise _refused("it is nested too deeply") from error
    except PatientError:
        raise
    except ValueError as error:
        raise _refused("it holds a number of thousands of digits") from error
    if not isinstance(patient, dict):
        raise _refused("a patient is an object: {...} with `values` and `events`")
    return patient


def _refused(problem: str) -> PatientError:
    return PatientError([Problem(None, problem)])


def _no_constant(name: str) -> Any:
    raise _refused(f"{name} is no number: leave the value out, or write null where it is unknown")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refused(f"it tells {twice[:80]!r} twice: which one is meant?")
    return found


def ask(module: Module, given: Given) -> Answer:
    """Predict, or say all that is wrong with the patient and the files together.

    Parameters
    ----------
    module : Module
        Without a patient afterwards, also when it fails.
    given : Given

    Raises
    ------
    PatientError
    ModuleError
        When the module stops.
    """
    try:
        return _ask(module, given)
    finally:
        if not module.host.stopped:
            module.reset()


def _ask(module: Module, given: Given) -> Answer:
    problems: list[Problem] = []
    ecg = _read("ecg", given.ecg, module, problems)
    image = _read("image", given.image, module, problems)
    try:
        module.set_patient(given.patient)
    except PatientError as error:
        problems[:0] = error.problems
    there = [kind for kind, read in (("ecg", given.ecg), ("image", given.image)) if read is not None]
    old = (too_old(days_before(given.patient, kind), kind, module.schema) for kind in there)
    problems += [each for each in old if each is not None]
    if problems:
        raise PatientError(problems)
    remarks = [] if ecg is None else _remarks(module.set_ecg(ecg.leads, ecg.rate))
    if image is not None:
        module.set_image(image)
    result = module.predict()
    return Answer(
        result._replace(warnings=(*result.warnings, *remarks)),
        given.patient,
        None if ecg is None else ecg.leads.shape[1] / ecg.rate,
        None if image is None else (image.shape[1], image.shape[0]),
    )


def _read(kind: str, reader: Callable[[], Any] | None, module: Module, problems: list[Problem]) -> Any:
    """Return what the reader gives; None, with a problem noted, where it fails or the model has no use for it."""
    if reader is None:
        return None
    if module.schema[kind] is None:
        problems.append(Problem(kind, f"this model does not look at {RECORDINGS[kind]}: leave the file out"))
        return None
    try:
        return reader()
    except ReadError as error:
        problems.append(Problem(kind, str(error)))
        return None


def _remarks(leads: Sequence[int]) -> list[Problem]:
    """Say which leads are missing or still: as in training they count as silent, and none is made from others."""
    found = []
    for kind, words in ((NONE, "not in the recording"), (FLAT, "flat from beginning to end")):
        names = [name for name, own in zip(LEADS, leads, strict=True) if own == kind]
        # Without any lead that moves the module refuses by itself.
        if 0 < len(names) < len(LEADS):
            verb = "is" if len(names) == 1 else "are"
            message = (
                f"{len(names)} of 12 leads {verb} {words} ({', '.join(names)}): the model reads them as silent, and "
                "computes none from others"
            )
            found.append(Problem("ecg", message))
    return found


def as_errors(problems: Sequence[Problem]) -> list[dict[str, str | None]]:
    """Return problems as JSON has them: so many, and none of them endless."""
    told = [{"input": each.input and each.input[:LONGEST], "message": _clipped(each.message)} for each in problems]
    more = len(told) - MOST_ERRORS
    rest = [{"input": None, "message": f"and {more} more problems"}] if more > 0 else []
    return [*told[:MOST_ERRORS], *rest]


def _clipped(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"

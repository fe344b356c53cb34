"""What a patient's file says, as calls of the module: inputs by name, units by label, events by code."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from riskweave.errors import nearest

__all__ = ["Call", "PatientError", "Problem", "calls_of", "judged", "span"]

OK, UNUSUAL, IMPOSSIBLE, NO_INPUT, NO_UNIT, NO_CATEGORY, NO_TIME, TOO_MANY = range(8)
"""Answers of setters, as in ``c/riskweave.h``."""

MAX_EVENTS = 20_000


@dataclass(frozen=True)
class Problem:
    """What is wrong with, or noteworthy of, an input (None: the patient as a whole)."""

    input: str | None
    message: str


class PatientError(ValueError):
    """A patient that the model cannot be asked about.

    Its text names values of the patient: it is for whoever typed them in, not for logs.

    Parameters
    ----------
    problems : sequence of Problem
        All of them, not the first alone.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{each.input or 'patient'}: {each.message}" for each in self.problems))

    def __reduce__(self):
        return type(self), (self.problems,)


@dataclass(frozen=True)
class Call:
    """A call of the module that gives it one value.

    Attributes
    ----------
    input : int
        Place in the schema's inputs.
    function : str
    arguments : tuple of float
        Behind the number of the input.
    value : float or None
        In `unit`, as the user wrote it.
    unit : mapping or None
        Of the schema.
    """

    input: int
    function: str
    arguments: tuple[float, ...]
    value: float | None = None
    unit: Mapping[str, Any] | None = None


def calls_of(
    patient: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]
) -> tuple[list[Call], list[Problem], list[Problem]]:
    """Return the calls that give a patient to the module, the problems that prevent it, and warnings.

    Parameters
    ----------
    patient : mapping
        The content of ``patient.json``: ``values`` by the names of inputs, and ``events``.
    inputs : sequence of mapping
        Of the schema.
    """
    if not isinstance(patient, Mapping):
        return [], [Problem(None, "a patient is an object with `values` and `events`")], []
    problems = [
        Problem(None, f"{key!r} is unknown; a patient has `values` and `events`.{nearest(key, ['values', 'events'])}")
        for key in patient
        if key not in {"values", "events"}
    ]
    values, events = patient.get("values", {}), patient.get("events", [])
    if not isinstance(values, Mapping) or not isinstance(events, Sequence) or isinstance(events, str):
        return [], [*problems, Problem(None, "`values` is an object by the names of inputs, `events` a list")], []
    calls: list[Call] = []
    for name, value in values.items():
        _collect(_static(name, value, inputs), calls, problems)
    unused = 0
    for event in events:
        before = len(calls), len(problems)
        _collect(_event(event, inputs), calls, problems)
        unused += before == (len(calls), len(problems))
    warnings = [Problem(None, f"{unused} event(s) have codes that the model does not use")] if unused else []
    return calls, problems, warnings


def _collect(found: Iterator[Call | Problem], calls: list[Call], problems: list[Problem]) -> None:
    for each in found:
        (calls if isinstance(each, Call) else problems).append(each)


def _static(name: str, given: Any, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Call | Problem]:
    """Yield the call of a number or a category; none for null, which means missing."""
    places = {each["name"]: place for place, each in enumerate(inputs) if each["kind"] != "events"}
    if name not in places:
        events = any(each["name"] == name for each in inputs)
        remedy = " It is one of events: list them under `events`." if events else nearest(name, places)
        yield Problem(name, f"the model has no such value.{remedy} Known are: {', '.join(places)}")
        return
    place = places[name]
    asked = inputs[place]
    if asked["kind"] == "number":
        yield from _valued(place, asked, given, "rw_number", ())
    elif given is not None:
        names = [each["name"] for each in asked["categories"]]
        if given in names:
            yield Call(place, "rw_category", (names.index(given),))
        else:
            yield Problem(name, f"{given!r} is none of: {', '.join(names)}.{nearest(given, names)}")


def _valued(
    place: int, asked: Mapping[str, Any], given: Any, function: str, before: tuple[float, ...]
) -> Iterator[Call | Problem]:
    """Yield the call with a number and its unit: a number, or an object with `value` and `unit`."""
    name, unit = asked["name"], None
    if isinstance(given, Mapping):
        if set(given) - {"value", "unit"}:
            yield Problem(name, "a value is a number, or an object with `value` and `unit`")
            return
        given, unit = given.get("value"), given.get("unit")
    if given is None:
        # An event has happened all the same.
        if function == "rw_event":
            yield Call(place, function, (*before, math.nan, 0))
        return
    if not isinstance(given, int | float) or not math.isfinite(given):
        yield Problem(name, f"{given!r} is no finite number")
        return
    units = asked["units"]
    number = _unit_number(unit, units)
    if number is None:
        known = ", ".join(dict.fromkeys(label for each in units for label in (each["label"], each["ucum"]) if label))
        yield Problem(name, f"the unit {unit!r} is unknown. Known are: {known or 'none'}")
        return
    yield Call(place, function, (*before, float(given), number), float(given), units[number])


def _unit_number(unit: str | None, units: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the place of a unit by label or UCUM code; without one, a value is in the model's own."""
    if unit is None or unit == "":
        return 0
    for key in ("label", "ucum"):
        for place, each in enumerate(units):
            if each[key] == unit:
                return place
    return None


def _event(event: Any, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Call | Problem]:
    """Yield the calls of an event: one for each input that its code belongs to."""
    if not isinstance(event, Mapping) or not isinstance(event.get("code"), str) or "days_before" not in event:
        yield Problem(None, "an event has a `code` and `days_before` (null: undated), and may have `value` and `unit`")
        return
    if unknown := sorted(set(event) - {"code", "days_before", "value", "unit"}):
        yield Problem(event["code"], f"an event has no {', '.join(map(repr, unknown))}")
        return
    days = event["days_before"]
    if days is not None and (not isinstance(days, int | float) or not math.isfinite(days) or days < 0):
        yield Problem(event["code"], f"`days_before` is {days!r}; it is 0 or more, or null for an undated event")
        return
    days = math.nan if days is None else float(days)
    for place, asked in enumerate(inputs):
        if asked["kind"] != "events" or not _takes(asked["codes"], event["code"]):
            continue
        # Where no values are asked for, one does no harm.
        given = {"value": event.get("value"), "unit": event.get("unit")} if asked["values"] else None
        yield from _valued(place, asked, given, "rw_event", (days,))


def _takes(codes: Sequence[str], code: str) -> bool:
    """Tell whether a code is one of these: by prefix, or as a whole where the pattern ends in ``$``."""
    return any(code == each[:-1] if each.endswith("$") else code.startswith(each) for each in codes)


def span(low: float | None, high: float | None, unit: Mapping[str, Any] | None) -> str:
    """Return a range in words, in a unit; None for a side without end."""
    if unit is not None:
        low, high = (None if each is None else (each - unit["offset"]) / unit["factor"] for each in (low, high))
    label = f" {unit['label']}" if unit is not None and unit["label"] else ""
    if low is None and high is None:
        return "all finite numbers"
    if low is None:
        return f"up to {high:.6g}{label}"
    return f"{low:.6g}{label} and more" if high is None else f"{low:.6g} to {high:.6g}{label}"


def judged(call: Call, answer: int, asked: Mapping[str, Any]) -> Problem | None:
    """Return what the module's answer to a call means; None for a value that is taken without remark."""
    if answer == OK:
        return None
    shown = "it" if call.value is None else f"{call.value:g}"
    if call.unit is not None and call.unit["label"]:
        shown += f" {call.unit['label']}"
    if answer == UNUSUAL:
        usual = span(*asked["usual"], call.unit)
        return Problem(asked["name"], f"{shown} is unusual: 98 % of the people the model was made from had {usual}")
    if answer == IMPOSSIBLE:
        limits = span(*asked["limits"], call.unit)
        return Problem(asked["name"], f"{shown} cannot be; accepted are {limits}. Is the unit right?")
    if answer == TOO_MANY:
        return Problem(None, f"there are more than {MAX_EVENTS} events")
    return Problem(asked["name"], f"the module refused {shown} (code {answer}): schema.json is of another module")

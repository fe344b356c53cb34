"""What a patient's file says, as values of the module: inputs by name, units by label, events by code."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from riskweave.errors import nearest

__all__ = ["Given", "PatientError", "PatientReader", "Problem", "judged", "span"]

OK, UNUSUAL, IMPOSSIBLE, NO_INPUT, NO_UNIT, NO_CATEGORY, NO_TIME, TOO_MANY = range(8)
"""Answers of setters, as in ``c/riskweave.h``."""

MAX_EVENTS = 20_000
SHOWN = 20
"""Problems that the text of an error names; it has all of them as objects."""


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
        lines = [f"{each.input or 'patient'}: {each.message}" for each in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more")
        super().__init__("\n".join(lines))

    def __reduce__(self):
        return type(self), (self.problems,)


@dataclass(frozen=True)
class Given:
    """A value for the module, in the form of its records.

    Attributes
    ----------
    input : int
        Place in the schema's inputs.
    days : float
        Of an event, before the index time; NaN where it is undated, or no event.
    number : float
        The value in `unit`, as the user wrote it; NaN for an event without one. Of a category its place.
    unit : int
        Place in the input's units.
    """

    input: int
    days: float
    number: float
    unit: int = 0

    @property
    def record(self) -> tuple[float, ...]:
        """What `rw_give` takes."""
        return (self.input, self.days, self.number, self.unit)


class PatientReader:
    """Turns what ``patient.json`` holds into what the module takes.

    Parameters
    ----------
    inputs : sequence of mapping
        Of the schema.
    """

    def __init__(self, inputs: Sequence[Mapping[str, Any]]):
        self.inputs = inputs
        self._places = {each["name"]: place for place, each in enumerate(inputs) if each["kind"] != "events"}
        self._whole: dict[str, list[int]] = {}
        self._starts: list[tuple[str, int]] = []
        for place, each in enumerate(inputs):
            for code in each["codes"] if each["kind"] == "events" else ():
                if code.endswith("$"):
                    self._whole.setdefault(code[:-1], []).append(place)
                else:
                    self._starts.append((code, place))

    def read(self, patient: Mapping[str, Any]) -> tuple[list[Given], list[Problem], list[Problem]]:
        """Return what to give to the module, the problems that prevent it, and warnings."""
        if not isinstance(patient, Mapping):
            return [], [Problem(None, "a patient is an object with `values` and `events`")], []
        known = ["values", "events"]
        problems = [
            Problem(None, f"{key!r} is unknown; a patient has `values` and `events`.{nearest(key, known)}")
            for key in patient
            if key not in known
        ]
        values, events = patient.get("values", {}), patient.get("events", [])
        if not isinstance(values, Mapping) or not isinstance(events, Sequence) or isinstance(events, str):
            return [], [*problems, Problem(None, "`values` is an object by the names of inputs, `events` a list")], []
        found = [each for name, value in values.items() for each in self._static(name, value)]
        unused = 0
        for event in events:
            made = list(self._event(event))
            unused += not made
            found += made
        given = [each for each in found if isinstance(each, Given)]
        problems += dict.fromkeys(each for each in found if isinstance(each, Problem))
        warnings = [Problem(None, f"{unused} event(s) have codes that the model does not use")] if unused else []
        return given, problems, warnings

    def _static(self, name: str, given: Any) -> Iterator[Given | Problem]:
        """Yield a number or a category; nothing for null, which means missing."""
        if name not in self._places:
            events = any(each["name"] == name for each in self.inputs)
            remedy = " It is one of events: list them under `events`." if events else nearest(name, self._places)
            yield Problem(name, f"the model has no such value.{remedy} Known are: {', '.join(self._places)}")
            return
        place = self._places[name]
        asked = self.inputs[place]
        if asked["kind"] == "number":
            yield from self._valued(place, given)
        elif given is not None:
            names = [each["name"] for each in asked["categories"]]
            if given in names:
                yield Given(place, math.nan, names.index(given))
            else:
                yield Problem(name, f"{given!r} is none of: {', '.join(names)}.{nearest(given, names)}")

    def _event(self, event: Any) -> Iterator[Given | Problem]:
        """Yield an event for each input that its code belongs to."""
        if not isinstance(event, Mapping) or not isinstance(event.get("code"), str) or "days_before" not in event:
            form = "an event has a `code` and `days_before` (null: undated), and may have `value` and `unit`"
            yield Problem(None, form)
            return
        if unknown := sorted(set(event) - {"code", "days_before", "value", "unit"}):
            yield Problem(event["code"], f"an event has no {', '.join(map(repr, unknown))}")
            return
        days = math.nan if event["days_before"] is None else _finite(event["days_before"])
        if days is None or days < 0:
            given = event["days_before"]
            yield Problem(event["code"], f"`days_before` is {given!r}; it is 0 or more, or null for an undated event")
            return
        for place in self._takers(event["code"]):
            # Where no values are asked for, one does no harm.
            valued = self.inputs[place]["values"]
            given = {"value": event.get("value"), "unit": event.get("unit")} if valued else None
            yield from self._valued(place, given, days)

    def _takers(self, code: str) -> list[int]:
        """Return the inputs that a code counts for, each once."""
        places = {*self._whole.get(code, ()), *(place for start, place in self._starts if code.startswith(start))}
        return sorted(places)

    def _valued(self, place: int, given: Any, days: float = math.nan) -> Iterator[Given | Problem]:
        """Yield a number with its unit from a number, or from an object with `value` and `unit`."""
        asked, unit = self.inputs[place], None
        if isinstance(given, Mapping):
            if set(given) - {"value", "unit"}:
                yield Problem(asked["name"], "a value is a number, or an object with `value` and `unit`")
                return
            given, unit = given.get("value"), given.get("unit")
        if given is None:
            # An event has happened all the same.
            if asked["kind"] == "events":
                yield Given(place, days, math.nan)
            return
        value = _finite(given)
        if value is None:
            yield Problem(asked["name"], f"{given!r} is no finite number")
            return
        units = asked["units"]
        number = _unit_number(unit, units)
        if number is None:
            known = dict.fromkeys(label for each in units for label in (each["label"], each["ucum"]) if label)
            yield Problem(asked["name"], f"the unit {unit!r} is unknown. Known are: {', '.join(known) or 'none'}")
            return
        yield Given(place, days, value, number)


def _finite(given: Any) -> float | None:
    """Return a number, None for what is none or not finite; JSON has whole numbers of any size, and true is not 1."""
    if isinstance(given, bool) or not isinstance(given, int | float) or abs(given) > sys.float_info.max:
        return None
    return None if math.isnan(given) else float(given)


def _unit_number(unit: str | None, units: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the place of a unit by label or UCUM code; without one, a value is in the model's own."""
    if unit is None or unit == "":
        return 0
    for key in ("label", "ucum"):
        for place, each in enumerate(units):
            if each[key] == unit:
                return place
    return None


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


def judged(given: Given, answer: int, asked: Mapping[str, Any]) -> Problem | None:
    """Return what the module's answer to a value means; None where it is taken without remark."""
    if answer == OK:
        return None
    if answer == TOO_MANY:
        return Problem(None, f"there are more than {MAX_EVENTS} events")
    if answer not in {UNUSUAL, IMPOSSIBLE}:
        return Problem(asked["name"], f"the module refused it (code {answer}): schema.json is of another module")
    unit = asked["units"][given.unit]
    shown = f"{given.number:g} {unit['label']}".rstrip()
    if answer == UNUSUAL:
        usual = span(*asked["usual"], unit)
        return Problem(asked["name"], f"{shown} is unusual: 98 % of the people the model was made from had {usual}")
    limits = span(*asked["limits"], unit)
    return Problem(asked["name"], f"{shown} cannot be; accepted are {limits}. Is the unit right?")

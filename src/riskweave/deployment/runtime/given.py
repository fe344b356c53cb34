"""What a patient's file says, as values of the module: inputs by name, units by label, events by code."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "RECORDINGS",
    "Given",
    "PatientError",
    "PatientReader",
    "Problem",
    "days_before",
    "judged",
    "too_old",
    "unusual",
]

OK, UNUSUAL, IMPOSSIBLE, NO_INPUT, NO_UNIT, NO_CATEGORY, NO_TIME, TOO_MANY = range(8)
"""Answers of setters, as in ``c/riskweave.h``."""

MAX_EVENTS = 20_000
EVENT = frozenset(("code", "days_before", "value", "unit"))
RECORDINGS = {"ecg": "ECGs", "image": "images"}
SHOWN = 20
"""Problems that the text of an error names; it has all of them as objects."""


class Problem(NamedTuple):
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


class Given(NamedTuple):
    """A value for the module, in the order of its records (``rw_give``).

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


class PatientReader:
    """Turns what ``patient.json`` holds into what the module takes.

    Parameters
    ----------
    schema : mapping
    """

    def __init__(self, schema: Mapping[str, Any]):
        self.schema, self.inputs = schema, schema["inputs"]
        inputs = self.inputs
        self._places = {each["name"]: place for place, each in enumerate(inputs) if each["kind"] != "events"}
        finite = ((place, each["window"]) for place, each in enumerate(inputs) if each["kind"] == "events")
        self._windows = {place: window for place, window in finite if window is not None}
        self._whole: dict[str, dict[int, None]] = {}
        self._starts: list[tuple[str, int]] = []
        for place, each in enumerate(inputs):
            for code in each["codes"] if each["kind"] == "events" else ():
                if code.endswith("$"):
                    # An input may name a code twice.
                    self._whole.setdefault(code[:-1], {})[place] = None
                else:
                    self._starts.append((code, place))

    def read(self, patient: Mapping[str, Any]) -> tuple[list[Given], list[Problem], list[Problem]]:
        """Return what to give to the module, the problems that prevent it, and warnings."""
        if not isinstance(patient, Mapping):
            return [], [Problem(None, "a patient is an object with `values` and `events`")], []
        known = ["values", "events", *(kind for kind in RECORDINGS if self.schema[kind] is not None)]
        listed = ", ".join(f"`{each}`" for each in known)
        problems = [
            Problem(None, f"{key!r} is unknown; a patient has {listed}.{_nearest(key, known)}")
            for key in patient
            if key not in known
        ]
        problems += _undatable(patient, known)
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
        return given, problems, [*warnings, *self._late(given)]

    def _late(self, given: Sequence[Given]) -> Iterator[Problem]:
        """Yield a warning for each input with events that the model does not look at, as no window reaches them."""
        windows = self._windows
        late = Counter(each.input for each in given if each.input in windows and not each.days < windows[each.input])
        for place, count in late.items():
            verb = "counts" if count == 1 else "count"
            window = _shown(windows[place])
            message = (
                f"{count} of its events {verb} for nothing: undated, or {window} days or more before the prediction, "
                "where the model does not look"
            )
            yield Problem(self.inputs[place]["name"], message)

    def _static(self, name: str, given: Any) -> Iterator[Given | Problem]:
        """Yield a number or a category; nothing for null, which means missing."""
        if name not in self._places:
            events = any(each["name"] == name for each in self.inputs)
            remedy = " It is one of events: list them under `events`." if events else _nearest(name, self._places)
            yield Problem(name, f"the model has no such value.{remedy} Known are: {', '.join(self._places)}")
            return
        place = self._places[name]
        asked = self.inputs[place]
        if asked["kind"] == "number":
            unit = None
            if isinstance(given, Mapping):
                if not given.keys() <= {"value", "unit"}:
                    yield Problem(name, "a value is a number, or an object with `value` and `unit`")
                    return
                given, unit = given.get("value"), given.get("unit")
            if given is not None:
                yield self._valued(place, given, unit, math.nan)
        elif given is not None:
            names = [each["name"] for each in asked["categories"]]
            if given in names:
                yield Given(place, math.nan, names.index(given))
            else:
                yield Problem(name, f"{given!r} is none of: {', '.join(names)}.{_nearest(given, names)}")

    def _event(self, event: Any) -> Iterator[Given | Problem]:
        """Yield an event for each input that its code belongs to."""
        if not isinstance(event, Mapping) or not isinstance(event.get("code"), str) or "days_before" not in event:
            form = "an event has a `code` and `days_before` (null: undated), and may have `value` and `unit`"
            yield Problem(None, form)
            return
        if not event.keys() <= EVENT:
            yield Problem(event["code"], f"an event has no {', '.join(map(repr, sorted(event.keys() - EVENT)))}")
            return
        days = math.nan if event["days_before"] is None else _finite(event["days_before"])
        if days is None or days < 0:
            given = event["days_before"]
            yield Problem(event["code"], f"`days_before` is {given!r}; it is 0 or more, or null for an undated event")
            return
        for place in self._takers(event["code"]):
            # An event without a value has happened all the same; where none is asked for, one does no harm.
            value = event.get("value") if self.inputs[place]["values"] else None
            if value is None:
                yield Given(place, days, math.nan)
            else:
                yield self._valued(place, value, event.get("unit"), days)

    def _takers(self, code: str) -> Sequence[int]:
        """Return the inputs that a code counts for, each once."""
        whole, starts = self._whole.get(code, ()), [place for start, place in self._starts if code.startswith(start)]
        return sorted({*whole, *starts}) if starts else whole

    def _valued(self, place: int, given: Any, unit: Any, days: float) -> Given | Problem:
        """Return a number in a unit."""
        asked, value = self.inputs[place], _finite(given)
        if value is None:
            return Problem(asked["name"], f"{given!r} is no finite number")
        units = asked["units"]
        number = _unit_number(unit, units)
        if number is None:
            known = dict.fromkeys(label for each in units for label in (each["label"], each["ucum"]) if label)
            return Problem(asked["name"], f"the unit {unit!r} is unknown. Known are: {', '.join(known) or 'none'}")
        return Given(place, days, value, number)


def _undatable(patient: Mapping[str, Any], known: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with the days of recordings."""
    for kind in RECORDINGS:
        if kind not in known or kind not in patient:
            continue
        told = patient[kind]
        days = _finite(told.get("days_before")) if isinstance(told, Mapping) and set(told) == {"days_before"} else None
        if days is None or days < 0:
            form = '{"days_before": 12}, the days between it and the prediction, 0 or more'
            yield Problem(kind, f"what is told of the recording is {form}; without it is of the day itself")


def days_before(patient: Mapping[str, Any], kind: str) -> float:
    """Return the days between a recording and the moment of prediction; 0 where a patient tells none, or no number."""
    told = patient.get(kind)
    days = _finite(told.get("days_before")) if isinstance(told, Mapping) else None
    return 0.0 if days is None else days


def too_old(days: float, kind: str, schema: Mapping[str, Any]) -> Problem | None:
    """Return why a recording of so many days before is not taken; None where it is."""
    window = schema[kind]["window"] if schema[kind] is not None else None
    if window is None or days < window:
        return None
    message = (
        f"it was recorded {_shown(days, 6)} days before the prediction, and the model looks at less than "
        f"{_shown(window)}: one that old counted as none when the model was made. Leave it out"
    )
    return Problem(kind, message)


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


def _shown(value: float, digits: int = 4) -> str:
    """Return a number with at most so many digits that count, as the page writes it in English."""
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    from decimal import Decimal  # for messages alone

    return format(Decimal(f"{value:.{digits}g}"), "f")


def _span(low: float | None, high: float | None, unit: Mapping[str, Any]) -> str:
    """Return a range in words, in a unit; None for a side without end."""
    low, high = (None if each is None else _shown((each - unit["offset"]) / unit["factor"]) for each in (low, high))
    label = f" {unit['label']}" if unit["label"] else ""
    if low is None and high is None:
        return "all finite numbers"
    if low is None:
        return f"up to {high}{label}"
    return f"{low}{label} and more" if high is None else f"{low} to {high}{label}"


def unusual(value: float, unit: Mapping[str, Any], of: Mapping[str, Any]) -> str:
    """Return what is said of an unusual value of an input or a column of the schema."""
    had = f"{100 * of['usual_share']:.0f} % of the people the model was made from had {_span(*of['usual'], unit)}"
    return f"{_with_unit(value, unit)} is unusual: {had}"


def _nearest(name: object, allowed: Iterable[str]) -> str:
    from riskweave.errors import nearest  # for messages alone

    return nearest(name, allowed)


def _with_unit(value: float, unit: Mapping[str, Any]) -> str:
    return f"{_shown(value, 6)} {unit['label']}".rstrip()


def judged(given: Given, answer: int, asked: Mapping[str, Any]) -> Problem | None:
    """Return what the module's answer to a value means; None where it is taken without remark."""
    if answer == OK:
        return None
    if answer == TOO_MANY:
        return Problem(None, f"there are more than {MAX_EVENTS} events")
    if answer not in {UNUSUAL, IMPOSSIBLE}:
        return Problem(asked["name"], f"the module refused it (code {answer}): schema.json is of another module")
    unit = asked["units"][given.unit]
    if answer == UNUSUAL:
        return Problem(asked["name"], f"{unusual(given.number, unit, asked)}. Is the unit right?")
    value, limits = _with_unit(given.number, unit), _span(*asked["limits"], unit)
    return Problem(asked["name"], f"{value} cannot be; accepted are {limits}. Is the unit right?")

"""A result as people read it in a terminal, in English or German: the words of the bundle's page."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["LANGUAGES", "Words", "printable"]

DAYS_PER_YEAR = 365.25
WIDTH = 88
SHOWN = 10
"""Contributions that are listed; the smaller ones are counted."""

ENGLISH = {
    "year": "{n} year", "years": "{n} years", "day": "{n} day", "days": "{n} days",
    "span.year": "{n} year", "span.years": "{n} years", "span.day": "{n} day", "span.days": "{n} days",
    "of100": "Of 100 people like this, about {n} would have this within {time}: {target}.",
    "less1": "Of 100 people like this, less than one would have this within {time}: {target}.",
    "competing": "About {n} of 100 would have this instead: {cause}.",
    "within": "Within", "absent": "Not given: {list}.",
    "notes": "Please note", "imputed": "Filled in with what is typical: {list}.",
    "contributions": "What each input changes in the risk within {time}, in points of percent",
    "further": "and {n} smaller ones", "patient": "Patient",
    "modality.ehr": "Health record", "modality.ecg": "ECG", "modality.image": "Image",
    "model": "Model {model}, fingerprint {fingerprint}.",
    "research": "Research use only. Not a medical device.",
    "subject": "Not named", "rationale": "Cumulative incidence {days} days after the moment of prediction",
}  # fmt: skip
GERMAN = {
    "year": "{n} Jahr", "years": "{n} Jahren", "day": "{n} Tag", "days": "{n} Tagen",
    "span.year": "{n} Jahr", "span.years": "{n} Jahre", "span.day": "{n} Tag", "span.days": "{n} Tage",
    "of100": "Von 100 solchen Menschen hätten etwa {n} innerhalb von {time}: {target}.",
    "less1": "Von 100 solchen Menschen hätte weniger als einer innerhalb von {time}: {target}.",
    "competing": "Etwa {n} von 100 hätten stattdessen: {cause}.",
    "within": "Innerhalb von", "absent": "Nicht angegeben: {list}.",
    "notes": "Bitte beachten", "imputed": "Mit Typischem ergänzt: {list}.",
    "contributions": "Was jede Angabe am Risiko innerhalb von {time} ändert, in Prozentpunkten",
    "further": "und {n} kleinere", "patient": "Patient",
    "modality.ehr": "Krankenakte", "modality.ecg": "EKG", "modality.image": "Bild",
    "model": "Modell {model}, Fingerabdruck {fingerprint}.",
    "research": "Nur für die Forschung. Kein Medizinprodukt.",
    "subject": "Nicht genannt", "rationale": "Kumulative Inzidenz {days} Tage nach dem Zeitpunkt der Vorhersage",
}  # fmt: skip
LANGUAGES = {"en": ENGLISH, "de": GERMAN}


def printable(text: str) -> str:
    """Return a text that cannot command a terminal: what came from outside may hold its control codes."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


class Words:
    """The words of a bundle in one language.

    Parameters
    ----------
    schema : mapping
    language : str
        A key of `LANGUAGES`.
    """

    def __init__(self, schema: Mapping[str, Any], language: str = "en"):
        self.schema, self.language = schema, language
        self._texts = LANGUAGES[language]
        self._inputs = {each["name"]: each for each in schema["inputs"]}
        self._columns = {each["name"]: each for each in schema["columns"]}

    def text(self, key: str, **values: object) -> str:
        """Return a text with what goes between its braces."""
        return self._texts[key].format(**values)

    def local(self, texts: Mapping[str, str]) -> str:
        """Return a text of the schema in the language, in English where it has no other."""
        return texts.get(self.language) or texts.get("en", "")

    def label(self, thing: Mapping[str, Any]) -> str:
        """Return what people call an input, a category or a cause."""
        return self.local(thing.get("label", {})) or thing["name"]

    def name(self, name: str | None) -> str:
        """Return the words for the name of an input, a column or a modality; None is the patient as a whole."""
        if name is None:
            return self.text("patient")
        if name in self._inputs:
            return self.label(self._inputs[name])
        if name in self._columns:
            return self._column(self._columns[name])
        return self._texts.get(f"modality.{name}", name)

    def _column(self, column: Mapping[str, Any]) -> str:
        if column["input"] is None:
            return column.get("description") or column["name"]
        asked = self.label(self.schema["inputs"][column["input"]])
        made = column.get("made", "static")
        return asked if made == "static" else f"{asked}: {column.get('description') or made}"

    def number(self, text: str) -> str:
        """Return digits with the language's decimal mark."""
        return text.replace(".", ",") if self.language == "de" else text

    def percent(self, risk: float) -> str:
        """Return a risk in percent; the smallest and the largest are not rounded to never and always."""
        if 0 < risk < 0.001:
            return self.number("< 0.1 %")
        if 0.999 < risk < 1:
            return self.number("> 99.9 %")
        return self.number(f"{100 * risk:.1f} %")

    def points(self, change: float) -> str:
        """Return a difference of risks in points of percent."""
        sign = "±" if abs(change) < 0.0005 else "+" if change > 0 else "\N{MINUS SIGN}"
        return sign + self.number(f"{100 * abs(change):.1f}")

    def duration(self, days: float, form: str = "") -> str:
        """Return a time, in years where it is a round number of them; ``form="span."`` for one that stands alone."""
        years = days / DAYS_PER_YEAR
        if years > 0.9 and abs(years - round(years)) < 0.005:
            return self.text(f"{form}year" if round(years) == 1 else f"{form}years", n=round(years))
        return self.text(f"{form}day" if days == 1 else f"{form}days", n=self.number(f"{days:.6g}"))

    def result(self, told: Mapping[str, Any]) -> str:
        """Return the result (`Result.as_dict`) as a sentence and small tables."""
        model = told["model"]
        of = f"{model['study']}/{model['endpoint']}/{model['experiment']}"
        identity = self.text("model", model=of, fingerprint=model["fingerprint"])
        parts = [
            _wrapped(self._sentences(told)),
            self._risks(told),
            self._notes(told),
            self._changes(told),
            _wrapped([identity, self.text("research")]),
        ]
        made = ("\n".join(lines) for lines in parts)
        return "\n\n".join(part for part in made if part) + "\n"

    def _sentences(self, told: Mapping[str, Any]) -> Iterator[str]:
        """Yield the risk of the last horizon as natural frequencies."""
        last = max(each["horizon_days"] for each in told["risks"])
        at_last = {each["cause"]: each["risk"] for each in told["risks"] if each["horizon_days"] == last}
        target, *others = self.schema["causes"]
        count = round(100 * at_last[target["name"]])
        facts = {"n": count, "time": self.duration(last), "target": self.local(self.schema["target"])}
        yield self.text("of100" if count else "less1", **facts)
        for cause in others:
            yield self.text("competing", n=round(100 * at_last[cause["name"]]), cause=self.label(cause))

    def _risks(self, told: Mapping[str, Any]) -> Iterator[str]:
        horizons = list(dict.fromkeys(each["horizon_days"] for each in told["risks"]))
        by_place = {(each["cause"], each["horizon_days"]): each["risk"] for each in told["risks"]}
        rows = [["", *(f"{self.text('within')} {self.duration(days)}" for days in horizons)]]
        rows += (
            [self.label(cause), *(self.percent(by_place[cause["name"], days]) for days in horizons)]
            for cause in self.schema["causes"]
        )
        yield from _table(rows)

    def _notes(self, told: Mapping[str, Any]) -> Iterator[str]:
        lines = [f"{self.name(each['input'])}: {printable(each['message'])}" for each in told["warnings"]]
        if told["absent"]:
            lines.append(self.text("absent", list=", ".join(map(self.name, told["absent"]))))
        if told["imputed"]:
            # One word for each input, whatever number of columns is made of it.
            words = dict.fromkeys(self._origin(name) for name in told["imputed"])
            lines.append(self.text("imputed", list=", ".join(words)))
        if lines:
            yield self.text("notes")
            yield from _wrapped(lines, first="  - ", then="    ")

    def _origin(self, name: str) -> str:
        column = self._columns[name]
        return self.name(name) if column["input"] is None else self.label(self.schema["inputs"][column["input"]])

    def _changes(self, told: Mapping[str, Any]) -> Iterator[str]:
        changes = sorted(told["contributions"], key=lambda each: -abs(each["change"]))
        if not changes:
            return
        last = max(each["horizon_days"] for each in told["risks"])
        yield self.text("contributions", time=self.duration(last))
        yield from _table([[self.name(each["input"]), self.points(each["change"])] for each in changes[:SHOWN]])
        if len(changes) > SHOWN:
            yield f"  {self.text('further', n=len(changes) - SHOWN)}"


def _wrapped(lines: Iterable[str], first: str = "", then: str = "") -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent=then) or [""]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows, the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield f"  {name.ljust(widths[0])}  {'  '.join(padded)}"

"""What a bundle is told in words: put into the schema of a compiled model, so that another word compiles nothing."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from riskweave.errors import nearest

__all__ = ["EVENTS", "TOLD", "TOLD_OF_INPUTS", "Texts", "in_german", "with_texts"]

logger = logging.getLogger(__name__)

TOLD = {"title", "target", "intended_use", "not_for"}
TOLD_OF_INPUTS = {"label", "description"}
"""Keys of the study's ``deployment``, and of its inputs, that are words alone."""

EVENTS = " (events)"
"""End of the name of an input of events beside a static one of the same name."""

_GERMAN = {
    "Age": "Alter", "Sex": "Geschlecht", "female": "weiblich", "male": "männlich", "other": "anderes",
    "Centre": "Zentrum", "Bmi": "BMI", "BMI": "BMI", "Creatinine": "Kreatinin", "Haemoglobin": "Hämoglobin",
    "Triglycerides": "Triglyzeride", "Platelet": "Thrombozyten", "Admissions": "Krankenhausaufenthalte",
    "Glucose": "Glukose", "Cholesterol": "Cholesterin", "Height": "Größe", "Weight": "Gewicht", "Smoke": "Rauchen",
}  # fmt: skip
"""What names mean that need no study to tell them."""


@dataclass(frozen=True)
class Texts:
    """The words of a study about one bundle.

    Attributes
    ----------
    question : str
        The study's.
    description : str
        The endpoint's.
    title, target, intended_use, not_for : mapping of language to str
    inputs : mapping of name to mapping
        ``label`` and ``description`` of inputs, by language.
    """

    question: str = ""
    description: str = ""
    title: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, str] = field(default_factory=dict)
    intended_use: Mapping[str, str] = field(default_factory=dict)
    not_for: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Texts":
        """Return the texts of plain values."""
        return cls(**values)


def in_german(label: Mapping[str, str]) -> dict[str, str]:
    """Return the label; in German what is known in general, where the study told nothing of its own."""
    english, german = label["en"], label.get("de", label["en"])
    return {"en": english, "de": _GERMAN.get(english, german) if german == english else german}


def with_texts(schema: Mapping[str, Any], texts: Texts) -> dict[str, Any]:
    """Return a schema with the words of a study; what it does not tell is made of names.

    Parameters
    ----------
    schema : mapping
        Content of ``schema.json``; its own title, target, question and intended use are not looked at.
    texts : Texts
        A name among its inputs that the model does not ask for is warned about: it may be of another experiment.
    """
    english = texts.target.get("en", _first_clause(texts.description) or schema["endpoint"])
    target = {"en": english, "de": texts.target.get("de", english)}
    title = texts.title.get("en", f"Risk of {schema['endpoint']}")
    first, *others = schema["causes"]
    names = {_told_as(each): each for each in schema["inputs"]}
    for name in texts.inputs:
        if name not in names:
            logger.warning("deployment.inputs: this model asks for no %r.%s", name, nearest(name, names))
    return {
        **schema,
        "title": {"en": title, "de": texts.title.get("de", title)},
        "question": texts.question,
        "intended_use": dict(texts.intended_use),
        "not_for": dict(texts.not_for),
        "target": target,
        "causes": [{**first, "label": target}, *others],
        "inputs": [_told(each, texts.inputs.get(_told_as(each), {})) for each in schema["inputs"]],
    }


def _first_clause(text: str) -> str:
    """Return a description without what follows its first clause, such as `death competes`."""
    return text.split(";", 1)[0].strip().rstrip(".")


def _told_as(asked: Mapping[str, Any]) -> str:
    """Return the name under which a study tells about an input."""
    return asked["name"].removesuffix(EVENTS) if asked["kind"] == "events" else asked["name"]


def _told(asked: Mapping[str, Any], words: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return an input with the study's label and description; without them as it was."""
    made, label = dict(asked), words.get("label", {})
    if label:
        english = label.get("en", asked["label"]["en"])
        made["label"] = in_german({"en": english, "de": label.get("de", english)})
    if words.get("description"):
        made["description"] = dict(words["description"])
    return made

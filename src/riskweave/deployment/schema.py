"""``schema.json``: what a bundle asks, in which units and limits, and what its numbers mean."""

import math
from typing import Any

from riskweave.deployment.order import Order
from riskweave.deployment.recipe import Column, Input, Recipe, Unit
from riskweave.modalities.ecg import LEADS

__all__ = ["ABI", "SCHEMA_FORMAT", "schema_of"]

SCHEMA_FORMAT = 1
ABI = 1
"""Version of the interface of model.wasm (``c/riskweave.h``)."""

_GERMAN = {
    "Age": "Alter", "Sex": "Geschlecht", "female": "weiblich", "male": "männlich", "other": "anderes",
    "Centre": "Zentrum", "Bmi": "BMI", "BMI": "BMI", "Creatinine": "Kreatinin", "Haemoglobin": "Hämoglobin",
    "Triglycerides": "Triglyzeride", "Platelet": "Thrombozyten", "Admissions": "Krankenhausaufenthalte",
    "Glucose": "Glukose", "Cholesterol": "Cholesterin", "Height": "Größe", "Weight": "Gewicht", "Smoke": "Rauchen",
}  # fmt: skip
"""What names mean that need no study to tell them."""


def schema_of(recipe: Recipe, order: Order) -> dict[str, Any]:
    """Return the content of ``schema.json``: plain values, null for what is infinite or unknown.

    Parameters
    ----------
    recipe : Recipe
    order : Order
        Its block ``deployment`` gives the texts.
    """
    told, endpoint = order.deployment, order.outcome
    english = told.target.get("en", _described(endpoint.description) or recipe.endpoint)
    target = {"en": english, "de": told.target.get("de", english)}
    title = told.title.get("en", f"Risk of {recipe.endpoint}")
    return {
        "format": SCHEMA_FORMAT,
        "abi": ABI,
        "study": recipe.study,
        "endpoint": recipe.endpoint,
        "experiment": recipe.experiment,
        "title": {"en": title, "de": told.title.get("de", title)},
        "question": order.question,
        "intended_use": dict(told.intended_use),
        "not_for": dict(told.not_for),
        "target": target,
        "causes": [
            {"name": name, "label": target if place == 0 else _competing(endpoint, place)}
            for place, name in enumerate(recipe.causes)
        ],
        "times": list(recipe.times),
        "horizons": list(recipe.horizons),
        "members": len(recipe.members),
        "made_by": told.model,
        "modalities": list(recipe.modalities),
        "inputs": [_input(each) for each in recipe.inputs],
        "columns": [_column(each, recipe) for each in recipe.columns],
        "ecg": _ecg(recipe),
        "image": None if recipe.image is None else {"size": recipe.image.size, "modality": "image"},
    }


def _described(text: str) -> str:
    """Return a description without what follows its first clause, such as `death competes`."""
    return text.split(";", 1)[0].strip().rstrip(".")


def _competing(endpoint: Any, place: int) -> dict[str, str]:
    codes = list(getattr(endpoint, "competing", []))
    cause = codes[place - 1] if place <= len(codes) else ""
    if "DEATH" in str(cause).upper():
        return {"en": "death without it", "de": "Tod ohne dieses Ereignis"}
    return {"en": f"competing event {place}", "de": f"konkurrierendes Ereignis {place}"}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _texts(label: dict[str, str]) -> dict[str, str]:
    """Return the label; in German what is known in general, where the study told nothing of its own."""
    english, german = label["en"], label.get("de", label["en"])
    return {"en": english, "de": _GERMAN.get(english, german) if german == english else german}


def _unit(unit: Unit) -> dict[str, Any]:
    return {"label": unit.label, "ucum": unit.ucum, "factor": unit.factor, "offset": unit.offset}


def _input(asked: Input) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": asked.name,
        "kind": asked.kind,
        "label": _texts(dict(asked.label)),
        "description": dict(asked.description),
        "required": asked.required,
    }
    if asked.kind == "category":
        listed = [{"name": name, "label": _texts({"en": name})} for name in asked.categories]
        return {**made, "categories": listed}
    numbers = {
        "units": [_unit(unit) for unit in asked.units],
        "limits": [_number(value) for value in asked.limits],
        "usual": [_number(value) for value in asked.usual],
        "typical": _number(asked.typical),
    }
    if asked.kind == "number":
        return {**made, **numbers}
    valued = asked.values
    events = {"codes": list(asked.codes), "values": valued, "window": _number(asked.window)}
    return {**made, **events, **(numbers if valued else {})}


def _column(column: Column, recipe: Recipe) -> dict[str, Any]:
    modality = recipe.feature_sets[column.feature_set].modality
    return {
        "name": column.name,
        "input": column.source if modality == "ehr" else None,
        "made": column.made,
        "modality": modality,
        "unit": column.unit,
        "description": column.description,
        "usual": [_number(value) for value in column.usual],
    }


def _ecg(recipe: Recipe) -> dict[str, Any] | None:
    if recipe.ecg is None:
        return None
    block = recipe.ecg
    return {"leads": list(LEADS), "rate": block.sampling_rate, "seconds": block.seconds, "modality": "ecg"}

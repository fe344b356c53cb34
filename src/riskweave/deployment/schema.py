"""``schema.json``: what a bundle asks, in which units and limits, and what its numbers mean."""

import math
from typing import Any

from riskweave.deployment.order import Order
from riskweave.deployment.recipe import Column, Input, Recipe, Unit
from riskweave.deployment.texts import TOLD, Texts, in_german, with_texts
from riskweave.modalities.ecg import LEADS
from riskweave.study.features import ImageFeatures

__all__ = ["ABI", "SCHEMA_FORMAT", "schema_of"]

SCHEMA_FORMAT = 1
ABI = 2
"""Version of the interface of model.wasm (``c/riskweave.h``)."""


def schema_of(recipe: Recipe, order: Order, *, same_day: bool = True) -> dict[str, Any]:
    """Return the content of ``schema.json``: plain values, null for what is infinite or unknown.

    Parameters
    ----------
    recipe : Recipe
    order : Order
        Its block ``deployment`` gives the texts; those of the study that it lacks are put in with the bundle
        (`riskweave.deployment.texts`).
    same_day : bool
        Whether events dated to the day of prediction alone counted in training.
    """
    told, endpoint = order.deployment, order.outcome
    texts = Texts.of({"description": endpoint.description, **told.model_dump(include=TOLD)})
    facts = {
        "format": SCHEMA_FORMAT,
        "abi": ABI,
        "study": recipe.study,
        "endpoint": recipe.endpoint,
        "experiment": recipe.experiment,
        "causes": [
            {"name": name, "label": {} if place == 0 else _competing(endpoint, place)}
            for place, name in enumerate(recipe.causes)
        ],
        "times": list(recipe.times),
        "horizons": list(recipe.horizons),
        "members": len(recipe.members),
        "made_by": told.model,
        "recalibration": [{"intercept": each.intercept, "slope": each.slope} for each in recipe.recalibration] or None,
        "modalities": list(recipe.modalities),
        "same_day": same_day,
        "inputs": [_input(each) for each in recipe.inputs],
        "columns": [_column(each, recipe) for each in recipe.columns],
        "ecg": _ecg(recipe),
        "image": None if recipe.image is None else _image(recipe.image),
    }
    return with_texts(facts, texts)


def _competing(endpoint: Any, place: int) -> dict[str, str]:
    codes = list(getattr(endpoint, "competing", []))
    cause = codes[place - 1] if place <= len(codes) else ""
    if "DEATH" in str(cause).upper():
        return {"en": "death without it", "de": "Tod ohne dieses Ereignis"}
    return {"en": f"competing event {place}", "de": f"konkurrierendes Ereignis {place}"}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _unit(unit: Unit) -> dict[str, Any]:
    return {"label": unit.label, "ucum": unit.ucum, "factor": unit.factor, "offset": unit.offset}


def _input(asked: Input) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": asked.name,
        "kind": asked.kind,
        "label": in_german(dict(asked.label)),
        "description": dict(asked.description),
        "required": asked.required,
    }
    if asked.kind == "category":
        listed = [{"name": name, "label": in_german({"en": name})} for name in asked.categories]
        return {**made, "categories": listed}
    numbers = {
        "units": [_unit(unit) for unit in asked.units],
        "limits": [_number(value) for value in asked.limits],
        "usual": [_number(value) for value in asked.usual],
        "usual_share": asked.usual_share,
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
        "usual_share": column.usual_share,
    }


def _image(block: ImageFeatures) -> dict[str, Any]:
    return {"size": block.size, "window": block.window, "modality": "image"}


def _ecg(recipe: Recipe) -> dict[str, Any] | None:
    if recipe.ecg is None:
        return None
    block = recipe.ecg
    return {
        "leads": list(LEADS),
        "rate": block.sampling_rate,
        "seconds": block.seconds,
        "window": block.window,
        "modality": "ecg",
    }

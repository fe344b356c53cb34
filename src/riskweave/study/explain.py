"""Turn pydantic's errors into sentences that name the key, the value, what is allowed and the nearest name."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from riskweave.errors import nearest

__all__ = ["explain"]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the block models that an annotation holds, inside unions, lists and dictionaries too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models(get_args(annotation)[0])
    else:
        for argument in get_args(annotation):
            yield from _models(argument)


def _tag(model: type[BaseModel], name: Any) -> bool:
    """Tell whether a literal field of the model (its discriminator) has this one value."""
    return any(get_args(field.annotation) == (name,) for field in model.model_fields.values())


def _resolve(root: type[BaseModel], location: tuple) -> tuple[list[str], list[type[BaseModel]]]:
    """Follow an error's location; return the keys as the user wrote them and the models that hold the last of them.

    Pydantic puts the tag of a discriminated union into the location: it is no key of the file and is dropped.
    """
    keys: list[str] = []
    candidates = [root]
    annotation_models: list[type[BaseModel]] = candidates
    for part in location:
        owners = [model for model in annotation_models if part in model.model_fields]
        tagged = [model for model in annotation_models if _tag(model, part)]
        if len(annotation_models) > 1 and tagged:
            annotation_models = tagged
            continue
        candidates = annotation_models
        keys.append(str(part))
        if owners:
            annotation_models = [m for owner in owners for m in _models(owner.model_fields[part].annotation)]
    return keys, candidates


def _sentence(error: dict, root: type[BaseModel]) -> str:
    keys, owners = _resolve(root, error["loc"])
    key, value = ".".join(keys), error.get("input")
    shown = f" (value {value!r})" if not isinstance(value, dict | list) else ""
    match error["type"]:
        case "extra_forbidden":
            allowed = sorted({name for owner in owners for name in owner.model_fields})
            return f"{key}: unknown key{shown}.{nearest(keys[-1], allowed)} Allowed: {', '.join(allowed)}"
        case "missing":
            return f"{key}: this key is required and missing"
        case "union_tag_not_found":
            discriminator = error["ctx"]["discriminator"].strip("'")
            return f"{key}.{discriminator}: this key is required and missing"
        case "union_tag_invalid":
            context = error["ctx"]
            allowed = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
            discriminator = context["discriminator"].strip("'")
            return (
                f"{key}.{discriminator}: {context['tag']!r} is not allowed.{nearest(context['tag'], allowed)} "
                f"Allowed: {', '.join(allowed)}"
            )
        case "literal_error":
            expected = error["ctx"]["expected"].replace(" or ", ", ")
            allowed = [name.strip("' ") for name in expected.split(",")]
            return f"{key}: {value!r} is not allowed.{nearest(value, allowed)} Allowed: {', '.join(allowed)}"
        case "string_pattern_mismatch":
            named = keys[-2] if keys[-1] == "[key]" else value
            path = ".".join(keys[:-1]) if keys[-1] == "[key]" else key
            return f"{path}: the name {named!r} is not allowed. Use lower-case letters, digits and _, a letter first"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
    return f"{key}: {error['msg']}{shown}"


def explain(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return a sentence for each problem that pydantic found.

    Parameters
    ----------
    error : ValidationError
        What validating `root` raised.
    root : type of BaseModel
        The model of the whole file.
    """
    return [_sentence(dict(problem), root) for problem in error.errors()]

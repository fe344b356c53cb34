"""Turn pydantic's errors into sentences that name the key, the value, what is allowed and the nearest name."""

from typing import Any

from pydantic import BaseModel, ValidationError

from riskweave.errors import nearest
from riskweave.study.schema import NAME_RULE, Place, allowed, deref, follow, joined, variants

__all__ = ["explain"]


def _shown(value: Any) -> str:
    """Show a value shortly, in words where it is a whole block."""
    match value:
        case None:
            return "an empty value"
        case bool():
            return str(value).lower()
        case dict() if value:
            return "a block of keys"
        case list() if len(value) > 5:
            return f"a list of {len(value)}"
    return repr(value)


def _choices(place: Place) -> list[str]:
    """Names among which a value is chosen, if it is."""
    nodes = variants(place.node or {})
    return [str(name) for node in nodes for name in node.get("enum", [node["const"]] if "const" in node else [])]


def _inside(key: str, owner: dict, schema: dict) -> str:
    """Return a hint at the inner blocks that know a key, as `training` knows `epochs`; empty where none does."""
    found = []
    for name, node in owner["properties"].items():
        options = variants(node)
        if len(options) == 1 and key in deref(options[0], schema).get("properties", {}):
            found.append(repr(f"{name}.{key}"))
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _unknown_key(place: Place, value: Any, schema: dict) -> str:
    key, names = place.keys[-1], sorted(place.owner["properties"])
    shown = "" if isinstance(value, dict | list) or value is None else f" (value {_shown(value)})"
    hint = _inside(key, place.owner, schema) or nearest(key, names)
    return f"{joined(place.keys)}: unknown key{shown}.{hint} Allowed: {', '.join(names)}"


def _wrong_tag(place: Place, error: dict) -> str:
    choice = next(node["discriminator"] for node in variants(place.node or {}))
    key, names = joined([*place.keys, choice["propertyName"]]), sorted(choice["mapping"])
    if error["type"] == "union_tag_not_found":
        return f"{key}: this key is required and missing. Allowed: {', '.join(names)}"
    tag = error["ctx"]["tag"]
    return f"{key}: {tag!r} is not allowed.{nearest(tag, names)} Allowed: {', '.join(names)}"


def _not_allowed(place: Place, error: dict, schema: dict) -> str:
    if place.at_name:
        where, name = joined(place.keys[:-1]), place.keys[-1]
        return f"{where}: the name {name!r} is not allowed. Use {NAME_RULE}"
    key, value = joined(place.keys), error["input"]
    if error["type"] == "missing":
        return f"{key}: this key is required and missing. Allowed: {allowed(place.node, schema)}"
    hint = nearest(value, _choices(place)) if isinstance(value, str) else ""
    if error["type"] == "string_type" and isinstance(value, int | float):
        hint = " Put it in quotes to make it text."
    return f"{key}: {_shown(value)} is not allowed.{hint} Allowed: {allowed(place.node, schema)}"


def _sentence(error: dict, schema: dict) -> str:
    place = follow(schema, error["loc"])
    match error["type"]:
        case "value_error":
            return f"{joined(place.keys)}: {error['ctx']['error']}"
        case "union_tag_not_found" | "union_tag_invalid":
            return _wrong_tag(place, error)
        case "extra_forbidden" | "invalid_key":
            return _unknown_key(place, error["input"], schema)
    if place.node is None:
        return f"{joined(place.keys)}: {error['msg']}"
    return _not_allowed(place, error, schema)


def explain(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return a sentence for each problem that pydantic found.

    Parameters
    ----------
    error : ValidationError
        What validating `root` raised.
    root : type of BaseModel
        The model of the whole file.
    """
    schema = root.model_json_schema()
    return list(dict.fromkeys(_sentence(dict(problem), schema) for problem in error.errors()))

"""Read the JSON Schema of a study file: what a key allows, in words, and where an error's location leads."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from riskweave.study.base import NAME_PATTERN

__all__ = ["NAME_RULE", "Place", "allowed", "deref", "follow", "joined", "variants"]

Node = dict[str, Any]
BLOCK = "block of keys"
NAME_RULE = "lower-case letters, digits and _, a letter first"


def deref(node: Node, schema: Node) -> Node:
    """Return what `node` refers to, or `node` itself."""
    return schema["$defs"][node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def variants(node: Node) -> list[Node]:
    """Alternatives of a node, null left out: more than one only where a key takes different types."""
    return [option for option in node.get("anyOf", [node]) if option.get("type") != "null"]


def _number(kind: str, node: Node) -> str:
    low, over = node.get("minimum"), node.get("exclusiveMinimum")
    high, under = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{kind}, {low:g} to {high:.10g}"
    bounds = [f"at least {low:g}"] if low is not None else []
    bounds += [f"above {over:g}"] if over is not None else []
    bounds += [f"at most {high:.10g}"] if high is not None else []
    bounds += [f"below {under:.10g}"] if under is not None else []
    return f"{kind}, {' and '.join(bounds)}" if bounds else kind


def _many(node: Node, schema: Node, block: Callable[[str], str]) -> str:
    if "prefixItems" in node:
        inside = [allowed(item, schema, block=block) for item in node["prefixItems"]]
        return f"list of {len(inside)}: {', '.join(inside)}"
    least = f", at least {node['minItems']}" if node.get("minItems") else ""
    return f"list{least}, each: {allowed(node['items'], schema, block=block)}"


def _named(node: Node, schema: Node, block: Callable[[str], str]) -> str:
    inside = next(iter(node.get("patternProperties", {}).values()), None)
    least = f", at least {node['minProperties']}" if node.get("minProperties") else ""
    return f"named blocks{least}, each: {allowed(inside, schema, block=block)}" if inside else BLOCK


def _choice(node: Node, schema: Node, block: Callable[[str], str]) -> str:
    """Words for a node that offers alternatives; empty for any other node."""
    if "discriminator" in node:
        tag, mapping = node["discriminator"]["propertyName"], node["discriminator"]["mapping"]
        blocks = {name: block(ref.rsplit("/", 1)[-1]) for name, ref in sorted(mapping.items())}
        words = [name if text == BLOCK else text for name, text in blocks.items()]
        return f"{BLOCK}, with `{tag}`: {', '.join(words)}"
    if "anyOf" in node:
        return " or ".join(allowed(option, schema, block=block) for option in node["anyOf"])
    return ", ".join(map(str, node.get("enum", [node["const"]] if "const" in node else [])))


def _scalar(node: Node) -> str:
    """Words for a node of a simple type; empty for any other node."""
    least = node.get("minLength", 0)
    text = f"text of at least {least} characters" if least > 1 else "text"
    text = f"name ({NAME_RULE})" if node.get("pattern") == NAME_PATTERN else text
    words = {
        "string": text,
        "integer": _number("whole number", node),
        "number": _number("number", node),
        "boolean": "true or false",
        "null": "null",
    }
    return words.get(node.get("type", ""), "")


def allowed(node: Node, schema: Node, *, block: Callable[[str], str] = lambda _: BLOCK) -> str:
    """Say in words what a node of the schema allows.

    Parameters
    ----------
    node : dict
        Part of `schema`.
    schema : dict
        The JSON Schema of the study file, with its ``$defs``.
    block : callable
        Gives the words for a block from its name in ``$defs``.
    """
    if "$ref" in node:
        return block(node["$ref"].rsplit("/", 1)[-1])
    compound = _many if node.get("type") == "array" else _named
    return _choice(node, schema, block) or _scalar(node) or compound(node, schema, block)


@dataclass
class Place:
    """Where a location of the schema leads.

    Attributes
    ----------
    keys : list of str
        The keys as the user wrote them.
    node : dict or None
        The schema of the value there; None for a key that the schema does not know.
    owner : dict
        The schema of the innermost block on the way.
    at_name : bool
        Whether it is not the value but the name of a block that is meant.
    """

    node: Node | None
    owner: Node
    keys: list[str] = field(default_factory=list)
    at_name: bool = False


def follow(schema: Node, location: Iterable[Any]) -> Place:
    """Follow the location of a validation error through the schema.

    Pydantic puts the tag of a discriminated union and the type of a union's member into locations. Neither is a key of
    the file: they are recognised by where they stand, since a block may well be named like a tag (a model ``cox``).
    """
    place = Place(node=schema, owner=schema)
    for part in location:
        if part == "[key]":
            place.at_name = True
            break
        options = variants(place.node or {})
        if len(options) > 1:
            break
        node = deref(options[0], schema)
        if "discriminator" in node:
            place.node = place.owner = deref({"$ref": node["discriminator"]["mapping"][part]}, schema)
            continue
        if "properties" in node:
            place.owner = node
            place.node = node["properties"].get(part)
        elif "patternProperties" in node:
            place.node = next(iter(node["patternProperties"].values()))
        elif "prefixItems" in node:
            place.node = dict(enumerate(node["prefixItems"])).get(part)
        else:
            place.node = node.get("items")
        place.keys.append(f"[{part}]" if node.get("type") == "array" else str(part))
    return place


def joined(keys: Iterable[str]) -> str:
    """Join keys to the path that errors show, such as ``feature_sets.ehr.events[0].codes``."""
    return ".".join(keys).replace(".[", "[")

"""The study file's JSON Schema and its reference page, both made from the code that checks it.

``python -m riskweave.study.reference`` writes them; ``--check`` tells whether they are up to date.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from riskweave.study.schema import NAME_RULE, Node, allowed, deref, variants
from riskweave.study.study import Study

__all__ = ["PAGE", "SCHEMA", "main", "page", "render", "schema"]

SCHEMA = Path("config", "study.schema.json")
PAGE = Path("docs", "study-reference.md")

DIALECT = "https://json-schema.org/draft/2020-12/schema"

INTRODUCTION = """\
<!-- Made by `python -m riskweave.study.reference` from src/riskweave/study: edit the code, not this page. -->
# The study file: every key

A study is one YAML file. This page lists its blocks: keys, what they allow, defaults and meaning. Keys without
a default are required. Times are in days. Names (of endpoints, feature sets, models, experiments) become
parts of paths: lower-case letters, digits and `_`, a letter first. Unknown keys, unknown names and impossible
combinations are refused before anything runs, with the key, the value and what is allowed.

`config/study.schema.json` holds the same as a JSON Schema. With this as its first line, a study file in `config/` is
checked and completed by editors that know the YAML language server:

```yaml
# yaml-language-server: $schema=study.schema.json
```
"""


def _tidy(node: Any) -> Any:
    """Drop pydantic's made-up titles, and refuse names that do not match their pattern."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A title is a string; a *property* called title would be a schema.
    kept = {key: _tidy(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    return kept | {"additionalProperties": False} if "patternProperties" in kept else kept


def schema() -> Node:
    """Return the JSON Schema (draft 2020-12) of a study file.

    Checks across blocks (that an experiment's model exists, and the like) are beyond a schema:
    `riskweave.study.study.parse_study` makes them.
    """
    return {"$schema": DIALECT, "title": "riskweave study"} | _tidy(Study.model_json_schema())


def _blocks(node: Node, path: str, root: Node) -> Iterator[tuple[str, str]]:
    """Yield (path as in the file, name in ``$defs``) of each block below a node, depth first."""
    for option in variants(node):
        if "$ref" in option:
            name = option["$ref"].rsplit("/", 1)[-1]
            block, tag = deref(option, root), _tag(deref(option, root))
            here = f"`{path}` with `{tag}`" if tag else f"`{path}`"
            yield here, name
            for key, value in block["properties"].items():
                # The alternatives of a block share their path: say below which of them a key stands.
                yield from _blocks(value, f"{path} ({tag}).{key}" if tag else f"{path}.{key}", root)
        for choice in option.get("oneOf", []):
            yield from _blocks(choice, path, root)
        for inside in option.get("patternProperties", {}).values():
            yield from _blocks(inside, f"{path}.<name>", root)
        if isinstance(option.get("additionalProperties"), dict):
            yield from _blocks(option["additionalProperties"], f"{path}.<key>", root)
        if isinstance(option.get("items"), dict):
            yield from _blocks(option["items"], f"{path}[]", root)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _link(name: str, root: Node) -> str:
    tag = _tag(root["$defs"][name])
    return f"[{tag.rsplit(' ', 1)[-1] if tag else 'block of keys'}](#{name.lower()})"


def _tag(block: Node) -> str:
    """Return ``key: value`` of the key that tells a block from its alternatives, or nothing."""
    for key, node in block["properties"].items():
        if "const" in node and key in block.get("required", []):
            return f"{key}: {node['const']}"
    return ""


def _default(key: str, node: Node, block: Node, root: Node) -> str:
    if key in block.get("required", []):
        return ""
    if "$ref" not in node:
        return f"`{json.dumps(node.get('default'))}`"
    own = {name: value.get("default") for name, value in deref(node, root)["properties"].items()}
    differing = {name: value for name, value in node.get("default", {}).items() if value != own[name]}
    return ", ".join(["its own defaults", *(f"`{name}: {json.dumps(value)}`" for name, value in differing.items())])


def _table(block: Node, root: Node) -> list[str]:
    lines = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    for key, node in block["properties"].items():
        words = allowed(node, root, block=lambda name: _link(name, root)).replace(f" ({NAME_RULE})", "")
        meaning = node.get("description") or deref(node, root)["description"]
        cells = (f"`{key}`", words, _default(key, node, block, root), meaning)
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return lines


def page() -> str:
    """Return the reference page of the study file (Markdown): a table for each block."""
    root = schema()
    places: dict[str, list[str]] = {}
    for key, node in root["properties"].items():
        for path, name in _blocks(node, key, root):
            if path not in places.setdefault(name, []):
                places[name].append(path)
    lines = [INTRODUCTION, "## The file", "", root["description"], "", *_table(root, root), ""]
    for name, paths in places.items():
        block = root["$defs"][name]
        lines += [f'<a id="{name.lower()}"></a>', "", f"## {paths[0]}", ""]
        lines += ["\n\n".join(" ".join(part.split()) for part in block["description"].split("\n\n")), ""]
        if len(paths) > 1:
            lines += [f"Also at: {', '.join(paths[1:])}.", ""]
        lines += [*_table(block, root), ""]
    return "\n".join(lines)


def render() -> dict[Path, str]:
    """Return the content of each generated file, by its path below the repository's root."""
    return {SCHEMA: json.dumps(schema(), indent=2) + "\n", PAGE: page()}


def main(arguments: list[str] | None = None, *, root: Path = Path()) -> int:
    """Write the generated files below `root`, or with ``--check`` say which are out of date.

    Returns
    -------
    int
        0, or 1 when ``--check`` found a file that is out of date.
    """
    parser = argparse.ArgumentParser(prog="python -m riskweave.study.reference", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args(arguments).check
    stale = 0
    for name, content in render().items():
        path = root / name
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        if check:
            print(f"{name} is out of date: run python -m riskweave.study.reference")
            stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            print(f"wrote {name}")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())

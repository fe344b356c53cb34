"""``index.html``: one file that holds the model, its form and all that runs it, and that can reach no network."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

__all__ = ["build_page", "policy"]

ENTRY = "main.js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |function |async function |class )", re.MULTILINE)
_PLACE = re.compile(r"\{(policy|title|style|facts|schema|golden|wasm|script)\}")


def policy(*, script: str, style: str) -> str:
    """Return the content security policy of a page: its own script and style alone, and no connection at all.

    Parameters
    ----------
    script, style : str
        The texts between the page's tags, to the last byte.
    """
    return (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}' 'wasm-unsafe-eval'; "
        f"style-src 'sha256-{_digest(style)}'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def build_page(schema: Mapping[str, Any], wasm: bytes, golden: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the page of a bundle. The same arguments give the same bytes.

    Parameters
    ----------
    schema : mapping
        Content of ``schema.json``.
    wasm : bytes
        Content of ``model.wasm``.
    golden : mapping
        Content of ``golden.json``: the page runs these patients at its start and refuses to predict if a bit differs.
    facts : mapping
        Of the manifest: ``version`` (of riskweave) and ``wasm_sha256``, which the page compares with its module, at the
        least.

    Raises
    ------
    ValueError
        When the facts are of another module.
    """
    if facts["wasm_sha256"] != hashlib.sha256(wasm).hexdigest():
        raise ValueError("the manifest's wasm_sha256 is that of another module than the page's")
    sources = {entry.name: entry.read_text(encoding="utf-8") for entry in _folder().iterdir() if entry.is_file()}
    script, style = _joined(sources), sources["style.css"]
    title = html.escape(schema["title"]["en"])
    parts = {
        "policy": policy(script=script, style=style),
        "title": title,
        "style": style,
        "script": script,
        "facts": _block(dict(facts)),
        "schema": _block(dict(schema)),
        "golden": _block(dict(golden)),
        "wasm": _block(base64.b64encode(wasm).decode()),
    }
    # All at once: what goes in may look like a place itself.
    return _PLACE.sub(lambda found: parts[found[1]], sources["index.html"])


def _folder() -> Any:
    return resources.files("riskweave.deployment") / "page"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _block(value: Any) -> str:
    """Return JSON that cannot end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _joined(sources: Mapping[str, str]) -> str:
    """Return the modules as one script, each behind those that it imports, without imports and exports.

    A page from a file may not load modules, and a policy of hashes names one script. Names are unique over the modules:
    a browser refuses a script that declares one twice.
    """
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"modules of the page import each other in a circle: {' -> '.join((*above, name))}")
        if name in order:
            return
        for wanted in _IMPORT.findall(sources[name]):
            visit(wanted, (*above, name))
        order.append(name)

    visit(ENTRY, ())
    text = "\n".join(_EXPORT.sub("", _IMPORT.sub("", sources[name])) for name in order)
    if "</script" in text.lower():
        raise ValueError("the page's script holds the end of its own element")
    return f"\n{text}"

"""The server's own page: what may be asked and how, and a form to try it. Without scripts."""

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from riskweave.deployment.runtime.bundle import Bundle
from riskweave.deployment.runtime.openapi import example_patient, recorded_words, same_day_words

__all__ = ["api_page", "page_policy"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8888; }
code, textarea { font: .9rem/1.4 ui-monospace, monospace; }
textarea { width: 100%; box-sizing: border-box; white-space: pre; overflow-x: auto; }
label { display: block; margin: .75rem 0; }
"""


def page_policy() -> str:
    """Return the content security policy of the page: its own style, forms to its own server, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def api_page(bundle: Bundle, openapi: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    bundle : Bundle
    openapi : mapping
        From `openapi.openapi_of`.
    """
    schema = bundle.schema
    title = html.escape(schema["title"]["en"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}</style></head>
<body>
<main>
<h1>{title}</h1>
<p>{html.escape(openapi["info"]["description"])}</p>
<h2>Requests</h2>
{_table(("Request", "What it gives"), _requests(openapi))}
<p>The same for programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
<h2>What the model asks</h2>
{_table(("Name", "What", "Accepted", "Required"), _inputs(schema))}
<h2>Try it</h2>
<p>Values stand under <code>values</code>; what happens at a time under <code>events</code>, with the days before the
moment of prediction. {same_day_words(schema)} What is unknown is left out. The patient below is invented.</p>
{_dates(schema)}
<form action="/predict" method="post" enctype="multipart/form-data">
<label>Patient
<textarea name="patient" rows="16" spellcheck="false" autocomplete="off">{_example(bundle)}</textarea></label>
{_files(schema)}
<button>Predict</button>
</form>
</main>
</body>
</html>
"""


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table of cells in HTML."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _requests(openapi: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"<code>{method.upper()} {html.escape(path)}</code>", html.escape(operation["summary"])
            for each in operation.get("parameters", []):
                allowed = " or ".join(each["schema"].get("enum", ["YYYY-MM-DD"]))
                yield f"<code>?{each['name']}=</code>{html.escape(allowed)}", html.escape(each["description"])


def _inputs(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for asked in schema["inputs"]:
        names = [each.removesuffix("$") for each in asked["codes"]] if asked["kind"] == "events" else [asked["name"]]
        code = ", ".join(f"<code>{html.escape(name)}</code>" for name in names)
        label = html.escape(asked.get("label", {}).get("en") or asked["name"])
        yield code, label, html.escape(_accepted(asked)), "yes" if asked["required"] else ""


def _accepted(asked: Mapping[str, Any]) -> str:
    if asked["kind"] == "category":
        return " or ".join(each["name"] for each in asked["categories"])
    if asked["kind"] == "events" and not asked["values"]:
        return "event"
    low, high = asked["limits"]
    units = " or ".join(each["label"] for each in asked["units"] if each["label"])
    span = " to ".join(f"{each:g}" if each is not None else "any" for each in (low, high))
    own = asked["units"][0]["label"]
    limits = "" if low is None and high is None else f", {span} {own}".rstrip()
    kind = "event with a value" if asked["kind"] == "events" else "number"
    return f"{kind}{f' in {units}' if units else ''}{limits}"


def _example(bundle: Bundle) -> str:
    """Return an invented patient, an event a line."""
    patient = example_patient(bundle)
    values, *events = (
        json.dumps(each, ensure_ascii=False) for each in (patient.get("values", {}), *patient.get("events", []))
    )
    listed = ",\n".join(f"  {each}" for each in events)
    return html.escape(f'{{"values": {values},\n "events": [\n{listed}\n ]}}')


def _dates(schema: Mapping[str, Any]) -> str:
    """Return how old a recording may be, and how its age is told."""
    lines = [
        f"<p>{words}: {recorded_words(schema[kind]['window'])}. Told beside <code>values</code> as "
        f'<code>"{kind}": {{"days_before": 12}}</code>.</p>'
        for kind, words in (("ecg", "ECG"), ("image", "Image"))
        if schema[kind] is not None
    ]
    return "\n".join(lines)


def _files(schema: Mapping[str, Any]) -> str:
    fields = []
    if schema["ecg"] is not None:
        fields.append('<label>ECG (.hea with .dat or .mat, or .csv) <input type="file" name="ecg" multiple></label>')
        fields.append('<label>Its samples a second, for a table without times <input name="ecg_rate"></label>')
    if schema["image"] is not None:
        fields.append('<label>Image (PNG, JPEG, uncompressed DICOM) <input type="file" name="image"></label>')
    return "\n".join(fields)

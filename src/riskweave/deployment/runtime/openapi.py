"""The server's interface as OpenAPI 3.1 (spec.openapis.org/oas/v3.1.1), made from a bundle's schema."""

from collections.abc import Mapping
from typing import Any

from riskweave.deployment.runtime.bundle import Bundle
from riskweave.deployment.runtime.given import RECORDINGS

__all__ = ["example_patient", "openapi_of", "recorded_words", "same_day_words"]

JSON = "application/json"
FHIR = "application/fhir+json"
FORM = "multipart/form-data"
NUMBER_OR_NULL = {"type": ["number", "null"]}
TEXT = {"type": "string"}


def example_patient(bundle: Bundle) -> Mapping[str, Any]:
    """Return an invented patient: the bundle's first golden one."""
    return bundle.golden["patients"][0]["patient"]


def openapi_of(bundle: Bundle, limits: Mapping[str, int]) -> dict[str, Any]:
    """Return the description.

    Parameters
    ----------
    bundle : Bundle
    limits : mapping
        ``json`` and ``form``: bytes that a body of this kind may have.
    """
    schema = bundle.schema
    return {
        "openapi": "3.1.0",
        "info": {
            "title": schema["title"]["en"],
            "version": str(bundle.manifest.get("version", "")),
            "description": (
                f"Model {schema['study']}/{schema['endpoint']}/{schema['experiment']}, fingerprint "
                f"{bundle.fingerprint[:12]}. Research use only. Not a medical device. Inputs are neither stored nor "
                "logged."
            ),
        },
        "paths": {
            "/predict": {"post": _predict(bundle, limits)},
            "/model": {
                "get": _plain("model", "What the model asks and who it is: schema.json and manifest.json", "Model")
            },
            "/health": {"get": _plain("health", "Whether the server can predict", "Health")},
            "/openapi.json": {"get": _plain("openapi", "This description", None)},
        },
        "components": {
            "schemas": {
                "Patient": _patient(schema),
                "Event": _event(schema),
                "Result": _result(schema),
                "RiskAssessment": {
                    "type": "object",
                    "description": "HL7 FHIR R4; probabilities are percent",
                    "properties": {"resourceType": {"const": "RiskAssessment"}},
                    "required": ["resourceType", "status", "subject", "prediction"],
                },
                "Errors": _errors(),
                "Model": _object({"schema": {"type": "object"}, "manifest": {"type": "object"}}),
                "Health": _object({"status": {"const": "ok"}, "fingerprint": TEXT}),
            }
        },
    }


def _object(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return an object of which all properties are required and none other may be there."""
    required = list(properties)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    } | more


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


def _named(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _plain(name: str, summary: str, answer: str | None) -> dict[str, Any]:
    schema = {"type": "object"} if answer is None else _named(answer)
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {JSON: {"schema": schema}}}},
    }


def _predict(bundle: Bundle, limits: Mapping[str, int]) -> dict[str, Any]:
    problems = {
        "400": "The request cannot be read",
        "403": "The request comes from a page of another site",
        "411": "The request does not tell its length",
        "413": f"The body is too large: {limits['json']} bytes of JSON, {limits['form']} bytes of a form are allowed",
        "415": "The body is of another kind than JSON or a form",
        "422": "The model cannot be asked about this patient: what is wrong with which input",
        "500": "The model stopped; it was started again",
        "503": "Too many requests at once: try again",
    }
    refused = {
        status: {"description": text, "content": {JSON: {"schema": _named("Errors")}}}
        for status, text in problems.items()
    }
    answers = {JSON: {"schema": _named("Result")}, FHIR: {"schema": _named("RiskAssessment")}}
    return {
        "operationId": "predict",
        "summary": "Predict for one patient",
        "parameters": [
            _parameter("format", {"enum": ["json", "fhir"], "default": "json"}, "Form of the answer"),
            _parameter("language", {"enum": ["en", "de"], "default": "en"}, "Of the texts in a RiskAssessment"),
            _parameter(
                "date",
                {"type": "string", "format": "date"},
                "Moment of prediction in a RiskAssessment; today by default",
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _named("Patient"), "example": example_patient(bundle)},
                FORM: {"schema": _form(bundle.schema)},
            },
        },
        "responses": {"200": {"description": "The risks", "content": answers}, **refused},
    }


def _parameter(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": dict(schema)}


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties: dict[str, Any] = {"patient": {**_named("Patient"), "description": "JSON, as text or as a file"}}
    if schema["ecg"] is not None:
        told = "The files of one WFDB record (.hea with .dat or .mat), or one CSV table with a column for each lead"
        properties["ecg"] = {**_list(file), "description": told}
        properties["ecg_rate"] = {"type": "number", "description": "Samples a second, for a table without times"}
    if schema["image"] is not None:
        properties["image"] = {**file, "description": "PNG, JPEG or uncompressed DICOM"}
    return {"type": "object", "properties": properties, "required": ["patient"]}


def _patient(schema: Mapping[str, Any]) -> dict[str, Any]:
    asked = [each for each in schema["inputs"] if each["kind"] != "events"]
    values = {each["name"]: _category(each) if each["kind"] == "category" else _number(each) for each in asked}
    required = [each["name"] for each in asked if each["required"]]
    properties: dict[str, Any] = {
        "values": {"type": "object", "properties": values, "required": required, "additionalProperties": False},
        "events": _list(_named("Event")),
        **{kind: _recording(schema[kind]["window"]) for kind in RECORDINGS if schema[kind] is not None},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["values"] if required else [],
        "additionalProperties": False,
    }


def _recording(window: float | None) -> dict[str, Any]:
    days: dict[str, Any] = {"type": "number", "minimum": 0}
    if window is not None:
        days["exclusiveMaximum"] = window
    return _object({"days_before": days}, description=f"Of the file beside: {recorded_words(window)}")


def recorded_words(window: float | None) -> str:
    """Return what is said of the age of a recording, in days or None for any."""
    age = "of any age" if window is None else f"of less than {window:g} days before the moment of prediction"
    return f"the latest, {age}; of the day itself where nothing is told"


def same_day_words(schema: Mapping[str, Any]) -> str:
    """Return what counts of the day of prediction itself."""
    if schema["same_day"]:
        return "What is known up to the end of that day counts."
    return (
        "Of that day itself, give what is known to be of an earlier hour: what was dated to it without an hour did not "
        "count when the model was made."
    )


def _label(asked: Mapping[str, Any]) -> str:
    return asked.get("label", {}).get("en") or asked["name"]


def _category(asked: Mapping[str, Any]) -> dict[str, Any]:
    names = [each["name"] for each in asked["categories"]]
    return {"enum": names if asked["required"] else [*names, None], "description": _label(asked)}


def _units(asked: Mapping[str, Any]) -> list[str]:
    """Return the labels and UCUM codes, without repetition."""
    return list(dict.fromkeys(text for each in asked["units"] for text in (each["label"], each["ucum"]) if text))


def _number(asked: Mapping[str, Any]) -> dict[str, Any]:
    low, high = asked["limits"]
    own = asked["units"][0]["label"]
    bounds = {key: value for key, value in (("minimum", low), ("maximum", high)) if value is not None}
    plain = {"type": "number", "description": f"in {own}" if own else "without a unit", **bounds}
    unit = {"enum": [*_units(asked), "", None]}
    with_unit = {
        "type": "object",
        "properties": {"value": NUMBER_OR_NULL, "unit": unit},
        "required": ["value"],
        "additionalProperties": False,
    }
    unknown = [] if asked["required"] else [{"type": "null"}]
    return {"anyOf": [plain, with_unit, *unknown], "description": _label(asked)}


def _event(schema: Mapping[str, Any]) -> dict[str, Any]:
    lines = []
    for asked in schema["inputs"]:
        if asked["kind"] == "events":
            codes = ", ".join(code[:-1] if code.endswith("$") else f"{code}…" for code in asked["codes"])
            units = f", value in {' or '.join(_units(asked)) or 'its unit'}" if asked["values"] else ""
            lines.append(f"- {_label(asked)}: {codes}{units}")
    return {
        "type": "object",
        "description": "Codes that count (… for any that begins so; others are passed over):\n\n" + "\n".join(lines),
        "properties": {
            "code": TEXT,
            "days_before": {
                "type": ["number", "null"],
                "minimum": 0,
                "description": "Days before the moment of prediction; null: undated. " + same_day_words(schema),
            },
            "value": NUMBER_OR_NULL,
            "unit": {"type": ["string", "null"], "description": "Label or UCUM code; the model's own without"},
        },
        "required": ["code", "days_before"],
        "additionalProperties": False,
    }


def _result(schema: Mapping[str, Any]) -> dict[str, Any]:
    risk = {"type": "number", "minimum": 0, "maximum": 1}
    causes = [each["name"] for each in schema["causes"]]
    message = _object({"input": {"type": ["string", "null"]}, "message": TEXT})
    at_horizon = {"cause": {"enum": causes}, "horizon_days": {"enum": list(schema["horizons"])}, "risk": risk}
    return _object(
        {
            "model": _object(dict.fromkeys(("study", "endpoint", "experiment", "fingerprint"), TEXT)),
            "risks": _list(_object(at_horizon)),
            "curve": _object(
                {"days": _list({"type": "number"}), "risks": _object({name: _list(risk) for name in causes})}
            ),
            "warnings": _list(message),
            "imputed": _list(TEXT),
            "absent": _list({"enum": list(schema["modalities"])}),
            "contributions": _list(_object({"input": TEXT, "change": {"type": "number", "minimum": -1, "maximum": 1}})),
            "research_use_only": {"const": True},
        },
        description="Cumulative incidences, 0 to 1. Contributions: the target's risk at the last horizon, less what it "
        "is without the input.",
    )


def _errors() -> dict[str, Any]:
    return _object({"errors": _list(_object({"input": {"type": ["string", "null"]}, "message": TEXT}))})

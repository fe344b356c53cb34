"""The result as an HL7 FHIR R4 RiskAssessment (hl7.org/fhir/R4/riskassessment.html), as the page exports it."""

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from riskweave.deployment.runtime.bundle import Bundle
from riskweave.deployment.runtime.given import days_before
from riskweave.deployment.runtime.predict import Answer
from riskweave.deployment.runtime.words import Words

__all__ = ["risk_assessment"]

UCUM = "http://unitsofmeasure.org"


def risk_assessment(bundle: Bundle, answer: Answer, moment: datetime.date, language: str = "en") -> dict[str, Any]:
    """Return the resource. The patient is not named in it: whoever files it sets ``subject``.

    Parameters
    ----------
    bundle : Bundle
    answer : Answer
    moment : date
        Of the prediction: the day from which horizons and days before are counted.
    language : str
    """
    words = Words(bundle.schema, language)
    told = answer.result.as_dict()
    inputs = [
        {"resourceType": "Observation", "id": f"input-{place}", "status": "final", **rest}
        for place, rest in enumerate(_observations(words, answer, moment), start=1)
    ]
    title, short = words.local(bundle.schema["title"]), bundle.fingerprint[:12]
    remarks = [f"{each['input'] or words.text('patient')}: {each['message']}" for each in told["warnings"]]
    return {
        "resourceType": "RiskAssessment",
        "contained": [_device(bundle, words), *inputs],
        "status": "final",
        "method": {"text": f"{title} ({bundle.schema['experiment']}, {short})"},
        "subject": {"display": words.text("subject")},
        "occurrenceDateTime": moment.isoformat(),
        "performer": {"reference": "#model"},
        # FHIR knows no empty lists.
        **({"basis": [{"reference": f"#{each['id']}"} for each in inputs]} if inputs else {}),
        "prediction": [_prediction(words, each, moment) for each in told["risks"]],
        "note": [{"text": text} for text in (words.text("research"), *remarks)],
    }


def _device(bundle: Bundle, words: Words) -> dict[str, Any]:
    schema, fingerprint = bundle.schema, bundle.fingerprint
    return {
        "resourceType": "Device",
        "id": "model",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:hash:sha256:{fingerprint}"}],
        "status": "active",
        "deviceName": [{"name": words.local(schema["title"]), "type": "model-name"}],
        "modelNumber": f"{schema['study']}/{schema['endpoint']}/{schema['experiment']}",
        "version": [{"value": f"{bundle.manifest.get('version', '')}, {fingerprint[:12]}"}],
        "note": [{"text": words.text("research")}],
    }


def _prediction(words: Words, risk: Mapping[str, Any], moment: datetime.date) -> dict[str, Any]:
    cause = next(each for each in words.schema["causes"] if each["name"] == risk["cause"])
    days = risk["horizon_days"]
    end = _before(moment, -days)
    return {
        "outcome": {"text": words.label(cause)},
        # R4 counts in percent.
        "probabilityDecimal": min(100.0, float(f"{100 * risk['risk']:.6g}")),
        # A Range would be one of ages (R4: "timeframe or age range"); a time frame from a day on is a Period.
        **({"whenPeriod": {"start": moment.isoformat(), "end": end}} if end else {}),
        "rationale": words.text("rationale", days=f"{days:g}"),
    }


def _observations(words: Words, answer: Answer, moment: datetime.date) -> Iterator[dict[str, Any]]:
    """Yield what the assessment was made from; file names stay out, as they often name the patient."""
    schema = words.schema
    values = answer.patient.get("values", {})
    for asked in schema["inputs"]:
        value, unit = _value_of(values.get(asked["name"]))
        if value is None:
            continue
        code = {"code": {"text": words.label(asked)}}
        if asked["kind"] == "category":
            chosen = next(each for each in asked["categories"] if each["name"] == value)
            yield {**code, "valueCodeableConcept": {"text": words.label(chosen)}}
        else:
            yield {**code, "valueQuantity": _quantity(asked, value, unit)}
    for event in answer.patient.get("events", []):
        if (asked := _owner(schema["inputs"], event["code"])) is not None:
            yield _event(words, asked, event, moment)
    if answer.ecg_seconds is not None:
        seconds = {"value": answer.ecg_seconds, "unit": "s", "system": UCUM, "code": "s"}
        yield {"code": {"text": words.name("ecg")}, **_dated(answer, "ecg", moment), "valueQuantity": seconds}
    if answer.image_size is not None:
        width, height = answer.image_size
        size = f"{width} \N{MULTIPLICATION SIGN} {height}"
        yield {"code": {"text": words.name("image")}, **_dated(answer, "image", moment), "valueString": size}


def _dated(answer: Answer, kind: str, moment: datetime.date) -> dict[str, str]:
    """Return the date of a recording where it was told."""
    date = _before(moment, days_before(answer.patient, kind)) if kind in answer.patient else ""
    return {"effectiveDateTime": date} if date else {}


def _owner(inputs: Sequence[Mapping[str, Any]], code: str) -> Mapping[str, Any] | None:
    """Return the input of this very code, else the first that it counts for; None where the model does not use it."""

    def counts(own: str) -> bool:
        return code == own[:-1] if own.endswith("$") else code.startswith(own)

    takers = [each for each in inputs if each["kind"] == "events" and any(map(counts, each["codes"]))]
    same = (each for each in takers if each["codes"][0].removesuffix("$") == code)
    return next(same, takers[0] if takers else None)


def _event(words: Words, asked: Mapping[str, Any], event: Mapping[str, Any], moment: datetime.date) -> dict[str, Any]:
    days = event["days_before"]
    date = "" if days is None else _before(moment, days)
    value, unit = _value_of({"value": event.get("value"), "unit": event.get("unit")})
    valued = value is not None and asked["values"]
    return {
        "code": {"text": words.label(asked)},
        **({"effectiveDateTime": date} if date else {}),
        **({"valueQuantity": _quantity(asked, value, unit)} if valued else {"valueBoolean": True}),
    }


def _value_of(given: Any) -> tuple[Any, str | None]:
    return (given.get("value"), given.get("unit")) if isinstance(given, Mapping) else (given, None)


def _quantity(asked: Mapping[str, Any], value: float, unit: str | None) -> dict[str, Any]:
    known = next((each for each in asked["units"] if unit in (each["label"], each["ucum"])), asked["units"][0])
    return {
        "value": value,
        **({"unit": known["label"]} if known["label"] else {}),
        **({"system": UCUM, "code": known["ucum"]} if known["ucum"] else {}),
    }


def _before(moment: datetime.date, days: float) -> str:
    """Return the ISO date so many days before, of a moment at the end of its day; empty where no calendar reaches."""
    try:
        return (moment - datetime.timedelta(days=math.floor(days))).isoformat()
    except OverflowError:
        return ""

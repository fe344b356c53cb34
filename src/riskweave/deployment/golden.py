"""Golden patients: invented people, with the outputs that the module gave them when it was built.

They travel with the bundle. Each host (page, command line, server) predicts them when it starts and compares the bits
of the outputs: a module or a machine that computes anything else is not used. Nothing of a real person is in them:
values are drawn between the usual limits of each input, recordings come from the generator of the demo cohort.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from riskweave.deployment.runtime.golden import MISSING_SAMPLE, hexes_of
from riskweave.synthetic.ecg import LEADS, SAMPLING_RATE, Ecg, synthesise
from riskweave.synthetic.image import Radiograph, render

__all__ = ["GOLDEN_FORMAT", "golden_patients", "with_outputs"]

GOLDEN_FORMAT = 1
EDGE = 128
"""Edge in pixels of the pictures: any size will do, and a small one keeps the page small."""


def golden_patients(schema: Mapping[str, Any], *, count: int = 4, seed: int = 1) -> list[dict[str, Any]]:
    """Invent patients who together lack each modality, alone and with the other, and many values.

    Hosts predict them at each start, so they are few: with everything, with nothing but what is required, with an image
    alone, and with an ECG alone, which is short and has gaps.

    Parameters
    ----------
    schema : mapping
        Content of ``schema.json``.
    count : int
        How many; the first has everything, the second only what is required.
    seed : int

    Returns
    -------
    list of dict
        As in ``golden.json``, without outputs.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        share = (1.0, 0.0)[number] if number < 2 else 0.6
        patient = {"values": _values(schema, rng, share), "events": _events(schema, rng, share)}
        ecg, image = number != 1 and number % 3 != 2, number != 1 and number % 4 != 3
        made.append(
            {
                "name": ("everything", "required inputs alone")[number] if number < 2 else f"invented {number + 1}",
                "patient": patient,
                "ecg": _ecg(rng, short=number % 4 == 3) if schema["ecg"] and ecg else None,
                "image": _image(rng) if schema["image"] and image else None,
            }
        )
    return made


def _between(given: Mapping[str, Any], rng: np.random.Generator) -> float:
    """Draw a value between the usual limits, to four digits: people write no more."""
    low, high = given["usual"]
    if low is None or high is None:
        typical = given["typical"] if given["typical"] is not None else 1.0
        low, high = 0.9 * typical, 1.1 * typical
    ends = zip(given["limits"], (-np.inf, np.inf), strict=True)
    low, high = np.clip(sorted((low, high)), *(default if end is None else end for end, default in ends))
    return float(f"{rng.uniform(low, high):.4g}")


def _values(schema: Mapping[str, Any], rng: np.random.Generator, share: float) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for given in schema["inputs"]:
        if given["kind"] == "events" or not (given["required"] or rng.random() < share):
            continue
        if given["kind"] == "category":
            values[given["name"]] = given["categories"][int(rng.integers(len(given["categories"])))]["name"]
        else:
            values[given["name"]] = _between(given, rng)
    return values


def _events(schema: Mapping[str, Any], rng: np.random.Generator, share: float) -> list[dict[str, Any]]:
    events = []
    for given in schema["inputs"]:
        if given["kind"] != "events":
            continue
        # Diagnoses are rarer than measurements, as in people.
        times = int(rng.integers(1, 4)) if rng.random() < (share if given["values"] else share * 0.4) else 0
        for _ in range(times):
            event = {"code": given["codes"][0].removesuffix("$"), "days_before": int(rng.integers(0, 1500))}
            if given["values"]:
                event |= {"value": _between(given, rng), "unit": given["units"][0]["label"]}
            events.append(event)
    return events


def _ecg(rng: np.random.Generator, *, short: bool) -> dict[str, Any]:
    """Return a recording in whole microvolts; the short one lacks a lead and a second of another."""
    state = Ecg(*rng.normal(size=3), fibrillation=bool(rng.random() < 0.2))
    signal = np.rint(1000.0 * synthesise(ecg=state, rng=rng).T).clip(-32767, 32767).astype("<i2")
    if short:
        signal = signal[:, :3000].copy()
        signal[7] = MISSING_SAMPLE
        signal[2, 500:1000] = MISSING_SAMPLE
    encoded = base64.b64encode(np.ascontiguousarray(signal).tobytes()).decode()
    return {"rate": SAMPLING_RATE, "samples": signal.shape[1], "leads": list(LEADS), "microvolts": encoded}


def _image(rng: np.random.Generator) -> dict[str, Any]:
    picture = render(radiograph=Radiograph(*rng.normal(size=2)), shape=(EDGE, EDGE), rng=rng)
    pixels = np.rint(255.0 * np.clip(picture, 0, 1)).astype(np.uint8)
    return {"width": EDGE, "height": EDGE, "pixels": base64.b64encode(pixels.tobytes()).decode()}


def with_outputs(patients: Sequence[Mapping[str, Any]], risks: Sequence[Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Return the content of ``golden.json``.

    Parameters
    ----------
    patients : sequence of mapping
        From `golden_patients`.
    risks : sequence of floats (causes, times)
        What the module gave each of them.
    """
    digest = hashlib.sha256(b"".join(np.asarray(each, dtype="<f8").tobytes() for each in risks)).hexdigest()
    told = [{**each, "risks": hexes_of(own), "status": 0} for each, own in zip(patients, risks, strict=True)]
    return {"format": GOLDEN_FORMAT, "patients": told, "sha256": digest}

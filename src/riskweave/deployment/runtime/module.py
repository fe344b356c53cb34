"""A deployed model: takes a patient, says what is wrong with the input, and predicts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from riskweave.deployment.runtime.given import (
    MAX_EVENTS,
    UNUSUAL,
    Given,
    PatientError,
    PatientReader,
    Problem,
    judged,
    span,
)
from riskweave.deployment.runtime.host import Host, ModuleError

__all__ = ["Module", "ModuleError", "PatientError", "Problem", "Result"]

LEADS = 12
MOST_SAMPLES = 1_800_000
SCHEMA_FORMAT = 1
RECORDINGS = ("ecg", "image")

REQUIRED, MEMORY = 16, 64
MEANINGS = {
    32: ("ecg", "it is shorter than a second"),
    33: ("ecg", "its sampling rate is outside 50 to 10,000 Hz"),
    34: ("ecg", "no lead has a sample"),
    35: ("ecg", "every lead is flat"),
    48: ("image", "it has less than 2 or more than 16,384 pixels in one direction"),
    49: ("image", "a pixel is not a finite number"),
    MEMORY: (None, "the recordings need more memory than the module may take"),
}
"""What the codes of rw_predict mean (``c/riskweave.h``)."""


@dataclass(frozen=True)
class Result:
    """A prediction.

    Attributes
    ----------
    risks : float64 array (causes, times)
        Cumulative incidences; the target is the first cause.
    members : float64 array (members, causes, times)
        The same of each member of an ensemble.
    columns : float64 array (columns,)
        What the model made of the patient; NaN where it is missing. Categories by their place.
    imputed : tuple of str
        Columns that are missing although their modality is there: the model took the training rows' median.
    absent : tuple of str
        Modalities that the patient lacks.
    warnings : tuple of Problem
    contributions : tuple of (str, float)
        By input or modality: the target's risk at the last horizon, minus what it is without it.
    schema : mapping
    sha256 : str
        Of the module.
    """

    risks: np.ndarray
    members: np.ndarray
    columns: np.ndarray
    imputed: tuple[str, ...]
    absent: tuple[str, ...]
    warnings: tuple[Problem, ...]
    contributions: tuple[tuple[str, float], ...]
    schema: Mapping[str, Any]
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it, the same for the command line, the server and the page."""
        times, causes = self.schema["times"], [each["name"] for each in self.schema["causes"]]
        horizons = [(horizon, times.index(horizon)) for horizon in self.schema["horizons"]]
        return {
            "model": {
                **{key: self.schema[key] for key in ("study", "endpoint", "experiment")},
                "fingerprint": self.sha256[:12],
            },
            "risks": [
                {"cause": cause, "horizon_days": horizon, "risk": float(self.risks[k, place])}
                for k, cause in enumerate(causes)
                for horizon, place in horizons
            ],
            "curve": {"days": list(times), "risks": {cause: self.risks[k].tolist() for k, cause in enumerate(causes)}},
            "warnings": [{"input": each.input, "message": each.message} for each in self.warnings],
            "imputed": list(self.imputed),
            "absent": list(self.absent),
            "contributions": [{"input": name, "change": change} for name, change in self.contributions],
            "research_use_only": True,
        }


class Module:
    """A module with its schema. Give it a patient, then the recordings, then ask.

    Not for several threads at once: a server has one for each, or takes turns.

    Parameters
    ----------
    wasm : bytes
    schema : mapping
        The content of ``schema.json``.

    Raises
    ------
    ModuleError
        When the module does not run, or the schema is of another version.
    """

    def __init__(self, wasm: bytes, schema: Mapping[str, Any]):
        if schema.get("format") != SCHEMA_FORMAT:
            raise ModuleError(f"schema.json is of format {schema.get('format')}, this host reads {SCHEMA_FORMAT}")
        self.schema = schema
        self._reader = PatientReader(schema["inputs"])
        self.host = Host(wasm)
        self.reset()

    @classmethod
    def open(cls, folder: Path) -> "Module":
        """Return the module of a bundle."""
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        return cls((folder / "model.wasm").read_bytes(), schema)

    def reset(self) -> None:
        """Forget the patient; a module that was stopped starts anew."""
        if self.host.stopped:
            self.host.restart()
        self.host.call("rw_reset")
        self._given: list[Given] = []
        self._warnings: list[Problem] = []
        self._recordings: set[str] = set()

    def set_patient(self, patient: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Forget the last patient, recordings too, and take another.

        Parameters
        ----------
        patient : mapping
            ``{"values": {"age": 61, "sex": "male", "weight": {"value": 160, "unit": "lb"}}, "events": [{"code":
            "LAB//CREATININE", "days_before": 12, "value": 1.1, "unit": "mg/dL"}]}``. Units are labels of the schema or
            UCUM codes; without one a value is in the model's own unit. null is missing.

        Returns
        -------
        tuple of Problem
            Warnings: values outside the usual, events that the model does not use.

        Raises
        ------
        PatientError
            With all that is wrong. The module is then without a patient.
        """
        self.reset()
        given, problems, warnings = self._reader.read(patient)
        if len(given) > MAX_EVENTS + len(self.schema["inputs"]):
            raise PatientError([*problems, Problem(None, f"there are more than {MAX_EVENTS} events")])
        refused, unusual = dict.fromkeys(problems), dict.fromkeys(warnings)
        for each, answer in zip(given, self._give(given), strict=True):
            remark = judged(each, answer, self.schema["inputs"][each.input])
            if remark is not None:
                (unusual if answer == UNUSUAL else refused)[remark] = None
        if refused:
            self.reset()
            raise PatientError(list(refused))
        self._given, self._warnings = given, list(unusual)
        return tuple(unusual)

    def _give(self, given: Sequence[Given]) -> list[int]:
        """Give values to the module and return its answers, in one call: each costs as much as hundreds of values."""
        if not given:
            return []
        pointer = self.host.call("rw_records", len(given))
        if not pointer:
            raise ModuleError("the module has no room for the patient's values")
        self.host.write(pointer, np.array([each.record for each in given], dtype=np.float64))
        self.host.call("rw_give")
        return self.host.read(pointer, 4 * len(given))[::4].astype(int).tolist()

    def set_ecg(self, leads: np.ndarray, rate: float) -> None:
        """Take a recording.

        Parameters
        ----------
        leads : array (12, samples)
            In mV, in the order of the schema's leads; NaN where there is none.
        rate : float
            Samples a second.

        Raises
        ------
        PatientError
            When the model reads no ECG or the array is none of one.
        """
        leads = np.asarray(leads, dtype=np.float64)
        if not np.isfinite(rate):
            raise PatientError([Problem("ecg", "its sampling rate is not a finite number")])
        if leads.ndim != 2 or len(leads) != LEADS or not leads.size or np.isinf(leads).any():
            raise PatientError([Problem("ecg", "an ECG is an array of 12 leads by samples, in mV, NaN for missing")])
        pointer = self.host.call("rw_ecg", leads.shape[1], float(rate)) if self.schema["ecg"] else 0
        if not pointer:
            problem = "the model reads none" if not self.schema["ecg"] else f"longer than {MOST_SAMPLES} samples in all"
            raise PatientError([Problem("ecg", problem)])
        self.host.write(pointer, leads)
        self._recordings.add("ecg")

    def set_image(self, pixels: np.ndarray) -> None:
        """Take a picture.

        Parameters
        ----------
        pixels : array (height, width), or uint8 array (height, width, 3 or 4)
            Greys in any unit, brighter is larger; or red, green, blue and something that is not looked at.

        Raises
        ------
        PatientError
            When the model reads no pictures or the array is none of one.
        """
        pixels = np.asarray(pixels)
        colour = pixels.ndim == 3 and pixels.shape[2] in {3, 4} and pixels.dtype == np.uint8
        if not (pixels.ndim == 2 or colour) or not pixels.size:
            shapes = "an image is an array of height by width, or of bytes with 3 or 4 colours behind"
            raise PatientError([Problem("image", shapes)])
        kind = pixels.shape[2] - 2 if colour else 0
        pointer = self.host.call("rw_image", pixels.shape[1], pixels.shape[0], kind) if self.schema["image"] else 0
        if not pointer:
            problem = "the model reads none" if not self.schema["image"] else "it is too large"
            raise PatientError([Problem("image", problem)])
        self.host.write(pointer, pixels if colour else pixels.astype(np.float32))
        self._recordings.add("image")

    def predict(self, *, contributions: bool = True) -> Result:
        """Return the risks of the patient.

        Parameters
        ----------
        contributions : bool
            Whether to predict once more without each input.

        Raises
        ------
        PatientError
            When a required input is missing or a recording cannot be read.
        ModuleError
            When the module stops.
        """
        self._run()
        host, schema = self.host, self.schema
        causes, times, members = len(schema["causes"]), len(schema["times"]), schema["members"]
        risks = self._risks()
        if not np.isfinite(risks).all():
            raise ModuleError("the module gave a risk that is no number: the model is broken. Do not use it")
        each = host.read(host.call("rw_member_risks"), members * risks.size).reshape(members, causes, times)
        columns = host.read(host.call("rw_columns"), len(schema["columns"]))
        present = [bool(host.call("rw_present", place)) for place in range(len(schema["modalities"]))]
        absent = tuple(name for name, there in zip(schema["modalities"], present, strict=True) if not there)
        imputed = tuple(
            column["name"]
            for column, value in zip(schema["columns"], columns, strict=True)
            if np.isnan(value) and column["modality"] not in absent
        )
        return Result(
            risks=risks,
            members=each,
            columns=columns,
            imputed=imputed,
            absent=absent,
            warnings=(*self._warnings, *self._unusual(columns)),
            contributions=tuple(self._contributions(risks)) if contributions else (),
            schema=schema,
            sha256=host.sha256,
        )

    def _run(self) -> None:
        status = self.host.call("rw_predict")
        if status == REQUIRED:
            given = {each.input for each in self._given}
            missing = [
                Problem(asked["name"], "it is missing, and the model cannot do without it")
                for place, asked in enumerate(self.schema["inputs"])
                if asked["required"] and place not in given
            ]
            raise PatientError(missing)
        if status:
            raise PatientError([Problem(*MEANINGS.get(status, (None, f"the module answers with code {status}")))])

    def _risks(self) -> np.ndarray:
        causes, times = len(self.schema["causes"]), len(self.schema["times"])
        return self.host.read(self.host.call("rw_risks"), causes * times).reshape(causes, times)

    def _unusual(self, columns: np.ndarray) -> list[Problem]:
        """Return what of the recordings' measurements is outside the usual; values were judged one by one."""
        found = []
        for column, value in zip(self.schema["columns"], columns, strict=True):
            low, high = column["usual"]
            below, above = low is not None and value < low, high is not None and value > high
            if column["input"] is None and (below or above):
                unit = {"label": column["unit"], "factor": 1.0, "offset": 0.0}
                shown = f"{value:.3g} {column['unit']}".rstrip()
                usual = span(low, high, unit)
                message = f"{shown} is unusual: 98 % of the people the model was made from had {usual}"
                found.append(Problem(column["name"], message))
        return found

    def _contributions(self, risks: np.ndarray) -> list[tuple[str, float]]:
        """Return what each given input changes, by leaving it out; the module then knows the patient again.

        A model never learnt to do without a required input: for a number it gets the typical one instead, for a
        category there is none, and it is passed over.
        """
        last = self.schema["times"].index(self.schema["horizons"][-1])
        found = []
        for place in dict.fromkeys(each.input for each in self._given):
            asked = self.schema["inputs"][place]
            if asked["required"] and (asked["kind"] != "number" or asked["typical"] is None):
                continue
            self.host.call("rw_clear", place)
            if asked["required"]:
                self.host.call("rw_number", place, asked["typical"], 0)
            found.append((asked["name"], self._change(risks, last)))
            self._give_again(place)
        for name in RECORDINGS:
            if name in self._recordings:
                self.host.call(f"rw_use_{name}", 0)
                found.append((self.schema[name]["modality"], self._change(risks, last)))
                self.host.call(f"rw_use_{name}", 1)
        self._run()
        return found

    def _change(self, risks: np.ndarray, place: int) -> float:
        self._run()
        return float(risks[0, place] - self._risks()[0, place])

    def _give_again(self, place: int) -> None:
        self.host.call("rw_clear", place)
        self._give([each for each in self._given if each.input == place])

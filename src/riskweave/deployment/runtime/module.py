"""A deployed model: takes a patient, says what is wrong with the input, and predicts."""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from riskweave.deployment.runtime.given import (
    MAX_EVENTS,
    RECORDINGS,
    UNUSUAL,
    Given,
    PatientError,
    PatientReader,
    Problem,
    days_before,
    judged,
    too_old,
    unusual,
)
from riskweave.deployment.runtime.host import Host, ModuleError
from riskweave.deployment.runtime.result import Result
from riskweave.deployment.runtime.stored import Buffer, Stored

__all__ = ["FLAT", "NONE", "Module", "ModuleError", "PatientError", "Problem", "Result"]

LEADS = 12
MOST_SAMPLES = 1_800_000
SCHEMA_FORMAT = 1

NONE, FLAT, MOVES, INFINITE = range(4)
"""What is in a lead, as rw_ecg_leads tells it (``c/riskweave.h``)."""

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

NO_ECG = Problem("ecg", "an ECG is an array of 12 leads by samples, in mV, NaN for missing")


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
        self._reader = PatientReader(schema)
        self.host = Host(wasm)
        # Where results lie never changes, and asking is dear.
        self._places: dict[str, int] = {}
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
        self._days: dict[str, float] = {}

    def set_patient(self, patient: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Forget the last patient, recordings too, and take another.

        Parameters
        ----------
        patient : mapping
            ``{"values": {"age": 61, "sex": "male", "weight": {"value": 160, "unit": "lb"}}, "events": [{"code":
            "LAB//CREATININE", "days_before": 12, "value": 1.1, "unit": "mg/dL"}], "ecg": {"days_before": 3}}``. Units
            are labels of the schema or UCUM codes; without one a value is in the model's own unit. null is missing.
            A recording whose days are not told is of the moment of prediction.

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
        self._days = {kind: days_before(patient, kind) for kind in RECORDINGS if kind in patient}
        return tuple(unusual)

    def _give(self, given: Sequence[Given]) -> list[int]:
        """Give values to the module and return its answers, in one call: each costs as much as hundreds of values."""
        if not given:
            return []
        pointer = self.host.call("rw_records", len(given))
        if not pointer:
            raise ModuleError("the module has no room for the patient's values")
        self.host.write(pointer, array("d", [number for each in given for number in each]))
        self.host.call("rw_give")
        return [int(answer) for answer in self.host.read(pointer, 4 * len(given))[::4]]

    def set_ecg(self, leads: Stored | Buffer, rate: float) -> tuple[int, ...]:
        """Take a recording.

        Parameters
        ----------
        leads : Stored, or doubles (12, samples)
            As a file stores it; or in mV, in the order of the schema's leads, NaN where there is none: a NumPy array,
            a memoryview or whatever else gives its buffer.
        rate : float
            Samples a second.

        Returns
        -------
        tuple of 12 int
            What is in each lead: `NONE`, `FLAT`, or that it moves.

        Raises
        ------
        PatientError
            When the model reads no ECG, the leads are none of one, or the patient's is too old.
        """
        self._refuse_old("ecg")
        if not math.isfinite(rate):
            raise PatientError([Problem("ecg", "its sampling rate is not a finite number")])
        if not isinstance(leads, Stored):
            leads = memoryview(leads)
        if len(leads.shape) != 2 or leads.shape[0] != LEADS or not leads.shape[1]:
            raise PatientError([NO_ECG])
        self._recordings.discard("ecg")
        pointer = self.host.call("rw_ecg", leads.shape[1], float(rate)) if self.schema["ecg"] else 0
        if not pointer:
            problem = "the model reads none" if not self.schema["ecg"] else f"longer than {MOST_SAMPLES} samples in all"
            raise PatientError([Problem("ecg", problem)])
        if isinstance(leads, Stored):
            found = self._decoded(leads)
        else:
            self.host.write(pointer, _of_kind(leads, "d"))
            found = self._leads()
        if INFINITE in found:
            self.host.call("rw_ecg", 0, 0.0)  # which forgets it
            raise PatientError([NO_ECG])
        self._recordings.add("ecg")
        return found

    def _decoded(self, stored: Stored) -> tuple[int, ...]:
        """Have a recording decoded, file by file; return what is in each lead then."""
        found: tuple[int, ...] = ()
        for numbers in stored.parts:
            pointer = self.host.call("rw_ecg_stored", len(numbers.data) // numbers.size, numbers.size)
            if not pointer:
                raise PatientError([Problem(*MEANINGS[MEMORY])])
            layouts = self.host.write(pointer, numbers.table())
            self.host.write(pointer + layouts, numbers.data)
            found = self._leads()
        return found

    def _leads(self) -> tuple[int, ...]:
        """Return what is in each lead of the recording."""
        pointer = self.host.call("rw_ecg_leads")
        if not pointer:
            raise ModuleError("a lead was described that is not in its recording: this is a fault of riskweave")
        return tuple(self.host.read(pointer, LEADS, "i"))

    def set_image(self, pixels: Buffer) -> None:
        """Take a picture.

        Parameters
        ----------
        pixels : numbers (height, width), or bytes (height, width, 3 or 4)
            Greys in any unit, brighter is larger; or red, green, blue and something that is not looked at: a NumPy
            array, a memoryview or whatever else gives its buffer.

        Raises
        ------
        PatientError
            When the model reads no pictures, the pixels are none of one, or the patient's is too old.
        """
        self._refuse_old("image")
        pixels = memoryview(pixels)
        colour = pixels.ndim == 3 and pixels.shape[2] in {3, 4} and pixels.format == "B"
        if not (pixels.ndim == 2 or colour) or not pixels.nbytes:
            shapes = "an image is an array of height by width, or of bytes with 3 or 4 colours behind"
            raise PatientError([Problem("image", shapes)])
        grey = 3 if pixels.format == "B" else 0
        kind = pixels.shape[2] - 2 if colour else grey
        self._recordings.discard("image")
        pointer = self.host.call("rw_image", pixels.shape[1], pixels.shape[0], kind) if self.schema["image"] else 0
        if not pointer:
            problem = "the model reads none" if not self.schema["image"] else "it is too large"
            raise PatientError([Problem("image", problem)])
        self.host.write(pointer, pixels if kind else _of_kind(pixels, "f"))
        self._recordings.add("image")

    def _refuse_old(self, kind: str) -> None:
        problem = too_old(self._days.get(kind, 0.0), kind, self.schema)
        if problem is not None:
            raise PatientError([problem])

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
        risks = self._risks()
        if not all(math.isfinite(risk) for own in risks for risk in own):
            raise ModuleError("the module gave a risk that is no number: the model is broken. Do not use it")
        columns = tuple(host.read(self._place("rw_columns"), len(schema["columns"])))
        present = host.read(self._place("rw_present"), len(schema["modalities"]), "B")
        absent = tuple(name for name, there in zip(schema["modalities"], present, strict=True) if not there)
        imputed = tuple(
            column["name"]
            for column, value in zip(schema["columns"], columns, strict=True)
            if math.isnan(value) and column["modality"] not in absent
        )
        return Result(
            risks=risks,
            members=self._members(),
            columns=columns,
            imputed=imputed,
            absent=absent,
            warnings=(*self._warnings, *self._unused(), *self._unusual(columns)),
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

    def _place(self, results: str) -> int:
        """Return where some results lie."""
        if results not in self._places:
            self._places[results] = self.host.call(results)
        return self._places[results]

    def _risks(self) -> tuple[tuple[float, ...], ...]:
        causes, times = len(self.schema["causes"]), len(self.schema["times"])
        return _rows(self.host.read(self._place("rw_risks"), causes * times), times)

    def _members(self) -> tuple[tuple[tuple[float, ...], ...], ...]:
        causes, times, members = len(self.schema["causes"]), len(self.schema["times"]), self.schema["members"]
        rows = _rows(self.host.read(self._place("rw_member_risks"), members * causes * times), times)
        return tuple(rows[first : first + causes] for first in range(0, len(rows), causes))

    def _unused(self) -> list[Problem]:
        """Return the recordings whose days were told and that were not given."""
        message = "it is told how old it is, and there is none: the model does without"
        return [Problem(kind, message) for kind in self._days if kind not in self._recordings]

    def _unusual(self, columns: Sequence[float]) -> list[Problem]:
        """Return what of the recordings' measurements is outside the usual; values were judged one by one."""
        found = []
        for column, value in zip(self.schema["columns"], columns, strict=True):
            low, high = column["usual"]
            below, above = low is not None and value < low, high is not None and value > high
            if column["input"] is None and (below or above):
                unit = {"label": column["unit"], "factor": 1.0, "offset": 0.0}
                found.append(Problem(column["name"], unusual(float(f"{value:.4g}"), unit, column)))
        return found

    def _contributions(self, risks: Sequence[Sequence[float]]) -> list[tuple[str, float]]:
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

    def _change(self, risks: Sequence[Sequence[float]], place: int) -> float:
        self._run()
        return risks[0][place] - self._risks()[0][place]

    def _give_again(self, place: int) -> None:
        self.host.call("rw_clear", place)
        self._give([each for each in self._given if each.input == place])


def _rows(numbers: array, width: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(numbers[first : first + width]) for first in range(0, len(numbers), width))


def _of_kind(numbers: memoryview, kind: str) -> Buffer:
    """Return numbers as doubles or floats, row by row."""
    if numbers.format == kind:
        return numbers
    return array(kind, memoryview(numbers.tobytes()).cast(numbers.format).tolist())

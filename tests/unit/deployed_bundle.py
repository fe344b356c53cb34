"""A whole small bundle on disk, and what people send to it by mistake: for the command line and the server."""

import hashlib
import io
import json
import struct
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
from deployed_page import Bundle
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from riskweave.synthetic.ecg import LEADS, Ecg, synthesise
from riskweave.synthetic.wfdb_files import write_record

GOOD = {"age": 61, "sex": "male", "bmi": {"value": 27.5, "unit": "kg/m2"}}
LAB = {"code": "LAB//CREATININE", "days_before": 12, "value": 1.1, "unit": "mg/dL"}
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


NUMBERS = ("units", "limits", "usual", "typical")
FOREIGN = {
    "number": ("categories", "codes", "values", "window"),
    "category": (*NUMBERS, "codes", "values", "window"),
    "events": (*NUMBERS, "categories"),
    "events with a value": ("categories",),
}


def write_bundle(folder, made):
    """Write the files that a host reads, with their manifest."""
    contents = {"model.wasm": made.wasm, "schema.json": _dump(made.schema), "golden.json": _dump(made.golden)}
    manifest = {
        "format": 1,
        **{key: made.schema[key] for key in ("study", "endpoint", "experiment", "made_by")},
        **made.facts,
        "golden_sha256": made.golden["sha256"],
        "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in contents.items()},
    }
    folder.mkdir()
    for name, data in {**contents, "manifest.json": _dump(manifest)}.items():
        (folder / name).write_bytes(data)
    return folder


def make_bundle(folder):
    """Compile a small model; return its bundle's folder and what it was made of."""
    made = Bundle(folder / "work")
    for asked in made.schema["inputs"]:
        # As the pipeline writes it: an input has what its kind needs.
        kind = f"{asked['kind']} with a value" if asked.get("values") else asked["kind"]
        for key in FOREIGN[kind]:
            asked.pop(key, None)
    return write_bundle(folder / "bundle", made), made


def _dump(content):
    return json.dumps(content, ensure_ascii=False, sort_keys=True).encode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def recording(folder, name="ecg", *, leads=LEADS, rate=500, seconds=10, change=None):
    """Write an invented ECG as a WFDB record; return its header's path."""
    whole = synthesise(ecg=Ecg(0.3, -0.2, 0.1, fibrillation=False), rng=np.random.default_rng(5))
    signal = whole[:: 500 // rate][: round(seconds * rate), [LEADS.index(lead) for lead in leads]].copy()
    if change is not None:
        change(signal)
    write_record(path=folder / name, signal=signal, leads=leads, sampling_rate=rate, gain=1000)
    return folder / f"{name}.hea"


def picture():
    """Return an invented picture as PNG."""
    y, x = np.mgrid[0:90, 0:120] / 120
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.round(60 + 90 * x + 40 * y * x).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def dicom(*, compressed=False):
    """Return a grey picture as DICOM; the compressed one says that it is JPEG 2000."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless if compressed else ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 64, 80, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    pixels = np.arange(64 * 80, dtype="<u2").tobytes()
    dataset.PixelData = pydicom.encaps.encapsulate([pixels]) if compressed else pixels
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def enormous_png():
    """Return a PNG of a few bytes that says it has 900 million pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class Sent:
    """What somebody sends.

    Attributes
    ----------
    patient : bytes
    files : dict
        Of the ECG, by name; the first is the one that is chosen on the command line.
    image : bytes or None
    """

    patient: bytes = json.dumps({"values": GOOD}).encode()
    files: dict[str, bytes] = field(default_factory=dict)
    image: bytes | None = None

    def write(self, folder: Path):
        """Write the files; return the arguments of the command line."""
        (folder / "patient.json").write_bytes(self.patient)
        arguments = [str(folder / "patient.json")]
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        if self.files:
            arguments += ["--ecg", str(folder / next(iter(self.files)))]
        if self.image is not None:
            (folder / "image").write_bytes(self.image)
            arguments += ["--image", str(folder / "image")]
        return arguments


def ecg_files(folder, **options):
    """Return the files of an invented record by name."""
    header = recording(folder, **options)
    return {path.name: path.read_bytes() for path in (header, header.with_suffix(".dat"))}


def patient(values=None, events=(), **more):
    return Sent(json.dumps({"values": {**GOOD, **(values or {})}, "events": list(events), **more}).encode())


def old_ecg(days):
    """Return a patient with a small table for an ECG, told to be of so many days before."""
    rows = "".join(f"{place / 500:.3f},{(place % 350) / 1000}\n" for place in range(5000))
    return replace(patient(ecg={"days_before": days}), files={"ecg.csv": f"time (s),II\n{rows}".encode()})


def text(content):
    return Sent(content if isinstance(content, bytes) else content.encode())


def _flat(signal):
    signal[:] = 0.2


def _record(header, data=b"\0" * 24_000):
    return {"ecg.hea": header.encode(), "ecg.dat": data}


SLOW = "ecg 1 7 5000\necg.dat 16 1000/mV 16 0 0 0 0 I\n"
STONE = {"value": 61, "unit": "stone"}
HEADER = "ecg 1 500 5000\necg.dat {form} 1000/mV 16 0 0 0 0 {lead}\n"
# What is sent, the input that the message is about (None: all of it), and words of the message. A text that is no
# patient at all is status 400 of the server, everything else 422.
BAD = {
    "unit that is none": (patient({"age": STONE}), "age", "unit 'stone' is unknown. Known are: years, a"),
    "required input absent": (text(json.dumps({"values": {"sex": "male"}})), "age", "the model cannot do without it"),
    "required input null": (patient({"sex": None}), "sex", "the model cannot do without it"),
    "text in a number": (patient({"age": "sixty"}), "age", "'sixty' is no finite number"),
    "number as text": (patient({"age": "61"}), "age", "'61' is no finite number"),
    "yes in a number": (patient({"age": True}), "age", "True is no finite number"),
    "list in a number": (patient({"bmi": [27]}), "bmi", "is no finite number"),
    "beyond the limits": (patient({"age": 410}), "age", "410 years cannot be; accepted are 0 to 120 years"),
    "below the limits": (patient({"bmi": 2.7}), "bmi", "cannot be.*Is the unit right?"),
    "beyond all numbers": (text('{"values": {"age": 1e999, "sex": "male"}}'), "age", "no finite number"),
    "unknown category": (patient({"sex": "M"}), "sex", "'M' is none of: female, male"),
    "unknown input": (patient({"agee": 61}), "agee", "Did you mean 'age'"),
    "event among values": (patient({"LAB//CREATININE": 1.1}), "LAB//CREATININE", "list them under `events`"),
    "event without a time": (patient(events=[{"code": "ICD10//I10"}]), None, "`days_before`"),
    "event after the moment": (patient(events=[{**LAB, "days_before": -3}]), "LAB//CREATININE", "it is 0 or more"),
    "event's time as text": (patient(events=[{**LAB, "days_before": "yesterday"}]), "LAB//CREATININE", "'yesterday'"),
    "event's unit": (patient(events=[{**LAB, "unit": "mmHg"}]), "LAB//CREATININE", "unit 'mmHg' is unknown"),
    "event's value as mg/L": (patient(events=[{**LAB, "value": 97.2}]), "LAB//CREATININE", "97.2 mg/dL cannot be"),
    "unknown block": (patient(labs=[]), None, "'labs' is unknown"),
    "NaN": (text('{"values": {"age": NaN, "sex": "male"}}'), None, "NaN is no number"),
    "infinity": (text('{"values": {"age": -Infinity, "sex": "male"}}'), None, "Infinity is no number"),
    "no JSON": (text("age,sex\n61,male\n"), None, "it is no JSON; line 1, column 1"),
    "JSON cut short": (text('{"values": {"age": 61,'), None, "it is no JSON"),
    "empty patient": (text("[]"), None, "a patient is an object"),
    "told twice": (text('{"values": {"age": 61, "age": 71, "sex": "male"}}'), None, "'age' twice"),
    "nested without end": (text("[" * 100_000), None, "nested too deeply"),
    "endless number": (text('{"values": {"age": ' + "9" * 10_000 + "}}"), None, "thousands of digits"),
    "not UTF-8": (text('{"values": {"sex": "männlich"}}'.encode("latin-1")), None, "UTF-8"),
    "ECG: empty file": (Sent(files={"ecg.csv": b""}), "ecg", "is empty"),
    "ECG: signals missing": (Sent(files={"ecg.hea": HEADER.format(form=16, lead="I").encode()}), "ecg", "ecg.dat"),
    "ECG: no header": (Sent(files=_record("\n")), "ecg", "header is damaged"),
    "ECG: compressed": (Sent(files=_record(HEADER.format(form=516, lead="I"))), "ecg", "compressed"),
    "ECG: no lead": (Sent(files=_record(HEADER.format(form=16, lead="pleth"))), "ecg", "standard lead"),
    "ECG: rate": (Sent(files=_record(SLOW)), "ecg", "rate is outside 50 to 10,000 Hz"),
    "ECG: a PDF": (Sent(files={"ecg.csv": b"%PDF-1.7 ..."}), "ecg", "a PDF document"),
    "ECG: table without rate": (Sent(files={"ecg.csv": b"I,II\n0,0\n"}), "ecg", "neither times nor a sampling rate"),
    "ECG: text in a table": (Sent(files={"ecg.csv": b"time,I\n0.000,0.1\n0.002,high\n"}), "ecg", "no number"),
    "ECG: too old": (old_ecg(400), "ecg", "recorded 400 days before .* less than 365: one that old counted as none"),
    "ECG: days after": (patient(ecg={"days_before": -1}), "ecg", "0 or more; without it is of the day"),
    "ECG: days as text": (patient(ecg={"days_before": "12"}), "ecg", "0 or more; without it is of the day"),
    "ECG: days plain": (patient(ecg=12), "ecg", "0 or more; without it is of the day"),
    "image: enormous": (Sent(image=enormous_png()), "image", "30000 x 30000 pixels|too many pixels"),
    "image: compressed DICOM": (Sent(image=dicom(compressed=True)), "image", "is compressed .JPEG 2000"),
    "image: DICOM cut short": (Sent(image=dicom()[:-3000]), "image", "damaged|cut short"),
    "image: PNG cut short": (Sent(image=picture()[:-300]), "image", "damaged or cut short"),
    "image: text": (Sent(image=b"a picture"), "image", "neither PNG nor JPEG nor DICOM"),
}  # fmt: skip


def bad_recordings(folder):
    """Return further mistakes, of records that are written first."""
    whole = ecg_files(folder, name="cut")
    return {
        "ECG: cut short": (Sent(files={**whole, "cut.dat": whole["cut.dat"][:-999]}), "ecg", "cut short"),
        "ECG: flat": (Sent(files=ecg_files(folder, name="flat", change=_flat)), "ecg", "every lead is flat"),
        "ECG: short": (Sent(files=ecg_files(folder, name="short", seconds=0.5)), "ecg", "shorter than a second"),
    }

# ruff: noqa: F811 - fixtures are imported by name
"""The command riskweave: opens sound bundles alone, predicts as the module does, says what is wrong in plain words."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from deployed import leads_of
from deployed_bundle import (
    BAD,
    EIGHT,
    GOOD,
    LAB,
    Sent,
    bad_recordings,
    dicom,
    ecg_files,
    old_ecg,
    patient,
    picture,
    recording,
    sha256,
)
from deployed_server import made  # noqa: F401 - a fixture

from riskweave.deployment.runtime import cli
from riskweave.deployment.runtime.bundle import BundleError, open_bundle
from riskweave.deployment.runtime.cli import main
from riskweave.deployment.runtime.readers import parse_image, read_ecg

NODE = shutil.which("node")


@pytest.fixture
def bundle(made, tmp_path):
    """A copy of the bundle, to be tampered with."""
    return shutil.copytree(made[0], tmp_path / "bundle")


@pytest.fixture(scope="module")
def opened(made):
    return open_bundle(made[0])


@pytest.fixture
def predict(made, opened, tmp_path, capsys, monkeypatch):
    """Run the command in this process; return its status, output and complaints."""
    # Opening a bundle takes longer than all the rest: the sound one is opened once.

    def opening(folder, fingerprint):
        sound = folder == made[0] and fingerprint is None
        return opened if sound else open_bundle(folder, fingerprint=fingerprint)

    monkeypatch.setattr(cli, "open_bundle", opening)

    def run(sent, *options, folder=made[0]):
        status = main(["predict", str(folder), *sent.write(tmp_path), *options])
        return status, *capsys.readouterr()

    return run


def test_the_command_is_installed_with_the_package(repository):
    scripts = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"riskweave": f"{main.__module__}:{main.__name__}"}


def test_predicts_as_the_module_does(made, predict, tmp_path):
    module, files = made[1].module, ecg_files(tmp_path)
    status, out, err = predict(Sent(files=files, image=picture()), "--json")
    assert (status, err) == (0, "")
    module.set_patient({"values": GOOD})
    module.set_ecg(*read_ecg(tmp_path / "ecg.hea"))
    module.set_image(parse_image(picture()))
    assert json.loads(out) == module.predict().as_dict()


def test_tells_people_the_risk_in_their_language(predict):
    status, out, _ = predict(patient(events=[LAB]))
    found = json.loads(predict(patient(events=[LAB]), "--json")[1])
    risk = next(each["risk"] for each in found["risks"] if each == {**each, "cause": "mi", "horizon_days": 1826.0})
    assert status == 0
    assert f"about {round(100 * risk)} would have this within 5 years: First acute myocardial" in out
    assert f"{100 * risk:.1f} %" in out
    for words in ("Within 3 years", "Not given: ECG, Image.", "Filled in", "Creatinine in serum", "Research use only"):
        assert words in out
    assert found["model"]["fingerprint"] in out
    _, out, _ = predict(patient(events=[LAB]), "--language", "de")
    assert f"{100 * risk:.1f} %".replace(".", ",") in out
    for words in ("Erster akuter", "Innerhalb von 3 Jahren", "Nicht angegeben: EKG, Bild.", "Kein Medizinprodukt."):
        assert words in out


def test_says_what_is_unusual(predict):
    status, out, _ = predict(patient({"age": 99}))
    assert status == 0
    assert "Age: 99 years is unusual: 98 % of the people the model was made from had" in re.sub(r"\s+", " ", out)


def test_says_which_recordings_and_events_count_for_nothing(predict):
    """A window of days ends before its last day: the model looks at an event of 364.9 days, at none of 365."""
    sbp = {"code": "VITAL//SBP", "value": 140}
    events = [{**sbp, "days_before": days} for days in (364.9, 365, 900)] + [
        {"code": "ICD10//E11", "days_before": None}
    ]
    _, out, _ = predict(patient(events=events, ecg={"days_before": 12}), "--json")
    told = {each["input"]: each["message"] for each in json.loads(out)["warnings"]}
    assert told["VITAL//SBP"].startswith("2 of its events count for nothing: undated, or 365 days or more before")
    assert told["ICD10//E11"].startswith("1 of its events counts for nothing: undated, or 730 days or more before")
    assert told["ecg"] == "it is told how old it is, and there is none: the model does without"
    told = json.loads(predict(patient(events=events[:1]), "--json")[1])
    assert told["warnings"] == []


def test_a_recording_of_any_age_is_taken_where_the_study_took_any(predict):
    young, told = (json.loads(predict(sent, "--json")[1]) for sent in (old_ecg(0), old_ecg(364)))
    assert told == young
    sent = replace(patient(image={"days_before": 9999}), image=picture())
    assert predict(sent)[0] == 0


def test_eight_leads_are_taken_as_they_are(made, predict, tmp_path):
    """As in training: a lead that is not there is silent. None is computed from others, and the answer says so."""
    status, out, _ = predict(Sent(files=ecg_files(tmp_path, leads=EIGHT)), "--json")
    told = json.loads(out)
    assert status == 0
    (remark,) = [each["message"] for each in told["warnings"] if each["input"] == "ecg"]
    assert remark.startswith("4 of 12 leads are not in the recording (III, aVR, aVL, aVF)")
    module = made[1].module
    module.set_patient({"values": GOOD})
    leads, rate = read_ecg(recording(tmp_path))
    leads = leads_of(leads)
    leads[2:6] = np.nan
    module.set_ecg(leads, rate)
    assert told["risks"] == module.predict().as_dict()["risks"]


def test_a_recording_of_another_rate_is_resampled(predict, tmp_path):
    def risk(**options):
        told = json.loads(predict(Sent(files=ecg_files(tmp_path, **options)), "--json")[1])
        assert told["absent"] == ["image"]
        return told["risks"][0]["risk"]

    assert risk(rate=250) == pytest.approx(risk(rate=500), rel=0.02)


def test_a_flat_lead_is_told(predict, tmp_path):
    def still(signal):
        signal[:, 7] = -0.1

    _, out, _ = predict(Sent(files=ecg_files(tmp_path, change=still)))
    assert "1 of 12 leads is flat from beginning to end (V2)" in " ".join(out.split())


def test_uncompressed_dicom_is_taken(predict):
    assert predict(Sent(image=dicom()))[0] == 0


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_in_plain_words(name, predict):
    sent, about, message = BAD[name]
    check_refusal(predict(sent), about, message)


def test_broken_recordings_are_told_in_plain_words(predict, tmp_path):
    for sent, about, message in bad_recordings(tmp_path).values():
        check_refusal(predict(sent), about, message)


def check_refusal(found, about, message):
    status, out, err = found
    assert (status, out) == (2, "")
    assert err.startswith("There is no prediction:\n  - ")
    assert "Traceback" not in err
    (line,) = err.splitlines()[1:]
    label = {None: "Patient", "age": "Age", "ecg": "ECG", "LAB//CREATININE": "Creatinine in serum"}.get(about, "")
    assert line.startswith(f"  - {label}")
    assert re.search(message, line), line


def test_all_mistakes_are_told_at_once(predict):
    _, _, err = predict(Sent(b'{"values": {"age": "x", "sex": "M"}}', files={"ecg.csv": b"%PDF"}, image=b"?"))
    assert len(err.splitlines()) == 5


def test_what_is_sent_cannot_command_a_terminal(predict):
    _, _, err = predict(patient({"\x1b[2Jage": 1}))
    assert "\x1b" not in err


def test_what_stands_in_a_file_is_not_told(made, tmp_path):
    """pydicom warns of values that are not of their kind, and shows them."""
    syntax, name = b"1.2.840.10008.1.2.1\0", b"Doe^Jane*1970-01-01\0"
    assert dicom().count(syntax) == 1
    arguments = Sent(image=dicom().replace(syntax, name)).write(tmp_path)
    command = [sys.executable, "-m", "riskweave.deployment.runtime", "predict", str(made[0]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Doe" not in done.stdout + done.stderr
    assert "stored in an unknown way" in done.stderr


def test_a_patient_may_come_through_a_pipe(made):
    command = [sys.executable, "-m", "riskweave.deployment.runtime", "predict", str(made[0]), "-", "--json"]
    done = subprocess.run(command, input=json.dumps({"values": GOOD}).encode(), capture_output=True, check=True)
    assert json.loads(done.stdout)["research_use_only"] is True
    done = subprocess.run(command, input=b"{", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"There is no prediction:\n  - Patient: it is no JSON")


def test_a_file_that_is_not_there(made, capsys):
    assert main(["predict", str(made[0]), "nobody.json"]) == 2
    assert "There is no file nobody.json" in capsys.readouterr().err


def test_a_rate_without_an_ecg(predict):
    status, _, err = predict(patient(), "--ecg-rate", "500")
    assert status == 2
    assert "without an ECG" in err


# Bundles


def change_manifest(folder, **changes):
    content = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**content, **changes}))


def forge(folder, name, data):
    """Change a file, and the manifest with it."""
    (folder / name).write_bytes(data)
    content = json.loads((folder / "manifest.json").read_bytes())
    content["files"][name]["sha256"] = sha256(data)
    change_manifest(folder, files=content["files"], **({"wasm_sha256": sha256(data)} if name == "model.wasm" else {}))


def flip(path, place=-1000):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def forge_golden(folder):
    golden = json.loads((folder / "golden.json").read_bytes())
    risks = golden["patients"][0]["risks"]
    risks[0] = f"{int(risks[0], 16) ^ 1:016x}"
    forge(folder, "golden.json", json.dumps(golden).encode())


def forge_schema(folder):
    schema = json.loads((folder / "schema.json").read_bytes())
    forge(folder, "schema.json", json.dumps({**schema, "inputs": schema["inputs"][:1]}).encode())


def forge_texts(folder):
    schema = json.loads((folder / "schema.json").read_bytes())
    told = {key: value for key, value in schema.items() if key not in {"title", "target"}}
    forge(folder, "schema.json", json.dumps(told).encode())


def climb(folder):
    content = json.loads((folder / "manifest.json").read_bytes())
    change_manifest(folder, files={**content["files"], "../../secret": {"sha256": ""}})


TAMPERED = {
    "wasm": (lambda folder: flip(folder / "model.wasm"), "model.wasm is not the one that the bundle was made with"),
    "schema": (lambda folder: flip(folder / "schema.json"), "schema.json is not the one"),
    "golden": (lambda folder: flip(folder / "golden.json"), "golden.json is not the one"),
    "missing": (lambda folder: (folder / "golden.json").unlink(), "golden.json is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "There is no bundle in"),
    "manifest is no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "it is no JSON"),
    "manifest is a list": (lambda folder: (folder / "manifest.json").write_text("[]"), "holds no object"),
    "manifest's format": (lambda folder: change_manifest(folder, format=2), "manifest.json is of format 2"),
    "manifest without files": (lambda folder: change_manifest(folder, files={}), "does not name model.wasm"),
    "manifest's module": (lambda folder: change_manifest(folder, wasm_sha256="0" * 64), "the module's SHA-256"),
    "manifest's golden": (lambda folder: change_manifest(folder, golden_sha256="0"), "golden patients' risks"),
    "manifest's study": (lambda folder: change_manifest(folder, study="another"), "the study is another"),
    "path in the manifest": (climb, "names files in another way"),
    "forged golden": (forge_golden, "gets other risks than when the bundle was built"),
    "forged schema": (forge_schema, "does not fit the module"),
    "schema without texts": (forge_texts, "schema.json lacks target, title"),
    "no module": (lambda folder: forge(folder, "model.wasm", b"\0asm"), "no WebAssembly module, or it is damaged"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_bundles_are_refused(name, bundle, predict):
    tamper, message = TAMPERED[name]
    tamper(bundle)
    status, out, err = predict(patient(), folder=bundle)
    assert (status, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_a_bundle_of_a_known_fingerprint(bundle, predict):
    wasm, manifest = (sha256((bundle / name).read_bytes()) for name in ("model.wasm", "manifest.json"))
    for fingerprint in (wasm[:12], wasm.upper(), manifest):
        assert predict(patient(), "--fingerprint", fingerprint)[0] == 0
    for fingerprint, message in (("0" * 12, "another fingerprint"), (wasm[:6], "12 to 64"), ("x" * 12, "12 to 64")):
        status, _, err = predict(patient(), "--fingerprint", fingerprint)
        assert status == 1
        assert message in err
    # Who forges a file and its manifest alike is found by the fingerprint alone.
    schema = json.loads((bundle / "schema.json").read_bytes())
    forge(bundle, "schema.json", json.dumps({**schema, "question": "Another?"}).encode())
    assert open_bundle(bundle).schema["question"] == "Another?"
    with pytest.raises(BundleError, match="another fingerprint"):
        open_bundle(bundle, fingerprint=manifest)


def test_a_module_that_stops_gives_no_prediction(predict, monkeypatch):
    from riskweave.deployment.runtime import module

    def stop(self):
        self.host.stopped = True
        raise module.ModuleError("the module was stopped in rw_predict: wasm trap: unreachable")

    monkeypatch.setattr(module.Module, "_contributions", lambda self, _: stop(self))
    status, out, err = predict(patient())
    assert (status, out) == (1, "")
    assert err.startswith("The model stopped, and there is no prediction")


# FHIR


def test_the_command_writes_a_risk_assessment(predict):
    _, out, _ = predict(patient(), "--fhir", "--date", "2026-03-01", "--language", "de")
    found = json.loads(out)
    assert found["occurrenceDateTime"] == "2026-03-01"
    assert found["note"][0]["text"] == "Nur für die Forschung. Kein Medizinprodukt."

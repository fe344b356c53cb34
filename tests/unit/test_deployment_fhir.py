# ruff: noqa: F811 - fixtures are imported by name
"""The result as a FHIR RiskAssessment: what it says, and that command line and page write the same."""

import json
import shutil
import subprocess
from datetime import date

import pytest
from deployed_bundle import LAB, picture, recording
from deployed_server import bundle, made  # noqa: F401 - fixtures

from riskweave.deployment.runtime.fhir import risk_assessment
from riskweave.deployment.runtime.predict import Given, ask
from riskweave.deployment.runtime.readers import parse_image, read_ecg

NODE = shutil.which("node")
MOMENT = date(2026, 3, 1)
UNITS = {"age": {"value": 61, "unit": "years"}, "sex": "male", "bmi": {"value": 27.5, "unit": "kg/m2"}}
EVENTS = [LAB, {"code": "ICD10//I10", "days_before": None}, {"code": "ICD10//E119", "days_before": 40.5}]


@pytest.fixture
def assessed(bundle, tmp_path):
    """Return a function from a patient and a language to the answer and the RiskAssessment."""

    def assess(patient, language="en"):
        given = Given(patient, ecg=lambda: read_ecg(recording(tmp_path)), image=lambda: parse_image(picture()))
        answer = ask(bundle.module, given)
        return answer, risk_assessment(bundle, answer, MOMENT, language)

    return assess


def test_a_risk_assessment_says_percent_and_when(assessed):
    answer, found = assessed({"values": UNITS, "events": EVENTS})
    assert found["resourceType"] == "RiskAssessment"
    for each, risk in zip(found["prediction"], answer.result.as_dict()["risks"], strict=True):
        assert each["probabilityDecimal"] == pytest.approx(100 * risk["risk"], rel=1e-5)
        start, end = (date.fromisoformat(each["whenPeriod"][side]) for side in ("start", "end"))
        assert (start, (end - start).days) == (MOMENT, risk["horizon_days"])
    # Whatever is contained is referred to, as FHIR wants it.
    named = {each["reference"] for each in [found["performer"], *found["basis"]]}
    assert named == {f"#{each['id']}" for each in found["contained"]}
    values = [each.get("valueQuantity") for each in found["contained"]]
    assert {"value": 61, "unit": "years", "system": "http://unitsofmeasure.org", "code": "a"} in values


def test_a_risk_assessment_needs_no_patient_file_names(assessed):
    _, found = assessed({"values": UNITS})
    assert "ecg.hea" not in json.dumps(found)
    assert found["subject"] == {"display": "Not named"}


SCRIPT = """
import { fhir } from "./export.js";
import { setLanguage } from "./texts.js";
import { readFileSync } from "node:fs";
globalThis.document = { documentElement: {} };
const { schema, result, given, facts, fingerprint, language, moment } = JSON.parse(readFileSync(0));
setLanguage(language);
const day = Date.parse(moment) / 86400000;
given.moment = { dateBefore: (days) => new Date((day - Math.floor(days)) * 86400000).toISOString().slice(0, 10) };
console.log(JSON.stringify(fhir(schema, result, given, facts, fingerprint)));
"""


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_writes_the_same_risk_assessment(language, assessed, bundle, repository, tmp_path):
    told = {"values": UNITS, "events": EVENTS, "ecg": {"days_before": 30.6}}
    answer, found = assessed(told, language)
    assert [each.get("effectiveDateTime") for each in found["contained"][-2:]] == ["2026-01-30", None]
    shutil.copytree(repository / "src/riskweave/deployment/page", tmp_path / "page")
    (tmp_path / "page/package.json").write_text('{"type": "module"}')
    (tmp_path / "page/run.js").write_text(SCRIPT)
    width, height = answer.image_size
    given = {
        "patient": told,
        "recordings": {"ecg": {"seconds": answer.ecg_seconds}, "image": {"width": width, "height": height}},
    }
    asked = {
        "schema": bundle.schema,
        "result": answer.result.as_dict(),
        "given": given,
        "facts": bundle.manifest,
        "fingerprint": bundle.fingerprint,
        "language": language,
        "moment": MOMENT.isoformat(),
    }
    command = [NODE, str(tmp_path / "page/run.js")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == found

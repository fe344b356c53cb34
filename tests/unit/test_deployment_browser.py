# ruff: noqa: F811 - fixtures are imported by name
"""The page in a real browser: opened from disk, filled in, compared with Python, and kept from every network."""

import http.server
import json
import re
import threading

import numpy as np
import PIL.Image
import pytest
from deployed_page import give
from page_visit import ECG, IMAGE, browser, bundle, expect, files, jpeg, needs_browser, visit, visited  # noqa: F401

from riskweave.synthetic.ecg import SAMPLING_RATE
from riskweave.synthetic.image import Radiograph, render

pytestmark = needs_browser


def test_a_patient_gets_the_risks_of_python(visit, bundle, files):
    page, folder = visit.page, files["folder"]
    assert "4 reference results" in page.inner_text("#checks")
    visit.fill_required()
    page.get_by_label("Creatinine in serum, value 1").fill("104")
    page.get_by_label("Creatinine in serum, unit of reading 1").select_option(label="µmol/L")
    page.locator(".field", has_text="Creatinine").get_by_role("button", name="Reading").click()
    page.get_by_label("Creatinine in serum, value 2").fill("0.9")
    page.get_by_label("Creatinine in serum, days before the prediction, reading 2").fill("30")
    page.get_by_label("Systolic blood pressure, value 1").fill("145")
    page.get_by_label("Hypertension (ICD-10 I10)", exact=True).check()
    page.get_by_label("Type 2 diabetes (ICD-10 E11)", exact=True).check()
    page.get_by_label("Type 2 diabetes (ICD-10 E11), days before").fill("100")
    facts = visit.attach(ECG, folder / "rec.hea", folder / "rec.dat")
    assert "12 of 12 leads, 500 Hz, 15 s" in facts
    assert "first 10 s" in facts
    assert page.locator(".ecg-paper svg").count() == 13
    assert "PNG, 120 \u00d7 150 pixels" in visit.attach(IMAGE, folder / "chest.png")
    visit.predict()
    told, patient = visit.download("Save the result (JSON)"), visit.download("Save inputs")
    assert patient["values"] == {"age": {"value": 67, "unit": "years"}, "sex": "male"}
    assert patient["events"][:2] == [
        {"code": "LAB//CREATININE", "days_before": 0, "value": 104, "unit": "µmol/L"},
        {"code": "LAB//CREATININE", "days_before": 30, "value": 0.9, "unit": "mg/dL"},
    ]
    assert patient["events"][-2:] == [
        {"code": "ICD10//I10", "days_before": None},
        {"code": "ICD10//E11", "days_before": 100},
    ]
    bundle.module.set_patient(patient)
    bundle.module.set_ecg(files["ecg"], SAMPLING_RATE)
    bundle.module.set_image(files["image"])
    expected = bundle.module.predict().as_dict()
    # The same module, and the same bits.
    assert {**told, "warnings": None} == {**expected, "warnings": None}
    assert [each["input"] for each in told["warnings"]] == [each["input"] for each in expected["warnings"]]
    shown = page.inner_text(".numbers")
    for days in (1096, 1826):
        risk = next(r["risk"] for r in expected["risks"] if r["cause"] == "mi" and r["horizon_days"] == days)
        assert f"{100 * risk:.1f}%" in shown
    count = round(100 * next(r["risk"] for r in expected["risks"] if r["horizon_days"] == 1826))
    assert page.locator(".icons .cause0").count() == count
    assert page.locator(".icons .person").count() == 100
    assert "of First acute myocardial infarction" in page.inner_text("#announce")


def test_what_is_missing_is_said(visit, bundle):
    visit.fill_required()
    visit.predict()
    told = visit.download("Save the result (JSON)")
    bundle.module.set_patient({"values": {"age": 67, "sex": "male"}})
    expected = bundle.module.predict().as_dict()
    assert told == expected
    assert told["absent"] == ["ecg", "image"]
    assert "does without: ECG, Image" in visit.page.inner_text(".mind")
    assert "Body mass index" in visit.page.inner_text("#result")


def test_golden_patients_can_be_opened_as_files(visit, bundle, tmp_path):
    for golden in bundle.golden["patients"]:
        (tmp_path / "patient.json").write_text(json.dumps(golden["patient"]))
        visit.page.set_input_files("#load", str(tmp_path / "patient.json"))
        visit.predict()
        told = visit.download("Save the result (JSON)")
        assert told["risks"] == give(bundle.module, {**golden, "ecg": None, "image": None}).as_dict()["risks"]
    (tmp_path / "other.json").write_text('{"resourceType": "Bundle"}')
    visit.page.set_input_files("#load", str(tmp_path / "other.json"))
    expect(visit.page.locator("#alert")).to_contain_text("holds no inputs of this model")


def counting_server():
    """Return a server on this machine, and the list of what it is asked for."""
    hits = []

    class Counter(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def count(self):
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_GET = do_POST = count  # noqa: N815

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, hits


def test_the_browser_itself_keeps_the_page_from_the_network(browser, bundle, tmp_path):
    server, hits = counting_server()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with visited(browser, tmp_path, bundle.page()) as visit:
            stopped = visit.page.evaluate(ATTEMPTS, address)
            visit.page.wait_for_timeout(500)
        # Without the policy the same attempts arrive: the counter counts.
        free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", bundle.page())
        assert hits == []
        with visited(browser, tmp_path, free) as visit:
            visit.page.evaluate(ATTEMPTS, address)
            visit.page.wait_for_timeout(500)
        assert len(hits) >= 4
    finally:
        server.shutdown()
        server.server_close()
    assert set(stopped) >= {"connect-src", "img-src", "script-src-elem", "frame-src", "style-src-elem"}


ATTEMPTS = """async (address) => {
  const stopped = [];
  document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
  const tries = [
    () => fetch(`${address}/fetch`, { mode: "no-cors" }),
    () => navigator.sendBeacon(`${address}/beacon`, "x"),
    () => new WebSocket(address.replace("http", "ws")),
    () => { new Image().src = `${address}/image.png`; },
  ];
  for (const [tag, name] of [["script", "src"], ["iframe", "src"], ["link", "href"]]) {
    tries.push(() => {
      const element = document.createElement(tag);
      element[name] = `${address}/${tag}`;
      if (tag === "link") element.rel = "stylesheet";
      document.head.append(element);
    });
  }
  for (const one of tries) { try { await one(); } catch { /* stopped */ } }
  await new Promise((resolve) => setTimeout(resolve, 300));
  return stopped;
}"""


def swapped(text, block, change):
    """Return the page with another content of one of its data blocks."""
    opening = f'<script type="application/json" id="{block}">'
    before, rest = text.split(opening)
    data, after = rest.split("</script>", 1)
    return before + opening + json.dumps(change(json.loads(data))) + "</script>" + after


def flip(text):
    place = len(text) // 2
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


def other_risk(golden):
    first = golden["patients"][0]
    last = first["risks"][-1]
    first["risks"][-1] = last[:-1] + ("0" if last[-1] != "0" else "1")
    return golden


TAMPERED = {
    "wasm": (("wasm", flip), "checksum differs"),
    "golden": (("golden", other_risk), "reference result for the test patient"),
    "patient": (
        ("golden", lambda g: {**g, "patients": g["patients"][1:]}),
        "reference results in this page were changed",
    ),
    "empty": (("golden", lambda g: {**g, "patients": []}), "reference results in this page were changed"),
    "facts": (("facts", lambda f: {**f, "wasm_sha256": "0" * 64}), "checksum differs"),
    "abi": (("schema", lambda s: {**s, "abi": 9}), "of another version"),
    "times": (("schema", lambda s: {**s, "times": s["times"][:-1]}), "reference result"),
    "damaged": (("wasm", lambda _: "!!"), "data of this page are broken"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_model_or_reference_is_not_used(browser, bundle, tmp_path, name):
    (block, change), words = TAMPERED[name]
    with visited(browser, tmp_path, swapped(bundle.page(), block, change)) as visit:
        alert = visit.page.get_by_role("alert").first
        expect(alert).to_contain_text("This page will not predict.")
        expect(alert).to_contain_text(words)
        assert not visit.page.locator("#form").is_visible()
        assert visit.page.get_attribute("html", "data-ready") == "refused"
        assert visit.faults == []


def test_a_changed_script_does_not_run(browser, bundle, tmp_path):
    changed = bundle.page().replace("// The page: checks", "// the page: checks")
    (tmp_path / "index.html").write_text(changed, encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_timeout(300)
    assert page.get_attribute("html", "data-ready") is None
    assert page.locator("#predict").is_disabled()
    context.close()


def test_a_jpeg_gives_nearly_the_risks_that_pillow_gives(visit, bundle, tmp_path):
    rng = np.random.default_rng(4)
    grey = np.rint(255 * np.clip(render(radiograph=Radiograph(0.1, 0.5), shape=(200, 160), rng=rng), 0, 1))
    (tmp_path / "p.jpg").write_bytes(jpeg(grey.astype(np.uint8), quality=90))
    assert "JPEG, 160 \u00d7 200 pixels" in visit.attach(IMAGE, tmp_path / "p.jpg")
    visit.fill_required()
    visit.predict()
    told = visit.download("Save the result (JSON)")
    bundle.module.set_patient({"values": {"age": 67, "sex": "male"}})
    bundle.module.set_image(np.asarray(PIL.Image.open(tmp_path / "p.jpg"), dtype=np.float32))
    expected = bundle.module.predict().as_dict()
    # Decoders may round apart by one grey.
    for one, other in zip(told["risks"], expected["risks"], strict=True):
        assert one["risk"] == pytest.approx(other["risk"], abs=1e-4)


def test_fhir_counts_in_percent_and_refers_to_what_it_holds(visit, bundle):
    visit.fill_required()
    page = visit.page
    page.locator("input[type=date]").first.fill("2026-03-01")
    page.get_by_label("dates", exact=True).check()
    page.get_by_label("Creatinine in serum, value 1").fill("1.1")
    page.get_by_label("Creatinine in serum, date of reading 1").fill("2026-02-01")
    visit.predict()
    made, told = visit.download("Save for a health record (FHIR)"), visit.download("Save the result (JSON)")
    assert made["resourceType"] == "RiskAssessment"
    assert made["status"] == "final"
    assert made["subject"]
    held = {f"#{each['id']}": each for each in made["contained"]}
    used = [made["performer"]["reference"], *(each["reference"] for each in made["basis"])]
    assert sorted(used) == sorted(held)
    device = held["#model"]
    assert device["resourceType"] == "Device"
    assert device["identifier"][0]["value"].endswith(bundle.facts["wasm_sha256"])
    assert bundle.facts["wasm_sha256"][:12] in made["method"]["text"]
    for one, risk in zip(made["prediction"], told["risks"], strict=True):
        assert one["probabilityDecimal"] == pytest.approx(100 * risk["risk"], rel=1e-5)
        assert 0 <= one["probabilityDecimal"] <= 100
        assert one["whenPeriod"]["start"] == made["occurrenceDateTime"] == "2026-03-01"
    assert {one["whenPeriod"]["end"] for one in made["prediction"]} == {"2029-03-01", "2031-03-01"}
    creatinine = next(each for each in held.values() if "Creatinine" in each.get("code", {}).get("text", ""))
    assert creatinine["effectiveDateTime"] == "2026-02-01"
    unit = {"unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}
    assert creatinine["valueQuantity"] == {"value": 1.1, **unit}
    assert all(each["status"] == "final" for key, each in held.items() if key != "#model")


def test_the_page_speaks_german(browser, bundle, tmp_path):
    with visited(browser, tmp_path, bundle.page(), locale="de-DE") as visit:
        page = visit.page
        assert page.get_attribute("html", "lang") == "de"
        assert "Kein Medizinprodukt" in page.inner_text("header")
        page.get_by_role("textbox", name="Alter").fill("67,5")
        page.get_by_role("combobox", name="Geschlecht").select_option(label="männlich")
        page.get_by_role("textbox", name="Body-Mass-Index").fill("55")
        page.click("#predict")
        page.wait_for_selector(".result")
        text = page.inner_text("#outcome")
        assert "innerhalb von 5 Jahren" in text
        assert re.search(r"\d,\d\s%", text)
        assert "55 kg/m2, das ist ungewöhnlich: 98 % der Menschen" in text
        for english in ("within", "people", "is unusual", "points"):
            assert english not in text
        page.get_by_role("button", name="English").click()
        expect(page.locator("#outcome")).to_contain_text("within 5 years")
        expect(page.locator("#outcome")).to_contain_text("is unusual")
        assert page.get_by_role("textbox", name="Age").input_value() == "67,5"
        assert visit.faults == []


def test_the_keyboard_is_enough_and_everything_has_a_name(visit):
    page = visit.page
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('input, select, button, svg[role=img], canvas')].filter((e) => "
        "!e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    page.get_by_role("textbox", name="Age").focus()
    page.keyboard.type("67")
    page.keyboard.press("Tab")
    page.keyboard.type("m")
    page.keyboard.press("Tab")
    page.keyboard.type("25")
    page.keyboard.press("Enter")
    page.wait_for_selector(".result")
    assert page.evaluate("document.activeElement.id") == "outcome"


def test_model_version_and_fingerprint_stay_in_view(visit, bundle):
    visit.fill_required()
    visit.predict()
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    shown = visit.page.locator("#identity")
    expect(shown).to_be_in_viewport()
    for words in ("demo / mi / ehr+ecg+image.cox", bundle.facts["version"], bundle.facts["wasm_sha256"][:12]):
        assert words in shown.inner_text()
    # Nothing hangs over the edge of a phone.
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_long_forms_can_be_searched(browser, bundle, tmp_path):
    extra = [
        {"name": f"ICD10//{place:03}", "kind": "events", "label": {"en": f"Finding {place}", "de": f"Befund {place}"},
         "description": {}, "required": False, "codes": [f"ICD10//{place:03}$"], "values": False, "window": None}
        for place in range(100)
    ]  # fmt: skip
    schema = {**bundle.schema, "inputs": [*bundle.schema["inputs"], *extra]}
    with visited(browser, tmp_path, bundle.page(schema=schema)) as visit:
        visit.page.get_by_role("searchbox").fill("finding 42")
        expect(visit.page.locator(".field:visible")).to_have_count(1)
        expect(visit.page.locator(".search .hint")).to_have_text("1 of 107 inputs")
        visit.page.get_by_role("searchbox").fill("")
        expect(visit.page.locator(".field:visible")).to_have_count(107)
        assert visit.faults == []

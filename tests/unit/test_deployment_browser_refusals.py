# ruff: noqa: F811 - fixtures are imported by name
"""What the page refuses in a real browser, in words that help, and how it goes on."""

import numpy as np
import pytest
from page_visit import ECG, IMAGE, browser, bundle, expect, files, jpeg, needs_browser, visit  # noqa: F401

from riskweave.modalities.ecg import LEADS

pytestmark = needs_browser


BAD_ENTRIES = [
    ("Age", "sixty", "not a number"),
    ("Age", "1,234", "1234 or 1.234"),
    ("Age", "-3", "accepted are 0 to 120 years. Is the unit right?"),
    ("Age", "430", "accepted are 0 to 120 years. Is the unit right?"),
    ("Age", "1e999", "not a number"),
    ("Age", "NaN", "not a number"),
    ("Creatinine in serum, value 1", "104", "104 mg/dL cannot be; accepted are 0.05 to 30 mg/dL"),
    ("Creatinine in serum, days before the prediction, reading 1", "-1", "0 or larger"),
    ("Creatinine in serum, days before the prediction, reading 1", "5", "Enter the value"),
    ("Systolic blood pressure, days before the prediction, reading 1", "", "last 1 year"),
]


def test_entries_that_cannot_be_are_refused(visit):
    page = visit.page
    for label, text, words in BAD_ENTRIES:
        page.click("#clear")
        visit.fill_required()
        if text in {"", "-1"}:
            page.get_by_label(f"{label.split(',')[0]}, value 1").fill("145" if "Systolic" in label else "1.1")
        (page.get_by_label(label) if "," in label else page.get_by_role("textbox", name=label)).fill(text)
        page.click("#predict")
        errors = page.locator(".errors")
        expect(errors).to_contain_text(words)
        assert not page.locator(".result").count()
        # Each error leads to its entry, which says the same.
        errors.get_by_role("button").first.click()
        assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
        expect(page.locator(".field:has(:focus) .message")).to_contain_text(words)


def test_required_entries_are_asked_for(visit):
    visit.page.click("#predict")
    assert visit.page.locator(".errors li").count() == 2
    assert visit.page.evaluate("document.activeElement.className") == "errors"


def test_unusual_entries_are_taken_with_a_warning(visit):
    visit.fill_required()
    visit.page.get_by_role("textbox", name="Body mass index").fill("55")
    visit.page.get_by_role("textbox", name="Body mass index").press("Tab")
    expect(visit.page.locator(".field", has_text="Body mass").locator(".message")).to_contain_text("18.4 to 42.1")
    visit.predict()
    assert [each["input"] for each in visit.download("Save the result (JSON)")["warnings"]] == ["bmi"]
    # What was entered afterwards is not part of the result that is shown.
    visit.page.get_by_role("textbox", name="Body mass index").fill("25")
    expect(visit.page.locator("#stale")).to_be_visible()
    assert not visit.page.locator("#exports").is_visible()


def header(name, leads, *, rate=500, samples=2500, gain="1000/mV"):
    lines = [f"{name} {len(leads)} {rate} {samples}", *(f"{name}.dat 16 {gain} 16 0 0 0 0 {lead}" for lead in leads)]
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def bad_files():
    rng = np.random.default_rng(2)
    noise = (200 * rng.normal(size=(2500, 12))).astype("<i2")
    flat = np.zeros((2500, 12), "<i2").tobytes()
    picture = jpeg((255 * rng.random((64, 64))).astype(np.uint8))
    compressed = b"\0" * 128 + b"DICM\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.4.90" + b"\0" * 50
    return [
        (ECG, {"f.hea": header("f", LEADS), "f.dat": flat}, "Every lead of the recording is flat"),
        (ECG, {"f.hea": header("f", LEADS), "f.dat": noise.tobytes()[:-2]}, "cut short"),
        (ECG, {"f.hea": header("f", LEADS)}, "The file f.dat is missing"),
        (ECG, {"f.hea": header("f", LEADS, samples=400), "f.dat": noise.tobytes()}, "shorter than a second"),
        (ECG, {"f.hea": header("f", LEADS, rate=20), "f.dat": noise.tobytes()}, "between 50 and 10,000 Hz"),
        (ECG, {"f.hea": header("f", LEADS, gain="1000/mmHg"), "f.dat": noise.tobytes()}, "Readable are V, mV"),
        (ECG, {"f.csv": b"I,II\n" + b"0.1,abc\n" * 20}, "this is not a number"),
        (ECG, {"scan.txt": b"nothing of the kind"}, "holds no rows"),
        (IMAGE, {"p.jpg": picture[: len(picture) // 2]}, "cut short"),
        (IMAGE, {"p.jpg": picture[:200] + b"\0" * 300 + b"\xff\xd9"}, "damaged"),
        (IMAGE, {"p.dcm": compressed}, "The DICOM file is compressed"),
        (IMAGE, {"p.png": b"\x89PNG\r\n\x1a\n\0\0"}, "cut short"),
        (IMAGE, {"p.gif": b"GIF89a"}, "neither PNG nor JPEG nor DICOM"),
        (IMAGE, {"p.png": b""}, "empty"),
    ]  # fmt: skip


def test_bad_files_are_refused_and_the_page_goes_on(visit, bad_files, files, tmp_path):
    for selector, contents, words in bad_files:
        for name, data in contents.items():
            (tmp_path / name).write_bytes(data)
        assert words in visit.attach(selector, *(tmp_path / name for name in contents))
    visit.fill_required()
    visit.predict()
    assert visit.download("Save the result (JSON)")["absent"] == ["ecg", "image"]
    folder = files["folder"]
    visit.attach(ECG, folder / "rec.hea", folder / "rec.dat")
    visit.predict()
    assert visit.download("Save the result (JSON)")["absent"] == ["image"]


def test_part_of_the_leads_at_another_rate_is_taken_and_said(visit, files, tmp_path):
    leads = ["I", "II", *LEADS[6:]]
    samples = np.rint(1000 * files["ecg"][[0, 1, *range(6, 12)], ::2]).T.astype("<i2")
    (tmp_path / "e.hea").write_bytes(header("e", leads, rate=250, samples=len(samples)))
    (tmp_path / "e.dat").write_bytes(samples.tobytes())
    facts = visit.attach(ECG, tmp_path / "e.hea", tmp_path / "e.dat")
    assert "8 of 12 leads, 250 Hz" in facts
    assert "4 of 12 leads are not in the recording (III, aVR, aVL, aVF)" in facts
    # The header's checksum is of other samples: these files may not belong together.
    assert "may not belong together" in facts
    visit.page.get_by_role("checkbox", name="Use it for the prediction").uncheck()
    visit.fill_required()
    visit.predict()
    assert "ecg" in visit.download("Save the result (JSON)")["absent"]

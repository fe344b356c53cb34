# ruff: noqa: F811 - fixtures are imported by name
"""When something was, in a real browser: recordings and events that are too old, dates, and files that are opened."""

import json

import pytest
from page_visit import ECG, IMAGE, browser, bundle, expect, files, needs_browser, visit, visited  # noqa: F401

from riskweave.synthetic.ecg import SAMPLING_RATE

pytestmark = needs_browser


@pytest.fixture
def opens(visit, tmp_path):
    """Return a function that opens a patient as a file."""

    def open_file(content):
        (tmp_path / "someone.json").write_text(json.dumps(content))
        visit.page.set_input_files("#load", str(tmp_path / "someone.json"))

    return open_file


def test_a_recording_that_the_model_would_have_counted_as_none_is_refused(visit, bundle, files):
    page = visit.page
    visit.fill_required()
    assert "less than 365 days before the prediction" in page.inner_text("section.ecg")
    assert "Take the latest, of any age." in page.inner_text("section.image")
    visit.attach(ECG, files["folder"] / "rec.hea", files["folder"] / "rec.dat")
    visit.attach(IMAGE, files["folder"] / "chest.png")
    assert page.locator("section.image .when").count() == 0
    days = page.get_by_label("Recorded, days before", exact=True)
    days.fill("365")
    page.click("#predict")
    expect(page.locator(".errors")).to_contain_text("ECG: It was recorded 365 days before the prediction")
    assert not page.locator(".result").count()
    page.locator(".errors").get_by_role("button").click()
    assert days.evaluate("each => each === document.activeElement") is True
    days.fill("364")
    visit.predict()
    told, patient = visit.download("Save the result (JSON)"), visit.download("Save inputs")
    assert patient["ecg"] == {"days_before": 364}
    bundle.module.set_patient(patient)
    bundle.module.set_ecg(files["ecg"], SAMPLING_RATE)
    bundle.module.set_image(files["image"])
    assert told == bundle.module.predict().as_dict()


def test_an_old_recording_may_stay_when_it_is_not_used(visit, files):
    visit.fill_required()
    visit.attach(ECG, files["folder"] / "rec.hea", files["folder"] / "rec.dat")
    visit.page.get_by_label("Recorded, days before", exact=True).fill("400")
    visit.page.locator("section.ecg").get_by_label("Use it for the prediction").uncheck()
    visit.predict()
    assert "ecg" not in visit.download("Save inputs")


def test_events_that_count_for_nothing_are_said_in_the_words_of_the_command_line(visit, bundle, opens):
    given = {
        "values": {"age": 99, "sex": "male"},
        "events": [
            {"code": "VITAL//SBP", "days_before": 400, "value": 140},
            {"code": "ICD10//E11", "days_before": 731},
            {"code": "ICD10//E11", "days_before": 730},
            {"code": "LOINC//1", "days_before": 3},
        ],
    }
    opens(given)
    expect(visit.page.locator("#alert")).to_contain_text("1 event(s) of the file have codes")
    visit.predict()
    found = visit.download("Save the result (JSON)")["warnings"]
    bundle.module.set_patient(given)
    expected = [each._asdict() for each in bundle.module.predict().warnings if each.input]
    shorter = [{**each, "message": each["message"].replace("undated, or ", "")} for each in expected]
    assert sorted(found, key=lambda each: each["input"]) == sorted(shorter, key=lambda each: each["input"])


def test_fractions_of_days_outlive_dates(visit, opens):
    """364.6 days before is within a window of 365 days, and stays there whatever the form shows."""
    page = visit.page
    given = {"values": {}, "events": [{"code": "VITAL//SBP", "days_before": 364.6, "value": 140, "unit": "mmHg"}]}
    opens(given)
    page.locator(".moment input[type=date]").fill("2026-03-01")
    page.get_by_role("radio", name="dates").check()
    expect(page.get_by_label("Systolic blood pressure, date of reading 1")).to_have_value("2025-03-02")
    visit.fill_required()
    assert visit.download("Save inputs")["events"] == given["events"]
    page.get_by_role("radio", name="days before").check()
    assert visit.download("Save inputs")["events"] == given["events"]
    # A date that somebody wrote has no fractions.
    page.get_by_role("radio", name="dates").check()
    page.get_by_label("Systolic blood pressure, date of reading 1").fill("2025-03-03")
    assert visit.download("Save inputs")["events"][0]["days_before"] == 363


def test_a_file_that_cannot_be_opened_says_why(visit, opens):
    alert = visit.page.locator("#alert")
    for content, words in (
        (
            {"values": {"age": {"value": 1, "unit": "stone"}}},
            "someone.json was not opened. The unit “stone” is not known",
        ),
        ({"values": {"agee": 1}}, "has no input “agee”"),
        ({"values": {"sex": "M"}}, "not one of the categories of Sex"),
        ({"resourceType": "Bundle"}, "It holds no inputs of this model"),
        ({"events": [{"code": 3, "days_before": 1}]}, "It holds no inputs of this model"),
    ):
        opens(content)
        expect(alert).to_contain_text(words)


def test_a_study_whose_index_times_have_hours_asks_for_earlier_ones(browser, bundle, tmp_path):
    with visited(browser, tmp_path, bundle.page()) as visit:
        expect(visit.page.locator(".moment")).to_contain_text("up to the end of this day")
    with visited(browser, tmp_path, bundle.page(schema={**bundle.schema, "same_day": False})) as visit:
        expect(visit.page.locator(".moment")).to_contain_text("known to be of an earlier hour")

"""The model card tells what the study's tables tell, and no more."""

import numpy as np
import pandas as pd

from riskweave.deployment.card import card_of, card_page

SCHEMA = {
    "title": {"en": "A <title>"}, "intended_use": {}, "not_for": {"en": "Children."}, "question": "Does it?",
    "study": "s", "endpoint": "mi", "experiment": "ehr.cox", "made_by": "refit", "members": 1, "modalities": ["ehr"],
    "same_day": True, "ecg": None, "image": None, "target": {"en": "an infarction"},
    "horizons": [365.0, 1826.0],
    "inputs": [{"name": "age", "label": {"en": "Age"}, "required": True, "usual": [40.0, 80.0], "usual_share": 0.98,
                "units": [{"label": "years"}]}],
}  # fmt: skip
PARITY = {"subjects": 500, "refused": 2, "largest_difference": 3e-8, "pictures": 0, "pictures_to_export_anew": 0}
FACTS = {"version": "1", "wasm_sha256": "ab" * 32, "data": "cd" * 32, "commit": None, "dirty": True, "tools": {}}


def metrics() -> pd.DataFrame:
    rows = [
        ("ehr.cox", "harrell_c", 1826.0, "all", "all", 500, 60, 0.71, 0.65, 0.77),
        ("ehr.cox", "brier_null", 1826.0, "all", "all", 500, 60, 0.1, np.nan, np.nan),
        ("ehr.cox", "harrell_c", 1826.0, "sex", "female", np.nan, np.nan, np.nan, np.nan, np.nan),
        ("ehr.cox", "observed_expected", 1826.0, "sex", "male", 240, 30, 1.1, 0.8, 1.5),
        ("other", "harrell_c", 1826.0, "all", "all", 500, 60, 0.99, 0.98, 1.0),
    ]
    names = ["experiment", "metric", "horizon", "group", "group_value", "n", "events", "estimate", "lower", "upper"]
    return pd.DataFrame(rows, columns=names)


def card(competing: int = 4, schema=SCHEMA, **further) -> dict:
    event = np.repeat([0, 1, 2], [496 - competing, 4 + 0, competing])
    outcomes = pd.DataFrame({"subject_id": "x", "time": 700.0, "event": event})
    calibration = pd.DataFrame(
        {"experiment": ["ehr.cox"], "horizon": [1826.0], "risk_group": [1], "n": [250], "events": [9],
         "expected": [0.1], "observed": [0.12], "lower": [0.08], "upper": [0.2]}
    )  # fmt: skip
    tables = {"metrics": metrics(), "calibration": calibration, "outcomes": outcomes}
    return card_of(schema, **tables, parity=PARITY, facts=FACTS, **further)


def test_performance_is_that_of_the_experiment_and_what_people_read():
    found = card()
    assert [(row["metric"], row["estimate"]) for row in found["performance"]] == [("harrell_c", 0.71)]
    assert {row["group_value"] for row in found["subgroups"]} == {"female", "male"}
    assert next(row for row in found["subgroups"] if row["group_value"] == "female")["estimate"] is None


def test_small_counts_are_not_told():
    found = card(competing=4)
    assert found["population"]["target_events"] is None
    assert found["population"]["competing_events"] is None
    assert card(competing=40)["population"]["competing_events"] == 40
    assert "fewer than 10 with the" in card_page(found, SCHEMA)


def test_the_page_says_what_it_must_and_escapes_the_rest():
    page = card_page(card(), SCHEMA)
    told = ["For research use only", "A &lt;title&gt;", "Children.", "Not told by the study", "ab" * 32, "40 to 80"]
    for text in [*told, "0.710 (0.650 to 0.770)", "498 people predicted by both", "Predicted %"]:
        assert text in page, text
    assert "http" not in page.replace("http-equiv", "")
    assert "0.990" not in page


def test_a_recalibrated_model_has_the_figures_after_recalibration():
    after = {"after": [1.02, 0.99, 0.2], "after_lower": [0.9, 0.8, 0.1], "after_upper": [1.2, 1.3, 0.3]}
    table = pd.DataFrame(
        {"experiment": ["ehr.cox", "other", "ehr.cox"], "horizon": 1826,
         "metric": ["observed_expected", "observed_expected", "e50"], "before": 2.0, **after}
    )  # fmt: skip
    schema = SCHEMA | {"recalibration": [{"intercept": -0.4, "slope": 0.67}]}
    found = card(schema=schema, recalibration=table, held_out=0.148)
    assert [(row["metric"], row["estimate"], row["upper"]) for row in found["performance"]] == [
        ("harrell_c", 0.71, 0.77),
        ("observed_expected", 1.02, 1.2),
    ]
    # Observed over expected in groups was looked at without recalibration alone.
    assert {row["metric"] for row in found["subgroups"]} == {"harrell_c"}
    page = card_page(found, schema)
    assert "Its risks are recalibrated" in page
    assert "before recalibration" in page
    assert "85% of the people trained it, the other 15%" in page
    plain = card()
    assert plain["recalibration"] is None
    assert "recalibrat" not in card_page(plain, SCHEMA)


def test_code_that_is_not_in_the_commit_is_told():
    assert "no commit, with changes that are not in it" in card_page(card(), SCHEMA)


def test_the_age_of_recordings_and_what_pictures_need_is_told():
    schema = SCHEMA | {"ecg": {"window": None}, "image": {"window": 730}, "same_day": False}
    found = card(schema=schema)
    page = card_page(found, schema)
    assert "ECG: the latest, of any age. Image: the latest, of less than 730 days before the prediction" in page
    assert "known to be of an earlier hour" in page
    assert "exported anew" not in page
    for count, words in ((1200, "1,200 of 4,000"), (3, "fewer than 10 of 4,000")):
        told = {**found, "parity": {**PARITY, "pictures": 4000, "pictures_to_export_anew": count}}
        assert f"{words} had to be exported anew" in card_page(told, schema)

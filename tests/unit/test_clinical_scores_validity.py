"""Who gets no risk from a clinical score, and why; units; what nobody may compute silently."""

import numpy as np
import pytest

from riskweave.clinical_scores import framingham, framingham_bmi, pce, prevent, score2, score2_by_age, score2_op
from riskweave.clinical_scores.intake import cholesterol_in

MMOL = {"cholesterol": "mmol/L", "total_cholesterol": 5.5, "hdl": 1.3}
PERSON = {"sex": "female", "sbp": 130, "smoker": 0}
TREATED = {"bp_treated": 0, "diabetes": 0}

SCORES = {
    "score2": (score2, {**PERSON, **MMOL, "age": 50, "region": "low"}),
    "score2_op": (score2_op, {**PERSON, **MMOL, "age": 75, "region": "low"}),
    "score2_by_age": (score2_by_age, {**PERSON, **MMOL, "age": 50, "region": "low"}),
    "pce": (pce, {**PERSON, **MMOL, **TREATED, "age": 50, "race": "white"}),
    "framingham": (framingham, {**PERSON, **MMOL, **TREATED, "age": 50}),
    "framingham_bmi": (framingham_bmi, {**PERSON, **TREATED, "age": 50, "bmi": 25}),
    "prevent": (prevent, {**PERSON, **MMOL, **TREATED, "age": 50, "egfr": 90, "statin": 0}),
    "prevent_hf": (prevent, {**PERSON, **TREATED, "age": 50, "egfr": 90, "bmi": 25, "outcome": "hf"}),
    "prevent_full": (
        prevent,
        {
            **PERSON,
            **MMOL,
            **TREATED,
            "age": 50,
            "egfr": 90,
            "statin": 0,
            "variant": "full",
            "hba1c": 5.5,
            "uacr": 20,
            "sdi": 5,
        },
    ),
    "prevent_30": (prevent, {**PERSON, **MMOL, **TREATED, "age": 50, "egfr": 90, "statin": 0, "years": 30}),
}
WORDS = ("region", "cholesterol", "outcome", "years", "variant")


def score(name, **changes):
    function, inputs = SCORES[name]
    return function(**{**inputs, **changes})


@pytest.mark.parametrize("name", SCORES)
def test_a_person_within_the_validity_has_a_risk(name):
    found = score(name)
    assert 0.0001 < found.risk[0] < 0.5
    assert found.counts() == {}


@pytest.mark.parametrize("name", SCORES)
def test_who_lacks_an_input_is_refused_for_it(name):
    for key in SCORES[name][1]:
        if key not in WORDS:
            found = score(name, **{key: [SCORES[name][1][key], None]})
            assert found.refused.tolist() == [False, True]
            assert np.isnan(found.risk[1])
            assert found.counts() == {f"{key}_missing": 1}


@pytest.mark.parametrize(
    ("name", "key", "outside", "inside"),
    [
        ("score2", "age", [39.9, 70], [40, 69.9]),
        ("score2_op", "age", [69.9, 90], [70, 89.9]),
        ("pce", "age", [39, 80], [40, 79.9]),
        ("framingham", "age", [29, 75], [30, 74.9]),
        ("framingham_bmi", "age", [29, 75], [30, 74.9]),
        ("prevent", "age", [29, 80], [30, 79.9]),
        ("prevent_30", "age", [29, 60], [30, 59.9]),
        ("pce", "sbp", [89, 201], [90, 200]),
        ("prevent", "sbp", [89, 201], [90, 200]),
        ("score2", "sbp", [13, 1300], [90, 200]),
        ("framingham", "sbp", [13, 1300], [90, 200]),
        ("score2", "total_cholesterol", [1.3, 190], [4, 9]),
        ("score2", "hdl", [0.1, 50], [0.5, 3]),
        ("framingham_bmi", "bmi", [2.5, 250], [18, 45]),
        ("prevent_hf", "bmi", [18.4, 40], [18.5, 39.9]),
        ("prevent", "egfr", [14, 151], [15, 150]),
        ("prevent_full", "hba1c", [2.9, 55], [3, 15]),
        ("prevent_full", "uacr", [-1, 25_001], [0, 25_000]),
        ("prevent_full", "sdi", [0, 4.5], [1, 10]),
    ],
)
def test_who_is_outside_a_range_is_refused_for_it(name, key, outside, inside):
    found = score(name, **{key: [*outside, *inside]})
    assert found.refused.tolist() == [True, True, False, False]
    assert found.counts() == {f"{key}_out_of_range": 2}


@pytest.mark.parametrize("name", ["pce", "prevent"])
@pytest.mark.parametrize(("key", "ends"), [("total_cholesterol", (130, 320)), ("hdl", (20, 100))])
def test_ranges_of_cholesterol_in_both_units(name, key, ends):
    low, high = ends
    values = np.array([low - 1, low, high, high + 1])
    other = {"total_cholesterol": 213, "hdl": 50} | {key: values}
    us = score(name, cholesterol="mg/dL", **other)
    si = score(name, cholesterol="mmol/L", **{k: cholesterol_in("mmol/L", v, "mg/dL") for k, v in other.items()})
    assert us.refused.tolist() == si.refused.tolist() == [True, False, False, True]
    np.testing.assert_allclose(us.risk, si.risk, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in SCORES if "total_cholesterol" in SCORES[name][1]])
def test_units_of_cholesterol_give_the_same_risk(name):
    us = {"total_cholesterol": 5.5 / 0.02586, "hdl": 1.3 / 0.02586}
    assert score(name, cholesterol="mg/dL", **us).risk[0] == pytest.approx(score(name).risk[0], rel=1e-9)
    # Numbers of the other unit are no silent risks.
    assert score(name, cholesterol="mg/dL").refused[0]
    assert score(name, **us).refused[0]
    with pytest.raises(ValueError, match=r"no unit of cholesterol here\. Allowed: mmol/L, mg/dL"):
        score(name, cholesterol="mg/dl")


def test_one_milligram_is_the_published_share_of_a_millimole():
    assert cholesterol_in("mmol/L", 200, "mg/dL")[0] == pytest.approx(5.172)
    assert cholesterol_in("mg/dL", 5.172, "mmol/L")[0] == pytest.approx(200)


@pytest.mark.parametrize("name", SCORES)
def test_who_had_the_disease_is_refused_where_that_is_known(name):
    found = score(name, prior_cvd=[0, 1, None])
    assert found.refused.tolist() == [False, True, True]
    assert found.counts() == {"prior_cvd": 1, "prior_cvd_missing": 1}


@pytest.mark.parametrize("name", ["score2", "score2_op", "score2_by_age"])
def test_score2_refuses_people_with_diabetes(name):
    assert score(name, diabetes=[1, 0]).reason.tolist() == ["diabetes", ""]


@pytest.mark.parametrize("name", ["score2", "framingham"])
def test_hdl_above_total_cholesterol_is_no_measurement(name):
    assert score(name, total_cholesterol=2.0, hdl=2.5).counts() == {"hdl_above_total_cholesterol": 1}


def test_pce_is_of_two_groups():
    assert score("pce", race=["black", "White", "asian"]).reason.tolist() == ["", "", "race_out_of_range"]


def test_wrong_words_and_codes_stop():
    with pytest.raises(ValueError, match=r"no risk region of SCORE2\. Allowed: low, moderate, high, very_high"):
        score("score2", region="medium")
    with pytest.raises(ValueError, match="smoker: 1 values are neither 0"):
        score("score2", smoker=[0, 2])
    with pytest.raises(ValueError, match=r"outcome 'mi' is none of PREVENT's\. Allowed: cvd, ascvd, hf, chd, stroke"):
        score("prevent", outcome="mi")
    with pytest.raises(ValueError, match="years 5 is none"):
        score("prevent", years=5)
    with pytest.raises(ValueError, match="variant 'uacr' is of cvd, ascvd and hf, not of chd"):
        score("prevent", outcome="chd", variant="uacr", uacr=20)
    with pytest.raises(TypeError, match="PREVENT of cvd takes no bmi"):
        score("prevent", bmi=25)


def test_vectors_are_people_one_by_one():
    ages = np.linspace(40, 69, 30)
    together = score("score2", age=ages, sex=["male", "female"] * 15).risk
    apart = [score("score2", age=age, sex=("male", "female")[i % 2]).risk[0] for i, age in enumerate(ages)]
    np.testing.assert_array_equal(together, apart)

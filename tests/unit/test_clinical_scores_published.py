"""The published worked examples of the clinical scores, to the digits given."""

import numpy as np
import pytest

from riskweave.clinical_scores import framingham, framingham_bmi, pce, prevent, score2, score2_by_age, score2_op

REGIONS = ("low", "moderate", "high", "very_high")


def percent(scored):
    return 100 * scored.risk


@pytest.mark.parametrize(
    ("region", "sex", "expected"),
    [("low", "male", 5.91), ("low", "female", 4.22), ("very_high", "male", 14.05), ("very_high", "female", 13.70)],
)
def test_score2_of_the_abstract(region, sex, expected):
    person = {"age": 50, "sex": sex, "sbp": 140, "total_cholesterol": 5.5, "hdl": 1.3, "smoker": 1}
    assert percent(score2(region=region, cholesterol="mmol/L", **person))[0] == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize(("sex", "expected"), [("male", [6.3, 8.1, 8.8, 15.1]), ("female", [4.3, 5.2, 7.1, 14.1])])
def test_score2_of_the_supplement_in_all_regions(sex, expected):
    person = {"age": 50, "sex": sex, "sbp": 140, "total_cholesterol": 6.3, "hdl": 1.4, "smoker": 1}
    found = [percent(score2(region=region, cholesterol="mmol/L", **person))[0] for region in REGIONS]
    np.testing.assert_allclose(np.round(found, 1), expected, atol=1e-9)


@pytest.mark.parametrize(("sex", "expected"), [("male", 18.6), ("female", 15.2)])
def test_score2_op_of_the_supplement(sex, expected):
    person = {"age": 75, "sex": sex, "sbp": 140, "total_cholesterol": 5.5, "hdl": 1.3, "smoker": 1}
    assert round(percent(score2_op(region="low", cholesterol="mmol/L", **person))[0], 1) == expected


# Whole percents that heartscore.org gives, as RiskScorescvd (MIT) keeps them in its tests.
@pytest.mark.parametrize(
    ("region", "sex", "inputs", "expected"),
    [
        ("low", "male", (0, 140, 5.5, 1.3), 13),
        ("low", "female", (0, 110, 5.0, 2.0), 6),
        ("moderate", "male", (1, 140, 5.5, 1.3), 24),
        ("moderate", "female", (1, 140, 5.5, 1.3), 20),
        ("high", "male", (1, 140, 6.0, 1.3), 29),
        ("high", "female", (1, 110, 5.0, 2.0), 19),
        ("very_high", "male", (1, 140, 6.0, 1.3), 41),
        ("very_high", "female", (1, 140, 6.0, 1.3), 46),
    ],
)
def test_score2_op_of_the_official_calculator(region, sex, inputs, expected):
    person = dict(zip(("smoker", "sbp", "total_cholesterol", "hdl"), inputs, strict=True), age=75, sex=sex)
    assert round(percent(score2_op(region=region, cholesterol="mmol/L", **person))[0]) == expected


@pytest.mark.parametrize(
    ("region", "sex", "inputs", "expected"),
    [
        ("low", "male", (45, 0, 110, 5), 1),
        ("very_high", "female", (45, 1, 140, 5), 6),
        ("high", "male", (48, 1, 160, 8), 10),
    ],
)
def test_score2_of_the_official_calculator(region, sex, inputs, expected):
    person = dict(zip(("age", "smoker", "sbp", "total_cholesterol"), inputs, strict=True), hdl=2.0, sex=sex)
    assert round(percent(score2(region=region, cholesterol="mmol/L", **person))[0]) == expected


def test_score2_by_age_is_each_of_the_two_in_its_ages():
    person = {"sex": "male", "sbp": 140, "total_cholesterol": 5.5, "hdl": 1.3, "smoker": 1}
    both = score2_by_age(region="low", cholesterol="mmol/L", age=[39.9, 50, 69.9, 70, 75, 89.9, 90], **person)
    young = score2(region="low", cholesterol="mmol/L", age=[50, 69.9], **person)
    old = score2_op(region="low", cholesterol="mmol/L", age=[70, 75, 89.9], **person)
    np.testing.assert_array_equal(both.risk[1:6], [*young.risk, *old.risk])
    assert both.refused.tolist() == [True, *[False] * 5, True]


@pytest.mark.parametrize(
    ("race", "sex", "expected"),
    [("black", "female", 3.03), ("white", "female", 2.05), ("black", "male", 6.07), ("white", "male", 5.38)],
)
def test_pce_of_the_guideline(race, sex, expected):
    person = {"age": 55, "sbp": 120, "bp_treated": 0, "total_cholesterol": 213, "hdl": 50, "smoker": 0, "diabetes": 0}
    assert percent(pce(race=race, sex=sex, cholesterol="mg/dL", **person))[0] == pytest.approx(expected, abs=0.0051)


def test_pce_of_a_smoker_with_diabetes():
    person = {"age": 54, "sbp": 157, "bp_treated": 0, "total_cholesterol": 170, "hdl": 50, "smoker": 1, "diabetes": 1}
    assert percent(pce(race="white", sex="male", cholesterol="mg/dL", **person))[0] == pytest.approx(20.8, abs=0.1)


def test_framingham_of_the_paper():
    found = framingham(
        age=[61, 53],
        sex=["female", "male"],
        total_cholesterol=[180, 161],
        hdl=[47, 55],
        sbp=[124, 125],
        bp_treated=[0, 1],
        smoker=[1, 0],
        diabetes=[0, 1],
        cholesterol="mg/dL",
    )
    np.testing.assert_allclose(percent(found), [10.4842, 15.6227], atol=6e-5)


def test_framingham_without_laboratory_values():
    """Two examples of the package framingham_risk, computed there from the same publication."""
    found = framingham_bmi(
        age=[35, 30],
        sex=["female", "male"],
        bmi=[24.3, 22.5],
        sbp=[122, 125],
        bp_treated=[0, 1],
        smoker=[1, 1],
        diabetes=[0, 1],
    )
    np.testing.assert_allclose(found.risk, [0.029352227213368165, 0.0838895], rtol=1e-5)


EXAMPLE = {"age": 50, "sbp": 160, "diabetes": 1, "smoker": 0, "egfr": 90, "bp_treated": 1}
LIPIDS = {"total_cholesterol": 200, "hdl": 45, "statin": 0, "cholesterol": "mg/dL"}


def example(outcome, sex, years=10, **further):
    own = {"bmi": 35} if outcome == "hf" else LIPIDS
    return prevent(outcome=outcome, years=years, sex=sex, **EXAMPLE, **own, **further).risk[0]


@pytest.mark.parametrize(
    ("outcome", "female", "male"),
    [
        ("cvd", 0.1468, 0.1632),
        ("ascvd", 0.0920, 0.1019),
        ("hf", 0.0806, 0.1059),
        ("chd", 0.0441, 0.0557),
        ("stroke", 0.0540, 0.0521),
    ],
)
def test_prevent_of_the_supplement_at_10_years(outcome, female, male):
    assert round(example(outcome, "female"), 4) == female
    assert round(example(outcome, "male"), 4) == male


@pytest.mark.parametrize(
    ("outcome", "expected"), [("cvd", 0.530), ("ascvd", 0.354), ("hf", 0.390), ("chd", 0.198), ("stroke", 0.221)]
)
def test_prevent_of_the_supplement_at_30_years(outcome, expected):
    assert round(example(outcome, "female", 30), 3) == expected


def test_prevent_of_a_man_at_30_years():
    assert round(example("ascvd", "male", 30), 3) == 0.349


@pytest.mark.parametrize(
    ("variant", "further", "female", "male"),
    [
        ("uacr", {"uacr": 40}, 0.1599, 0.1718),
        ("hba1c", {"hba1c": 7.5}, 0.1359, 0.1551),
        ("sdi", {"sdi": 8}, 0.1565, 0.1823),
        ("full", {"uacr": 40, "hba1c": 7.5, "sdi": 8}, 0.1560, 0.1808),
    ],
)
def test_prevent_of_the_supplement_with_further_predictors(variant, further, female, male):
    assert round(example("cvd", "female", variant=variant, **further), 4) == female
    assert round(example("cvd", "male", variant=variant, **further), 4) == male


def test_prevent_with_further_predictors_agrees_with_the_package_of_its_authors():
    """What AHAprevent (R) gives, as pyprevent keeps it in its tests: percents of cvd, ascvd and hf within 10 years."""
    man = {"age": 75, "sex": "male", "sbp": 130, "diabetes": 0, "smoker": 0, "egfr": 105, "bp_treated": 1}
    woman = {"age": 39, "sex": "female", "sbp": 110, "diabetes": 1, "smoker": 0, "egfr": 120, "bp_treated": 0}
    other = {"age": 58, "sex": "male", "sbp": 150, "diabetes": 0, "smoker": 0, "egfr": 45, "bp_treated": 1}
    of_man = {"total_cholesterol": 240, "hdl": 90, "statin": 1, "cholesterol": "mg/dL"}
    of_woman = {"total_cholesterol": 190, "hdl": 50, "statin": 0, "cholesterol": "mg/dL"}
    found = [
        prevent(outcome="cvd", variant="uacr", uacr=10, **man, **of_man),
        prevent(outcome="ascvd", variant="uacr", uacr=10, **man, **of_man),
        prevent(outcome="hf", variant="uacr", uacr=10, **man, bmi=30),
        prevent(outcome="cvd", variant="hba1c", hba1c=8, **woman, **of_woman),
        prevent(outcome="ascvd", variant="hba1c", hba1c=8, **woman, **of_woman),
        prevent(outcome="hf", variant="sdi", sdi=8, **other, bmi=35),
    ]
    expected = [
        17.4927056210759,
        10.5292794117528,
        12.0677786105977,
        2.04098469206886,
        1.25688674421605,
        12.5247348753605,
    ]
    np.testing.assert_allclose([percent(one)[0] for one in found], expected, atol=1e-9)


# Ten people (and what pyprevent 0.1.6, an independent implementation, gives for them: percents of total and
# atherosclerotic cardiovascular disease and of heart failure, after 10 and after 30 years).
PEOPLE = [
    (
        "female",
        42,
        241,
        56,
        158,
        1,
        0,
        29.434554248919035,
        28,
        0,
        0,
        [36.8828338, 23.4354583, 25.2366523, 63.0545364, 43.0601489, 51.2031998],
    ),
    (
        "female",
        40,
        300,
        76,
        90,
        0,
        1,
        29.139330252554785,
        84,
        0,
        0,
        [1.4827714, 0.9086819, 0.7176902, 9.9385464, 5.6499388, 6.2040394],
    ),
    (
        "female",
        42,
        251,
        82,
        130,
        0,
        1,
        23.7143537006949,
        118,
        0,
        0,
        [1.4605327, 0.9885627, 0.7785585, 9.9091981, 6.1570921, 6.1643659],
    ),
    (
        "male",
        47,
        240,
        87,
        169,
        1,
        1,
        36.16145334477078,
        19,
        1,
        1,
        [57.60492, 29.9204535, 72.4925863, 69.1819041, 38.997992, 80.490948],
    ),
    (
        "male",
        42,
        222,
        35,
        195,
        0,
        0,
        27.772905390122656,
        59,
        1,
        0,
        [12.6597825, 8.7841617, 4.0487354, 52.5974206, 38.8665471, 26.5416919],
    ),
    (
        "male",
        41,
        137,
        74,
        164,
        1,
        1,
        36.592761078438556,
        41,
        0,
        0,
        [23.6338289, 10.3798732, 36.5186872, 50.5253097, 24.7901222, 67.129054],
    ),
    (
        "male",
        45,
        152,
        41,
        103,
        1,
        0,
        24.181542289094345,
        103,
        0,
        1,
        [3.4736232, 2.1949541, 2.0161283, 19.8352467, 11.9409121, 12.4376805],
    ),
    (
        "male",
        53,
        265,
        49,
        162,
        1,
        0,
        38.65750713768498,
        71,
        0,
        0,
        [16.9088248, 12.5872887, 13.0992908, 53.0949055, 41.0712355, 45.9595121],
    ),
    (
        "male",
        50,
        251,
        49,
        168,
        1,
        0,
        20.893747212986217,
        40,
        0,
        0,
        [31.8863535, 19.8984358, 20.2220542, 61.4847226, 43.0163069, 44.1375696],
    ),
    (
        "female",
        45,
        238,
        66,
        165,
        0,
        1,
        34.96050529701577,
        80,
        0,
        0,
        [5.6517258, 3.8242184, 3.268345, 29.9676643, 19.6101427, 21.2738807],
    ),
]


@pytest.mark.parametrize("row", PEOPLE, ids=[str(row[0]) for row in PEOPLE])
def test_prevent_agrees_with_another_implementation(row):
    sex, age, total, hdl, sbp, diabetes, smoker, bmi, egfr, treated, statin, expected = row
    inputs = {
        "sex": sex, "age": age, "sbp": sbp, "diabetes": diabetes, "smoker": smoker, "egfr": egfr, "bp_treated": treated
    }  # fmt: skip
    found = []
    for years in (10, 30):
        for outcome in ("cvd", "ascvd", "hf"):
            lipids = {"total_cholesterol": total, "hdl": hdl, "statin": statin, "cholesterol": "mg/dL"}
            own = {"bmi": bmi} if outcome == "hf" else lipids
            found.append(100 * prevent(outcome=outcome, years=years, **inputs, **own).risk[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)

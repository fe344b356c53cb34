"""PREVENT with HbA1c, albuminuria and social deprivation for 30 years: what the package of its authors gives.

AHAprevent (R) computed the risks, as the tests of the package pyprevent (MIT, github.com/kingrc15/pyprevent) keep them.
Where it was given no HbA1c, UACR or SDI it took the published terms for a missing one, which riskweave leaves out: they
are added here, on the scale of the log odds, to the risk of somebody for whom the further terms are 0.
"""

import numpy as np
import pytest

from riskweave.clinical_scores import prevent
from riskweave.clinical_scores.prevent_tables import COEFFICIENTS

YOUNGER = {"age": 45, "sbp": 120, "egfr": 95, "bp_treated": 0}
OLDER = {"age": 50, "sbp": 160, "egfr": 90, "bp_treated": 1}
NOTHING = {"uacr": 1.0, "hba1c": 5.3, "sdi": 1}  # log(1), 5.3 - 5.3 and the first deciles: terms of 0
LACKING = {  # terms for a missing value, of women: cvd, ascvd, hf
    "uacr": (-0.0055863, -0.0145818, 0.0116080),
    "hba1c": (-0.0024798, 0.0124356, -0.0022589),
    "sdi": (0.1627381, 0.1391241, 0.1562214),
    "full": (-0.0006181 + 0.0101713 + 0.1567115, -0.0147785 + 0.0173010 + 0.1308962, 0.0167008 + 0.0138979 + 0.1485802),
}


def taken(variant):
    return NOTHING if variant == "full" else {variant: NOTHING[variant]}


@pytest.mark.parametrize(
    ("variant", "younger", "older"),
    [
        (
            "uacr",
            (15.9328479768849, 9.50625840506891, 9.05882265122294),
            (43.5287641267904, 28.715095617057, 28.6055439811725),
        ),
        (
            "hba1c",
            (16.2817665120051, 9.2194429973728, 9.89023840077816),
            (44.8455147874792, 28.4333615102168, 31.6152029210701),
        ),
        (
            "sdi",
            (20.9655279301581, 12.4384993164088, 13.4119300411845),
            (52.6023846943309, 35.3467415419457, 39.4148437840086),
        ),
        (
            "full",
            (13.3006203491292, 7.90340021432268, 7.55877381539239),
            (37.2106293233253, 23.6617594513308, 23.8247373046697),
        ),
    ],
)
def test_two_women_with_diabetes(variant, younger, older):
    common = {"sex": "female", "diabetes": 1, "smoker": 0, "years": 30, "variant": variant, **taken(variant)}
    lipids = [{"total_cholesterol": 200, "hdl": hdl, "statin": 0, "cholesterol": "mg/dL"} for hdl in (60, 45)]
    for person, own, bmi, expected in ((YOUNGER, lipids[0], 25, younger), (OLDER, lipids[1], 35, older)):
        for place, outcome in enumerate(("cvd", "ascvd", "hf")):
            further = {"bmi": bmi} if outcome == "hf" else own
            risk = prevent(outcome=outcome, **common, **person, **further).risk[0]
            odds = risk / (1 - risk) * np.exp(LACKING[variant][place])
            assert 100 * odds / (1 + odds) == pytest.approx(expected[place], abs=1e-9), outcome


def test_risks_with_the_further_predictor():
    woman = {"age": 39, "sex": "female", "sbp": 110, "diabetes": 1, "smoker": 0, "egfr": 120, "bp_treated": 0}
    lipids = {"total_cholesterol": 190, "hdl": 50, "statin": 0, "cholesterol": "mg/dL"}
    found = [
        prevent(outcome=o, years=30, variant="hba1c", hba1c=8, **woman, **lipids).risk[0] for o in ("cvd", "ascvd")
    ]
    man = {"age": 58, "sex": "male", "sbp": 150, "diabetes": 0, "smoker": 0, "egfr": 45, "bp_treated": 1, "bmi": 35}
    found.append(prevent(outcome="hf", years=30, variant="sdi", sdi=8, **man).risk[0])
    assert 100 * np.array(found) == pytest.approx([13.2738448653698, 7.31011819628816, 36.4539509893943], abs=1e-9)


@pytest.mark.parametrize(
    ("variant", "further", "lacking", "expected"),
    [
        ("uacr", {"uacr": 1}, 0.1078355, 25.8777737655572),
        ("hba1c", {"hba1c": 5.3}, 0.0084192, 34.2893010267746),
        ("full", {"uacr": 1, "hba1c": 5.3, "sdi": 8}, 0.1274796 + 0.0022806, 27.6259635827522),
    ],
)
def test_heart_failure_of_a_man(variant, further, lacking, expected):
    man = {"age": 58, "sex": "male", "sbp": 150, "diabetes": 0, "smoker": 0, "egfr": 45, "bp_treated": 1, "bmi": 35}
    risk = prevent(outcome="hf", years=30, variant=variant, **man, **further).risk[0]
    odds = risk / (1 - risk) * np.exp(lacking)
    assert 100 * odds / (1 + odds) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("variant", "sums"),
    [
        ("uacr", [-0.3853953, -0.4998021, -0.9254848, -0.9693654, -0.889142, -1.0624894]),
        ("hba1c", [-0.1441426, -0.2306563, -0.7517872, -0.8533927, -0.4790041, -0.6463154]),
        ("sdi", [0.0101093, -0.1992643, -0.515172, -0.8107641, -0.3690758, -0.4982434]),
        ("full", [-0.2879775, -0.4922009, -0.7710588, -1.0045487, -0.6877971, -0.887322]),
    ],
)
def test_sums_of_the_columns_are_those_of_another_transcription(variant, sums):
    """Women and men of cvd, ascvd and hf; the sums were made from pyprevent's source."""
    columns = [(outcome, sex) for outcome in ("cvd", "ascvd", "hf") for sex in ("female", "male")]
    found = [sum(COEFFICIENTS[variant, 30][column].values()) for column in columns]
    assert found == pytest.approx(sums, abs=1e-9)


def test_thirty_years_are_of_those_below_sixty():
    person = {"sex": "male", "sbp": 150, "diabetes": 0, "smoker": 0, "egfr": 45, "bp_treated": 1, "bmi": 35, "sdi": 8}
    found = prevent(outcome="hf", years=30, variant="sdi", age=[59.9, 60], **person)
    assert found.refused.tolist() == [False, True]

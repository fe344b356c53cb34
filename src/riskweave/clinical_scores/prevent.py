"""The PREVENT equations (2023): 10- and 30-year risks of cardiovascular disease in the United States."""

import numpy as np
from numpy.typing import ArrayLike

from riskweave.clinical_scores.intake import Intake, Scored, cholesterol_in
from riskweave.clinical_scores.prevent_tables import COEFFICIENTS, OUTCOMES, VARIANTS

__all__ = ["prevent"]

_AGES = {10: (30, 80), 30: (30, 60)}


def prevent(
    *,
    outcome: str = "cvd",
    years: int = 10,
    variant: str = "base",
    cholesterol: str | None = None,
    prior_cvd: ArrayLike | None = None,
    **inputs: ArrayLike,
) -> Scored:
    r"""Return the risk of a first cardiovascular event by the PREVENT equations of the American Heart Association.

    Outcomes: `cvd` is `ascvd` (coronary heart disease or stroke, fatal or not) or heart failure; `hf`, `chd` and
    `stroke` are those alone. The risk is :math:`1 / (1 + e^{-\eta})`, with splines of SBP (knot at 110 mmHg), body mass
    index (30 kg/m2) and eGFR (60), for each sex (Khan et al. 2024, Circulation 149:430-449, Supplemental Table S12).
    Death of other causes competed.

    Refused: ages outside [30, 80), for 30 years [30, 60); SBP outside 90 to 200 mmHg, total cholesterol outside 130 to
    320 mg/dL, HDL outside 20 to 100 mg/dL, body mass index outside [18.5, 40) kg/m2, eGFR outside 15 to 150 (ranges of
    the calculator of the American Heart Association, each where the equation has the input); prior cardiovascular
    disease; missing inputs.

    Parameters
    ----------
    outcome : {"cvd", "ascvd", "hf", "chd", "stroke"}
    years : {10, 30}
        Horizon.
    variant : {"base", "hba1c", "uacr", "sdi", "full"}
        With which further predictors; others than `base` for `cvd`, `ascvd`, `hf`.
    cholesterol : {"mmol/L", "mg/dL"}
        Unit of total and HDL cholesterol; not needed for `hf`, whose equation lacks them.
    prior_cvd : array-like of 0 and 1, optional
        Nobody is refused for it where it is not given.
    **inputs : array-like of shape (n,)
        `age` (years), `sex` ("male", "female"), `sbp` (mmHg), `egfr` (mL/min/1.73 m2, CKD-EPI 2021 without race); 0 or
        1: `diabetes`, `smoker` (current), `bp_treated`; for all outcomes but `hf` `total_cholesterol`, `hdl` and
        `statin` (0 or 1); for `hf` `bmi` (kg/m2). By variant `hba1c` (%, 3 to 15), `uacr` (urinary albumin to
        creatinine, mg/g, 0 to 25,000; below 0.1 it counts as 0.1), `sdi` (decile of the social deprivation index, 1 to
        10).

    Raises
    ------
    ValueError
        When an outcome, a horizon, a variant or a unit is another one.
    TypeError
        When an input is missing or unknown.
    """
    for name, value, allowed in (
        ("outcome", outcome, OUTCOMES),
        ("variant", variant, VARIANTS),
        ("years", years, _AGES),
    ):
        if value not in allowed:
            raise ValueError(f"{name} {value!r} is none of PREVENT's. Allowed: {', '.join(map(str, allowed))}")
    if (outcome, "male") not in COEFFICIENTS.get((variant, years), {}):
        raise ValueError(f"variant {variant!r} is of cvd, ascvd and hf, not of {outcome}")
    intake = Intake()
    sexes = intake.word("sex", inputs.pop("sex"), ("male", "female"))
    with np.errstate(all="ignore"):
        terms = _common(intake, years, inputs)
        terms |= _body(intake, inputs) if outcome == "hf" else _lipids(intake, inputs, cholesterol)
        terms |= _further(intake, variant, inputs, terms["diabetes"])
        if inputs:
            raise TypeError(f"PREVENT of {outcome} takes no {', '.join(sorted(inputs))}")
        intake.without("prior_cvd", prior_cvd)
        terms |= _products(terms)
        odds = {
            sex: np.exp(sum(b * terms[term] for term, b in COEFFICIENTS[variant, years][outcome, sex].items()))
            for sex in ("male", "female")
        }
        chosen = np.where(sexes == "male", odds["male"], odds["female"])
        return intake.scored(chosen / (1 + chosen))


def _common(intake: Intake, years: int, inputs: dict[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Take the inputs of all outcomes; see the supplement for what is subtracted and divided by."""
    low, high = _AGES[years]
    age = (intake.number("age", inputs.pop("age"), low, high, below=True) - 55) / 10
    sbp = intake.number("sbp", inputs.pop("sbp"), 90, 200)
    egfr = intake.number("egfr", inputs.pop("egfr"), 15, 150)
    return {
        "constant": np.ones(1),
        "age": age,
        "age2": age**2,
        "sbp_low": (np.minimum(sbp, 110) - 110) / 20,
        "sbp_high": (np.maximum(sbp, 110) - 130) / 20,
        "egfr_low": (np.minimum(egfr, 60) - 60) / -15,
        "egfr_high": (np.maximum(egfr, 60) - 90) / -15,
        "diabetes": intake.flag("diabetes", inputs.pop("diabetes")),
        "smoker": intake.flag("smoker", inputs.pop("smoker")),
        "treated": intake.flag("bp_treated", inputs.pop("bp_treated")),
    }


def _lipids(intake: Intake, inputs: dict[str, ArrayLike], cholesterol: str | None) -> dict[str, np.ndarray]:
    units = [cholesterol_in("mg/dL", inputs.pop(name), cholesterol or "") for name in ("total_cholesterol", "hdl")]
    total = intake.number("total_cholesterol", units[0], 130, 320, offset=1e-6)
    hdl = intake.number("hdl", units[1], 20, 100, offset=1e-6)
    non_hdl = cholesterol_in("mmol/L", total - hdl, "mg/dL") - 3.5
    return {
        "non_hdl": non_hdl,
        "hdl": (cholesterol_in("mmol/L", hdl, "mg/dL") - 1.3) / 0.3,
        "statin": intake.flag("statin", inputs.pop("statin")),
    }


def _body(intake: Intake, inputs: dict[str, ArrayLike]) -> dict[str, np.ndarray]:
    bmi = intake.number("bmi", inputs.pop("bmi"), 18.5, 40, below=True)
    return {"bmi_low": (np.minimum(bmi, 30) - 25) / 5, "bmi_high": (np.maximum(bmi, 30) - 30) / 5}


def _further(intake: Intake, variant: str, inputs: dict[str, ArrayLike], diabetes: np.ndarray) -> dict[str, np.ndarray]:
    """Take the predictors of the variants."""
    terms = {}
    if variant in ("uacr", "full"):
        uacr = intake.number("uacr", inputs.pop("uacr"), 0, 25_000)
        terms["log_uacr"] = np.log(np.maximum(uacr, 0.1))
    if variant in ("hba1c", "full"):
        hba1c = intake.number("hba1c", inputs.pop("hba1c"), 3, 15) - 5.3
        terms |= {"hba1c_dm": hba1c * diabetes, "hba1c_no_dm": hba1c * (1 - diabetes)}
    if variant in ("sdi", "full"):
        sdi = intake.number("sdi", inputs.pop("sdi"), 1, 10)
        intake.refuse("sdi_out_of_range", np.isfinite(sdi) & (sdi != np.round(sdi)))
        terms |= {"sdi_4_to_6": ((sdi >= 4) & (sdi <= 6)).astype(float), "sdi_7_to_10": (sdi >= 7).astype(float)}
    return terms


def _products(terms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    pairs = {
        "treated*sbp": ("treated", "sbp_high"),
        "statin*non": ("statin", "non_hdl"),
        "age*non": ("age", "non_hdl"),
        "age*hdl": ("age", "hdl"),
        "age*sbp": ("age", "sbp_high"),
        "age*diabetes": ("age", "diabetes"),
        "age*smoker": ("age", "smoker"),
        "age*bmi": ("age", "bmi_high"),
        "age*egfr": ("age", "egfr_low"),
    }
    return {name: terms[a] * terms[b] for name, (a, b) in pairs.items() if a in terms and b in terms}

"""The general cardiovascular risk profile of the Framingham Heart Study (2008), with lipids or with body mass index."""

import numpy as np
from numpy.typing import ArrayLike

from riskweave.clinical_scores.intake import MEASURABLE, Intake, Scored, cholesterol_in

__all__ = ["framingham", "framingham_bmi"]

# D'Agostino et al. 2008, Circulation 117:743-753: log age, log total cholesterol, log HDL (mg/dL), log untreated SBP,
# log treated SBP, smoking, diabetes; mean of the sum; baseline survival at 10 years.
_LIPIDS = {
    "male": ((3.06117, 1.12370, -0.93263, 1.93303, 1.99881, 0.65451, 0.57367), 23.9802, 0.88936),
    "female": ((2.32888, 1.20904, -0.70833, 2.76157, 2.82263, 0.52873, 0.69154), 26.1931, 0.95012),
}
# The same, office-based predictors: log age, log body mass index (kg/m2), log untreated SBP, log treated SBP, smoking,
# diabetes.
_OFFICE = {
    "male": ((3.11296, 0.79277, 1.85508, 1.92672, 0.70953, 0.53160), 23.9388, 0.88431),
    "female": ((2.72107, 0.51125, 2.81291, 2.88267, 0.61868, 0.77763), 26.0145, 0.94833),
}


def framingham(
    *,
    age: ArrayLike,
    sex: ArrayLike,
    sbp: ArrayLike,
    bp_treated: ArrayLike,
    total_cholesterol: ArrayLike,
    hdl: ArrayLike,
    smoker: ArrayLike,
    diabetes: ArrayLike,
    cholesterol: str,
    prior_cvd: ArrayLike | None = None,
) -> Scored:
    r"""Return the 10-year risk of a first cardiovascular event by the Framingham profile of 2008, with lipids.

    Outcome: coronary death, myocardial infarction, coronary insufficiency, angina, stroke, transient ischaemic attack,
    peripheral artery disease, heart failure. The risk is :math:`1 - S_0^{\exp(\eta - \bar\eta)}` for each sex
    (D'Agostino et al. 2008, Circulation 117:743-753). Death of other causes is taken as a censoring.

    Refused: ages outside [30, 75), prior cardiovascular disease, missing inputs, and numbers that are no measurement
    (`riskweave.clinical_scores.intake.MEASURABLE`; the paper gives no ranges but that of age).

    Parameters
    ----------
    age : array-like of shape (n,)
        Years.
    sex : array-like of {"male", "female"}
    sbp : array-like
        Systolic blood pressure, mmHg.
    bp_treated, smoker, diabetes : array-like of 0 and 1
        Treated for high blood pressure; current smoker; diabetes.
    total_cholesterol, hdl : array-like
    cholesterol : {"mmol/L", "mg/dL"}
        Unit of both.
    prior_cvd : array-like of 0 and 1, optional
        Nobody is refused for it where it is not given.
    """
    intake = Intake()
    total, high = (cholesterol_in("mmol/L", values, cholesterol) for values in (total_cholesterol, hdl))
    total = intake.number("total_cholesterol", total, *MEASURABLE["total_cholesterol"])
    high = intake.number("hdl", high, *MEASURABLE["hdl"])
    intake.refuse("hdl_above_total_cholesterol", high >= total)
    measured = [cholesterol_in("mg/dL", values, "mmol/L") for values in (total, high)]
    if cholesterol == "mg/dL":
        measured = [np.asarray(values, dtype=np.float64) for values in (total_cholesterol, hdl)]
    return _scored(intake, _LIPIDS, measured, age, sex, sbp, bp_treated, smoker, diabetes, prior_cvd)


def framingham_bmi(
    *,
    age: ArrayLike,
    sex: ArrayLike,
    sbp: ArrayLike,
    bp_treated: ArrayLike,
    bmi: ArrayLike,
    smoker: ArrayLike,
    diabetes: ArrayLike,
    prior_cvd: ArrayLike | None = None,
) -> Scored:
    """Return the 10-year risk by the Framingham profile of 2008 without laboratory values: `bmi` in kg/m2.

    Outcome, other inputs and refusals as of `framingham` (D'Agostino et al. 2008, office-based predictors).
    """
    intake = Intake()
    measured = [intake.number("bmi", bmi, *MEASURABLE["bmi"])]
    return _scored(intake, _OFFICE, measured, age, sex, sbp, bp_treated, smoker, diabetes, prior_cvd)


def _scored(  # noqa: PLR0917 - the inputs that both profiles share
    intake: Intake,
    sexes: dict,
    measured: list[np.ndarray],
    age: ArrayLike,
    sex: ArrayLike,
    sbp: ArrayLike,
    bp_treated: ArrayLike,
    smoker: ArrayLike,
    diabetes: ArrayLike,
    prior_cvd: ArrayLike | None,
) -> Scored:
    years = intake.number("age", age, 30, 75, below=True)
    words = intake.word("sex", sex, ("male", "female"))
    pressure = intake.number("sbp", sbp, *MEASURABLE["sbp"])
    treated = intake.flag("bp_treated", bp_treated)
    smokes, diabetic = intake.flag("smoker", smoker), intake.flag("diabetes", diabetes)
    intake.without("prior_cvd", prior_cvd)
    with np.errstate(all="ignore"):
        log_sbp = np.log(pressure)
        columns = [np.log(years), *map(np.log, measured), (1 - treated) * log_sbp, treated * log_sbp, smokes, diabetic]
        risks = {}
        for name, (coefficients, mean, survival) in sexes.items():
            eta = sum(b * column for b, column in zip(coefficients, columns, strict=True))
            risks[name] = -np.expm1(np.log(survival) * np.exp(eta - mean))
    return intake.scored(np.where(words == "male", risks["male"], risks["female"]))

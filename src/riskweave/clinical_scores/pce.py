"""The Pooled Cohort Equations of 2013: 10-year risk of a first hard atherosclerotic cardiovascular event."""

import numpy as np
from numpy.typing import ArrayLike

from riskweave.clinical_scores.intake import Intake, Scored, cholesterol_in

__all__ = ["pce"]

# Goff et al. 2014, Circulation 129(25 Suppl 2):S49-S73, Appendix 7: log age, its square; log total cholesterol, log
# HDL, log treated SBP, log untreated SBP and smoking, each followed by its product with log age; diabetes.
_COEFFICIENTS = {
    ("white", "female"): (
        -29.799, 4.884, 13.540, -3.114, -13.578, 3.149, 2.019, 0, 1.957, 0, 7.574, -1.665, 0.661,
    ),
    ("black", "female"): (
        17.114, 0, 0.940, 0, -18.920, 4.475, 29.291, -6.432, 27.820, -6.087, 0.691, 0, 0.874,
    ),
    ("white", "male"): (
        12.344, 0, 11.853, -2.664, -7.990, 1.769, 1.797, 0, 1.764, 0, 7.837, -1.795, 0.658,
    ),
    ("black", "male"): (
        2.469, 0, 0.302, 0, -0.307, 0, 1.916, 0, 1.809, 0, 0.549, 0, 0.645,
    ),
}  # fmt: skip
# Mean of the sum of the terms in the cohorts, and baseline survival at 10 years.
_MEAN_AND_SURVIVAL = {
    ("white", "female"): (-29.18, 0.9665),
    ("black", "female"): (86.61, 0.9533),
    ("white", "male"): (61.18, 0.9144),
    ("black", "male"): (19.54, 0.8954),
}


def pce(
    *,
    age: ArrayLike,
    sex: ArrayLike,
    race: ArrayLike,
    sbp: ArrayLike,
    bp_treated: ArrayLike,
    total_cholesterol: ArrayLike,
    hdl: ArrayLike,
    smoker: ArrayLike,
    diabetes: ArrayLike,
    cholesterol: str,
    prior_cvd: ArrayLike | None = None,
) -> Scored:
    r"""Return the 10-year risk of a first hard atherosclerotic cardiovascular event (ASCVD) by the equations of 2013.

    Outcome: coronary death, non-fatal myocardial infarction, fatal or non-fatal stroke. The risk is
    :math:`1 - S_0^{\exp(\eta - \bar\eta)}` for each sex and race (Goff et al. 2014, Circulation 129(25 Suppl
    2):S49-S73, Appendix 7). Death of other causes is taken as a censoring.

    Refused: ages outside [40, 80), total cholesterol outside 130 to 320 mg/dL, HDL outside 20 to 100 mg/dL, SBP outside
    90 to 200 mmHg (the ranges of the risk estimator of ACC and AHA), prior cardiovascular disease, missing inputs, and
    who is neither black nor white: the equations were derived in African American and in non-Hispanic white people. The
    guideline lets those for white people stand for others; whoever wants that says so in `race`.

    Parameters
    ----------
    age : array-like of shape (n,)
        Years.
    sex : array-like of {"male", "female"}
    race : array-like of {"black", "white"}
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
    total, high = (cholesterol_in("mg/dL", values, cholesterol) for values in (total_cholesterol, hdl))
    years = intake.number("age", age, 40, 80, below=True)
    sexes = intake.word("sex", sex, ("male", "female"))
    races = intake.word("race", race, ("black", "white"))
    pressure = intake.number("sbp", sbp, 90, 200)
    total = intake.number("total_cholesterol", total, 130, 320, offset=1e-6)
    high = intake.number("hdl", high, 20, 100, offset=1e-6)
    treated = intake.flag("bp_treated", bp_treated)
    smokes = intake.flag("smoker", smoker)
    diabetic = intake.flag("diabetes", diabetes)
    intake.without("prior_cvd", prior_cvd)
    with np.errstate(all="ignore"):
        log_age, log_sbp = np.log(years), np.log(pressure)
        effects = [np.log(total), np.log(high), treated * log_sbp, (1 - treated) * log_sbp, smokes]
        columns = [log_age, log_age**2, *(part for x in effects for part in (x, log_age * x)), diabetic]
        risk = np.full(np.broadcast_shapes(*(column.shape for column in columns)), np.nan)
        for (one_race, one_sex), coefficients in _COEFFICIENTS.items():
            mean, survival = _MEAN_AND_SURVIVAL[one_race, one_sex]
            eta = sum(b * column for b, column in zip(coefficients, columns, strict=True))
            one = -np.expm1(np.log(survival) * np.exp(eta - mean))
            risk = np.where((races == one_race) & (sexes == one_sex), one, risk)
    return intake.scored(risk)

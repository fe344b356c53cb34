"""SCORE2 and SCORE2-OP: 10-year risk of fatal and non-fatal cardiovascular disease in Europe."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from riskweave.clinical_scores.intake import MEASURABLE, Intake, Scored, cholesterol_in

__all__ = ["REGIONS", "score2", "score2_by_age", "score2_op"]

REGIONS = ("low", "moderate", "high", "very_high")
"""The four risk regions of Europe, by the cardiovascular mortality of a country."""


class _Sex(NamedTuple):
    """Coefficients of one sex.

    Effects of age, smoking, SBP, total and HDL cholesterol; of the last four with age; what is subtracted from their
    sum; baseline survival at 10 years; and the two scales of each region. The published terms of diabetes are left out:
    the scores are for people without.
    """

    main: tuple[float, float, float, float, float]
    with_age: tuple[float, float, float, float]
    mean: float
    survival: float
    scales: dict[str, tuple[float, float]]


# SCORE2 working group 2021, Eur Heart J 42:2439-2454, updated supplementary material: log hazard ratios.
_SCORE2 = {
    "male": _Sex(
        main=(0.3742, 0.6012, 0.2777, 0.1458, -0.2698),
        with_age=(-0.0755, -0.0255, -0.0281, 0.0426),
        mean=0.0,
        survival=0.9605,
        scales=dict(
            zip(REGIONS, [(-0.5699, 0.7476), (-0.1565, 0.8009), (0.3207, 0.9360), (0.5836, 0.8294)], strict=True)
        ),
    ),
    "female": _Sex(
        main=(0.4648, 0.7744, 0.3131, 0.1002, -0.2606),
        with_age=(-0.1088, -0.0277, -0.0226, 0.0613),
        mean=0.0,
        survival=0.9776,
        scales=dict(
            zip(REGIONS, [(-0.7380, 0.7019), (-0.3143, 0.7701), (0.5710, 0.9369), (0.9412, 0.8329)], strict=True)
        ),
    ),
}
# SCORE2-OP working group 2021, Eur Heart J 42:2455-2467, supplementary material.
_SCORE2_OP = {
    "male": _Sex(
        main=(0.0634, 0.3524, 0.0094, 0.0850, -0.3564),
        with_age=(-0.0247, -0.0005, 0.0073, 0.0091),
        mean=0.0929,
        survival=0.7576,
        scales=dict(zip(REGIONS, [(-0.34, 1.19), (0.01, 1.25), (0.08, 1.15), (0.05, 0.70)], strict=True)),
    ),
    "female": _Sex(
        main=(0.0789, 0.4921, 0.0102, 0.0605, -0.3040),
        with_age=(-0.0255, -0.0004, -0.0009, 0.0154),
        mean=0.2290,
        survival=0.8082,
        scales=dict(zip(REGIONS, [(-0.52, 1.01), (-0.10, 1.10), (0.38, 1.09), (0.38, 0.69)], strict=True)),
    ),
}


class _Centre(NamedTuple):
    """What each number counts from, and in which steps: age, SBP, total cholesterol, HDL."""

    age: tuple[float, float]
    sbp: tuple[float, float]
    total: tuple[float, float]
    hdl: tuple[float, float]


_CENTRE = _Centre(age=(60, 5), sbp=(120, 20), total=(6, 1), hdl=(1.3, 0.5))
_CENTRE_OP = _Centre(age=(73, 1), sbp=(150, 1), total=(6, 1), hdl=(1.4, 1))


def _risk(inputs: dict[str, np.ndarray], *, region: str, sexes: dict[str, _Sex], centre: _Centre) -> np.ndarray:
    """Return the recalibrated risks of people of each sex; see `score2` for the formula."""
    smoker = inputs["smoker"]
    age, sbp, total, hdl = ((inputs[name] - start) / step for name, (start, step) in centre._asdict().items())
    risks = {}
    for sex, known in sexes.items():
        main = known.main[0] * age + known.main[1] * smoker + known.main[2] * sbp
        main = main + known.main[3] * total + known.main[4] * hdl
        changing = (smoker, sbp, total, hdl)
        with_age = sum(b * age * value for b, value in zip(known.with_age, changing, strict=True))
        first, second = known.scales[region]
        # log(-log(1 - uncalibrated risk)), without the detour by the risk.
        log_hazard = np.log(-np.log(known.survival)) + main + with_age - known.mean
        risks[sex] = -np.expm1(-np.exp(first + second * log_hazard))
    return np.where(inputs["sex"] == "male", risks["male"], risks["female"])


def _take(
    ages: tuple[float, float],
    *,
    age: ArrayLike,
    sex: ArrayLike,
    sbp: ArrayLike,
    total_cholesterol: ArrayLike,
    hdl: ArrayLike,
    smoker: ArrayLike,
    diabetes: ArrayLike | None,
    prior_cvd: ArrayLike | None,
    cholesterol: str,
) -> tuple[Intake, dict[str, np.ndarray]]:
    intake = Intake()
    total, high = (cholesterol_in("mmol/L", values, cholesterol) for values in (total_cholesterol, hdl))
    inputs = {
        "age": intake.number("age", age, *ages, below=True),
        "sex": intake.word("sex", sex, ("male", "female")),
        "sbp": intake.number("sbp", sbp, *MEASURABLE["sbp"]),
        "total": intake.number("total_cholesterol", total, *MEASURABLE["total_cholesterol"]),
        "hdl": intake.number("hdl", high, *MEASURABLE["hdl"]),
        "smoker": intake.flag("smoker", smoker),
    }
    intake.refuse("hdl_above_total_cholesterol", inputs["hdl"] >= inputs["total"])
    intake.without("diabetes", diabetes)
    intake.without("prior_cvd", prior_cvd)
    return intake, inputs


def score2(*, region: str, cholesterol: str, diabetes=None, prior_cvd=None, **inputs: ArrayLike) -> Scored:
    r"""Return the 10-year risk of fatal and non-fatal cardiovascular disease by SCORE2, of people of 40 to 69 years.

    Outcome: cardiovascular death, non-fatal myocardial infarction, non-fatal stroke; death of other causes competes.
    With :math:`\eta` the linear predictor and :math:`S_0` the baseline survival of a sex, the uncalibrated risk is
    :math:`1 - S_0^{\exp \eta}`, and the risk of a region
    :math:`1 - \exp(-\exp(a + b \log(-\log S_0^{\exp \eta})))` with its scales :math:`a, b` (SCORE2 working group 2021,
    Eur Heart J 42:2439-2454, supplementary material).

    Refused: ages outside [40, 70), prior cardiovascular disease, diabetes (SCORE2-Diabetes is for those), missing
    inputs, and numbers that are no measurement (`riskweave.clinical_scores.intake.MEASURABLE`; the paper gives no
    ranges but that of age).

    Parameters
    ----------
    region : {"low", "moderate", "high", "very_high"}
        Risk region of the country.
    cholesterol : {"mmol/L", "mg/dL"}
        Unit of total and HDL cholesterol.
    diabetes, prior_cvd : array-like of 0 and 1, optional
        Conditions the score is not meant for; nobody is refused for them where they are not given.
    **inputs : array-like of shape (n,)
        `age` (years), `sex` ("male", "female"), `sbp` (mmHg), `total_cholesterol`, `hdl`, `smoker` (current; 0 or 1).

    Raises
    ------
    ValueError
        When the region or the unit is another one.
    """
    return _scored((40, 70), _SCORE2, _CENTRE, region, cholesterol, diabetes, prior_cvd, inputs)


def score2_op(*, region: str, cholesterol: str, diabetes=None, prior_cvd=None, **inputs: ArrayLike) -> Scored:
    """Return the 10-year risk of cardiovascular disease by SCORE2-OP, of people of 70 to 89 years.

    Outcome, formula, inputs and refusals as of `score2`, with coefficients of older persons (SCORE2-OP working group
    2021, Eur Heart J 42:2455-2467).
    """
    return _scored((70, 90), _SCORE2_OP, _CENTRE_OP, region, cholesterol, diabetes, prior_cvd, inputs)


def score2_by_age(*, region: str, cholesterol: str, diabetes=None, prior_cvd=None, **inputs: ArrayLike) -> Scored:
    """Return the 10-year risk by `score2` below 70 years and by `score2_op` from then on (40 to 89 years)."""
    _check_region(region)
    intake, taken = _take((40, 90), diabetes=diabetes, prior_cvd=prior_cvd, cholesterol=cholesterol, **inputs)
    with np.errstate(all="ignore"):
        younger = _risk(taken, region=region, sexes=_SCORE2, centre=_CENTRE)
        older = _risk(taken, region=region, sexes=_SCORE2_OP, centre=_CENTRE_OP)
    return intake.scored(np.where(taken["age"] < 70, younger, older))


def _scored(ages, sexes, centre, region, cholesterol, diabetes, prior_cvd, inputs) -> Scored:  # noqa: PLR0917
    _check_region(region)
    intake, taken = _take(ages, diabetes=diabetes, prior_cvd=prior_cvd, cholesterol=cholesterol, **inputs)
    with np.errstate(all="ignore"):
        return intake.scored(_risk(taken, region=region, sexes=sexes, centre=centre))


def _check_region(region: str) -> None:
    if region not in REGIONS:
        raise ValueError(f"{region!r} is no risk region of SCORE2. Allowed: {', '.join(REGIONS)}")

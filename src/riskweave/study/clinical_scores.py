"""Study block of the published clinical scores: what each of them needs, and which columns give it."""

from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from riskweave.errors import nearest
from riskweave.study.base import Block

__all__ = ["DAYS_PER_YEAR", "FLAGS", "SCORES", "WORDS", "ClinicalScoreModel", "ScoreFacts", "ScoreUnits"]

DAYS_PER_YEAR = 365.25

Score = Literal["score2", "score2_op", "score2_by_age", "pce", "framingham", "framingham_bmi", "prevent"]
Input = Literal[
    "age",
    "sex",
    "race",
    "sbp",
    "total_cholesterol",
    "hdl",
    "bmi",
    "egfr",
    "hba1c",
    "uacr",
    "sdi",
    "smoker",
    "diabetes",
    "bp_treated",
    "statin",
    "prior_cvd",
]

WORDS = {"sex": ("male", "female"), "race": ("black", "white")}
"""Inputs that are words, and those that scores know."""

FLAGS = ("smoker", "diabetes", "bp_treated", "statin", "prior_cvd")
"""Inputs that are yes (1) or no (0)."""


class ScoreFacts(NamedTuple):
    """What a score needs.

    Attributes
    ----------
    inputs : tuple of str
        Inputs without which it gives no risk.
    optional : tuple of str
        Conditions for which it refuses people, where they are known.
    years : tuple of int
        Its horizons.
    region : bool
        Whether it has risk regions.
    """

    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ("prior_cvd",)
    years: tuple[int, ...] = (10,)
    region: bool = False


_COMMON = ("age", "sex", "sbp", "smoker")
_LIPIDS = ("total_cholesterol", "hdl")
_PREVENT = (*_COMMON, "diabetes", "bp_treated", "egfr")

_SCORE2 = ScoreFacts((*_COMMON, *_LIPIDS), ("diabetes", "prior_cvd"), region=True)

SCORES = {
    "score2": _SCORE2,
    "score2_op": _SCORE2,
    "score2_by_age": _SCORE2,
    "pce": ScoreFacts((*_COMMON, *_LIPIDS, "diabetes", "bp_treated", "race")),
    "framingham": ScoreFacts((*_COMMON, *_LIPIDS, "diabetes", "bp_treated")),
    "framingham_bmi": ScoreFacts((*_COMMON, "bmi", "diabetes", "bp_treated")),
    "prevent": ScoreFacts((*_PREVENT, *_LIPIDS, "statin"), years=(10, 30)),
}
"""The scores by name; PREVENT of heart failure has the body mass index in place of lipids and statin."""


_VARIANTS = {"base": (), "hba1c": ("hba1c",), "uacr": ("uacr",), "sdi": ("sdi",), "full": ("hba1c", "uacr", "sdi")}
"""Variants of PREVENT and their further inputs."""


class ScoreUnits(Block):
    """Units of the inputs that come in several."""

    cholesterol: Literal["mmol/L", "mg/dL"] | None = Field(
        default=None, description="Unit of total and HDL cholesterol; 1 mg/dL is 0.02586 mmol/L."
    )


def _with_text_keys(values: object) -> object:
    """Return the values of inputs with their keys as text: YAML reads 1 as a number."""
    if not isinstance(values, dict):
        return values
    return {
        name: {str(key): word for key, word in known.items()} if isinstance(known, dict) else known
        for name, known in values.items()
    }


Word = Literal["male", "female", "black", "white"]


class ClinicalScoreModel(Block):
    """A published clinical score, which nothing is fitted for: its formula gives the risk at its horizon."""

    kind: Literal["clinical_score"] = Field(description="Kind of model.")
    score: Score = Field(
        description="`score2` (40 to 69 years), `score2_op` (70 to 89), `score2_by_age` (either, by age), `pce` (ASCVD "
        "2013), `framingham` (2008), `framingham_bmi`, `prevent` (2023)."
    )
    region: Literal["low", "moderate", "high", "very_high"] | None = Field(
        default=None, description="Risk region of SCORE2, which needs one."
    )
    outcome: Literal["cvd", "ascvd", "hf", "chd", "stroke"] | None = Field(
        default=None, description="Outcome of PREVENT, which needs one."
    )
    years: Literal[10, 30] = Field(default=10, description="Horizon in years; only PREVENT has 30.")
    variant: Literal["base", "hba1c", "uacr", "sdi", "full"] = Field(
        default="base",
        description="Further predictors of PREVENT: HbA1c (%), urinary albumin to creatinine (mg/g), decile of the "
        "social deprivation index, or all three (`full`); for `cvd`, `ascvd`, `hf`.",
    )
    units: ScoreUnits = Field(default=ScoreUnits(), description="Units of the inputs that come in several.")
    inputs: dict[Input, str] = Field(
        default={},
        description="Input of the score to the column that holds it (`sbp: sbp:last@365d`, or with its feature set "
        "`labs.hdl:last`). An input that is not named is the column of its own name, or that with `:last` or `:ever`.",
    )
    coding: Annotated[dict[Input, dict[str, Word | Literal[0, 1] | None]], BeforeValidator(_with_text_keys)] = Field(
        default={},
        description="Input to what the values in its column mean (`sex: {1: male, 2: female}`, `smoker: {current: 1, "
        "former: 0}`; null: unknown). Known without it: male, female, m, f; black, white; yes, no, true, false, 1, 0.",
    )

    @model_validator(mode="after")
    def _fits_the_score(self):
        facts, prevent = SCORES[self.score], self.score == "prevent"
        if facts.region != (self.region is not None):
            regions = "low, moderate, high, very_high"
            need = f"{self.score} needs `region`: {regions}" if facts.region else f"{self.score} has no `region`"
            raise ValueError(need)
        if prevent != (self.outcome is not None):
            outcomes = "cvd, ascvd, hf, chd, stroke"
            raise ValueError(f"prevent needs `outcome`: {outcomes}" if prevent else f"{self.score} has no `outcome`")
        if self.years not in facts.years:
            raise ValueError(f"{self.score} has no horizon of {self.years} years: only {facts.years[0]}")
        if self.variant != "base" and self.outcome not in ("cvd", "ascvd", "hf"):
            raise ValueError(f"variant {self.variant} is of prevent and the outcomes cvd, ascvd and hf")
        lipids = "hdl" in self.needs()
        if lipids != (self.units.cholesterol is not None):
            raise ValueError(
                "give `units: {cholesterol: mmol/L}` or `mg/dL`: whatever the feature set holds"
                if lipids
                else f"{self.score} takes no cholesterol here: remove `units.cholesterol`"
            )
        takes = [*self.needs(), *facts.optional]
        for key in ("inputs", "coding"):
            for name in getattr(self, key):
                if name not in takes:
                    raise ValueError(
                        f"`{key}` names {name}, which {self.score} does not take.{nearest(name, takes)} "
                        f"Allowed: {', '.join(takes)}"
                    )
        _check_coding(self.coding)
        return self

    def needs(self) -> tuple[str, ...]:
        """Return the inputs without which this score gives no risk."""
        heart_failure = self.score == "prevent" and self.outcome == "hf"
        inputs = (*_PREVENT, "bmi") if heart_failure else SCORES[self.score].inputs
        return (*inputs, *_VARIANTS[self.variant])

    def candidates(self, name: str) -> tuple[str, ...]:
        """Return the columns that may hold an input, in the order in which they are looked for."""
        return (self.inputs[name],) if name in self.inputs else (name, f"{name}:last", f"{name}:ever")

    @property
    def days(self) -> float:
        """The score's horizon in days."""
        return self.years * DAYS_PER_YEAR


def _check_coding(coding: dict[str, dict[str, str | int | None]]) -> None:
    for name, known in coding.items():
        allowed = WORDS.get(name, (0, 1) if name in FLAGS else None)
        if allowed is None:
            raise ValueError(f"`coding` is of inputs that are words or yes and no, and {name} is a number")
        for word in known.values():
            if word is not None and word not in allowed:
                raise ValueError(f"`coding.{name}`: {word!r} is none of {', '.join(map(str, allowed))}, null")

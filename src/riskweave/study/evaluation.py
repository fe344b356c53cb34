"""Study blocks of the evaluation: how experiments are compared, and what was expected of them."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from riskweave.study.base import Block, Name

__all__ = ["Evaluation", "Objective"]


RESERVED_GROUPS = {"all": "everyone is in the tables", "modalities": "is in the tables", "age": "give `age_bands`"}


def _increasing(values: list[float]) -> list[float]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError("values increase, each given once")
    return values


def _columns(values: list[str]) -> list[str]:
    for value in values:
        if value in RESERVED_GROUPS:
            raise ValueError(f"{value!r} is no subgroup to name here: {RESERVED_GROUPS[value]}")
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is named twice. Name it once")
    return values


Thresholds = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], AfterValidator(_increasing)]
THRESHOLDS = [0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]


class Objective(Block):
    """An expected result, written down before the study runs; the report gives the verdict."""

    description: str = Field(description="The expectation in a sentence.")
    endpoint: Name = Field(description="Endpoint, by its name.")
    experiment: str = Field(description="Experiment, by its full name such as `ehr+ecg.cox`.")
    compared_with: str | None = Field(
        default=None,
        description="Experiment whose metric is subtracted, on the same subjects; none: the metric itself.",
    )
    metric: Literal[
        "harrell_c",
        "uno_c",
        "auc",
        "brier",
        "ibs",
        "ipa",
        "observed_expected",
        "calibration_intercept",
        "calibration_slope",
        "ici",
    ] = Field(default="harrell_c", description="Metric, of the last horizon.")
    above: float | None = Field(
        default=None, description="Met when the whole confidence interval is above this (concordance: 0 to 1)."
    )
    below: float | None = Field(default=None, description="Met when the whole confidence interval is below this.")


class Evaluation(Block):
    """How experiments are compared."""

    reference: str = Field(
        description="Experiment to which the others of its endpoint are compared, by its full name: `age_sex.cox`."
    )
    bootstrap: Annotated[int, Field(ge=50, le=100_000)] = Field(
        default=1000, description="Resamples of subjects behind each confidence interval."
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(default=0.95, description="Coverage of the intervals.")
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of the resamples.")
    interval: Literal["percentile", "bca"] = Field(
        default="percentile",
        description="Bootstrap interval: percentiles, or `bca`, corrected for bias and acceleration: give it 2000 "
        "resamples.",
    )
    subgroups: Annotated[list[str], AfterValidator(_columns)] = Field(
        default=[],
        description="Columns of the subject table, such as `sex` and `centre`: every metric is repeated in each of "
        "their values.",
    )
    age_bands: Annotated[list[Annotated[float, Field(gt=0)]], AfterValidator(_increasing)] = Field(
        default=[],
        description="Cut points, in years, of the column `age`: `[50, 65]` makes subgroups below 50, from 50 to below "
        "65, and from 65. None: no bands.",
    )
    thresholds: Annotated[Thresholds, Field(min_length=1)] = Field(
        default=THRESHOLDS,
        description="Risks at which one might act: the thresholds of the decision curves.",
    )
    relative_risk_reduction: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Share of the events that the treatment in question prevents, from trials: 0.25 for a quarter. "
        "Adds numbers needed to treat and to screen to the decision curves.",
    )
    recalibration: bool = Field(
        default=False,
        description="Whether to tell what recalibration would change: learnt on the predictions of the other folds, "
        "applied to each fold, metrics before and after.",
    )
    reclassification: Thresholds = Field(
        default=[],
        description="Risks that decide on a treatment, stated before the run: who moves across each of them, compared "
        "with the reference. None (the default): no reclassification; prefer decision curves.",
    )
    explain: list[str] = Field(
        default=[],
        description="Experiments, by their full names, that are explained for every endpoint that has them: importance "
        "of columns, feature sets and modalities, and effect curves.",
    )
    explain_subjects: bool = Field(
        default=False,
        description="Whether single subjects of a real cohort may be explained from a notebook "
        "(`Results.attributions`, `Results.saliency`); those of a synthetic cohort always may. Nothing is written.",
    )
    shapley: list[str] = Field(
        default=[],
        description="Experiments, by their full names, whose concordance is divided among their feature sets; those of "
        "`all_subsets_of` always are. Each needs an experiment of every subset, with the same model and fusion.",
    )

"""Study blocks of the evaluation: how experiments are compared, and what was expected of them."""

from typing import Annotated, Literal

from pydantic import Field

from riskweave.study.base import Block, Name

__all__ = ["Evaluation", "Objective"]


class Objective(Block):
    """An expected result, written down before the study runs; the report gives the verdict."""

    description: str = Field(description="The expectation in a sentence.")
    endpoint: Name = Field(description="Endpoint, by its name.")
    experiment: str = Field(description="Experiment, by its full name such as `ehr+ecg.cox`.")
    compared_with: str | None = Field(
        default=None,
        description="Experiment whose metric is subtracted, on the same subjects; none: the metric itself.",
    )
    metric: Literal["harrell_c", "uno_c", "ibs"] = Field(
        default="harrell_c", description="Metric, of the last horizon."
    )
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
    explain: list[str] = Field(
        default=[],
        description="Experiments, by their full names, that are explained for every endpoint that has them: importance "
        "of columns, feature sets and modalities, and effect curves.",
    )

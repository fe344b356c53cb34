"""Study blocks of the time-to-event models."""

from typing import Annotated, Literal

from pydantic import Field

from riskweave.study.base import Block, Positive
from riskweave.study.features import Training

__all__ = ["CoxModel", "LogisticHazardModel", "Model", "RandomSurvivalForestModel"]


class CoxModel(Block):
    """Ridge-penalised Cox proportional hazards (lifelines), one cause-specific model for each cause."""

    kind: Literal["cox"] = Field(description="Kind of model.")
    penalty: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0.003, 0.03, 0.3],
        description="Ridge penalties on standardised columns; the one with the best likelihood on the validation rows "
        "of the fold is kept.",
    )


class RandomSurvivalForestModel(Block):
    """Random survival forest (scikit-survival, the extra `forest`), one forest for each cause."""

    kind: Literal["random_survival_forest"] = Field(description="Kind of model.")
    trees: Positive = Field(default=200, description="Number of trees.")
    min_samples_leaf: Positive = Field(default=15, description="Fewest training rows in a leaf.")
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)] = Field(
        default="sqrt", description="Columns tried at a split: `sqrt`, `log2` or a share (0 to 1)."
    )


class LogisticHazardModel(Block):
    """Discrete-time hazards from a multilayer perceptron (pycox loss in Lightning), one output for each cause."""

    kind: Literal["logistic_hazard"] = Field(description="Kind of model.")
    hidden: list[Positive] = Field(default=[32], description="Widths of the hidden layers; empty for a linear model.")
    intervals: Annotated[int, Field(ge=2, le=200)] = Field(default=20, description="Intervals of the time axis.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.2, description="Dropout in the layers (0 to 1).")
    training: Training = Field(
        default=Training(epochs=100, patience=10, learning_rate=3e-3), description="How the network is trained."
    )


Model = Annotated[CoxModel | RandomSurvivalForestModel | LogisticHazardModel, Field(discriminator="kind")]

"""Study blocks of the fusion: how feature sets meet."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from riskweave.study.base import Block, Fraction, Positive
from riskweave.study.training import Training

__all__ = ["BUILT_IN", "AttentionFusion", "EarlyFusion", "Fusion", "JointFusion", "LateFusion"]


class EarlyFusion(Block):
    """One design matrix from all columns, with a mask for each modality that some subject lacks."""

    kind: Literal["early"] = Field(description="Kind of fusion.")
    products: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        description="Leading columns of each modality whose products with those of the other modalities are columns "
        "too, for models whose effects only add up (`cox`); 0: none.",
    )


class AttentionFusion(Block):
    """A network with a part for each modality and a masked, gated attention over those that a subject has."""

    kind: Literal["attention"] = Field(description="Kind of fusion.")
    width: Positive = Field(default=16, description="Width of a modality's vector.")
    modality_dropout: Fraction = Field(
        default=0.2, description="Chance in training that a modality of a subject is hidden; one always stays."
    )


class LateFusion(Block):
    """Stacked risks: a model for each modality, combined with weights that are not negative, per availability pattern.

    The weights are fitted on risks of subjects that the modality's model was not trained on.
    """

    kind: Literal["late"] = Field(description="Kind of fusion.")
    parts: Annotated[int, Field(ge=2, le=20)] = Field(
        default=5,
        description="Parts of the training rows: the models that give the risks of one are fitted without it.",
    )
    penalty: Annotated[float, Field(ge=0)] = Field(
        default=1e-3, description="Ridge penalty that shrinks the weights, on standardised log cumulative hazards."
    )


class JointFusion(Block):
    """End to end: an attention fusion, then its network and the encoders together, from the weights of each."""

    kind: Literal["joint"] = Field(description="Kind of fusion.")
    width: Positive = Field(default=16, description="Width of a modality's vector.")
    modality_dropout: Fraction = Field(
        default=0.2, description="Chance in training that a modality of a subject is hidden; one always stays."
    )
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="Learning rate of the encoders, as a share of the others' (0 to 1)."
    )
    training: Training = Field(
        default=Training(epochs=10, patience=3, batch_size=32, learning_rate=1e-3),
        description="How the whole is trained, once the fusion is by the model's own `training`.",
    )


Fusion = Annotated[EarlyFusion | AttentionFusion | LateFusion | JointFusion, Field(discriminator="kind")]

BUILT_IN: Mapping[str, Fusion] = {
    "early": EarlyFusion(kind="early"),
    "attention": AttentionFusion(kind="attention"),
    "late": LateFusion(kind="late"),
    "joint": JointFusion(kind="joint"),
}
"""Fusions that every study has by these names, unless it defines its own of the name."""

"""Study blocks of the training of networks."""

from typing import Annotated, Literal

from pydantic import Field

from riskweave.study.base import Block, Positive

__all__ = ["Precision", "Pretraining", "Training"]

Precision = Literal["32", "bf16-mixed"]


class Training(Block):
    """How a network is trained."""

    epochs: Positive = Field(default=20, description="Most passes over the training rows.")
    patience: Positive = Field(default=4, description="Epochs without a better validation loss before training stops.")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="Subjects in a batch.")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=1e-3, description="Peak learning rate of the optimiser."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=1e-2, description="Weight decay of the optimiser.")
    optimiser: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw", description="Optimiser; `sgd` with Nesterov momentum 0.9."
    )
    precision: Precision = Field(
        default="32",
        description="Numbers that a GPU computes with: `32`, single precision; `bf16-mixed`, bfloat16 where that is "
        "harmless, which is faster and takes less memory. A CPU computes in single precision.",
    )


class Pretraining(Block):
    """Training without labels before the training against an endpoint, once for all endpoints of the study."""

    method: Literal["masked", "contrastive"] = Field(
        description="`masked`: rebuild hidden stretches or patches of the input; `contrastive`: tell two random "
        "changes of one recording from those of others."
    )
    epochs: Positive = Field(default=20, description="Passes over the training rows of a fold.")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="Recordings in a batch.")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(default=1e-3, description="Peak learning rate.")
    hidden: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.4, description="With `masked`: share of the input that is hidden (0 to 1)."
    )
    temperature: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="With `contrastive`: temperature of the similarities."
    )
    precision: Precision = Field(default="32", description="As `training.precision`.")

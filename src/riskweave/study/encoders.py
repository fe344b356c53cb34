"""Study blocks of the encoders: the networks that turn a raw recording into an embedding."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from riskweave.study.base import Block, Positive
from riskweave.study.training import Pretraining, Training

__all__ = ["CnnEncoder", "Encoder", "EventEncoder", "LstmEncoder", "SpectrogramEncoder", "TcnEncoder"]


class Encoder(Block):
    """What all encoders have in common."""

    embedding: Positive = Field(default=8, description="Columns of the embedding.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.2, description="Dropout in the network (0 to 1).")
    intervals: Positive = Field(default=10, description="Intervals of the discrete-time loss.")
    cross_fit: Annotated[int, Field(ge=0, le=10)] = Field(
        default=3,
        description="Parts of the training rows: a network is trained without each part and embeds it, so that the "
        "embeddings that the model learns from are those of unseen subjects; all other subjects get the mean of the "
        "networks. 0: one network, whose embeddings of its own training rows look better than those of new subjects.",
    )
    training: Training = Field(
        default=Training(epochs=15, patience=5, batch_size=32, learning_rate=1e-3),
        description="How the encoder is trained.",
    )

    @field_validator("cross_fit")
    @classmethod
    def _not_one(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one part leaves nothing to train on: 0, or 2 to 10")
        return value


class TcnEncoder(Encoder):
    """A dilated temporal convolutional network, trained on the fold's training rows against the endpoint."""

    channels: Positive = Field(default=32, description="Channels of the residual blocks.")
    blocks: Annotated[int, Field(ge=1, le=12)] = Field(
        default=5, description="Residual blocks; the dilation doubles with each."
    )
    kernel_size: Annotated[int, Field(ge=2, le=63)] = Field(default=7, description="Taps of a convolution.")
    causal: bool = Field(
        default=False,
        description="`true`: a position sees only what came before it; `false`: both sides, as the whole recording "
        "lies before the index time.",
    )
    pretraining: Pretraining | None = Field(default=None, description="Training without labels that comes first.")


class CnnEncoder(Encoder):
    """An image network, trained on the fold's training rows against the endpoint."""

    architecture: Literal[
        "small", "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18", "resnet34", "resnet50",
        "efficientnet_b0", "efficientnet_v2_s", "convnext_tiny",
    ] = Field(
        default="small",
        description="`small` (four blocks of convolutions, for a few thousand images on a CPU), or the name of a "
        "torchvision classification network.",
    )  # fmt: skip
    weights: str = Field(
        default="none",
        description="`none`, or the path of a local file with a state dict of that network. Nothing is downloaded.",
    )
    pretraining: Pretraining | None = Field(default=None, description="Training without labels that comes first.")


class LstmEncoder(Encoder):
    """A long short-term memory network over the words of notes; its vocabulary comes from the training rows."""

    vocabulary: Annotated[int, Field(ge=10, le=200_000)] = Field(
        default=5000, description="Most words that are told apart: the most frequent ones of the training rows."
    )
    minimum_count: Positive = Field(
        default=3, description="Words that fewer people of the training rows have count as unknown."
    )
    tokens: Annotated[int, Field(ge=4, le=20_000)] = Field(
        default=256, description="Words of a note that are read, from its beginning."
    )
    width: Positive = Field(default=32, description="Width of the word vectors.")
    hidden: Positive = Field(default=32, description="Width of the LSTM's state, in each of its two directions.")


class SpectrogramEncoder(Encoder):
    """A convolutional network on the log-mel spectrogram of a sound."""

    channels: Positive = Field(default=16, description="Channels of the first of three blocks; they double with each.")


class EventEncoder(Encoder):
    """A network over the dated events of the health record; codes and scales come from the training rows."""

    architecture: Literal["set", "sequence"] = Field(
        default="set",
        description="`set`: each event is encoded on its own and an attention pools them; `sequence`: a recurrent "
        "network reads them in time order before the attention.",
    )
    vocabulary: Annotated[int, Field(ge=10, le=200_000)] = Field(
        default=2000, description="Most codes that are told apart: the most frequent ones of the training rows."
    )
    minimum_subjects: Positive = Field(
        default=10, description="Codes that fewer people of the training rows have count as unknown."
    )
    width: Positive = Field(default=32, description="Width of an event's vector.")

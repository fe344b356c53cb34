"""Study blocks of the features: from raw data of one modality to a named group of columns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from riskweave.study.base import Block, Days, Positive

__all__ = [
    "AGGREGATES",
    "CnnEncoder",
    "EcgFeatures",
    "EhrFeatures",
    "EventFeatures",
    "FeatureSet",
    "ImageFeatures",
    "TcnEncoder",
    "Training",
]

AGGREGATES = ("last", "mean", "min", "max", "count", "slope", "ever", "time_since")
Aggregate = Literal["last", "mean", "min", "max", "count", "slope", "ever", "time_since"]


class EventFeatures(Block):
    """Columns made from the dated events of some codes, at or before the index time."""

    codes: Annotated[list[str], Field(min_length=1)] = Field(
        description="Codes, by prefix: an event counts when its code starts with one of them."
    )
    by_code: bool = Field(
        default=False,
        description="`true`: columns for each distinct code that the prefixes find; `false`: one group for all.",
    )
    name: str | None = Field(
        default=None, description="Stem of the column names; the first code when not given. Not with `by_code`."
    )
    aggregates: Annotated[list[Aggregate], Field(min_length=1)] = Field(
        description="`last`, `mean`, `min`, `max` of the values; `count` of the events; `slope` of the values in units "
        "per year; `ever` (1 or 0); `time_since` the last event, in days."
    )
    window: Days | None = Field(
        default=None, description="Look-back from the index time in days; the whole history when not given."
    )
    minimum_subjects: Positive = Field(
        default=10, description="With `by_code`: codes that fewer subjects have are left out."
    )

    @model_validator(mode="after")
    def _name_without_by_code(self):
        if self.by_code and self.name:
            raise ValueError("`name` cannot be given together with `by_code`: the codes name the columns")
        return self


class EhrFeatures(Block):
    """Tabular features: static columns of the subject table and aggregates of dated events."""

    modality: Literal["ehr"] = Field(description="Modality of the feature set.")
    static: list[str] = Field(default=[], description="Columns of the subject table (numbers or categories).")
    events: list[EventFeatures] = Field(default=[], description="Aggregates of dated events.")

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.static and not self.events:
            raise ValueError("an ehr feature set needs `static` columns or `events`")
        return self


class Training(Block):
    """How a network is trained."""

    epochs: Positive = Field(default=20, description="Most passes over the training rows.")
    patience: Positive = Field(default=4, description="Epochs without a better validation loss before training stops.")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="Subjects in a batch.")
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(default=1e-3, description="Peak learning rate of AdamW.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=1e-2, description="Weight decay of AdamW.")


class TcnEncoder(Block):
    """A dilated temporal convolutional network, trained on the fold's training rows against the endpoint."""

    channels: Positive = Field(default=32, description="Channels of the residual blocks.")
    blocks: Annotated[int, Field(ge=1, le=12)] = Field(
        default=5, description="Residual blocks; the dilation doubles with each."
    )
    kernel_size: Annotated[int, Field(ge=2, le=63)] = Field(default=7, description="Taps of a convolution.")
    embedding: Positive = Field(default=8, description="Columns of the embedding.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.2, description="Dropout in the blocks (0 to 1).")
    intervals: Positive = Field(default=10, description="Intervals of the discrete-time loss.")
    training: Training = Field(default=Training(), description="How the encoder is trained.")


class EcgFeatures(Block):
    """Features of the subject's last ECG recording at or before the index time."""

    modality: Literal["ecg"] = Field(description="Modality of the feature set.")
    sampling_rate: Annotated[int, Field(ge=50, le=1000)] = Field(
        default=100, description="Rate to which recordings are resampled, in Hz."
    )
    seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10.0, description="Length of the signal in seconds: longer recordings are cut, shorter ones padded."
    )
    band: tuple[float, float] = Field(
        default=(0.5, 40.0),
        description="Pass band of the filter in Hz; its end is below half the sampling rate.",
    )
    measurements: bool = Field(
        default=True, description="Plain measurements as columns: heart rate, RR variability, amplitudes."
    )
    encoder: TcnEncoder | None = Field(default=None, description="Network that turns the signal into an embedding.")

    @model_validator(mode="after")
    def _possible(self):
        if not self.measurements and self.encoder is None:
            raise ValueError("an ecg feature set needs `measurements: true` or an `encoder`")
        low, high = self.band
        if not 0 < low < high < self.sampling_rate / 2:
            raise ValueError(f"`band` needs 0 < low < high < {self.sampling_rate / 2:g} Hz (half the sampling rate)")
        return self


class CnnEncoder(Block):
    """A torchvision network, trained on the fold's training rows against the endpoint."""

    architecture: Literal[
        "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18", "resnet34", "resnet50",
        "efficientnet_b0", "convnext_tiny",
    ] = Field(default="resnet18", description="Name of the torchvision classification network.")  # fmt: skip
    weights: str = Field(
        default="none",
        description="`none`, or the path of a local file with a state dict of that network. Nothing is downloaded.",
    )
    embedding: Positive = Field(default=8, description="Columns of the embedding.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.2, description="Dropout before the embedding (0 to 1)."
    )
    intervals: Positive = Field(default=10, description="Intervals of the discrete-time loss.")
    training: Training = Field(default=Training(), description="How the encoder is trained.")


class ImageFeatures(Block):
    """Features of the subject's last image at or before the index time."""

    modality: Literal["image"] = Field(description="Modality of the feature set.")
    size: Annotated[int, Field(ge=32, le=1024)] = Field(
        default=64, description="Edge of the square image given to the network, in pixels."
    )
    encoder: CnnEncoder = Field(default=CnnEncoder(), description="Network that turns the image into an embedding.")


FeatureSet = Annotated[EhrFeatures | EcgFeatures | ImageFeatures, Field(discriminator="modality")]

"""Study blocks of the features: from raw data of one modality to a named group of columns."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from riskweave.study.base import Block, Codes, Days
from riskweave.study.ehr import AGGREGATES, EhrFeatures, EventFeatures, HistoryFeatures
from riskweave.study.encoders import CnnEncoder, EventEncoder, LstmEncoder, SpectrogramEncoder, TcnEncoder
from riskweave.study.training import Training

__all__ = [
    "AGGREGATES",
    "AudioFeatures",
    "CnnEncoder",
    "EcgFeatures",
    "EhrFeatures",
    "EventEncoder",
    "EventFeatures",
    "EventSequenceFeatures",
    "FeatureSet",
    "HistoryFeatures",
    "ImageFeatures",
    "LstmEncoder",
    "RecordedFeatures",
    "SpectrogramEncoder",
    "TcnEncoder",
    "TextFeatures",
    "Training",
]


class RecordedFeatures(Block):
    """What feature sets of files or notes have in common: how many of a subject count, and how they are pooled.

    The class attribute `raw` of a block names the table of the source that holds its raw data.
    """

    most: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Recordings of a subject that are read, the latest at or before the index time."
    )
    window: Days | None = Field(
        default=None, description="Look-back from the index time in days; any time before it when not given."
    )
    pooling: Literal["attention", "mean"] = Field(
        default="attention",
        description="How the embeddings of several recordings become one: weighted by a learnt attention, or the mean. "
        "Measurements are those of the latest recording.",
    )
    measurements: bool = Field(default=True, description="Plain measurements of the recording as columns.")

    @model_validator(mode="after")
    def _possible(self):
        measured = self.measurements or getattr(self, "local_measurements", False)
        if not measured and getattr(self, "encoder", None) is None:
            local = ", `local_measurements: true`" if "local_measurements" in type(self).model_fields else ""
            raise ValueError(f"this feature set needs `measurements: true`{local} or an `encoder`")
        return self


class EcgFeatures(RecordedFeatures):
    """Features of the subject's ECG recordings at or before the index time."""

    raw: ClassVar[str] = "recordings"

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
    def _band_fits(self):
        low, high = self.band
        if not 0 < low < high < self.sampling_rate / 2:
            raise ValueError(f"`band` needs 0 < low < high < {self.sampling_rate / 2:g} Hz (half the sampling rate)")
        return self


class ImageFeatures(RecordedFeatures):
    """Features of the subject's images at or before the index time."""

    raw: ClassVar[str] = "images"

    modality: Literal["image"] = Field(description="Modality of the feature set.")
    size: Annotated[int, Field(ge=32, le=1024)] = Field(
        default=64, description="Edge of the square image given to the network, in pixels."
    )
    measurements: bool = Field(
        default=False, description="Plain measurements as columns: grey levels, contrast and texture by scale."
    )
    local_measurements: bool = Field(
        default=False,
        description="Measurements of the image's parts as columns: grey level of 8 x 8 cells, fine structure of 4 x 4 "
        "cells at three scales. For images that are aligned, such as chest radiographs.",
    )
    encoder: CnnEncoder | None = Field(
        default=CnnEncoder(), description="Network that turns the image into an embedding."
    )


class AudioFeatures(RecordedFeatures):
    """Features of the subject's sound recordings (heart sounds) at or before the index time."""

    raw: ClassVar[str] = "sounds"

    modality: Literal["audio"] = Field(description="Modality of the feature set.")
    sampling_rate: Annotated[int, Field(ge=500, le=48_000)] = Field(
        default=2000, description="Rate to which sounds are resampled, in Hz."
    )
    seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10.0, description="Length in seconds: longer sounds are cut, shorter ones padded."
    )
    bands: Annotated[int, Field(ge=8, le=256)] = Field(default=32, description="Bands of the mel scale.")
    encoder: SpectrogramEncoder | None = Field(
        default=SpectrogramEncoder(), description="Network that turns the spectrogram into an embedding."
    )


class TextFeatures(RecordedFeatures):
    """Features of the subject's notes: dated events with a text, at or before the index time."""

    raw: ClassVar[str] = "events"

    modality: Literal["text"] = Field(description="Modality of the feature set.")
    codes: Codes = Field(description="Codes of the notes, by prefix or `@list`; their `text_value` is the note.")
    measurements: bool = Field(
        default=True, description="Plain measurements as columns: number and length of the notes, days since the last."
    )
    encoder: LstmEncoder | None = Field(
        default=LstmEncoder(), description="Network that turns the words into an embedding."
    )


class EventSequenceFeatures(Block):
    """The dated events of the health record one by one, for a network that learns what they mean together."""

    raw: ClassVar[str] = "events"

    modality: Literal["event_sequence"] = Field(description="Modality of the feature set.")
    codes: Codes = Field(description="Codes, by prefix or `@list`, whose events are read.")
    most: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="Events of a subject that are read, the latest at or before the index time."
    )
    window: Days | None = Field(
        default=None, description="Look-back from the index time in days; the whole history when not given."
    )
    encoder: EventEncoder = Field(
        default=EventEncoder(), description="Network that turns the events into an embedding."
    )


FeatureSet = Annotated[
    EhrFeatures | EcgFeatures | ImageFeatures | AudioFeatures | TextFeatures | EventSequenceFeatures,
    Field(discriminator="modality"),
]

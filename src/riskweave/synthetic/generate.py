"""The generator: one call writes the demo cohort with all its files."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.study.sources import SyntheticSource
from riskweave.synthetic.codes import CODES
from riskweave.synthetic.ecg import LEADS, SAMPLING_RATE, Ecg, synthesise
from riskweave.synthetic.ehr import draw_events
from riskweave.synthetic.image import Radiograph, render
from riskweave.synthetic.image_files import FORMATS, SUFFIXES, write_image
from riskweave.synthetic.latent import STREAMS, draw_latents, log_hazards
from riskweave.synthetic.outcomes import HORIZONS, calibrate, cumulative_incidence, draw_outcomes
from riskweave.synthetic.schedule import draw_schedule
from riskweave.synthetic.wfdb_files import write_record

__all__ = ["generate"]

SHARD = 500  # subjects in a MEDS shard, and in a folder of recordings
MARKER = "riskweave synthetic demo cohort"
OUTPUTS = ("metadata", "data", "ecg", "images", "subjects.csv", "recordings.csv", "images.csv", "truth.parquet")

# Centres differ in equipment: digital units per mV, order of the leads, size and usual format of the images.
GAINS = (1000, 500, 200)
SHAPES = ((128, 128), (128, 112), (120, 128), (112, 112))
FLAT_LEAD = 0.015  # share of the recordings in which an electrode was off
ISCHAEMIA_AFTER_TARGET = 1.5

logger = logging.getLogger(__name__)


def generate(*, directory: Path, source: SyntheticSource) -> None:
    """Write the demo cohort.

    Parameters
    ----------
    directory : pathlib.Path
        Folder to write into; created when it does not exist. What an earlier call wrote there is replaced.
    source : riskweave.study.cohort.SyntheticSource
        Size, missing shares, noise modalities and seed. The same source gives the same bytes.

    Raises
    ------
    DataError
        When the folder holds files of the names written here that this generator did not make.

    Notes
    -----
    Writes `subjects.csv` (subject_id, index_time, followup_end, age in years, sex, centre), a MEDS data set (`data/`,
    `metadata/`), `ecg/` (WFDB) with `recordings.csv`, `images/` (PNG, DICOM) with `images.csv` (subject_id, time, path
    relative to the manifest), and `truth.parquet`.
    """
    directory = Path(directory)
    _prepare(directory)
    latents = draw_latents(subjects=source.subjects, centres=source.centres, seed=source.seed)
    parts = log_hazards(latents, noise=source.noise)
    intercepts = calibrate(noise=source.noise)
    outcomes = draw_outcomes(parts=parts, intercepts=intercepts, noise=source.noise, seed=source.seed)
    _write_subjects(directory, latents, outcomes)
    _write_meds(directory, draw_events(latents=latents, outcomes=outcomes, seed=source.seed))
    for modality, missing, write in (
        ("ecg", source.missing_ecg, _write_recordings),
        ("image", source.missing_image, _write_images),
    ):
        schedule = draw_schedule(
            latents=latents, outcomes=outcomes, modality=modality, missing=missing, seed=source.seed
        )
        # A modality of noise does not show the target event either.
        schedule["after_target"] &= modality not in source.noise
        write(directory, latents, schedule, source.seed)
    _write_truth(directory, latents, parts, outcomes, intercepts)


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


def _iso(times: np.ndarray) -> np.ndarray:
    return np.datetime_as_string(np.asarray(times).astype("datetime64[s]"))


def _write_subjects(directory: Path, latents: pd.DataFrame, outcomes: pd.DataFrame) -> None:
    index_time = outcomes["index_time"].to_numpy().astype("datetime64[s]")
    seconds = np.floor(outcomes["end"].to_numpy() * 86400).astype("timedelta64[s]")
    frame = pd.DataFrame(
        {
            "subject_id": latents["subject_id"].astype(str),
            "index_time": _iso(index_time),
            "followup_end": _iso(index_time + seconds),
            "age": latents["age"],
            "sex": np.where(latents["female"] == 1, "female", "male"),
            "centre": [f"centre_{k + 1}" for k in latents["centre"]],
        }
    )
    frame.to_csv(directory / "subjects.csv", index=False, lineterminator="\n")


def _write_meds(directory: Path, events: pd.DataFrame) -> None:
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
        "code": pa.array([code.code for code in CODES], pa.string()),
        "description": pa.array([code.description for code in CODES], pa.string()),
        "parent_codes": pa.array([[code.parent] if code.parent else None for code in CODES], pa.list_(pa.string())),
        "unit": pa.array([code.unit for code in CODES], pa.string()),
    }
    pq.write_table(pa.table(codes), directory / "metadata" / "codes.parquet")


def _folders(directory: Path, name: str, rows: pd.Series) -> None:
    """One folder per shard, so that no folder grows too large for a file browser."""
    (directory / name).mkdir()
    for shard in sorted({row // SHARD for row in rows}):
        (directory / name / f"{shard:03d}").mkdir()


def _progress(done: int, total: int, what: str) -> None:
    if total and (done * 10 // total) > ((done - 1) * 10 // total):
        logger.info("%d of %d %s written", done, total, what)


def _write_recordings(directory: Path, latents: pd.DataFrame, schedule: pd.DataFrame, seed: int) -> None:
    _folders(directory, "ecg", schedule["row"])
    paths = []
    records = latents.to_dict("records")
    for done, item in enumerate(schedule.itertuples(), start=1):
        state = records[item.row]
        rng = np.random.default_rng([seed, STREAMS["ecg"], item.row, item.number])
        ecg = Ecg(
            ischaemia=state["ischaemia"] + ISCHAEMIA_AFTER_TARGET * item.after_target,
            conduction=state["conduction"],
            rate=state["rate"],
            fibrillation=bool(state["fibrillation"]),
        )
        signal = synthesise(ecg=ecg, rng=rng)
        if rng.random() < FLAT_LEAD:
            signal[:, rng.integers(6, 12)] = 0
        # The last centre's machine writes the chest leads first.
        order = np.roll(np.arange(len(LEADS)), 6) if state["centre"] == 3 else np.arange(len(LEADS))
        path = f"ecg/{item.row // SHARD:03d}/{state['subject_id']}_{item.number}"
        write_record(
            path=directory / path,
            signal=signal[:, order],
            leads=[LEADS[k] for k in order],
            sampling_rate=SAMPLING_RATE,
            gain=GAINS[state["centre"] % len(GAINS)],
        )
        paths.append(path)
        _progress(done, len(schedule), "recordings")
    _write_manifest(directory / "recordings.csv", latents, schedule, paths)


def _write_images(directory: Path, latents: pd.DataFrame, schedule: pd.DataFrame, seed: int) -> None:
    _folders(directory, "images", schedule["row"])
    paths = []
    records = latents.to_dict("records")
    for done, item in enumerate(schedule.itertuples(), start=1):
        state = records[item.row]
        rng = np.random.default_rng([seed, STREAMS["image"], item.row, item.number])
        usual = state["centre"] % len(FORMATS)
        kind = FORMATS[usual if rng.random() < 0.6 else rng.integers(len(FORMATS))]
        radiograph = Radiograph(heart_size=state["heart_size"], texture=state["texture"])
        image = render(radiograph=radiograph, shape=SHAPES[state["centre"] % len(SHAPES)], rng=rng)
        path = f"images/{item.row // SHARD:03d}/{state['subject_id']}_{item.number}{SUFFIXES[kind]}"
        write_image(
            path=directory / path,
            image=image,
            kind=kind,
            subject_id=str(state["subject_id"]),
            time=item.time.to_pydatetime(),
            key=f"{seed}/{STREAMS['uid']}/{state['subject_id']}/{item.number}",
        )
        paths.append(path)
        _progress(done, len(schedule), "images")
    _write_manifest(directory / "images.csv", latents, schedule, paths)


def _write_manifest(path: Path, latents: pd.DataFrame, schedule: pd.DataFrame, paths: list[str]) -> None:
    ids = latents["subject_id"].astype(str).to_numpy()[schedule["row"].to_numpy(dtype=int)]
    frame = pd.DataFrame({"subject_id": ids, "time": _iso(schedule["time"].to_numpy()), "path": paths})
    frame.to_csv(path, index=False, lineterminator="\n")


def _write_truth(directory: Path, latents, parts, outcomes, intercepts) -> None:
    """Write the planted truth, for tests and benchmarks only."""
    risks = cumulative_incidence(
        target=parts["total"].to_numpy(), death=parts["death"].to_numpy(), intercepts=intercepts, days=HORIZONS
    )
    columns = {"subject_id": latents["subject_id"].astype(str).to_numpy()}
    columns |= {
        f"log_hazard_{name}" if name != "total" else "log_hazard": parts[name].to_numpy()
        for name in ("total", "demographic", "ehr", "ecg", "image", "interaction", "death")
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

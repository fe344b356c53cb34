"""Files of the demo cohort's recordings: ECGs, images and heart sounds, each with its manifest."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.study.sources import SyntheticSource
from riskweave.synthetic.ecg import LEADS, SAMPLING_RATE, Ecg, synthesise
from riskweave.synthetic.image import Radiograph, render
from riskweave.synthetic.image_files import FORMATS, SUFFIXES, write_image
from riskweave.synthetic.latent import STREAMS
from riskweave.synthetic.schedule import states_shown
from riskweave.synthetic.sound import SAMPLING_RATE as SOUND_RATE
from riskweave.synthetic.sound import HeartSound, synthesise_sound, write_wav
from riskweave.synthetic.wfdb_files import write_record

__all__ = ["SHARD", "iso", "write_ecgs", "write_images", "write_sounds"]

SHARD = 500  # subjects in a folder of recordings, and in a MEDS shard

# Centres differ in equipment: digital units per mV, order of the leads, size and usual format of the images, and how
# much a stethoscope amplifies.
GAINS = (1000, 500, 200)
SHAPES = ((128, 128), (128, 112), (120, 128), (112, 112))
SOUND_GAINS = (1.0, 0.45, 1.6, 0.7)
FLAT_LEAD = 0.015  # share of the recordings in which an electrode was off
ISCHAEMIA_AFTER_TARGET = 1.5

# What a recorder of too narrow a band does to each ECG of the centre `shifted_device`: the baseline sags after the QRS
# complex, so that ST lies lower and T is flatter, and the complex is smeared (Kligfield et al. 2007,
# doi:10.1161/CIRCULATIONAHA.106.180200). It is drawn as the states that look so, in standard deviations of the
# population: nothing in a recording tells the fault from disease.
SHIFT = {"ischaemia": 1.5, "conduction": 1.5}

logger = logging.getLogger(__name__)


def iso(times: np.ndarray) -> np.ndarray:
    """Write times as text, to the second."""
    return np.datetime_as_string(np.asarray(times).astype("datetime64[s]"))


def write_ecgs(*, directory: Path, latents: pd.DataFrame, schedule: pd.DataFrame, source: SyntheticSource) -> None:
    """Write `ecg/` (WFDB) and `recordings.csv`.

    Parameters
    ----------
    directory : pathlib.Path
        Folder of the cohort.
    latents, schedule : pandas.DataFrame
        As `draw_latents` and `draw_schedule` return them.
    source : riskweave.study.sources.SyntheticSource
        Its `repeats`, `shifted_device` and `seed`.
    """
    _folders(directory, "ecg", schedule["row"])
    paths = []
    names = ("ischaemia", "conduction", "rate")
    for done, (item, state) in enumerate(_shown(latents, schedule, source, "ecg", names), start=1):
        rng = np.random.default_rng([source.seed, STREAMS["ecg"], item.row, item.number])
        shifted = source.centre_names[state["centre"]] == source.shifted_device
        ecg = Ecg(
            ischaemia=state["ischaemia"] + ISCHAEMIA_AFTER_TARGET * item.after_target + SHIFT["ischaemia"] * shifted,
            conduction=state["conduction"] + SHIFT["conduction"] * shifted,
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


def write_images(*, directory: Path, latents: pd.DataFrame, schedule: pd.DataFrame, source: SyntheticSource) -> None:
    """Write `images/` (PNG, DICOM) and `images.csv`; parameters as in `write_ecgs`."""
    _folders(directory, "images", schedule["row"])
    paths = []
    names = ("heart_size", "texture")
    for done, (item, state) in enumerate(_shown(latents, schedule, source, "image", names), start=1):
        rng = np.random.default_rng([source.seed, STREAMS["image"], item.row, item.number])
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
            key=f"{source.seed}/{STREAMS['uid']}/{state['subject_id']}/{item.number}",
        )
        paths.append(path)
        _progress(done, len(schedule), "images")
    _write_manifest(directory / "images.csv", latents, schedule, paths)


def write_sounds(*, directory: Path, latents: pd.DataFrame, schedule: pd.DataFrame, source: SyntheticSource) -> None:
    """Write `sounds/` (WAV) and `sounds.csv`; parameters as in `write_ecgs`."""
    _folders(directory, "sounds", schedule["row"])
    paths = []
    for done, (item, state) in enumerate(_shown(latents, schedule, source, "audio", ("murmur", "gallop")), start=1):
        rng = np.random.default_rng([source.seed, STREAMS["audio"], item.row, item.number])
        sound = synthesise_sound(
            sound=HeartSound(murmur=state["murmur"], gallop=state["gallop"]),
            gain=SOUND_GAINS[state["centre"] % len(SOUND_GAINS)],
            rng=rng,
        )
        path = f"sounds/{item.row // SHARD:03d}/{state['subject_id']}_{item.number}.wav"
        write_wav(path=directory / path, sound=sound, sampling_rate=SOUND_RATE)
        paths.append(path)
        _progress(done, len(schedule), "sounds")
    _write_manifest(directory / "sounds.csv", latents, schedule, paths)


def _shown(latents, schedule, source: SyntheticSource, modality: str, names) -> Iterator[tuple]:
    """Go through the recordings with what each shows of its subject."""
    shown = states_shown(
        latents=latents, schedule=schedule, modality=modality, names=names, repeats=source.repeats, seed=source.seed
    )
    return zip(schedule.itertuples(), shown.to_dict("records"), strict=True)


def _folders(directory: Path, name: str, rows: pd.Series) -> None:
    """One folder per shard, so that no folder grows too large for a file browser."""
    (directory / name).mkdir()
    for shard in sorted({row // SHARD for row in rows}):
        (directory / name / f"{shard:03d}").mkdir()


def _progress(done: int, total: int, what: str) -> None:
    if total and (done * 10 // total) > ((done - 1) * 10 // total):
        logger.info("%d of %d %s written", done, total, what)


def _write_manifest(path: Path, latents: pd.DataFrame, schedule: pd.DataFrame, paths: list[str]) -> None:
    ids = latents["subject_id"].astype(str).to_numpy()[schedule["row"].to_numpy(dtype=int)]
    frame = pd.DataFrame({"subject_id": ids, "time": iso(schedule["time"].to_numpy()), "path": paths})
    frame.to_csv(path, index=False, lineterminator="\n")

"""Encoders: training from memory-mapped arrays beside a plain Lightning loop that decodes every file in every epoch.

The same network, batches, optimiser and number of threads, on files of the demo cohort, in one run. Then what
cross-fitting is for: the calibration slope in test rows of a Cox model that learnt from the training rows' embeddings,
with and without it. On a machine with a GPU, also the share of the time that it waits for data.

Run: python benchmarks/encoders.py [--subjects 400] [--epochs 2] [--threads 1] [--calibration 1200]
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from lifelines import CoxPHFitter
from torch.utils.data import DataLoader, Dataset

from riskweave.modalities.ecg import read_recording
from riskweave.modalities.image import read_image
from riskweave.modalities.registry import find_modality
from riskweave.study.encoders import CnnEncoder, TcnEncoder
from riskweave.study.features import EcgFeatures, ImageFeatures
from riskweave.study.sources import SyntheticSource
from riskweave.survival.encoding.fold import train_fold
from riskweave.survival.encoding.members import Job, Kept
from riskweave.survival.encoding.network import build_network
from riskweave.survival.encoding.rows import Rows
from riskweave.survival.heads import make_head
from riskweave.survival.training.fit import fit
from riskweave.survival.training.task import SurvivalTask
from riskweave.synthetic.generate import generate

FEATURES = {
    "ecg": EcgFeatures(modality="ecg", encoder=TcnEncoder()),
    "image (small)": ImageFeatures(modality="image", encoder=CnnEncoder()),
    "image (squeezenet1_1)": ImageFeatures(modality="image", encoder=CnnEncoder(architecture="squeezenet1_1")),
}
RAW = {"ecg": ("recordings.csv", read_recording), "image": ("images.csv", read_image)}
BATCH = 32


@dataclass
class Cohort:
    """Generated files with what is known of their subjects."""

    folder: Path
    table: pd.DataFrame

    def manifest(self, modality: str) -> pd.DataFrame:
        """Return the latest file at or before the index time of each subject."""
        files = pd.read_csv(self.folder / RAW[modality][0], dtype={"subject_id": str}, parse_dates=["time"])
        files = files.merge(self.table[["subject_id", "index_time"]], on="subject_id")
        files = files[files["time"] <= files["index_time"]].sort_values("time").groupby("subject_id").tail(1)
        return files.assign(path=[str(self.folder / path) for path in files["path"]])


def make_cohort(folder: Path, subjects: int) -> Cohort:
    """Generate the demo cohort and keep its outcomes: days to the target event, death or the end of follow-up."""
    generate(directory=folder, source=SyntheticSource(source="synthetic", subjects=subjects))
    truth = pd.read_parquet(folder / "truth.parquet").astype({"subject_id": str})
    people = pd.read_csv(folder / "subjects.csv", dtype={"subject_id": str}, parse_dates=["index_time"])
    table = truth.merge(people[["subject_id", "index_time"]], on="subject_id")
    days = table[["days_to_end", "days_to_target", "days_to_death"]].to_numpy()
    return Cohort(folder, table.assign(time=np.maximum(days.min(axis=1), 0.5), event=days.argmin(axis=1)))


def read(cohort: Cohort, features, folder: Path):
    """Read the files once, as the pipeline does, and open what was written."""
    modality = find_modality(features.modality)
    folder.mkdir(exist_ok=True)
    people = cohort.table[["subject_id", "index_time"]].assign(person_id=cohort.table["subject_id"])
    people.to_parquet(folder / "subjects.parquet", index=False)
    cohort.manifest(features.modality).drop(columns="index_time").to_parquet(folder / "raw.parquet", index=False)
    names = {"table": "features.parquet", "inputs": "inputs.npy", "index": "index.parquet"}
    modality.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "raw.parquet",
        features=features,
        threads=1,
        **{key: folder / name for key, name in names.items()},
    )
    return modality.open_inputs(folder / "inputs.npy", folder / "index.parquet")


class Files(Dataset):
    """The plain way: each item is decoded from its file whenever it is asked for."""

    def __init__(self, paths, read_one, features, labels):
        self.paths, self.read_one, self.features, self.labels = paths, read_one, features, labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, item):
        array, _ = self.read_one(Path(self.paths[item]), features=self.features)
        return (torch.from_numpy(np.asarray(array, dtype=np.float32)),), tuple(label[item] for label in self.labels)


class Plain(SurvivalTask):
    """The same task in a plain loop: its losses are thrown away."""

    def on_train_epoch_end(self):
        """Forget the losses."""
        self.train_loss()


def plain_seconds(cohort: Cohort, features, stored, *, epochs: int) -> float:
    """Return the seconds of training in a loop that decodes every file in every epoch."""
    # Without measurements, which the plain loop has no use for.
    block = features.model_copy(update={"measurements": False})
    files = cohort.manifest(features.modality).merge(cohort.table[["subject_id", "time", "event"]], on="subject_id")
    time_, event = files["time_y"].to_numpy(float), files["event"].to_numpy(int)
    head = make_head("logistic_hazard", causes=2, intervals=10)
    head.learn(time_, event)
    labels = head.prepare(time_, event)
    net = build_network(features, stored.fit(np.arange(len(stored.subjects))))
    head.connect(net.features)
    head.null_start(*labels)
    training = features.encoder.training.model_copy(update={"epochs": epochs})
    task = Plain(net, head, training=training, augment=find_modality(features.modality).augmentation())
    data = Files(files["path"].tolist(), RAW[features.modality][1], block, labels)
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
    )
    start = time.perf_counter()
    trainer.fit(task, DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True))
    return time.perf_counter() - start


class InMemory:
    """The same batch again and again: training that never waits for data."""

    def __init__(self, inputs):
        self.inputs, self.kept = inputs, {}

    def __len__(self):
        return len(self.inputs)

    def batch(self, rows):
        """Return the first batch of this size."""
        return self.kept.setdefault(len(rows), self.inputs.batch(np.asarray(rows)))


def our_seconds(job: Job, rows: Rows, *, epochs: int, waiting: bool = True) -> float:
    """Return the seconds of training from the memory-mapped array, with a handful of validation rows."""
    prepared = job.stored.fit(rows.position)
    inputs = prepared.inputs(rows.position)
    few = slice(0, 8)
    start = time.perf_counter()
    fit(
        lambda: job.build(0, prepared),
        make_head("logistic_hazard", causes=2, intervals=10),
        inputs=inputs if waiting else InMemory(inputs),
        time=rows.time,
        event=rows.event,
        inputs_val=prepared.inputs(rows.position[few]),
        time_val=rows.time[few],
        event_val=rows.event[few],
        training=job.features.encoder.training.model_copy(update={"epochs": epochs, "patience": epochs}),
        seed=1,
        threads=job.threads,
        augment=job.change(),
    )
    return time.perf_counter() - start


def job_of(cohort: Cohort, features, stored, threads: int) -> tuple[Job, Rows]:
    """Return a job, and all subjects who have the modality as rows."""
    own = cohort.table.set_index("subject_id").loc[stored.subjects]
    subjects = stored.subjects.to_numpy(dtype=object)
    rows = Rows(subjects, np.arange(len(own)), subjects, own["time"].to_numpy(), own["event"].to_numpy())
    job = Job(
        name="benchmark", features=features, stored=stored, causes=2, state=None, pretrained={}, seed=1, threads=threads
    )
    return job, rows


def steady(run: Callable[..., float], epochs: int) -> float:
    """Return the seconds of so many further epochs, without what a training costs before its first one."""
    run(epochs=1)
    return max(1e-9, run(epochs=1 + epochs) - run(epochs=1))


def speed(folder: Path, *, subjects: int, epochs: int, threads: int) -> None:
    """Print epochs per minute and recordings per second of both loops, and on a GPU how much of the time it waits."""
    cohort = make_cohort(folder / "cohort", subjects)
    cuda = torch.cuda.is_available()
    print(f"{subjects} subjects, {threads} threads, batches of {BATCH}, {'CUDA' if cuda else 'CPU'}")
    print(f"{'encoder':24s}{'loop':12s}{'epochs/min':>12s}{'recordings/s':>14s}{'waiting':>9s}")
    for number, (name, features) in enumerate(FEATURES.items()):
        stored = read(cohort, features, folder / f"set_{number}")
        job, rows = job_of(cohort, features, stored, threads)
        seconds = {
            "riskweave": steady(partial(our_seconds, job, rows), epochs),
            "plain": steady(partial(plain_seconds, cohort, features, stored), epochs),
        }
        without = steady(partial(our_seconds, job, rows, waiting=False), epochs)
        for loop, value in seconds.items():
            waiting = f"{max(0.0, 1 - without / value):.0%}"
            rate = epochs * len(rows) / value
            print(f"{name:24s}{loop:12s}{60 * epochs / value:12.1f}{rate:14.0f}{waiting:>9s}", flush=True)


def cox(time_: np.ndarray, event: np.ndarray, risk: np.ndarray) -> tuple[float, float]:
    """Return the log hazard ratio of a risk and its standard error."""
    fitted = CoxPHFitter().fit(pd.DataFrame({"time": time_, "event": event == 1, "risk": risk}), "time", "event")
    return float(fitted.params_["risk"]), float(fitted.standard_errors_["risk"])


def calibration(folder: Path, *, subjects: int, threads: int) -> None:
    """Print the calibration slope in test rows of a Cox model on the target's score, with and without cross-fitting."""
    cohort = make_cohort(folder / "second", subjects)
    print(f"\nCalibration of a Cox model on the embedding's score, {subjects} subjects, 40 % of them test rows")
    print(f"{'encoder':24s}{'cross_fit':>10s}{'slope':>8s}{'s.e.':>7s}")
    for number, name in enumerate(("ecg", "image (small)")):
        features = FEATURES[name]
        stored = read(cohort, features, folder / f"second_{number}")
        _, rows = job_of(cohort, features, stored, threads)
        order = np.random.default_rng(1).permutation(len(rows))
        cuts = (np.array([0.48, 0.6]) * len(rows)).astype(int)
        keys = ("subject", "position", "person", "time", "event")
        parts = [Rows(*(getattr(rows, key)[at] for key in keys)) for at in np.split(order, cuts)]
        roles = dict(zip(("train", "validation", "test"), parts, strict=True))
        for count in (3, 0):
            encoder = features.encoder.model_copy(update={"cross_fit": count})
            job, _ = job_of(cohort, features.model_copy(update={"encoder": encoder}), stored, threads)
            encoded = train_fold(job, roles, fold=0, kept=Kept(folder / f"kept_{number}_{count}"))
            risk = {role: encoded.embeddings[part.position, 0].astype(float) for role, part in roles.items()}
            if not encoded.ensemble.signal:
                print(f"{name:24s}{count:10d}  no signal", flush=True)
                continue
            learnt, _ = cox(roles["train"].time, roles["train"].event, risk["train"])
            slope, error = cox(roles["test"].time, roles["test"].event, learnt * risk["test"])
            print(f"{name:24s}{count:10d}{slope:8.2f}{error:7.2f}", flush=True)


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=400, help="subjects of the comparison of speed")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--calibration", type=int, default=1200, help="subjects of the comparison of calibration; 0: none"
    )
    given = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    # Lightning advises more workers for the plain loader; both loops have one process here.
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        speed(Path(folder), subjects=given.subjects, epochs=given.epochs, threads=given.threads)
        if given.calibration:
            calibration(Path(folder), subjects=given.calibration, threads=given.threads)


if __name__ == "__main__":
    main()

"""Encoders: training from memory-mapped arrays beside a plain Lightning loop that decodes every file in every epoch.

The same network, steps, batches, validation rows, optimiser and number of threads, on files of the demo cohort, in one
run; a loader without processes of its own. An epoch's time is the median of those after the first, so that neither loop
counts the start of a training, and what our loop pays once, the decoding, stands beside it. Then what cross-fitting is
for: the calibration slope in test rows of a Cox model that learnt from the training rows' embeddings, with and without
it. On a machine with a GPU, also the share of the time that it waits for data.

Run: python benchmarks/encoders.py [--subjects 400] [--epochs 3] [--threads 1] [--calibration 1200]
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from lifelines import CoxPHFitter
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from riskweave.cohort.tables import EVENTS, SUBJECTS, write_table
from riskweave.modalities.audio import read_sound
from riskweave.modalities.ecg import read_recording
from riskweave.modalities.image import read_image
from riskweave.modalities.registry import find_modality
from riskweave.modalities.tokens import is_number, tokens_of
from riskweave.modalities.words import FIRST, UNKNOWN_NUMBER, UNKNOWN_WORD
from riskweave.study.encoders import CnnEncoder, TcnEncoder
from riskweave.study.features import AudioFeatures, EcgFeatures, ImageFeatures, TextFeatures
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
    "audio": AudioFeatures(modality="audio"),
    "text": TextFeatures(modality="text", codes=["NOTE//"]),
}
FILES = {
    "ecg": ("recordings.csv", read_recording),
    "image": ("images.csv", read_image),
    "audio": ("sounds.csv", read_sound),
}
BATCH, JUDGED = 32, 8


@dataclass
class Cohort:
    """Generated files with what is known of their subjects."""

    folder: Path
    table: pd.DataFrame

    def manifest(self, modality: str) -> pd.DataFrame:
        """Return the latest file at or before the index time of each subject."""
        files = pd.read_csv(self.folder / FILES[modality][0], dtype={"subject_id": str}, parse_dates=["time"])
        files = self._latest(files)
        return files.assign(path=[str(self.folder / path) for path in files["path"]])

    def notes(self) -> pd.DataFrame:
        """Return the latest note at or before the index time of each subject: an event with a text."""
        events = pq.read_table(self.folder / "data").to_pandas()
        events = events[events["code"].str.startswith("NOTE//") & events["text_value"].notna()]
        return self._latest(events.astype({"subject_id": str}).assign(unit=None))

    def _latest(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.merge(self.table[["subject_id", "index_time"]], on="subject_id")
        rows = rows[rows["time"] <= rows["index_time"]].sort_values("time", kind="stable")
        return rows.groupby("subject_id").tail(1).sort_values("subject_id").drop(columns="index_time")


def make_cohort(folder: Path, subjects: int, also: Sequence[str] = ()) -> Cohort:
    """Generate the demo cohort and keep its outcomes: days to the target event, death or the end of follow-up."""
    generate(directory=folder, source=SyntheticSource(source="synthetic", subjects=subjects, also=list(also)))
    truth = pd.read_parquet(folder / "truth.parquet").astype({"subject_id": str})
    people = pd.read_csv(folder / "subjects.csv", dtype={"subject_id": str}, parse_dates=["index_time"])
    table = truth.merge(people[["subject_id", "index_time"]], on="subject_id")
    days = table[["days_to_end", "days_to_target", "days_to_death"]].to_numpy()
    return Cohort(folder, table.assign(time=np.maximum(days.min(axis=1), 0.5), event=days.argmin(axis=1)))


def read(cohort: Cohort, features, folder: Path):
    """Read the raw data once, as the pipeline does, and open what was written."""
    modality = find_modality(features.modality)
    folder.mkdir(exist_ok=True)
    people = cohort.table[["subject_id", "index_time"]].assign(person_id=cohort.table["subject_id"])
    write_table(people.assign(followup_end=pd.NaT), folder / "subjects.parquet", SUBJECTS)
    if features.modality == "text":
        write_table(cohort.notes(), folder / "raw.parquet", EVENTS)
    else:
        cohort.manifest(features.modality).to_parquet(folder / "raw.parquet", index=False)
    names = {"table": "features.parquet", "inputs": "inputs.npy", "index": "index.parquet"}
    modality.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "raw.parquet",
        features=features,
        threads=1,
        **{key: folder / name for key, name in names.items()},
    )
    return modality.open_inputs(folder / "inputs.npy", folder / "index.parquet")


class Items(Dataset):
    """The plain way: each item is decoded whenever it is asked for."""

    def __init__(self, raw: Sequence[str], decode: Callable[[str], Tensor], labels):
        self.raw, self.decode, self.labels = raw, decode, labels

    def __len__(self):
        return len(self.raw)

    def __getitem__(self, item):
        return self.decode(self.raw[item]), tuple(torch.as_tensor(label[item]) for label in self.labels)


def collate(items):
    """Return the inputs, filled with zeros where notes differ in length, and the labels of a batch."""
    inputs, labels = zip(*items, strict=True)
    return (pad_sequence(inputs, batch_first=True),), tuple(torch.stack(each) for each in zip(*labels, strict=True))


def raw_of(cohort: Cohort, features, prepared) -> tuple[pd.DataFrame, str, Callable[[str], Tensor]]:
    """Return the raw data of all subjects who have them, the column that holds them, and how one is decoded."""
    if features.modality != "text":
        decode = FILES[features.modality][1]

        def array(path: str) -> Tensor:
            return torch.from_numpy(np.asarray(decode(Path(path), features=features)[0], dtype=np.float32))

        return cohort.manifest(features.modality), "path", array
    number = {word: place for place, word in enumerate(prepared.vocabulary, start=FIRST)}

    def numbers(note: str) -> Tensor:
        words = tokens_of(note)[: prepared.tokens]
        return torch.tensor([number.get(w, UNKNOWN_NUMBER if is_number(w) else UNKNOWN_WORD) for w in words])

    return cohort.notes(), "text_value", numbers


@dataclass
class Stamps(pl.Callback):
    """When each epoch ended, with the validation behind it; the first is that of the check before training."""

    times: list[float] = field(default_factory=list)

    def __call__(self, *_: object) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SurvivalTask) -> None:  # noqa: ARG002
        """Note the time, once the loss is known."""
        pl_module.validation_loss()
        self()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SurvivalTask) -> None:  # noqa: ARG002
        """Take the losses of the epoch."""
        pl_module.train_loss()

    def seconds(self) -> float:
        """Return the median seconds of an epoch after the first, which warms up."""
        return float(np.median(np.diff(self.times)[1:]))


def plain_seconds(cohort: Cohort, features, stored, *, epochs: int) -> float:
    """Return the seconds of an epoch in a loop that decodes everything in every epoch."""
    prepared = stored.fit(np.arange(len(stored.subjects)), features.encoder)
    table, column, decode = raw_of(cohort, features, prepared)
    table = table.drop(columns="time").merge(cohort.table[["subject_id", "time", "event"]], on="subject_id")
    assert table["subject_id"].tolist() == list(stored.subjects)
    time_, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    head = make_head("logistic_hazard", causes=2, intervals=10)
    head.learn(time_, event)
    labels = head.prepare(time_, event)
    net = build_network(features, prepared)
    head.connect(net.features)
    head.null_start(*labels)
    training = features.encoder.training.model_copy(update={"epochs": 1 + epochs})
    task = SurvivalTask(net, head, training=training, augment=find_modality(features.modality).augmentation())
    raw, stamps = table[column].tolist(), Stamps()
    # Batches of nearly the same size, as ours are: none is left out, and as many steps.
    size = -(-len(raw) // -(-len(raw) // BATCH))
    few = Items(raw[:JUDGED], decode, [label[:JUDGED] for label in labels])
    trainer = pl.Trainer(
        max_epochs=1 + epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=-1,
        gradient_clip_val=1.0,
        callbacks=[stamps],
    )
    trainer.fit(
        task,
        DataLoader(Items(raw, decode, labels), batch_size=size, shuffle=True, collate_fn=collate),
        DataLoader(few, batch_size=JUDGED, collate_fn=collate),
    )
    return stamps.seconds()


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
    """Return the seconds of an epoch from the memory-mapped array."""
    prepared = job.stored.fit(rows.position, job.features.encoder)
    inputs, stamps = prepared.inputs(rows.position), Stamps()
    few = slice(0, JUDGED)
    changes = {"epochs": 1 + epochs, "patience": 1 + epochs, "batch_size": BATCH}
    fit(
        lambda: job.build(0, prepared),
        make_head("logistic_hazard", causes=2, intervals=10),
        inputs=inputs if waiting else InMemory(inputs),
        time=rows.time,
        event=rows.event,
        inputs_val=prepared.inputs(rows.position[few]),
        time_val=rows.time[few],
        event_val=rows.event[few],
        training=job.features.encoder.training.model_copy(update=changes),
        seed=1,
        threads=job.threads,
        augment=job.change(),
        prune=stamps,
    )
    return stamps.seconds()


def job_of(cohort: Cohort, features, stored, threads: int) -> tuple[Job, Rows]:
    """Return a job, and all subjects who have the modality as rows."""
    own = cohort.table.set_index("subject_id").loc[stored.subjects]
    subjects = stored.subjects.to_numpy(dtype=object)
    rows = Rows(subjects, np.arange(len(own)), subjects, own["time"].to_numpy(), own["event"].to_numpy())
    job = Job(
        name="benchmark", features=features, stored=stored, causes=2, state=None, pretrained={}, seed=1, threads=threads
    )
    return job, rows


def speed(folder: Path, *, subjects: int, epochs: int, threads: int) -> None:
    """Print epochs per minute and recordings per second of both loops, and on a GPU how much of the time it waits."""
    cohort = make_cohort(folder / "cohort", subjects, also=["text", "audio"])
    cuda = torch.cuda.is_available()
    print(f"{subjects} subjects, {threads} threads, batches of {BATCH}, {'CUDA' if cuda else 'CPU'}")
    print(f"{'encoder':24s}{'loop':12s}{'decoding, s':>12s}{'epochs/min':>12s}{'recordings/s':>14s}{'waiting':>9s}")
    for number, (name, block) in enumerate(FEATURES.items()):
        # Without measurements, which the plain loop has no use for.
        features = block.model_copy(update={"measurements": False})
        start = time.perf_counter()
        stored = read(cohort, features, folder / f"set_{number}")
        stored.fit(np.arange(len(stored.subjects)), features.encoder)
        decoding = time.perf_counter() - start
        job, rows = job_of(cohort, features, stored, threads)
        seconds = {
            "riskweave": our_seconds(job, rows, epochs=epochs),
            "plain": plain_seconds(cohort, features, stored, epochs=epochs),
        }
        without = our_seconds(job, rows, epochs=epochs, waiting=False)
        for loop, value in seconds.items():
            waiting = f"{max(0.0, 1 - without / value):.0%}"
            once = f"{decoding:.1f}" if loop == "riskweave" else "each epoch"
            told = f"{name:24s}{loop:12s}{once:>12s}{60 / value:12.1f}{len(rows) / value:14.0f}{waiting:>9s}"
            print(told, flush=True)


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
    parser.add_argument("--epochs", type=int, default=3, help="epochs that are timed, after a first one")
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

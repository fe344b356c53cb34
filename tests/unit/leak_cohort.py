"""A clean cohort for the leak gates, small enough to be made for every plant: tables in memory."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, IMAGES, OUTCOMES, RECORDINGS, SOUNDS, SUBJECTS, write_table
from riskweave.leaks.find import find_leaks
from riskweave.modalities.base import Column, write_features
from riskweave.study.cohort import CodesEndpoint, Folds
from riskweave.study.features import EcgFeatures, EhrFeatures, EventFeatures, ImageFeatures
from riskweave.study.population import Population

N = 600
DAY = pd.Timedelta(days=1)


@dataclass
class Cohort:
    """Tables and blocks of a study; a plant changes them."""

    subjects: pd.DataFrame
    outcomes: pd.DataFrame
    folds: pd.DataFrame
    ehr: pd.DataFrame
    ecg: pd.DataFrame
    recordings: pd.DataFrame
    images: pd.DataFrame
    sounds: pd.DataFrame
    static: list[str]
    aggregates: dict[str, list[str]] = field(default_factory=dict)
    population: Population = field(default_factory=Population)
    division: Folds = field(default_factory=lambda: Folds(count=3))
    attrition: pd.DataFrame | None = None

    @property
    def event(self) -> np.ndarray:
        """1 where the target happened."""
        return (self.outcomes["event"] == 1).to_numpy().astype(float)

    def add_static(self, name: str, values) -> None:
        """Add a static feature."""
        self.subjects[name] = values
        self.ehr[name] = values
        self.static.append(name)

    def add_event(self, name: str, values) -> None:
        """Add a column made from events."""
        self.ehr[name] = values

    def find(self, folder: Path) -> list:
        """Write all tables and run the gates."""
        write_table(self.subjects, folder / "subjects.parquet", SUBJECTS)
        write_table(self.outcomes, folder / "mi.parquet", OUTCOMES)
        write_table(self.folds, folder / "folds.parquet", FOLDS)
        write_table(self.recordings, folder / "recordings.parquet", RECORDINGS)
        write_table(self.images, folder / "images.parquet", IMAGES)
        write_table(self.sounds, folder / "sounds.parquet", SOUNDS)
        write_features(self.ehr, folder / "ehr.parquet", _columns(self.ehr, "ehr"))
        write_features(self.ecg, folder / "ecg.parquet", _columns(self.ecg, "ecg"))
        image = self.subjects[["subject_id"]].assign(row=np.arange(len(self.subjects)))
        write_features(
            image[["subject_id"]].assign(quality=1.0), folder / "image.parquet", [Column("quality", "image")]
        )
        image.to_parquet(folder / "index.parquet")
        attrition = None
        if self.attrition is not None:
            attrition = folder / "attrition.csv"
            self.attrition.to_csv(attrition, index=False)
        stems = {name.rsplit(":", 1)[0] for name in self.ehr if ":" in name}
        blocks = [EventFeatures(codes=[stem], by_code=True, aggregates=["last"]) for stem in sorted(stems)]
        return find_leaks(
            subjects=folder / "subjects.parquet",
            outcomes={"mi": folder / "mi.parquet"},
            folds=folder / "folds.parquet",
            tables={name: folder / f"{name}.parquet" for name in ("ehr", "ecg", "image")},
            used={"mi": ["ehr", "ecg", "image"]},
            features={
                "ehr": EhrFeatures(modality="ehr", static=self.static, events=blocks),
                "ecg": EcgFeatures(modality="ecg"),
                "image": ImageFeatures(modality="image"),
            },
            endpoints={
                "mi": CodesEndpoint(kind="codes", target=["ICD10//I21"], competing=["MEDS_DEATH"], horizons=[365])
            },
            population=self.population,
            division=self.division,
            recordings=folder / "recordings.parquet",
            images=folder / "images.parquet",
            sounds=folder / "sounds.parquet",
            indices={"image": folder / "index.parquet"},
            attrition=attrition,
        )


def _columns(frame: pd.DataFrame, modality: str) -> list[Column]:
    return [
        Column(name, modality, kind="numeric" if pd.api.types.is_numeric_dtype(frame[name]) else "categorical")
        for name in frame
        if name != "subject_id"
    ]


def _manifest(ids, times, kind: str, seed: int) -> pd.DataFrame:
    shas = [hashlib.sha256(f"{kind}{seed}{one}".encode()).hexdigest() for one in ids]
    paths = [f"{kind}/{number}" for number in range(len(ids))]
    return pd.DataFrame({"subject_id": ids, "time": times, "path": paths, "sha256": shas})


def clean_cohort(seed: int = 1, n: int = N) -> Cohort:
    """Make a cohort whose strongest predictor, age, is honest: it tells events from others as well as ages do."""
    rng = np.random.default_rng(seed)
    ids = np.sort((10_000_000 + rng.choice(89_999_999, n, replace=False)).astype(str))
    age = rng.uniform(30, 90, n).round(1)
    cholesterol = rng.normal(5.2, 1, n).round(2)
    diabetes = rng.random(n) < 0.02 + 0.004 * (age - 30)
    hazard = 1 / 9000 * np.exp(0.07 * (age - 60) + 0.4 * (cholesterol - 5.2) + 0.7 * diabetes)
    target, death = rng.exponential(1 / hazard), rng.exponential(20_000 * np.exp(-0.08 * (age - 60)))
    index_time = pd.Timestamp("2010-01-01") + pd.to_timedelta(np.floor(rng.uniform(0, 2000, n) * 86_400), unit="s")
    # The study ends on one day for everybody, and some are lost before: censoring times follow the calendar in part.
    end = np.minimum((pd.Timestamp("2019-12-31") - index_time) / DAY, rng.exponential(9000, n) + 30)
    time = np.minimum.reduce([target, death, end])
    event = np.select([time == target, time == death], [1, 2], 0).astype(np.int8)
    bmi = np.where(rng.random(n) < 0.2 + 0.2 * (age > 70), np.nan, rng.normal(27, 4, n).round(1))
    subjects = pd.DataFrame({
        "subject_id": ids,
        "person_id": ids,
        "index_time": index_time.astype("datetime64[us]"),
        "followup_end": (index_time + pd.to_timedelta(np.ceil(end), unit="D")).astype("datetime64[us]"),
        "age": age,
        "sex": rng.choice(["female", "male"], n),
        "centre": rng.choice(["north", "south", "west"], n),
        "bmi": bmi,
        "prior_discharges": rng.poisson(0.7, n).astype(float),
        "bmi_date": (index_time - pd.to_timedelta(rng.integers(0, 400, n), unit="D")).astype("datetime64[us]"),
    })  # fmt: skip
    static = ["age", "sex", "centre", "bmi", "prior_discharges"]
    ehr = subjects[["subject_id", *static]].copy()
    measured = rng.random(n) < 0.85
    ehr["LAB//CHOL:last"] = np.where(measured, cholesterol, np.nan)
    ehr["LAB//CHOL:time_since"] = np.where(measured, rng.exponential(200, n), np.nan)
    ehr["ICD10//E11:ever"] = diabetes.astype(float)
    has = np.sort(np.flatnonzero(rng.random(n) < 0.7 + 0.2 * (age > 60)))
    ecg = pd.DataFrame({"subject_id": ids[has], "heart_rate": rng.normal(70, 10, len(has))})
    before = subjects["index_time"] - pd.to_timedelta(rng.integers(1, 300, n), unit="D")
    part = rng.permutation(n) % 3
    roles = [
        pd.DataFrame({
            "subject_id": ids,
            "fold": np.int16(fold),
            "role": np.where(part == fold, "test", np.where(rng.random(n) < 0.2, "validation", "train")),
        })
        for fold in range(3)
    ]  # fmt: skip
    return Cohort(
        subjects=subjects,
        outcomes=pd.DataFrame({"subject_id": ids, "endpoint": "mi", "time": time, "event": event}),
        folds=pd.concat(roles, ignore_index=True),
        ehr=ehr,
        ecg=ecg,
        recordings=_manifest(ids[has], before.to_numpy()[has], "ecg", seed),
        images=_manifest(ids, before.to_numpy(), "image", seed),
        sounds=_manifest(ids, before.to_numpy(), "sound", seed),
        static=static,
    )

"""A small experiment: a cohort with two feature sets and an embedding, and the training of a model on it."""

from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, OUTCOMES, write_table
from riskweave.modalities.base import Column, write_features
from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import CoxModel
from riskweave.survival.experiment import train_experiment
from riskweave.survival.fits import digest_of, stamp_fits

__all__ = ["COX", "FOLDS_N", "TIMES", "N", "build", "rewrite", "stamp", "train"]

N, FOLDS_N = 240, 2
TIMES = [200, 500, 1000]
COX = CoxModel(kind="cox", penalty=[0.05])


def build(tmp_path: Path) -> Path:
    """A cohort whose target depends on age and on an ECG embedding; 60 subjects have no ECG; death competes."""
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    age, signal = rng.normal(60, 10, N), rng.normal(size=N)
    target = rng.exponential(1500 * np.exp(-0.05 * (age - 60) - 0.9 * signal))
    death, censoring = rng.exponential(6000, N), rng.uniform(300, 3000, N)
    time = np.minimum.reduce([target, death, censoring])
    event = np.select([time == target, time == death], [1, 2], 0)
    outcomes = pd.DataFrame({"subject_id": ids, "endpoint": "mace", "time": np.ceil(time), "event": event})
    write_table(outcomes, tmp_path / "outcomes.parquet", OUTCOMES)
    roles = []
    for fold in range(FOLDS_N):
        role = np.where(np.arange(N) % FOLDS_N == fold, "test", "train").astype(object)
        role[(role == "train") & (rng.random(N) < 0.2)] = "validation"
        roles.append(pd.DataFrame({"subject_id": ids, "fold": fold, "role": role}))
    write_table(pd.concat(roles), tmp_path / "folds.parquet", FOLDS)
    ehr = pd.DataFrame({"subject_id": ids, "age": age, "smoker": rng.choice(["yes", "no"], N)})
    columns = [Column("age", "ehr", "years"), Column("smoker", "ehr", kind="categorical")]
    write_features(ehr, tmp_path / "ehr.parquet", columns)
    with_ecg = np.sort(rng.permutation(N)[:180])
    ecg = pd.DataFrame({"subject_id": ids[with_ecg], "rate": rng.normal(70, 9, 180)})
    write_features(ecg, tmp_path / "ecg.parquet", [Column("rate", "ecg", "1/min")])
    embeddings = pd.concat(
        pd.DataFrame(
            {"subject_id": ids[with_ecg], "fold": np.int16(fold), "emb_0": ((fold + 1) * signal[with_ecg])},
        )
        for fold in range(FOLDS_N)
    )
    write_features(
        embeddings.astype({"emb_0": np.float32}),
        tmp_path / "embeddings.parquet",
        [Column("emb_0", "ecg")],
        keys=("subject_id", "fold"),
    )
    stamp(tmp_path / "embeddings.parquet", pd.concat(roles), set(ids[with_ecg]))
    return tmp_path


def stamp(embeddings: Path, division: pd.DataFrame, present: set[str], *, role: str = "train") -> None:
    """Say that the encoder of each fold was fitted on the rows of one role."""
    rows = division[(division["role"] == role) & division["subject_id"].isin(present)]
    stamp_fits(embeddings, {int(fold): digest_of(part["subject_id"]) for fold, part in rows.groupby("fold")})


def train(study: Path, output: str = "a", model=COX, sets=("ehr", "ecg"), **changes) -> Path:
    folder = study / output
    arguments = {
        "experiment": {
            "name": f"{'+'.join(sets)}.{model.kind}",
            "endpoint": "mace",
            "feature_sets": sets,
            "fusion": "early",
            "model": model.kind,
        },
        "model": model,
        "fusion": BUILT_IN["early"],
        "tables": {name: study / f"{name}.parquet" for name in sets},
        "embeddings": {"ecg": study / "embeddings.parquet"} if "ecg" in sets else {},
        "outcomes": study / "outcomes.parquet",
        "folds": study / "folds.parquet",
        "times": TIMES,
        "seed": 1,
        "threads": 1,
        "predictions": folder / "predictions.parquet",
        "models": folder / "models.zip",
        "record": folder / "run.json",
        "curves": folder / "curves.csv",
        "trials": folder / "trials.csv",
        "context": {"study": "test", "rule": "train_experiment", "data": {}},
    }
    train_experiment(**(arguments | changes))
    return folder


def rewrite(study: Path, name: str, schema, change) -> None:
    write_table(change(pd.read_parquet(study / name)), study / name, schema)

"""Recordings in memory whose mean level drives the hazard, for tests of encoders."""

import numpy as np
import pandas as pd

from riskweave.modalities.dense import Dense
from riskweave.study.encoders import TcnEncoder
from riskweave.study.features import EcgFeatures
from riskweave.study.training import Training
from riskweave.survival.encoding.members import Job
from riskweave.survival.encoding.rows import Rows


def features(*, cross_fit, epochs=8, channels=8):
    """Return the block of a feature set with a tiny network."""
    return EcgFeatures(
        modality="ecg",
        encoder=TcnEncoder(
            channels=channels,
            blocks=1,
            kernel_size=3,
            embedding=3,
            dropout=0.0,
            intervals=5,
            cross_fit=cross_fit,
            training=Training(epochs=epochs, patience=epochs, batch_size=32, learning_rate=1e-2),
        ),
    )


def planted(block, *, strength, seed=0, sizes=(300, 120, 400), leads=6, samples=24):
    """Return a job, the rows of one fold, and the log hazard of everybody: `strength` is its standard deviation."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    level = rng.normal(size=n)
    array = rng.normal(size=(n, leads, samples)).astype(np.float32)
    array[:, 0] += 0.5 * level[:, None]
    time = rng.exponential(1000 * np.exp(-strength * level)) + 0.5
    event = np.where(time < 1500, 1, 0)
    names = np.array([f"s{i:04d}" for i in range(n)], dtype=object)
    stored = Dense(array, pd.Index(names), [np.array([i]) for i in range(n)], several=False, fingerprint="made up")
    job = Job(name="made up", features=block, stored=stored, causes=1, state=None, pretrained={}, seed=seed, threads=1)
    where = np.split(np.arange(n), np.cumsum(sizes)[:-1])
    roles = zip(("train", "validation", "test"), where, strict=True)
    rows = {role: Rows(names[at], at, names[at], np.minimum(time[at], 1500.0), event[at]) for role, at in roles}
    return job, rows, strength * level

"""Latent states of the subjects, and the log-hazards that they imply."""

from collections.abc import Collection

import numpy as np
import pandas as pd

__all__ = ["LATENTS", "STREAMS", "draw_latents", "log_hazards"]

# One stream of random numbers per purpose: what one part draws never shifts what another part draws.
STREAMS = {"latent": 1, "outcome": 2, "schedule_ecg": 3, "schedule_image": 4, "ehr": 5, "ecg": 6, "image": 7, "uid": 8}

LATENTS = {
    "ehr": ("metabolic", "vascular", "renal", "smoker"),
    "ecg": ("ischaemia", "conduction", "rate", "fibrillation"),
    "image": ("heart_size", "texture"),
}

# Share of the population with each binary state.
FEMALE, SMOKER, FIBRILLATION = 0.48, 0.25, 0.12

# Weights of the unit-variance scores in the two log-hazards.
TARGET = {"demographic": 0.55, "ehr": 0.93, "ecg": 0.95, "image": 0.98, "interaction": 0.45}
DEATH = {"demographic": 0.9, "ehr": 0.25, "ecg": 0.25, "image": 0.25}

# Pairs of modalities and states whose product enters the log-hazard of the target event.
INTERACTIONS = (
    ("ehr", "vascular", "image", "heart_size"),
    ("ehr", "metabolic", "ecg", "ischaemia"),
    ("ecg", "conduction", "image", "texture"),
)


def draw_latents(*, subjects: int, centres: int, seed: int) -> pd.DataFrame:
    """Draw a cohort's latent states.

    Parameters
    ----------
    subjects : int
        Number of subjects.
    centres : int
        Number of centres; they differ in size.
    seed : int
        Seed of the generator.

    Returns
    -------
    pandas.DataFrame
        One row per subject, sorted by subject_id: subject_id (int64, eight digits), age (years at the index time, 35 to
        88), female and the binary states (0 or 1), centre (0 to centres - 1), and the standard normal states.
    """
    rng = np.random.default_rng([seed, STREAMS["latent"]])
    share = 1 / np.arange(2, centres + 2)
    frame = {
        "subject_id": np.sort(rng.choice(90_000_000, size=subjects, replace=False)) + 10_000_000,
        "age": np.clip(rng.normal(62, 10, subjects), 35, 88).round(2),
        "female": (rng.random(subjects) < FEMALE).astype(int),
        "centre": rng.choice(centres, size=subjects, p=share / share.sum()),
    }
    shares = {"smoker": SMOKER, "fibrillation": FIBRILLATION}
    for names in LATENTS.values():
        for name in names:
            if name in shares:
                frame[name] = (rng.random(subjects) < shares[name]).astype(int)
            else:
                frame[name] = rng.normal(size=subjects)
    return pd.DataFrame(frame)


def log_hazards(latents: pd.DataFrame, *, noise: Collection[str]) -> pd.DataFrame:
    """Evaluate the parts of the two log-hazards, without their intercepts.

    Parameters
    ----------
    latents : pandas.DataFrame
        As `draw_latents` returns it, n rows.
    noise : collection of str
        Modalities that carry no signal: their parts, and the interactions they take part in, are zero.

    Returns
    -------
    pandas.DataFrame
        n rows: demographic, ehr, ecg, image and interaction (parts of the target event's log-hazard), total (their sum)
        and death (log-hazard of death).
    """
    x = latents
    scores = {
        "demographic": (0.9 * (x["age"] - 62) / 10 - 0.6 * (x["female"] - FEMALE)) / _sd(0.9, binary=[(0.6, FEMALE)]),
        "ehr": (
            0.6 * x["metabolic"]
            + 0.55 * x["vascular"]
            + 0.5 * x["renal"]
            + 0.6 * (x["smoker"] - SMOKER)
            + 0.25 * x["metabolic"] * x["vascular"]
        )
        / _sd(0.6, 0.55, 0.5, 0.25, binary=[(0.6, SMOKER)]),
        "ecg": (
            0.65 * x["ischaemia"] + 0.55 * x["conduction"] + 0.35 * x["rate"] + 1.1 * (x["fibrillation"] - FIBRILLATION)
        )
        / _sd(0.65, 0.55, 0.35, binary=[(1.1, FIBRILLATION)]),
        "image": (0.75 * x["heart_size"] + 0.6 * x["texture"] + 0.2 * x["heart_size"] * x["texture"])
        / _sd(0.75, 0.6, 0.2),
    }
    products = [x[a] * x[b] for first, a, second, b in INTERACTIONS if not {first, second} & set(noise)]
    scores["interaction"] = sum(products, np.zeros(len(x))) / np.sqrt(len(INTERACTIONS))
    for modality in noise:
        scores[modality] = np.zeros(len(x))
    parts = pd.DataFrame({name: weight * np.asarray(scores[name]) for name, weight in TARGET.items()})
    parts["total"] = parts[list(TARGET)].sum(axis=1)
    parts["death"] = sum(weight * np.asarray(scores[name]) for name, weight in DEATH.items())
    return parts


def _sd(*weights: float, binary: list[tuple[float, float]] = ()) -> float:
    """Return the standard deviation of a sum of independent unit-variance terms and (weight, share) binary terms."""
    return float(np.sqrt(sum(w**2 for w in weights) + sum(w**2 * p * (1 - p) for w, p in binary)))

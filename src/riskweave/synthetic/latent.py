"""Latent states of the subjects, and the log-hazards that they imply."""

from collections.abc import Collection

import numpy as np
import pandas as pd

__all__ = ["FURTHER_LATENTS", "LATENTS", "SHARES", "STREAMS", "draw_latents", "log_hazards"]

# One stream of random numbers per purpose: what one part draws never shifts what another part draws.
STREAMS = {
    "latent": 1,
    "outcome": 2,
    "schedule_ecg": 3,
    "schedule_image": 4,
    "ehr": 5,
    "ecg": 6,
    "image": 7,
    "uid": 8,
    "latent_text": 9,
    "latent_audio": 10,
    "schedule_text": 11,
    "schedule_audio": 12,
    "text": 13,
    "audio": 14,
    "further_ecg": 15,
    "further_image": 16,
    "further_text": 17,
    "further_audio": 18,
    "day_ecg": 19,
    "day_image": 20,
    "day_audio": 21,
}

LATENTS = {
    "ehr": ("metabolic", "vascular", "renal", "smoker"),
    "ecg": ("ischaemia", "conduction", "rate", "fibrillation"),
    "image": ("heart_size", "texture"),
}
# States of the modalities that are generated on request only.
FURTHER_LATENTS = {"text": ("angina", "frailty", "family_history"), "audio": ("murmur", "gallop")}

# Share of the population with each binary state.
FEMALE, SMOKER, FIBRILLATION, FAMILY_HISTORY = 0.48, 0.25, 0.12, 0.3
SHARES = {"smoker": SMOKER, "fibrillation": FIBRILLATION, "family_history": FAMILY_HISTORY}

# Weights of the unit-variance scores in the two log-hazards.
TARGET = {"demographic": 0.55, "ehr": 0.93, "ecg": 0.95, "image": 0.98, "interaction": 0.45}
FURTHER_TARGET = {"text": 0.95, "audio": 0.95}
DEATH = {"demographic": 0.9, "ehr": 0.25, "ecg": 0.25, "image": 0.25}
FURTHER_DEATH = {"text": 0.25, "audio": 0.25}

# Pairs of modalities and states whose product enters the log-hazard of the target event.
INTERACTIONS = (
    ("ehr", "vascular", "image", "heart_size"),
    ("ehr", "metabolic", "ecg", "ischaemia"),
    ("ecg", "conduction", "image", "texture"),
)


def draw_latents(*, subjects: int, centres: int, seed: int, also: Collection[str] = ()) -> pd.DataFrame:
    """Draw a cohort's latent states.

    Parameters
    ----------
    subjects : int
        Number of subjects.
    centres : int
        Number of centres; they differ in size.
    seed : int
        Seed of the generator.
    also : collection of str
        Further modalities ("text", "audio") whose states are drawn; they leave the others as they are.

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
    for names in LATENTS.values():
        frame |= _draw_states(names, subjects, rng)
    for modality, names in FURTHER_LATENTS.items():
        if modality in also:
            frame |= _draw_states(names, subjects, np.random.default_rng([seed, STREAMS[f"latent_{modality}"]]))
    return pd.DataFrame(frame)


def _draw_states(names: Collection[str], subjects: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw binary states with their shares, and the others from the standard normal distribution."""
    return {
        name: (rng.random(subjects) < SHARES[name]).astype(int) if name in SHARES else rng.normal(size=subjects)
        for name in names
    }


def log_hazards(latents: pd.DataFrame, *, noise: Collection[str], also: Collection[str] = ()) -> pd.DataFrame:
    """Evaluate the parts of the two log-hazards, without their intercepts.

    Parameters
    ----------
    latents : pandas.DataFrame
        As `draw_latents` returns it, n rows.
    noise : collection of str
        Modalities that carry no signal: their parts, and the interactions they take part in, are zero.
    also : collection of str
        Further modalities ("text", "audio") that take part, whose states `latents` holds.

    Returns
    -------
    pandas.DataFrame
        n rows: demographic, ehr, ecg, image, interaction and the further modalities (parts of the target event's
        log-hazard), total (their sum) and death (log-hazard of death).
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
    scores |= {name: score(x) for name, score in (("text", _text_score), ("audio", _audio_score)) if name in also}
    for modality in noise:
        scores[modality] = np.zeros(len(x))
    # The sums run in this order, so that a cohort without further modalities keeps its bits.
    target = TARGET | {name: weight for name, weight in FURTHER_TARGET.items() if name in also}
    death = DEATH | {name: weight for name, weight in FURTHER_DEATH.items() if name in also}
    parts = pd.DataFrame({name: weight * np.asarray(scores[name]) for name, weight in target.items()})
    parts["total"] = parts[list(target)].sum(axis=1)
    parts["death"] = sum(weight * np.asarray(scores[name]) for name, weight in death.items())
    return parts


def _text_score(x: pd.DataFrame) -> pd.Series:
    """Score of what notes tell: chest pain, frailty and the family's history."""
    family = x["family_history"] - FAMILY_HISTORY
    return (0.7 * x["angina"] + 0.55 * x["frailty"] + 0.8 * family) / _sd(0.7, 0.55, binary=[(0.8, FAMILY_HISTORY)])


def _audio_score(x: pd.DataFrame) -> pd.Series:
    """Score of what heart sounds tell: a systolic murmur and a third heart sound."""
    return (0.7 * x["murmur"] + 0.6 * x["gallop"] + 0.2 * x["murmur"] * x["gallop"]) / _sd(0.7, 0.6, 0.2)


def _sd(*weights: float, binary: list[tuple[float, float]] = ()) -> float:
    """Return the standard deviation of a sum of independent unit-variance terms and (weight, share) binary terms."""
    return float(np.sqrt(sum(w**2 for w in weights) + sum(w**2 * p * (1 - p) for w, p in binary)))

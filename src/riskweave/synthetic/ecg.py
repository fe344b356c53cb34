"""Synthesis of 12-lead electrocardiograms from latent states.

Each wave of each beat is a Gaussian in time (the idea of McSharry et al., IEEE Trans Biomed Eng 2003;50:289) that moves
a heart dipole in three dimensions; Dower's transform (Dower et al., Clin Cardiol 1980;3:87) projects the dipole on the
leads.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["LEADS", "SAMPLES", "SAMPLING_RATE", "Ecg", "synthesise"]

SAMPLING_RATE = 500
SAMPLES = 5000
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Dower's matrix: lead from x (to the left), y (to the feet) and z (to the back), for I, II and V1 to V6.
_DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}
# The limb leads follow from I and II (Einthoven, Goldberger).
_FROM_LIMBS = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}

# Dipole of each wave in mV (x, y, z).
_P = (0.08, 0.13, -0.02)
_Q = (-0.14, -0.08, -0.22)
_R = (0.85, 0.80, 0.15)
_S = (-0.30, -0.25, 0.42)
_LATE = (-0.20, 0.05, -0.30)
_ST = (0.16, 0.13, -0.08)
_T = (0.30, 0.28, -0.12)


@dataclass(frozen=True)
class Ecg:
    """What one recording shows of its subject.

    Parameters
    ----------
    ischaemia : float
        Standard normal; depresses ST and lowers, then inverts T.
    conduction : float
        Standard normal; widens QRS (about 94 ms at 0, 13 ms per unit) and lengthens the late forces.
    rate : float
        Standard normal; heart rate is about 72 beats/min at 0, 10 more per unit.
    fibrillation : bool
        Atrial fibrillation: irregular, faster, fibrillatory waves instead of P waves.
    """

    ischaemia: float
    conduction: float
    rate: float
    fibrillation: bool


def synthesise(*, ecg: Ecg, rng: np.random.Generator) -> np.ndarray:
    """Synthesise a recording.

    Parameters
    ----------
    ecg : Ecg
        Latent states of the recording.
    rng : numpy.random.Generator
        Source of what differs between recordings without meaning: electrical axis, gain, beat-to-beat intervals,
        baseline wander, mains hum and noise.

    Returns
    -------
    numpy.ndarray
        Signal in mV, shape (5000, 12), 10 s at 500 Hz, leads in the order of `LEADS`.
    """
    beats, interval = _beats(ecg, rng)
    sources, dipoles = _waves(ecg, beats, interval, rng)
    turned = dipoles @ _rotation(rng) * np.exp(rng.normal(0, 0.15))
    time = np.arange(SAMPLES) / SAMPLING_RATE
    if ecg.fibrillation:
        # Fibrillatory waves wander between 4.5 and 8 Hz.
        phase = np.cumsum(4.5 + 3.5 * rng.random() + rng.normal(0, 2, SAMPLES)) / SAMPLING_RATE
        sources = np.vstack([sources, np.sin(2 * np.pi * phase)])
        turned = np.vstack([turned, np.array([0.02, 0.05, -0.05]) * rng.uniform(0.6, 1.4)])
    projection = _projection() * rng.normal(1, 0.06, (1, 8))
    eight = sources.T @ (turned @ projection)
    return _derive(eight + _disturbances(time, rng))


def _beats(ecg: Ecg, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw the times of the R waves in seconds, from before the recording to after it, and the mean interval."""
    rate = np.clip(72 + 10 * ecg.rate + 12 * ecg.fibrillation + rng.normal(0, 2), 42, 165)
    interval = 60 / rate
    count = int(14 / interval) + 4
    if ecg.fibrillation:
        intervals = interval * np.exp(rng.normal(-0.02, 0.2, count))
    else:
        breathing = 0.03 * rng.gamma(3, 1 / 3) * np.sin(2 * np.pi * (0.25 * interval * np.arange(count) + rng.random()))
        intervals = interval * (1 + breathing + rng.normal(0, 0.008, count))
    return np.cumsum(np.maximum(intervals, 0.3)) - 2 * interval - rng.random() * interval, interval


def _waves(ecg: Ecg, beats: np.ndarray, interval: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Time courses of the waves, shape (waves, samples), and their dipoles in mV, shape (waves, 3)."""
    wide = np.clip(0.97 + 0.14 * ecg.conduction + rng.normal(0, 0.02), 0.65, 1.7)
    late = max(0.0, 0.35 + 0.45 * ecg.conduction)
    # Ischaemia acts softly below zero and fully above: ST sinks, T flattens and turns over.
    strain = ecg.ischaemia + rng.normal(0, 0.15)
    st = 0.25 - 0.85 * np.logaddexp(0, 1.2 * strain) / 1.2
    t_wave = (0.95 - 0.5 * strain) * np.exp(rng.normal(0, 0.12))
    repolarisation = np.sqrt(interval)
    p_wave = 0.0 if ecg.fibrillation else np.exp(rng.normal(0, 0.2))
    pr = rng.normal(0.16, 0.015)
    waves = [  # offset from R in s, width in s, dipole in mV
        (-pr, 0.020, np.multiply(_P, p_wave)),
        (-0.024 * wide, 0.008 * wide, np.array(_Q)),
        (0.0, 0.010 * wide, np.array(_R)),
        (0.027 * wide, 0.010 * wide, np.array(_S)),
        (0.048 * wide, 0.012 * wide, np.multiply(_LATE, late)),
        (0.135 * repolarisation, 0.035, np.multiply(_ST, st)),
        (0.290 * repolarisation, 0.042 * repolarisation, np.multiply(_T, t_wave)),
    ]
    time = np.arange(SAMPLES) / SAMPLING_RATE
    sources = np.empty((len(waves), SAMPLES))
    for k, (offset, width, _) in enumerate(waves):
        # The nearest beat's wave alone: neighbours are many widths away.
        centres = beats + offset
        nearest = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, time)]
        sources[k] = np.exp(-0.5 * ((time - nearest) / width) ** 2)
    return sources, np.stack([dipole for _, _, dipole in waves])


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """Random turn of the heart in the chest, in the frontal and in the transverse plane, shape (3, 3)."""
    frontal, transverse = np.deg2rad(rng.normal(0, (14, 10)))
    c, s = np.cos(frontal), np.sin(frontal)
    first = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    c, s = np.cos(transverse), np.sin(transverse)
    return first @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _projection() -> np.ndarray:
    """Dower's matrix, shape (3, 8)."""
    return np.array(list(_DOWER.values())).T


def _disturbances(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Baseline wander, mains hum and white noise in mV, shape (samples, 8)."""
    wander = np.sin(2 * np.pi * (np.outer(time, rng.uniform(0.12, 0.4, 2)) + rng.random(2)))
    hum = np.sin(2 * np.pi * (50 * time + rng.random()))
    level = rng.uniform(0.006, 0.02)
    return (
        wander @ rng.normal(0, 0.06, (2, 8))
        + np.outer(hum, rng.uniform(0, 0.012, 8))
        + level * rng.standard_normal((len(time), 8), dtype=np.float32)
    )


def _derive(eight: np.ndarray) -> np.ndarray:
    """Twelve leads from I, II and V1 to V6."""
    column = dict(zip(_DOWER, eight.T, strict=True))
    for lead, (first, second) in _FROM_LIMBS.items():
        column[lead] = first * column["I"] + second * column["II"]
    return np.stack([column[lead] for lead in LEADS], axis=1)

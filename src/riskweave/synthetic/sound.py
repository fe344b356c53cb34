"""Synthesis of heart sounds from latent states.

A cycle has the first and the second heart sound as short tones under a Gaussian envelope (Almasi et al., Annu Int Conf
IEEE Eng Med Biol Soc 2011:5686), a systolic murmur as band-limited noise between them, and a third heart sound in early
diastole. Breathing and the room add noise.
"""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["SAMPLES", "SAMPLING_RATE", "HeartSound", "synthesise_sound", "write_wav"]

SAMPLING_RATE = 2000
SAMPLES = 20_000

_MURMUR = 0.10  # amplitude at a state of 0; the first heart sound has 1
_THIRD = 0.24
_GROWTH = 0.65  # of the log-amplitudes of both, per unit of their states


@dataclass(frozen=True)
class HeartSound:
    """What one recording shows of its subject.

    Parameters
    ----------
    murmur : float
        Standard normal; the log-amplitude of the systolic murmur grows by 0.65 per unit.
    gallop : float
        Standard normal; the log-amplitude of the third heart sound grows by 0.65 per unit.
    """

    murmur: float
    gallop: float


def synthesise_sound(*, sound: HeartSound, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Synthesise a recording.

    Parameters
    ----------
    sound : HeartSound
        Latent states of the recording.
    gain : float
        Amplification of the stethoscope; 1 lets the first heart sound reach about a third of the full scale.
    rng : numpy.random.Generator
        Source of what differs between recordings without meaning: heart rate, loudness, pitch, timing, breathing and
        noise.

    Returns
    -------
    numpy.ndarray
        Sound of 10 s at 2000 Hz, shape (20000,), full scale 1, beyond which it is clipped.
    """
    time = np.arange(SAMPLES) / SAMPLING_RATE
    interval = 60 / np.clip(rng.normal(72, 11), 45, 125)
    count = int(12 / interval) + 3
    beats = np.cumsum(interval * (1 + rng.normal(0, 0.02, count))) - interval * (1 + rng.random())
    # Systole takes a smaller share of a longer cycle.
    systole = 0.30 * np.sqrt(interval / 0.83) * np.exp(rng.normal(0, 0.04))
    since = time - beats[np.clip(np.searchsorted(beats, time, side="right") - 1, 0, None)]
    first = _tone(since, 0.02, 0.016, rng.normal(58, 4))
    second = _tone(since, 0.02 + systole, 0.012, rng.normal(82, 5)) * rng.normal(0.7, 0.08)
    level = _THIRD * np.exp(_GROWTH * sound.gallop + rng.normal(0, 0.08))
    third = _tone(since, 0.02 + systole + rng.normal(0.15, 0.008), 0.022, rng.normal(30, 2)) * level
    # The murmur fills systole between the two sounds, loudest at its middle.
    position = np.clip((since - 0.06) / (systole - 0.08), 0, 1)
    envelope = np.sin(np.pi * position) ** 1.5
    level = _MURMUR * np.exp(_GROWTH * sound.murmur + rng.normal(0, 0.08))
    pitch = rng.normal(170, 20)
    murmur = envelope * _noise(rng, pitch - 70, pitch + 90) * level
    # Each beat is a little louder or softer, as the chest moves.
    breath = 2 * np.pi * (rng.uniform(0.2, 0.33) * time + rng.random())
    heart = (first + second + third + murmur) * (1 + 0.12 * np.sin(breath))
    breathing = np.clip(np.sin(breath), 0, None) ** 2 * _noise(rng, 180, 500) * rng.uniform(0.005, 0.05)
    room = rng.standard_normal(SAMPLES, dtype=np.float32) * rng.uniform(0.004, 0.016)
    return np.clip((heart + breathing + room) * 0.35 * gain * np.exp(rng.normal(0, 0.25)), -1, 1)


def _tone(since: np.ndarray, centre: float, width: float, pitch: float) -> np.ndarray:
    """Tone of a pitch in Hz under a Gaussian, `centre` and `width` in seconds since the beat."""
    place = since - centre
    return np.exp(-0.5 * (place / width) ** 2) * np.cos(2 * np.pi * pitch * place)


def _noise(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Noise of standard deviation 1 in a band, in Hz."""
    bands = np.fft.rfftfreq(SAMPLES, 1 / SAMPLING_RATE)
    inside = (bands > low) & (bands < high)
    spectrum = np.zeros(len(bands), dtype=complex)
    spectrum[inside] = rng.normal(size=(inside.sum(), 2)) @ (1, 1j)
    noise = np.fft.irfft(spectrum, n=SAMPLES)
    return noise / noise.std()


def write_wav(*, path: Path, sound: np.ndarray, sampling_rate: int) -> None:
    """Write a WAV file with one channel of 16 bits.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    sound : numpy.ndarray
        Sound, shape (samples,), full scale 1.
    sampling_rate : int
        Sampling rate in Hz.
    """
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())

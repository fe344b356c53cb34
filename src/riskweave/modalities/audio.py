"""Audio features: sounds of the heart made comparable (rate, length, loudness), measured, as log-mel spectrograms."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.ndimage
import scipy.signal

from riskweave.errors import DataError
from riskweave.modalities.base import Column
from riskweave.modalities.files import UnreadableFileError
from riskweave.modalities.recorded import Recorded
from riskweave.modalities.signals import resample
from riskweave.modalities.wav import Wave, read_wav
from riskweave.study.features import AudioFeatures

__all__ = ["MODALITY", "frames_of", "log_mel", "measure", "mel", "mel_filters", "read_sound"]

WINDOW_SECONDS, HOP_SECONDS = 0.05, 0.025
LOWEST = 20.0
"""Hz: below it there is handling noise, and nothing that a stethoscope carries."""

RANGE = 80.0
"""Decibels below the loud parts at which a spectrogram ends."""

LOUD = 99.0
"""Percentile of the levels of a recording that becomes 0 dB: a single knock does not set the scale."""

# Measurements are made at this rate and from at least this length, whatever the encoder is given.
MEASURED_RATE = 2000.0
MEASURED_SECONDS = 10.0
SHORTEST_SECONDS = 1.0
PERIODIC = 0.3

BANDS = (("low", 20.0, 60.0), ("middle", 60.0, 150.0), ("high", 150.0, 400.0))

MEASUREMENTS = (
    ("rms", "dB", "Root mean square level against the full scale; missing for silence"),
    ("centroid", "Hz", "Spectral centroid: mean frequency above 20 Hz, weighted by power; missing for silence"),
    ("spread", "Hz", "Standard deviation of the frequency above 20 Hz, weighted by power; missing for silence"),
    *(
        (f"{name}_power", "dB", f"Power between {low:g} and {high:g} Hz as a share of that above 20 Hz")
        for name, low, high in BANDS
    ),
    ("cycle_rate", "1/min", "Rate at which the envelope repeats (30 to 200), of sounds that repeat"),
    ("periodicity", "", "Autocorrelation of the envelope at that rate's period: 1 repeats exactly"),
)

QUALITY = (
    ("duration", "s", "Length of the sound that was read, up to the length asked for"),
    ("clipped", "%", "Samples that stay at the recording's extreme value for 3 samples or more"),
)

ACCEPTED = "Accepted are WAV files of at least 1 s: PCM of 8, 16, 24 or 32 bits, or floating point, mono or stereo."


def read_sound(path: Path, *, features: AudioFeatures) -> tuple[np.ndarray, dict[str, float | int | bool]]:
    """Read one sound and bring it into the form that the study asks for.

    Parameters
    ----------
    path : Path
        WAV file; of several channels the mean is taken.
    features : AudioFeatures
        Sampling rate (Hz), length (s), bands of the spectrogram; whether to measure it.

    Returns
    -------
    spectrogram : numpy.ndarray
        float32 of shape (bands, frames), in dB: see `log_mel`.
    facts : dict
        Quality of the recording, rate (Hz), channels and bits of the file, silent, and the measurements where asked
        for.

    Raises
    ------
    UnreadableFileError
        When the file cannot be used.
    """
    wave = read_wav(path)
    length = len(wave.samples) / wave.rate
    if length < SHORTEST_SECONDS:
        raise UnreadableFileError(f"it holds less than {SHORTEST_SECONDS:g} s")
    seconds = max(features.seconds, MEASURED_SECONDS)
    samples = wave.samples[: int(np.ceil(seconds * wave.rate))]
    facts: dict[str, float | int | bool] = {
        "duration": min(length, features.seconds),
        "clipped": _clipped(samples),
        "rate": wave.rate,
        "channels": wave.channels,
        "bits": wave.bits,
        "silent": bool(np.ptp(samples) == 0),
    }
    if features.measurements:
        facts |= _measured(wave, samples)
    wanted = round(features.seconds * features.sampling_rate)
    signal = resample(samples - samples.mean(), rate=wave.rate, target=features.sampling_rate)[:wanted]
    spectrogram = log_mel(signal, rate=features.sampling_rate, bands=features.bands)
    missing = _shape(features)[1] - spectrogram.shape[1]
    return np.pad(spectrogram, ((0, 0), (0, missing)), constant_values=-RANGE).astype(np.float32), facts


def mel(frequency: np.ndarray | float) -> np.ndarray | float:
    """Return the pitch in mel of a frequency in Hz: ``2595 log10(1 + f / 700)`` (O'Shaughnessy 1987, p. 150)."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


@functools.lru_cache(maxsize=8)
def mel_filters(*, rate: float, bands: int) -> tuple[np.ndarray, int]:
    """Return triangular filters that are evenly spaced in mel, from 20 Hz to half the sampling rate.

    Each rises from the centre of the band below to 1 at its own and falls to the centre of the band above (Davis and
    Mermelstein 1980, doi:10.1109/TASSP.1980.1163420). The spectrum is made as fine as the narrowest of them needs.

    Parameters
    ----------
    rate : float
        Sampling rate in Hz.
    bands : int
        Number of filters.

    Returns
    -------
    filters : ndarray, shape (bands, points // 2 + 1)
        Weights of the frequencies ``k rate / points``.
    points : int
        Points of the Fourier transform.
    """
    steps = np.linspace(mel(LOWEST), mel(rate / 2), bands + 2)
    edges = 700.0 * (10.0 ** (steps / 2595.0) - 1.0)
    points = 1 << int(np.ceil(np.log2(max(round(WINDOW_SECONDS * rate), rate / np.diff(edges).min()))))
    frequency = np.arange(points // 2 + 1) * rate / points
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return np.clip(np.minimum(rising, falling), 0.0, None), points


def frames_of(samples: int, *, rate: float) -> int:
    """Return the number of frames of a spectrogram: a window of 50 ms each 25 ms, the last one filled with silence."""
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    return 1 + max(0, -(-(samples - window) // hop))


def log_mel(signal: np.ndarray, *, rate: float, bands: int) -> np.ndarray:
    """Return the log-mel spectrogram of a sound, against its own loud parts.

    Power spectra of Hann windows, summed by `mel_filters`, in decibels; the 99th percentile of a recording's levels is
    0 dB, as the gain of stethoscopes and the pressure on them differ, and levels end 80 dB below it.

    Parameters
    ----------
    signal : ndarray, shape (samples,)
    rate : float
        Sampling rate in Hz.
    bands : int
        Bands of the mel scale.

    Returns
    -------
    ndarray of float64, shape (bands, frames)
        -80 throughout for silence.
    """
    filters, points = mel_filters(rate=rate, bands=bands)
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    frames = frames_of(len(signal), rate=rate)
    padded = np.pad(signal, (0, max(0, (frames - 1) * hop + window - len(signal))))
    parts = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:frames]
    spectra = np.abs(np.fft.rfft(parts * scipy.signal.windows.hann(window, sym=False), points, axis=1)) ** 2
    power = filters @ spectra.T
    loud = np.percentile(power, LOUD)
    if loud <= 0:
        loud = power.max()
    if loud <= 0:
        return np.full(power.shape, -RANGE)
    return 10.0 * np.log10(np.maximum(power / loud, 10.0 ** (-RANGE / 10.0)))


def measure(signal: np.ndarray, *, rate: float) -> dict[str, float]:
    """Measure a sound.

    Parameters
    ----------
    signal : ndarray, shape (samples,)
        Full scale 1, without an offset.
    rate : float
        Sampling rate in Hz.

    Returns
    -------
    dict
        A value for each name of `MEASUREMENTS`, NaN where it cannot be measured.
    """
    values = {name: np.nan for name, *_ in MEASUREMENTS}
    power = float(np.mean(signal**2))
    if power <= 0:
        return values
    values["rms"] = 10.0 * np.log10(power)
    # Welch 1967, windows of half a second.
    frequency, density = scipy.signal.welch(signal, fs=rate, nperseg=min(round(rate / 2), len(signal)))
    density = np.where(frequency >= LOWEST, density, 0.0)
    total = density.sum()
    if total > 0:
        centroid = float((frequency * density).sum() / total)
        values["centroid"] = centroid
        values["spread"] = float(np.sqrt(((frequency - centroid) ** 2 * density).sum() / total))
        for name, low, high in BANDS:
            share = density[(frequency >= low) & (frequency < high)].sum() / total
            values[f"{name}_power"] = 10.0 * np.log10(share) if share > 0 else np.nan
    values["cycle_rate"], values["periodicity"] = _cycle(signal, rate)
    return values


def _cycle(signal: np.ndarray, rate: float) -> tuple[float, float]:
    """Return the rate (1/min) at which the envelope repeats, and how well.

    The autocorrelation of the envelope, as in Schmidt et al. 2010 (doi:10.1088/0967-3334/31/4/004), which takes the
    highest peak between 30 and 200 cycles a minute. Of peaks nearly as high the shortest period counts: two cycles
    repeat as well as one. Overlapping windows make the estimate fair for periods up to half the recording.
    """
    step = max(int(rate // 100), 1)
    width = max(round(0.05 * rate), 1)
    envelope = np.sqrt(scipy.ndimage.uniform_filter1d(signal**2, width))[::step]
    slow = rate / step
    envelope = envelope - scipy.ndimage.uniform_filter1d(envelope, round(2 * slow))
    shortest, longest = round(slow * 60 / 200), min(round(slow * 60 / 30), len(envelope) // 2)
    energy = float(envelope @ envelope) / len(envelope)
    if longest <= shortest or energy <= 0:
        return np.nan, np.nan
    lags = np.arange(shortest - 1, longest + 2)
    similar = np.array([envelope[:-lag] @ envelope[lag:] / (len(envelope) - lag) for lag in lags]) / energy
    peaks = 1 + np.flatnonzero((similar[1:-1] > similar[:-2]) & (similar[1:-1] >= similar[2:]))
    if not peaks.size:
        return np.nan, np.nan
    best = peaks[similar[peaks] >= 0.9 * similar[peaks].max()][0]
    periodicity = float(np.clip(similar[best], -1, 1))
    return (60.0 * slow / lags[best] if periodicity >= PERIODIC else np.nan), periodicity


def _measured(wave: Wave, samples: np.ndarray) -> dict[str, float]:
    rate = min(float(wave.rate), MEASURED_RATE)
    return measure(resample(samples - samples.mean(), rate=wave.rate, target=rate), rate=rate)


def _clipped(samples: np.ndarray) -> float:
    """Return the percentage of samples in runs of 3 or more at the highest or lowest value."""
    if np.ptp(samples) == 0:
        return 0.0
    count = 0
    for extreme in (samples.max(), samples.min()):
        at = np.flatnonzero(np.diff(np.concatenate([[False], samples == extreme, [False]]).astype(np.int8)))
        runs = at[1::2] - at[::2]
        count += int(runs[runs >= 3].sum())
    return 100.0 * count / len(samples)


def _shape(features: AudioFeatures) -> tuple[int, int]:
    rate = features.sampling_rate
    return features.bands, frames_of(round(features.seconds * rate), rate=rate)


def _check(facts: pd.DataFrame, manifest: Path) -> None:
    if facts["silent"].all():
        problem = f"all {len(facts)} sounds are silent: each of their samples has the same value"
        raise DataError(f"{manifest.name}, column path", problem, "Check how the files were exported.")


MODALITY = Recorded(
    name="audio",
    read=read_sound,
    shape=_shape,
    columns=tuple(
        Column(name=name, modality="audio", unit=unit, description=description)
        for name, unit, description in (*MEASUREMENTS, *QUALITY)
    ),
    kept=("duration", "clipped", "rate", "channels", "bits", "silent"),
    accepted=ACCEPTED,
    check=_check,
).modality()

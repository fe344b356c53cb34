"""ECG features: WFDB recordings made comparable (leads, unit, rate, band, length), measured and stored for encoders."""

import functools
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.signal
import wfdb

from riskweave.errors import DataError
from riskweave.modalities.base import Column
from riskweave.modalities.ecg_measurements import MEASUREMENTS, measure
from riskweave.modalities.files import UnreadableFileError
from riskweave.modalities.recorded import Recorded
from riskweave.modalities.signals import resample
from riskweave.study.features import EcgFeatures

__all__ = ["LEADS", "MODALITY", "bandpass", "read_recording", "signal_quality"]

logger = logging.getLogger(__name__)

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Measurements are made from at least this much signal, and in this band, whatever the encoder is given: they keep their
# meaning when `seconds`, `band` or `sampling_rate` change. Zero-phase filtering keeps ST levels at 0.5 Hz (Kligfield et
# al. 2007, doi:10.1161/CIRCULATIONAHA.106.180200).
MEASURED_SECONDS = 10.0
MEASURED_RATE = 500.0
MEASURED_BAND = (0.5, 40.0)
# Read beyond the end of the signal, so that the filter's edge falls behind it.
MARGIN_SECONDS = 2.0
SHORTEST_SECONDS = 1.0
# Longer records (half an hour at 500 Hz) are read in part.
WHOLE_SAMPLES = 900_000

MICRO = ("µ", "μ")
"""The sign of the SI and the Greek letter, which look alike."""

MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}

QUALITY = (
    ("duration", "s", "Length of the recording that the signal was taken from, up to the length asked for"),
    ("missing_leads", "leads", "Standard leads that the recording lacks"),
    ("flat_leads", "leads", "Leads that carry no signal: within 0.01 mV in at least half of all half seconds"),
    ("clipped_leads", "leads", "Leads that stay at their extreme value, over 1 mV, for 20 ms or more"),
    ("noise", "mV", "Robust standard deviation above 40 Hz, median over the leads; missing below 125 Hz"),
)

ACCEPTED = (
    "Accepted are WFDB records (header .hea and its signal files) of at least 1 s with standard lead names, in V, mV, "
    "uV or nV."
)

# What wfdb raises for headers and signal files that it cannot make sense of: it checks little of what it parses.
WFDB_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration)


def read_recording(path: Path, *, features: EcgFeatures) -> tuple[np.ndarray, dict[str, float | str]]:
    """Read one WFDB record and bring it into the form that the study asks for.

    Parameters
    ----------
    path : Path
        The record, with or without the suffix .hea.
    features : EcgFeatures
        Sampling rate (Hz), length (s) and band (Hz) of the signal; whether to measure it.

    Returns
    -------
    signal : numpy.ndarray
        float32 of shape (12, samples), in mV, leads in the order of `LEADS`, 0 where there is none.
    facts : dict
        Quality of the recording; the names of the leads that carry nothing (`unusable_leads`, separated by spaces);
        the measurements where asked for.

    Raises
    ------
    UnreadableFileError
        When the record cannot be used.
    """
    seconds = max(features.seconds, MEASURED_SECONDS)
    raw, rate, duration = _read_wfdb(path, seconds=seconds + MARGIN_SECONDS)
    present = ~np.isnan(raw).all(axis=1)
    raw = _fill_gaps(raw)
    facts = signal_quality(raw, rate=rate, present=present)
    facts["duration"] = min(duration, features.seconds)
    usable = present & ~facts.pop("flat")
    facts["unusable_leads"] = " ".join(name for name, good in zip(LEADS, usable, strict=True) if not good)
    raw[~usable] = 0.0
    signal = bandpass(resample(raw, rate=rate, target=features.sampling_rate), features.band, features.sampling_rate)
    if features.measurements:
        measured_rate = min(rate, MEASURED_RATE)
        measured = resample(raw, rate=rate, target=measured_rate)
        band = (MEASURED_BAND[0], min(MEASURED_BAND[1], 0.45 * measured_rate))
        measured = bandpass(measured, band, measured_rate)[:, : round(seconds * measured_rate)]
        facts |= measure(measured, sampling_rate=measured_rate, usable=usable)
    _, samples = _shape(features)
    signal = signal[:, :samples]
    return np.pad(signal, ((0, 0), (0, samples - signal.shape[1]))).astype(np.float32), facts


def bandpass(signal: np.ndarray, band: tuple[float, float], rate: float) -> np.ndarray:
    """Filter along the last axis: Butterworth of second order, run both ways (no delay, -6 dB at the edges).

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (..., samples), at least two samples.
    band : tuple of float
        Lower and upper edge in Hz.
    rate : float
        Sampling rate in Hz.

    Returns
    -------
    numpy.ndarray
        The filtered signal, same shape.
    """
    sections = _sections(2, band, "bandpass", rate)
    # One period of the lower edge settles the slow part of the filter before the signal begins.
    padding = min(signal.shape[-1] - 1, round(rate / band[0]))
    return scipy.signal.sosfiltfilt(sections, signal, axis=-1, padlen=padding)


def signal_quality(signal: np.ndarray, *, rate: float, present: np.ndarray) -> dict:
    """Say which leads carry nothing, and how clipped and noisy the others are.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (12, samples), in mV, unfiltered, without NaN.
    rate : float
        Sampling rate in Hz.
    present : numpy.ndarray
        Shape (12,): the leads that the recording has.

    Returns
    -------
    dict
        `flat` (boolean, shape (12,)) and the values named in `QUALITY`, `duration` excepted.
    """
    window = min(round(rate / 2), signal.shape[1])
    windows = signal[:, : signal.shape[1] // window * window].reshape(len(signal), -1, window)
    flat = (np.ptp(windows, axis=2) < 0.01).mean(axis=1) >= 0.5
    good = present & ~flat
    run = max(round(0.02 * rate), 3)
    clipped = [_clipped(lead, run=run) for lead in signal[good]]
    noise = np.nan
    if rate >= 125 and good.any():
        sections = _sections(2, 40.0, "highpass", rate)
        fast = scipy.signal.sosfiltfilt(sections, signal[good], axis=-1)
        noise = float(np.median(1.4826 * np.median(np.abs(fast), axis=-1)))
    return {
        "flat": flat,
        "missing_leads": int((~present).sum()),
        "flat_leads": int((flat & present).sum()),
        "clipped_leads": int(sum(clipped)),
        "noise": noise,
    }


@functools.lru_cache(maxsize=32)
def _sections(order: int, edges: float | tuple[float, float], kind: str, rate: float) -> np.ndarray:
    """Return a Butterworth filter; kept, as designing it takes as long as running it over a recording."""
    return scipy.signal.butter(order, edges, btype=kind, fs=rate, output="sos")


def _shape(features: EcgFeatures) -> tuple[int, int]:
    return len(LEADS), round(features.seconds * features.sampling_rate)


def _check(facts: pd.DataFrame, manifest: Path) -> None:
    """Refuse recordings without a heart beat in any of them; tell how many have unusable leads."""
    if "heart_rate" in facts and facts["heart_rate"].isna().all():
        raise DataError(
            f"{manifest.name}, column path",
            f"no heart beats were found in any of the {len(facts)} recordings",
            "Check the unit and the gain in the records' headers, or set `measurements: false`.",
        )
    bad = int((facts["unusable_leads"] != "").sum())
    logger.info("%d recordings read; %d of them lack leads or have flat ones", len(facts), bad)


def _read_wfdb(path: Path, *, seconds: float) -> tuple[np.ndarray, float, float]:
    """Return the first seconds in mV, shape (12, samples), NaN where nothing is; the rate (Hz); the length (s)."""
    name = str(path.with_suffix("") if path.suffix == ".hea" else path)
    if not Path(f"{name}.hea").is_file():
        raise UnreadableFileError("there is no such record (its header .hea)")
    try:
        record, length = _first_seconds(name, seconds=seconds)
        values = np.asarray(record.p_signal, dtype=float).T
        rate = float(record.fs)
        channels = dict(zip(map(_lead_name, record.sig_name[::-1]), range(len(record.sig_name))[::-1], strict=True))
        factors = [MILLIVOLTS.get(str(unit).strip().lower()) for unit in _units(name, record)]
    except WFDB_ERRORS as error:
        raise UnreadableFileError(f"it is not a whole WFDB record ({type(error).__name__})") from error
    samples = values.shape[1] if values.ndim == 2 else 0
    if samples < SHORTEST_SECONDS * rate:
        raise UnreadableFileError(f"it holds less than {SHORTEST_SECONDS:g} s")
    found = {row: channels[lead.lower()] for row, lead in enumerate(LEADS) if lead.lower() in channels}
    if not found:
        raise UnreadableFileError("none of its signals has the name of a standard lead (I, II, ..., V6)")
    if unknown := [channel for channel in found.values() if factors[channel] is None]:
        raise UnreadableFileError(f"the unit of {len(unknown)} lead(s) is not one of V, mV, uV, nV")
    signal = np.full((len(LEADS), samples), np.nan)
    for row, channel in found.items():
        signal[row] = values[channel] * factors[channel]
    signal[~np.isfinite(signal)] = np.nan
    if np.isnan(signal).all():
        raise UnreadableFileError("all samples of its standard leads are missing")
    return signal[:, : int(np.ceil(seconds * rate))], rate, length / rate


def _first_seconds(name: str, *, seconds: float) -> tuple[wfdb.Record, int]:
    """Read a record, of a long one only the first seconds; return it with the number of samples of the whole."""
    lines = Path(f"{name}.hea").read_text(encoding="latin-1").splitlines()
    fields = next(line for line in lines if line.strip() and not line.startswith("#")).split()
    if len(fields) < 4 or int(fields[3]) <= WHOLE_SAMPLES:
        record = wfdb.rdrecord(name)
        return record, record.sig_len
    header = wfdb.rdheader(name)
    # The last sample tells whether the signal file is whole.
    wfdb.rdrecord(name, sampfrom=header.sig_len - 1, sampto=header.sig_len)
    return wfdb.rdrecord(name, sampto=int(np.ceil(seconds * header.fs))), header.sig_len


def _units(name: str, record: wfdb.Record) -> list[str]:
    """Return the units of the channels. wfdb drops letters beyond ASCII: its V may be the header's µV."""
    header = Path(f"{name}.hea").read_bytes()
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        text = header.decode("latin-1")
    units = list(record.units)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][1:]
    # A header of several segments names no units; that of each segment does, and its samples are in mV or V there.
    if len(lines) == len(units):
        given = [line.split()[2].partition("/")[2] if len(line.split()) > 2 else "" for line in lines]
        units = [own if own.startswith(MICRO) else unit for own, unit in zip(given, units, strict=True)]
    return units


def _lead_name(name: str | None) -> str:
    """Return the name of a channel as leads are compared: ``"Lead aVF "`` and ``"AVF"`` are the same."""
    return str(name).lower().replace("lead", "").replace("_", " ").strip()


def _fill_gaps(signal: np.ndarray) -> np.ndarray:
    """Join short gaps by a line, as the filters know no NaN; a lead without any sample becomes 0."""
    filled = signal.copy()
    positions = np.arange(signal.shape[1])
    for lead in filled:
        known = ~np.isnan(lead)
        if not known.any():
            lead[:] = 0.0
        elif not known.all():
            lead[~known] = np.interp(positions[~known], positions[known], lead[known])
    return filled


def _clipped(lead: np.ndarray, *, run: int) -> bool:
    middle = np.median(lead)
    for extreme in (lead.max(), lead.min()):
        if abs(extreme - middle) > 1.0:
            at = np.flatnonzero(np.diff(np.concatenate([[False], lead == extreme, [False]]).astype(np.int8)))
            if (at[1::2] - at[::2]).max() >= run:
                return True
    return False


MODALITY = Recorded(
    name="ecg",
    read=read_recording,
    shape=_shape,
    columns=tuple(
        Column(name=name, modality="ecg", unit=unit, description=description)
        for name, unit, description in (*MEASUREMENTS, *QUALITY)
    ),
    kept=(*(name for name, *_ in QUALITY), "unusable_leads"),
    accepted=ACCEPTED,
    check=_check,
).modality()

"""Plain measurements of a 12-lead ECG: rate, rhythm, width and amplitudes of the average beat.

They are estimates for risk models, not a diagnostic device's: every beat counts alike, ectopic ones included.
"""

import itertools

import numpy as np
import scipy.ndimage
import scipy.signal

__all__ = ["MEASUREMENTS", "average_beat", "detect_beats", "measure", "qrs_bounds"]

# Rows of the standard lead order (I, II, III, aVR, aVL, aVF, V1 to V6) by the wall of the heart that they look at.
TERRITORIES = {"inferior": (1, 2, 5), "lateral": (0, 4, 10, 11), "anterior": (6, 7, 8, 9)}
AVL, V1, V3, V5, V6 = 4, 6, 8, 10, 11

WAVES = (
    ("r", "R wave: highest point of the QRS complex over the baseline"),
    ("s", "S wave: lowest point from the R wave to the end of the QRS complex, against the baseline"),
    ("t", "T wave: largest deflection after the ST segment, signed, against the baseline"),
    ("st", "ST level 60 ms after the end of the QRS complex, against the baseline"),
)

MEASUREMENTS = (
    ("heart_rate", "1/min", "Mean heart rate; missing without two beats or outside 25 to 250"),
    ("rr_sd", "ms", "Standard deviation of the RR intervals; missing without three beats"),
    ("rmssd", "ms", "Root mean square of successive differences of RR intervals; missing without three beats"),
    ("qrs_width", "ms", "Width of the average QRS complex over all leads"),
    *(
        (f"{wave}_{territory}", "mV", f"{meaning}; mean over the {territory} leads")
        for wave, meaning in WAVES
        for territory in TERRITORIES
    ),
    ("sokolow_lyon", "mV", "Depth of S in V1 plus the higher R of V5 and V6 (Sokolow and Lyon 1949)"),
    ("cornell", "mV", "R in aVL plus depth of S in V3 (Casale et al. 1985)"),
)

# The average beat runs from 250 ms before to 500 ms after the R peak.
BEFORE, AFTER = 0.25, 0.5


def measure(signal: np.ndarray, *, sampling_rate: float, usable: np.ndarray) -> dict[str, float]:
    """Measure one recording.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (12, samples), in mV, standard lead order, band-pass filtered without delay (about 0.5 to 40 Hz).
    sampling_rate : float
        In Hz.
    usable : numpy.ndarray
        Shape (12,), boolean: leads that carry a signal.

    Returns
    -------
    dict
        A value for each name of `MEASUREMENTS`, NaN where it cannot be measured.
    """
    values = {name: np.nan for name, *_ in MEASUREMENTS}
    if not usable.any():
        return values
    beats = detect_beats(signal[usable], sampling_rate=sampling_rate)
    if len(beats) < 2:
        return values
    intervals = np.diff(beats) / sampling_rate
    rate = 60.0 / intervals.mean()
    if not 25 <= rate <= 250:
        return values
    values["heart_rate"] = rate
    if len(intervals) >= 2:
        values["rr_sd"] = 1e3 * intervals.std(ddof=1)
        values["rmssd"] = 1e3 * np.sqrt(np.mean(np.diff(intervals) ** 2))
    beat, centre = average_beat(signal, beats, sampling_rate=sampling_rate)
    start, end = qrs_bounds(beat[usable], centre, sampling_rate=sampling_rate)
    values["qrs_width"] = 1e3 * (end - start) / sampling_rate
    waves = _waves(beat, centre, start, end, interval=float(np.median(intervals)), rate=sampling_rate)
    for wave, by_lead in waves.items():
        by_lead[~usable] = np.nan
        for territory, rows in TERRITORIES.items():
            known = by_lead[list(rows)][usable[list(rows)]]
            values[f"{wave}_{territory}"] = known.mean() if known.size else np.nan
    r, s = waves["r"], waves["s"]
    values["sokolow_lyon"] = -s[V1] + max(r[V5], r[V6])
    values["cornell"] = r[AVL] - s[V3]
    return {name: float(value) for name, value in values.items()}


def detect_beats(signal: np.ndarray, *, sampling_rate: float) -> np.ndarray:
    """Find the R peaks from the energy of slopes over all leads.

    After Pan and Tompkins 1985 (doi:10.1109/TBME.1985.325532): band-pass, derivative, square, moving window; here the
    energies of the leads, each relative to its own typical beat, are joined by their median, so that noise of one
    electrode is outvoted; the threshold is a share of the typical beat, lower where a beat is overdue.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (leads, samples), in mV; leads that carry a signal.
    sampling_rate : float
        In Hz.

    Returns
    -------
    numpy.ndarray
        Sample numbers of the R peaks, ascending.
    """
    # Every so many samples are enough to find the beats: above 40 Hz the signal holds nothing. Their place is refined.
    step = max(int(sampling_rate // 200), 1)
    rate = sampling_rate / step
    sections = scipy.signal.butter(2, (5.0, min(18.0, 0.45 * rate)), btype="bandpass", fs=rate, output="sos")
    coarse = signal[:, ::step]
    qrs = scipy.signal.sosfiltfilt(sections, coarse, axis=-1, padlen=min(coarse.shape[1] - 1, round(rate / 2)))
    window = max(round(0.12 * rate), 1)
    # The moving sum of a silent stretch (a pause, a loose cable) may round to below zero.
    energy = np.maximum(scipy.ndimage.uniform_filter1d(np.gradient(qrs, axis=-1) ** 2, window, axis=-1), 0.0)
    scale = _typical_peak(energy, rate)
    # A lead that is silent most of the time has a typical beat of rounding errors: on its own scale it would drown the
    # others. A thousandth of the highest amplitude is no beat.
    known = scale > 1e-6 * scale.max()
    if not known.any():
        return np.array([], dtype=int)
    activity = np.median(np.sqrt(energy[known] / scale[known, None]), axis=0)
    typical = float(_typical_peak(activity[None], rate)[0])
    peaks, _ = scipy.signal.find_peaks(activity, height=0.2 * typical, distance=max(round(0.22 * rate), 1))
    return _refine(_select(peaks, activity, typical) * step, signal[known], np.sqrt(scale[known]), sampling_rate)


def average_beat(signal: np.ndarray, beats: np.ndarray, *, sampling_rate: float) -> tuple[np.ndarray, int]:
    """Return the median over the beats, sample by sample.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (leads, samples).
    beats : numpy.ndarray
        Sample numbers of the R peaks.
    sampling_rate : float
        In Hz.

    Returns
    -------
    beat : numpy.ndarray
        Shape (leads, width): from 250 ms before to 500 ms after the R peak.
    centre : int
        Sample number of the R peak in the average beat.
    """
    before, after = round(BEFORE * sampling_rate), round(AFTER * sampling_rate)
    whole = beats[(beats >= before) & (beats + after <= signal.shape[1])]
    if not whole.size:
        signal = np.pad(signal, ((0, 0), (before, after)), mode="edge")
        whole = beats + before
    return np.median(np.stack([signal[:, beat - before : beat + after] for beat in whole]), axis=0), before


def qrs_bounds(beat: np.ndarray, centre: int, *, sampling_rate: float) -> tuple[int, int]:
    """Return the first and the last sample of the QRS complex of an average beat.

    The complex is where the slope, summed over the leads, stays above a share of its peak; it is looked for within
    120 ms of the R peak.

    Parameters
    ----------
    beat : numpy.ndarray
        Shape (leads, width), in mV.
    centre : int
        Sample number of the R peak.
    sampling_rate : float
        In Hz.

    Returns
    -------
    tuple of int
        Sample numbers of onset and end.
    """
    slope = np.abs(np.gradient(beat, axis=-1)).sum(axis=0)
    slope = scipy.ndimage.uniform_filter1d(slope, max(round(0.012 * sampling_rate), 1))
    reach, near = round(0.12 * sampling_rate), round(0.04 * sampling_rate)
    low, high = max(centre - reach, 0), min(centre + reach, beat.shape[1] - 1)
    peak = slope[max(centre - near, 0) : centre + near + 1].max()
    quiet = slope[low : high + 1] < np.quantile(slope, 0.25) + 0.05 * peak
    # 5 % of the peak: with it the complexes of real records without conduction disease last 84 ms (72 to 96), those
    # with bundle branch block 120 ms and more. A notch within the complex is short: only 14 ms of quiet end it.
    quiet = scipy.ndimage.binary_opening(quiet, np.ones(max(round(0.014 * sampling_rate), 2)))
    middle = centre - low
    left, right = np.flatnonzero(quiet[:middle]), np.flatnonzero(quiet[middle:])
    start = low + left[-1] + 1 if left.size else low
    end = centre + right[0] - 1 if right.size else high
    return int(start), int(max(end, start + 1))


def _typical_peak(energy: np.ndarray, rate: float) -> np.ndarray:
    """Return the median over blocks of 1.5 s of the block's highest value: most blocks hold a beat at 40/min and up."""
    block = min(round(1.5 * rate), energy.shape[1])
    blocks = energy[:, : energy.shape[1] // block * block].reshape(len(energy), -1, block)
    return np.median(blocks.max(axis=2), axis=1)


def _select(peaks: np.ndarray, activity: np.ndarray, typical: float) -> np.ndarray:
    """Keep the peaks above the threshold, and lower ones where a beat is overdue by half an interval."""
    sure = peaks[activity[peaks] >= 0.45 * typical]
    if len(sure) < 3:
        return sure
    usual = np.median(np.diff(sure))
    found = list(sure)
    for left, right in itertools.pairwise(sure):
        if right - left > 1.6 * usual:
            between = peaks[(peaks > left + 0.4 * usual) & (peaks < right - 0.4 * usual)]
            if between.size:
                found.append(between[np.argmax(activity[between])])
    return np.sort(np.array(found, dtype=int))


def _refine(peaks: np.ndarray, signal: np.ndarray, scale: np.ndarray, rate: float) -> np.ndarray:
    """Move each peak to where the leads together, each on its own scale, are farthest from their baseline."""
    reach = round(0.08 * rate)
    refined = []
    for peak in peaks:
        first = max(peak - reach, 0)
        around = signal[:, first : peak + reach + 1]
        height = np.abs(around - np.median(around, axis=1, keepdims=True)) / scale[:, None]
        refined.append(first + height.sum(axis=0).argmax())
    return np.unique(np.array(refined, dtype=int))


def _waves(
    beat: np.ndarray, centre: int, start: int, end: int, *, interval: float, rate: float
) -> dict[str, np.ndarray]:
    """Return the waves of each lead of the average beat, against the level of the 40 ms before the QRS complex."""
    baseline = np.median(beat[:, max(start - round(0.04 * rate), 0) : max(start, 1)], axis=1)
    level = beat - baseline[:, None]
    last = level.shape[1] - 1
    after = level[:, centre - round(0.02 * rate) : end + 1]
    # The T wave ends before the next beat begins: at high rates the search stops at 60 % of the interval.
    t_start = min(end + round(0.06 * rate), last - 1)
    t_end = min(centre + round(min(AFTER, 0.6 * interval) * rate), last)
    t_window = level[:, t_start : max(t_end, t_start + 1)]
    highest = np.abs(t_window).argmax(axis=1)[:, None]
    return {
        "r": level[:, start : end + 1].max(axis=1),
        "s": after.min(axis=1) if after.size else np.full(len(level), np.nan),
        "t": np.take_along_axis(t_window, highest, axis=1)[:, 0],
        "st": level[:, min(end + round(0.06 * rate), last)],
    }

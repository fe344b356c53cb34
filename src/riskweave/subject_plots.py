"""Figures of one subject (`riskweave.one_subject`) for a notebook: what happened when, what a network was given."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from riskweave.drawing import BLUE, GREY, ORANGE, STYLE, new_figure

__all__ = ["plot_recording", "plot_timeline"]

APART = 1.2  # mV between two leads


def plot_timeline(events: pd.DataFrame, *, most: int = 30) -> Figure:
    """Draw the events of a subject: a row for each code, filled before the index time, hollow after it.

    Parameters
    ----------
    events : DataFrame
        From `riskweave.one_subject.Subject.events`: code and years from the index time.
    most : int
        Codes drawn: those with the most events.

    Returns
    -------
    Figure
    """
    counts = events["code"].value_counts(sort=True)
    codes = sorted(counts.index[:most])
    with rc_context(STYLE):
        figure = new_figure(8, 0.9 + 0.17 * max(len(codes), 3))
        axes = figure.subplots()
        for row, code in enumerate(codes):
            years = events.loc[events["code"] == code, "years"].to_numpy(float)
            past = years[years <= 0]
            axes.plot(past, np.full(len(past), row), "o", color=BLUE, markersize=3.5, alpha=0.7)
            later = years[years > 0]
            axes.plot(later, np.full(len(later), row), "o", color=ORANGE, markersize=3.5, markerfacecolor="white")
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks(range(len(codes)), codes, fontsize=7.5)
        axes.set_ylim(len(codes) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("Years from the index time (filled: before it; hollow: after it, seen by no model)")
        if len(counts) > len(codes):
            axes.set_title(f"The {len(codes)} most frequent of {len(counts)} codes", fontsize=9, loc="left")
    return figure


def plot_recording(
    recording: np.ndarray, *, modality: str, sampling_rate: float | None = None, leads: Sequence[str] = ()
) -> Figure:
    """Draw what an encoder reads of a recording.

    Parameters
    ----------
    recording : array
        ``ecg``: (leads, samples) in mV; ``image``: (rows, columns) in 0..1; ``audio``: (bands, frames) in dB.
    modality : {"ecg", "image", "audio"}
    sampling_rate : float, optional
        Of an ECG, in Hz.
    leads : sequence of str
        Names of the rows of an ECG; the standard twelve when not given.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the modality is another.
    """
    with rc_context(STYLE):
        if modality == "ecg":
            from riskweave.modalities.ecg import LEADS

            return _traces(recording, sampling_rate or 1.0, leads or LEADS)
        if modality not in ("image", "audio"):
            raise ValueError(f"modality {modality!r}: ecg, image or audio")
        picture = modality == "image"
        figure = new_figure(4, 4) if picture else new_figure(7, 3)
        axes = figure.subplots()
        limits = {"vmin": 0, "vmax": 1} if picture else {"aspect": "auto", "origin": "lower"}
        axes.imshow(recording, cmap="gray", interpolation="nearest", **limits)
        if picture:
            axes.set_axis_off()
        else:
            axes.set(xlabel="Frame", ylabel="Mel band (brighter: louder)")
    return figure


def _traces(recording: np.ndarray, sampling_rate: float, leads: Sequence[str]) -> Figure:
    """Draw the leads of an ECG below each other, on one scale."""
    figure = new_figure(9, 0.6 + 0.42 * len(recording))
    axes = figure.subplots()
    seconds = np.arange(recording.shape[1]) / sampling_rate
    places = -APART * np.arange(len(recording))
    for place, trace in zip(places, recording, strict=True):
        axes.plot(seconds, place + trace, color="black", linewidth=0.6)
    axes.set_yticks(places, leads)
    axes.set_xlim(0, seconds[-1])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"Seconds (rows stand {APART:g} mV apart)")
    return figure

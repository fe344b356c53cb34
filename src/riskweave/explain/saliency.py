"""Which places of a trace or a picture a network's score rests on, and how that is drawn onto them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from riskweave.drawing import BLUE, ORANGE, STYLE, new_figure, save_figure

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BASELINES", "Saliency", "draw_saliency", "saliency_of"]

SMOOTHED_SECONDS = 0.02
"""Standard deviation of the smoothing of a trace's attributions before they are drawn."""

SMOOTHED_SHARE = 0.02
"""The same of a picture's, as a share of its edge."""

BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ecg": lambda array, others: np.zeros(array.shape[1:], dtype=np.float32),  # noqa: ARG005
    "image": lambda array, others: np.asarray(array[np.sort(others)], dtype=np.float32).mean(axis=0),
}
"""What carries no information, by modality: from all recordings and the rows of training subjects."""

WITHOUT = {"ecg": "silence", "image": "the mean picture"}
"""What the baselines are called in figures."""

STRONGEST = 0.995
"""Quantile of the strengths beyond which places have the full colour: a few single ones would leave the rest white."""

COLOURS = LinearSegmentedColormap.from_list("saliency", [BLUE, "#FFFFFF", ORANGE])


@dataclass(frozen=True)
class Saliency:
    """What the places of one recording do to a score.

    Attributes
    ----------
    recording : float32 array
        Trace (leads, samples) in mV, or picture (height, width) in [0, 1].
    attribution : float32 array of the same shape
        In units of the score: they sum to `score` - `baseline_score`, but for `gap`. Above 0: raises the risk.
    score, baseline_score : float
        Log hazard ratios by the encoder.
    gap : float
        Error of the integration.
    modality : str
    sampling_rate : float or None
        Hz, of traces.
    """

    recording: np.ndarray
    attribution: np.ndarray
    score: float
    baseline_score: float
    gap: float
    modality: str
    sampling_rate: float | None = None


def saliency_of(
    function: "Callable[[Tensor], Tensor]",
    recording: np.ndarray,
    *,
    baseline: np.ndarray,
    modality: str,
    sampling_rate: float | None = None,
    steps: int = 64,
) -> Saliency:
    """Attribute the score of a recording to its samples or pixels by integrated gradients.

    Parameters
    ----------
    function : callable
        From recordings (n, ...) to scores (n,); networks in evaluation mode.
    recording, baseline : arrays of one shape
        See `riskweave.explain.gradients.integrated_gradients`.
    modality : {"ecg", "image"}
    sampling_rate : float, optional
        Hz, of traces.
    steps : int
        Points of the integration.
    """
    import torch

    from riskweave.explain.gradients import integrated_gradients

    own = torch.from_numpy(np.array(recording, dtype=np.float32))
    none = torch.from_numpy(np.array(baseline, dtype=np.float32))
    found, gap = integrated_gradients(function, own[None], none[None], steps=steps)
    with torch.no_grad():
        scores = [float(function(each[None])[0]) for each in (own, none)]
    return Saliency(own.numpy(), found[0].numpy(), *scores, float(gap[0]), modality, sampling_rate)


def draw_saliency(saliency: Saliency, output: Path | None = None, *, leads: tuple[str, ...] | None = None) -> Figure:
    """Draw a recording with what its places do to the score: orange raises it, blue lowers it.

    Parameters
    ----------
    saliency : Saliency
    output : path, optional
        SVG or PNG file to write. It shows a single person: write it where the recording may lie.
    leads : tuple of str, optional
        Names of a trace's leads; numbers when not given, and the twelve standard ones where there are twelve.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        draw = _draw_picture if saliency.recording.ndim == 2 and saliency.sampling_rate is None else _draw_trace
        figure = draw(saliency, leads)
        baseline = WITHOUT.get(saliency.modality, "the baseline")
        told = f"{saliency.score:+.2f}; of {baseline}: {saliency.baseline_score:+.2f}"
        figure.suptitle(
            f"Log hazard ratio by the encoder: {told}\nOrange raises it, blue lowers it".replace("-", "\u2212"),
            fontsize=9,
        )
        if output is not None:
            save_figure(figure, Path(output))
    return figure


def _limit(smooth: np.ndarray) -> float:
    """Return the strength that has the full colour."""
    strength = np.abs(smooth)
    return float(np.quantile(strength, STRONGEST) or strength.max() or 1.0)


def _draw_picture(saliency: Saliency, leads: tuple[str, ...] | None) -> Figure:  # noqa: ARG001
    """Draw a picture, and again with its attributions laid over."""
    smooth = gaussian_filter(saliency.attribution, SMOOTHED_SHARE * max(saliency.recording.shape))
    limit = _limit(smooth)
    figure = new_figure(7, 3.5)
    for axes, over in zip(figure.subplots(1, 2), (False, True), strict=True):
        axes.imshow(saliency.recording, cmap="gray", vmin=0, vmax=1)
        if over:
            strength = np.clip(np.abs(smooth) / limit, 0, 1) * 0.8
            shown = axes.imshow(smooth, cmap=COLOURS, vmin=-limit, vmax=limit, alpha=strength)
            figure.colorbar(shown, ax=axes, shrink=0.8, extend="both", label="log hazard ratio per pixel, smoothed")
        axes.set_axis_off()
    return figure


def _draw_trace(saliency: Saliency, leads: tuple[str, ...] | None) -> Figure:
    """Draw the leads one below the other in two columns, on a background that is coloured by the attributions."""
    number, samples = saliency.recording.shape
    if leads is None:
        twelve = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
        leads = twelve if number == len(twelve) else tuple(str(lead + 1) for lead in range(number))
    rate = saliency.sampling_rate or 1.0
    smooth = gaussian_filter1d(saliency.attribution, SMOOTHED_SECONDS * rate, axis=1)
    limit = _limit(smooth)
    columns = 2 if number > 3 else 1
    lines = -(-number // columns)
    figure = new_figure(11 if columns == 2 else 8, 0.95 * lines + 1.0)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).T.ravel()
    seconds = np.arange(samples) / rate
    low, high = float(saliency.recording.min()), float(saliency.recording.max())
    margin = 0.05 * (high - low or 1.0)
    for axes, lead in zip(grid, range(number), strict=False):
        extent = (0, samples / rate, low - margin, high + margin)
        shown = axes.imshow(
            smooth[lead][None], cmap=COLOURS, vmin=-limit, vmax=limit, extent=extent, aspect="auto", alpha=0.75
        )
        axes.plot(seconds, saliency.recording[lead], color="black", linewidth=0.6)
        axes.set_ylim(low - margin, high + margin)
        axes.set_ylabel(leads[lead], rotation=0, ha="right", va="center")
    for axes in grid[number:]:
        axes.set_axis_off()
    figure.colorbar(shown, ax=list(grid), shrink=0.6, extend="both", label="log hazard ratio per sample, smoothed")
    figure.supxlabel("seconds; traces in mV", fontsize=8)
    return figure

"""Rendering of chest-radiograph-like phantoms from latent states."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

__all__ = ["Radiograph", "render"]


@dataclass(frozen=True)
class Radiograph:
    """What one image shows of its subject.

    Parameters
    ----------
    heart_size : float
        Standard normal; the heart is 0.47 of the thorax wide at 0, 0.06 more per unit (cardiothoracic ratio).
    texture : float
        Standard normal; the log-amplitude of the reticular pattern in the lungs grows by 0.45 per unit.
    """

    heart_size: float
    texture: float


def render(*, radiograph: Radiograph, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Render an image.

    Parameters
    ----------
    radiograph : Radiograph
        Latent states of the image.
    shape : tuple of int
        Rows and columns in pixels.
    rng : numpy.random.Generator
        Source of what differs between images without meaning: position, scale, rotation, exposure, contrast, quantum
        noise, the laterality marker.

    Returns
    -------
    numpy.ndarray
        Image in [0, 1], dense tissue bright, shape `shape`.
    """
    x, y = _coordinates(shape, rng)
    body = _inside(np.square((x / 0.98) ** 2) + np.square(((y - 0.1) / 1.25) ** 2), 0.06)
    chest = _inside(np.square((x / 0.80) ** 2) + np.square(((y + 0.05) / 0.78) ** 2), 0.10)
    height = 0.58 * np.exp(rng.normal(0, 0.06))
    dome = 0.42 + 0.10 * rng.random()
    # Each lung: an ellipse, cut off below by the dome of the diaphragm.
    lungs = np.zeros(shape)
    for side in (-1, 1):
        ellipse = ((x - 0.41 * side) / 0.31) ** 2 + ((y + 0.08) / height) ** 2
        floor = dome + 1.2 * (x - 0.36 * side) ** 2
        lungs += _inside(ellipse, 0.10) * expit((floor - y) / 0.03)
    heart = _heart(x, y, radiograph, rng)
    mediastinum = np.exp(-np.square((x / 0.13) ** 2)) * chest

    image = 0.42 * body + 0.06 * chest
    image -= 0.30 * lungs * (1 - heart)
    image += 0.06 * chest * _ribs(x, y, rng)
    image = np.maximum(image, (0.52 + 0.10 * mediastinum) * np.maximum(heart, 0.9 * mediastinum))
    amplitude = 0.032 * np.exp(0.45 * np.clip(radiograph.texture + rng.normal(0, 0.12), -4, 4))
    image += amplitude * _reticulation(shape, rng) * lungs * (1 - 0.8 * heart)
    image = _expose(image, rng)
    _mark(image, rng)
    return np.clip(image, 0, 1)


def _coordinates(shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels in the patient: x to the image's right, y down, one unit half the shorter edge."""
    rows, columns = shape
    half = min(shape) / 2
    v, u = np.meshgrid((np.arange(rows) - rows / 2) / half, (np.arange(columns) - columns / 2) / half, indexing="ij")
    angle, scale = np.deg2rad(rng.normal(0, 1.5)), 0.97 * np.exp(rng.normal(0, 0.05))
    du, dv = rng.normal(0, 0.035, 2)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    return c * (u - du) + s * (v - dv), -s * (u - du) + c * (v - dv)


def _inside(level: np.ndarray, softness: float) -> np.ndarray:
    """Soft indicator of level < 1."""
    return expit((1 - level) / softness)


def _heart(x: np.ndarray, y: np.ndarray, radiograph: Radiograph, rng: np.random.Generator) -> np.ndarray:
    """Soft mask of the heart: an ellipse to the patient's left, which is the image's right, tilted to the apex."""
    ratio = np.clip(0.47 + 0.06 * radiograph.heart_size + rng.normal(0, 0.008), 0.28, 0.72)
    width = ratio * 0.72
    length = 0.29 * (ratio / 0.47) ** 0.6 * np.exp(rng.normal(0, 0.05))
    tilt = np.deg2rad(rng.normal(25, 5))
    dx, dy = x - 0.28 * width - rng.normal(0.02, 0.015), y - 0.22
    along, across = np.cos(tilt) * dx + np.sin(tilt) * dy, -np.sin(tilt) * dx + np.cos(tilt) * dy
    return _inside((along / width) ** 2 + (across / length) ** 2, 0.12)


def _ribs(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bands that fall off to the sides, with values in [0, 1]."""
    spacing = rng.normal(0.185, 0.006)
    phase = (y - 0.45 * x**2 + rng.random() * spacing) / spacing
    return np.exp(-0.5 * ((phase - np.floor(phase) - 0.5) / 0.16) ** 2)


def _reticulation(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Random pattern with a period of about 7 % of the image's edge, standard deviation 1."""
    spectrum = np.fft.rfft2(rng.normal(size=shape))
    period = np.hypot(np.fft.fftfreq(shape[0])[:, None] * shape[0], np.fft.rfftfreq(shape[1])[None] * shape[1])
    pattern = np.fft.irfft2(spectrum * np.exp(-0.5 * ((period - 14) / 4) ** 2), s=shape)
    return pattern / pattern.std()


def _expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast and quantum noise."""
    image = np.clip(image, 0, None) ** np.exp(rng.normal(0, 0.10)) * np.exp(rng.normal(0.2, 0.08))
    return image + rng.normal(0.03, 0.012, image.shape)


def _mark(image: np.ndarray, rng: np.random.Generator) -> None:
    """Laterality marker: a small bright bar in an upper corner, drawn in place."""
    column = image.shape[1] - 14 if rng.random() < 0.7 else 6
    image[5:13, column : column + 3] = 0.98
    image[11:13, column : column + 7] = 0.98

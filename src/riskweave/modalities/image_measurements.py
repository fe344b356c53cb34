"""Plain measurements of a grey image: levels, contrast, texture by scale, and where the light is.

They know nothing of anatomy. They tell what a network has to beat, and whether scanners or exposures differ.
"""

import numpy as np

__all__ = ["LOCAL_MEASUREMENTS", "MEASURED_EDGE", "MEASUREMENTS", "measure", "measure_locally"]

MEASURED_EDGE = 256
"""Edge in pixels of the square image that scales and places are measured in, whatever the encoder is given."""

_PERCENTILES = (10, 25, 50, 75, 90)
_OCTAVES = (2, 4, 8, 16, 32, 64)
_LEVELS = 64

MEASUREMENTS = (
    *((f"grey_p{p}", "", f"Percentile {p} of the greys, 0 (darkest) to 1 (brightest)") for p in _PERCENTILES),
    ("contrast", "", "Standard deviation of the greys, which lie between 0 and 1"),
    ("entropy", "bit", f"Entropy of the greys in {_LEVELS} levels"),
    *(
        (f"power_{low}_{2 * low}", "dB", f"Power of structures that repeat {low} to {2 * low} times over the image's "
         "edge, as a share of the power from 2 to 128 times")
        for low in _OCTAVES
    ),
    ("centre_x", "%", "Centre of the light, right of the middle of the image, as a share of its edge"),
    ("centre_y", "%", "Centre of the light, below the middle of the image, as a share of its edge"),
    ("spread_x", "%", "Standard deviation of the light to the sides, as a share of the edge"),
    ("spread_y", "%", "Standard deviation of the light up and down, as a share of the edge"),
    ("left", "", "Mean grey of the left third, against the mean of the image"),
    ("middle", "", "Mean grey of the middle third, against the mean of the image"),
    ("right", "", "Mean grey of the right third, against the mean of the image"),
    ("asymmetry", "", "Mean difference between a pixel and the one opposite it across the vertical middle"),
)  # fmt: skip

_GREY_CELLS, _FINE_CELLS = 8, 4
_FINE_EDGES = (128, 64, 32)
_FAINTEST = 1e-8
"""Added to energies (squared greys): a cell without structure has -80 dB, not minus infinity."""

LOCAL_MEASUREMENTS = (
    *(
        (f"grey_{row + 1}_{column + 1}", "", f"Mean grey of row {row + 1}, column {column + 1} of 8 x 8 cells")
        for row in range(_GREY_CELLS)
        for column in range(_GREY_CELLS)
    ),
    *(
        (f"fine_{edge}_{row + 1}_{column + 1}", "dB", f"Energy of the Laplacian in row {row + 1}, column {column + 1} "
         f"of 4 x 4 cells, the image being {edge} pixels wide")
        for edge in _FINE_EDGES
        for row in range(_FINE_CELLS)
        for column in range(_FINE_CELLS)
    ),
)  # fmt: skip


def measure(pixels: np.ndarray, squared: np.ndarray) -> dict[str, float]:
    """Measure an image.

    Parameters
    ----------
    pixels : ndarray, shape (height, width)
        Greys between 0 and 1, of the file's own size.
    squared : ndarray, shape (edge, edge)
        The same image with black bars, as a square of `MEASURED_EDGE` pixels.

    Returns
    -------
    dict
        A value for each name of `MEASUREMENTS`; NaN for an image of one grey.
    """
    values = {name: np.nan for name, *_ in MEASUREMENTS}
    if np.ptp(pixels) == 0:
        return values
    for percentile, grey in zip(_PERCENTILES, np.percentile(pixels, _PERCENTILES), strict=True):
        values[f"grey_p{percentile}"] = grey
    values["contrast"] = pixels.std(dtype=np.float64)
    counts = np.histogram(pixels, bins=_LEVELS, range=(0.0, 1.0))[0]
    share = counts[counts > 0] / counts.sum()
    values["entropy"] = -(share * np.log2(share)).sum()
    values |= _power(squared.astype(np.float64))
    values |= _places(squared.astype(np.float64))
    return {name: float(value) for name, value in values.items()}


def measure_locally(squared: np.ndarray) -> dict[str, float]:
    """Measure the parts of an image: how bright they are, and how much fine structure they have.

    Parameters
    ----------
    squared : ndarray, shape (edge, edge)
        The image with black bars, as a square of `MEASURED_EDGE` pixels, greys between 0 and 1.

    Returns
    -------
    dict
        A value for each name of `LOCAL_MEASUREMENTS`; NaN for an image of one grey.
    """
    names = [name for name, *_ in LOCAL_MEASUREMENTS]
    if np.ptp(squared) == 0:
        return dict.fromkeys(names, np.nan)
    values = [_block_means(squared.astype(np.float64), _GREY_CELLS).ravel()]
    for edge in _FINE_EDGES:
        grey = _block_means(squared.astype(np.float64), edge)
        inner = grey[1:-1, 1:-1]
        laplacian = 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
        # The margin has no neighbours outside: it counts as without structure.
        energy = _block_means(np.pad(laplacian, 1) ** 2, _FINE_CELLS)
        values.append(10.0 * np.log10(energy.ravel() + _FAINTEST))
    return dict(zip(names, np.concatenate(values).tolist(), strict=True))


def _block_means(image: np.ndarray, cells: int) -> np.ndarray:
    """Return the means of cells x cells blocks of a square image, of shape (cells, cells)."""
    size = len(image) // cells
    return image.reshape(cells, size, cells, size).mean(axis=(1, 3))


def _power(squared: np.ndarray) -> dict[str, float]:
    """Return the share of the spectrum's power in each octave of the distance from its middle, in dB.

    A Hann window in both directions keeps the edges from looking like fine structure.
    """
    edge = len(squared)
    window = np.hanning(edge)
    power = np.abs(np.fft.fft2((squared - squared.mean()) * np.outer(window, window))) ** 2
    cycles = np.fft.fftfreq(edge, d=1.0 / edge)
    radius = np.hypot(*np.meshgrid(cycles, cycles))
    of_octave = [power[(radius >= low) & (radius < 2 * low)].sum() for low in _OCTAVES]
    total = sum(of_octave)
    return {
        f"power_{low}_{2 * low}": 10.0 * np.log10(own / total) if own > 0 else np.nan
        for low, own in zip(_OCTAVES, of_octave, strict=True)
    }


def _places(squared: np.ndarray) -> dict[str, float]:
    """Return where the light is, and how unlike the sides are."""
    edge = len(squared)
    place = (np.arange(edge) + 0.5) / edge - 0.5
    light, values = squared.sum(), {}
    for name, profile in (("x", squared.sum(axis=0)), ("y", squared.sum(axis=1))):
        centre = (place * profile).sum() / light
        values[f"centre_{name}"] = 100.0 * centre
        values[f"spread_{name}"] = 100.0 * np.sqrt(((place - centre) ** 2 * profile).sum() / light)
    for name, part in zip(("left", "middle", "right"), np.array_split(squared, 3, axis=1), strict=True):
        values[name] = part.mean() - squared.mean()
    values["asymmetry"] = np.abs(squared - squared[:, ::-1]).mean()
    return values

"""Image features: PNG, JPEG and DICOM made comparable (bit depth, polarity, window, shape) and stored for encoders."""

import logging
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageOps
import pydicom
import pydicom.pixels

from riskweave.modalities.base import Column
from riskweave.modalities.files import UnreadableFileError
from riskweave.modalities.image_measurements import (
    LOCAL_MEASUREMENTS,
    MEASURED_EDGE,
    MEASUREMENTS,
    measure,
    measure_locally,
)
from riskweave.modalities.recorded import Recorded
from riskweave.study.features import ImageFeatures

__all__ = ["MODALITY", "normalise", "read_grey", "read_image", "square"]

logger = logging.getLogger(__name__)

# Darkest and brightest grey, in percent of the pixels: single markers and dead pixels do not set the scale.
PERCENTILES = (0.5, 99.5)

ACCEPTED = (
    "Accepted are PNG (8 or 16 bit grey, or colour), JPEG, and DICOM with one frame (uncompressed, RLE, JPEG or "
    "JPEG 2000)."
)

# What the decoders raise for files that are broken or not of their kind.
PIL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, PIL.Image.DecompressionBombError)
DICOM_ERRORS = (
    OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RuntimeError, EOFError, struct.error,
    pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException,
)  # fmt: skip


def read_image(path: Path, *, features: ImageFeatures) -> tuple[np.ndarray, dict[str, str | int | bool | float]]:
    """Read one image and bring it into the form that the study asks for.

    Colours become grey (ITU-R 601 luma). A DICOM's rescaling, window and polarity (MONOCHROME1 is inverted) are
    applied. Then the greys of every image are stretched between two percentiles, so that bit depth does not matter.

    Parameters
    ----------
    path : Path
        PNG, JPEG or DICOM file; told apart by their content.
    features : ImageFeatures
        Edge of the square image in pixels; whether to measure it.

    Returns
    -------
    pixels : numpy.ndarray
        float32 of shape (size, size) in [0, 1]; black bars make it square.
    facts : dict
        format, width and height (pixels of the file), bits, blank, and the measurements where asked for.

    Raises
    ------
    UnreadableFileError
        When the file cannot be used.
    """
    grey, form, bits = _read(path)
    if not np.isfinite(grey).all():
        raise UnreadableFileError("it holds pixels that are not finite")
    pixels = normalise(grey)
    facts = {"format": form, "width": grey.shape[1], "height": grey.shape[0], "bits": bits, "blank": not pixels.any()}
    if features.measurements or features.local_measurements:
        squared = square(pixels, size=MEASURED_EDGE)
        facts |= measure(pixels, squared) if features.measurements else {}
        facts |= measure_locally(squared) if features.local_measurements else {}
    return square(pixels, size=features.size), facts


def read_grey(path: Path) -> np.ndarray:
    """Return the greys of an image as its file holds them, float32 of shape (height, width); larger is brighter.

    Raises
    ------
    UnreadableFileError
        When the file cannot be used.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[np.ndarray, str, int]:
    """Return greys, format and bits of a file."""
    if not path.is_file():
        raise UnreadableFileError("there is no such file")
    return _read_dicom(path) if pydicom.misc.is_dicom(path) else _read_picture(path)


def normalise(grey: np.ndarray) -> np.ndarray:
    """Stretch the greys linearly so that the 0.5th and 99.5th percentiles become 0 and 1.

    Parameters
    ----------
    grey : numpy.ndarray
        Shape (height, width), any unit.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape in [0, 1]; all 0 when the image is of one grey.
    """
    low, high = np.percentile(grey, PERCENTILES)
    if high <= low:
        # A small bright object may cover less than the percentiles leave out.
        low, high = grey.min(), grey.max()
    if high <= low:
        return np.zeros(grey.shape, dtype=np.float32)
    return np.clip((grey - low) / (high - low), 0, 1).astype(np.float32)


def square(pixels: np.ndarray, *, size: int) -> np.ndarray:
    """Add black bars on both sides until the image is square, and resize it with antialiasing (PIL, bilinear).

    Parameters
    ----------
    pixels : numpy.ndarray
        float32 of shape (height, width) in [0, 1].
    size : int
        Edge of the result in pixels.

    Returns
    -------
    numpy.ndarray
        float32 of shape (size, size) in [0, 1].
    """
    height, width = pixels.shape
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    padded = np.pad(pixels, ((top, edge - height - top), (left, edge - width - left)))
    resized = PIL.Image.fromarray(padded).resize((size, size), resample=PIL.Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), 0, 1)


def _read_picture(path: Path) -> tuple[np.ndarray, str, int]:
    try:
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as image:
            form, mode = image.format, image.mode
            upright = PIL.ImageOps.exif_transpose(image)
            if mode.startswith("I"):
                return np.asarray(upright, dtype=np.float32), form, 16
            # Through RGB: palettes and transparency have no grey of their own.
            return np.asarray(upright.convert("RGB").convert("L"), dtype=np.float32), form, 1 if mode == "1" else 8
    except PIL.UnidentifiedImageError as error:
        raise UnreadableFileError("it is neither PNG nor JPEG nor DICOM") from error
    except PIL_ERRORS as error:
        raise UnreadableFileError(f"it is broken or cut short ({type(error).__name__})") from error


def _check_frames(dataset: pydicom.Dataset) -> None:
    if "PixelData" not in dataset:
        raise UnreadableFileError("it is a DICOM file without pixels")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise UnreadableFileError("it is a DICOM file of several frames")


def _read_dicom(path: Path) -> tuple[np.ndarray, str, int]:
    try:
        dataset = pydicom.dcmread(path)
        _check_frames(dataset)
        stored = dataset.pixel_array
        photometric, bits = dataset.PhotometricInterpretation, int(dataset.BitsStored)
        if photometric == "PALETTE COLOR":
            stored = pydicom.pixels.apply_color_lut(stored, dataset) / 257.0
        elif photometric.startswith("YBR"):
            stored = pydicom.pixels.convert_color_space(stored, photometric, "RGB")
        if stored.ndim == 3:
            return (stored[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.float32), "DICOM", bits
        grey = pydicom.pixels.apply_modality_lut(stored, dataset)
        grey = np.asarray(pydicom.pixels.apply_voi_lut(grey, dataset), dtype=np.float32)
    except UnreadableFileError:
        raise
    except DICOM_ERRORS as error:
        syntax = (
            "" if not isinstance(error, (NotImplementedError, RuntimeError)) else "; its compression may be unknown"
        )
        raise UnreadableFileError(f"its pixels cannot be read ({type(error).__name__}{syntax})") from error
    # In MONOCHROME1 the lowest value is white. The stretch of the greys comes later, so the sign is all that matters.
    return (-grey if photometric == "MONOCHROME1" else grey), "DICOM", bits


def _check(facts: pd.DataFrame, manifest: Path) -> None:
    if blank := int(facts["blank"].sum()):
        logger.warning("%s: %d of %d images are of one grey all over", manifest.name, blank, len(facts))


def _described(measurements: Iterable[tuple[str, str, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, modality="image", unit=unit, description=description)
        for name, unit, description in measurements
    )


MODALITY = Recorded(
    name="image",
    read=read_image,
    shape=lambda features: (features.size, features.size),
    columns=_described(MEASUREMENTS),
    local_columns=_described(LOCAL_MEASUREMENTS),
    kept=("format", "width", "height", "bits", "blank"),
    accepted=ACCEPTED,
    check=_check,
).modality()

"""Pictures: PNG, JPEG and uncompressed DICOM become greys, as `riskweave.modalities.image` makes them."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pydicom
import pydicom.pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from riskweave.deployment.runtime.reading import ReadError, foreign

__all__ = ["MOST_PIXELS", "parse_image"]

MOST_PIXELS = 80_000_000
"""A radiograph has 4 to 20 million. Pillow itself warns from 89 million on."""
EDGES = (2, 16_384)

ACCEPTED = "Accepted are PNG, JPEG and uncompressed DICOM with one image."
AGAIN = "Export the image once more."
UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

# What the decoders raise for files that are broken or not of their kind.
_PIL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, OverflowError, MemoryError)
_BOMBS = (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)
_DICOM_ERRORS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RuntimeError, EOFError,
    ArithmeticError, AssertionError, MemoryError, struct.error, pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)  # fmt: skip


def parse_image(data: bytes) -> np.ndarray:
    """Return the greys of a picture.

    Colours become grey (ITU-R 601 luma), a JPEG is turned upright. A DICOM's rescaling, window and polarity are
    applied.

    Parameters
    ----------
    data : bytes
        Of the file; what it is, is told by its content.

    Returns
    -------
    float32 array (height, width)
        In any unit, brighter is larger.

    Raises
    ------
    ReadError
    """
    grey = _dicom(data) if data[128:132] == b"DICM" else _picture(data)
    if not np.isfinite(grey).all():
        raise ReadError("The image holds pixels that are no finite numbers.", AGAIN)
    return grey


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > EDGES[1]:
        allowed = f"{MOST_PIXELS // 10**6} million are allowed, {EDGES[1]} a side"
        raise ReadError(
            f"The image has {width} x {height} pixels; {allowed}.",
            "Export it in a smaller size: a model looks at far fewer.",
        )
    if min(width, height) < EDGES[0]:
        raise ReadError(f"The image has {width} x {height} pixels, which is no picture.", AGAIN)


def _picture(data: bytes) -> np.ndarray:
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            _check_size(*image.size)
            upright = PIL.ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):
                return np.asarray(upright, dtype=np.float32)
            # Through RGB: palettes and transparency have no grey of their own.
            return np.asarray(upright.convert("RGB").convert("L"), dtype=np.float32)
    except ReadError:
        raise
    except PIL.UnidentifiedImageError as error:
        kind = foreign(data)
        if kind is None or kind.startswith(("a PNG", "a JPEG")):
            kind = f"{kind} that is damaged" if kind else "neither PNG nor JPEG nor DICOM"
        raise ReadError(f"The file is {kind}.", ACCEPTED) from error
    except _BOMBS as error:
        raise ReadError("The image has too many pixels.", "Export it in a smaller size.") from error
    except _PIL_ERRORS as error:
        raise ReadError(f"The image is damaged or cut short ({type(error).__name__}).", AGAIN) from error


def _dicom(data: bytes) -> np.ndarray:
    try:
        _check_dicom(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True))
        return _greys(pydicom.dcmread(io.BytesIO(data)))
    except ReadError:
        raise
    except _DICOM_ERRORS as error:
        raise ReadError(
            f"The DICOM file is damaged: its image cannot be read ({type(error).__name__}).", AGAIN
        ) from error


def _check_dicom(dataset: pydicom.Dataset) -> None:
    """Refuse what is compressed, too large, or no single image, before any pixel is touched."""
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if not syntax:
        raise ReadError("The DICOM file does not say how its image is stored (transfer syntax).", AGAIN)
    if "Rows" not in dataset or "Columns" not in dataset:
        kind = "an ECG" if "WaveformSequence" in dataset else "a file"
        raise ReadError(f"The DICOM file is {kind} without an image.", "Choose the file of the image.")
    if syntax not in UNCOMPRESSED:
        # The name of what is no known syntax is the file's own text.
        kind = syntax.name if syntax.name != syntax else "or stored in an unknown way"
        raise ReadError(
            f"The DICOM image is compressed ({kind}), which this program does not read.",
            "Export it once more from the viewer or the archive (PACS) as DICOM without compression, which it may call "
            '"uncompressed" or "Explicit VR Little Endian".',
        )
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise ReadError("The DICOM file holds several images (frames).", "Export the one that is meant.")
    _check_size(int(dataset.Columns), int(dataset.Rows))
    if int(dataset.SamplesPerPixel) not in {1, 3} or int(dataset.BitsAllocated) not in {1, 8, 16, 32}:
        raise ReadError("The DICOM image is neither grey nor of three colours, with 8, 16 or 32 bits.", AGAIN)


def _greys(dataset: pydicom.Dataset) -> np.ndarray:
    if "PixelData" not in dataset:
        raise ReadError("The DICOM file has no pixels, though it describes an image.", AGAIN)
    stored = dataset.pixel_array
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        stored = pydicom.pixels.apply_color_lut(stored, dataset) / 257.0
    elif photometric.startswith("YBR"):
        stored = pydicom.pixels.convert_color_space(stored, photometric, "RGB")
    if stored.ndim == 3:
        return (stored[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    grey = pydicom.pixels.apply_modality_lut(stored, dataset)
    grey = np.asarray(pydicom.pixels.apply_voi_lut(grey, dataset), dtype=np.float32)
    # In MONOCHROME1 the lowest value is white. The greys are stretched later, so the sign is all that matters.
    return -grey if photometric == "MONOCHROME1" else grey

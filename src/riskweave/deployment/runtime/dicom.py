"""Pictures in DICOM files, uncompressed: their greys, as `riskweave.modalities.image` makes them."""

import io
import struct

import numpy as np
import pydicom
import pydicom.pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from riskweave.deployment.runtime.pictures import AGAIN, check_size
from riskweave.deployment.runtime.reading import CompressedError, ReadError

__all__ = ["parse_dicom"]

UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

_DICOM_ERRORS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RuntimeError, EOFError,
    ArithmeticError, AssertionError, MemoryError, struct.error, pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)  # fmt: skip


def parse_dicom(data: bytes) -> np.ndarray:
    """Return the greys of a DICOM image: rescaled, windowed, and inverted where low values are white.

    Parameters
    ----------
    data : bytes
        Of the file.

    Returns
    -------
    float32 array (height, width)
        In any unit, brighter is larger.

    Raises
    ------
    ReadError
        When it is compressed, of several frames, too large or damaged.
    """
    try:
        _check_dicom(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True))
        return _finite(_greys(pydicom.dcmread(io.BytesIO(data))))
    except ReadError:
        raise
    except _DICOM_ERRORS as error:
        raise ReadError(
            f"The DICOM file is damaged: its image cannot be read ({type(error).__name__}).", AGAIN
        ) from error


def _finite(grey: np.ndarray) -> np.ndarray:
    if not np.isfinite(grey).all():
        raise ReadError("The image holds pixels that are no finite numbers.", AGAIN)
    return grey


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
        raise CompressedError(
            f"The DICOM image is compressed ({kind}), which this program does not read.",
            "Export it once more from the viewer or the archive (PACS) as DICOM without compression, which it may call "
            '"uncompressed" or "Explicit VR Little Endian".',
        )
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise ReadError("The DICOM file holds several images (frames).", "Export the one that is meant.")
    check_size(int(dataset.Columns), int(dataset.Rows))
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

"""Pictures: PNG, JPEG and uncompressed DICOM become greys, as `riskweave.modalities.image` makes them."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps

from riskweave.deployment.runtime.reading import ReadError, foreign

__all__ = ["AGAIN", "MOST_PIXELS", "check_size", "parse_image"]

MOST_PIXELS = 80_000_000
"""A radiograph has 4 to 20 million. Pillow itself warns from 89 million on."""
EDGES = (2, 16_384)

ACCEPTED = "Accepted are PNG, JPEG and uncompressed DICOM with one image."
AGAIN = "Export the image once more."
"""What to do about most files that cannot be read."""

# What the decoders raise for files that are broken or not of their kind.
_PIL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, OverflowError, MemoryError)
_BOMBS = (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)


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
    if data[128:132] == b"DICM":
        # pydicom takes longer to load than all else that a prediction needs.
        from riskweave.deployment.runtime.dicom import parse_dicom

        grey = parse_dicom(data)
    else:
        grey = _picture(data)
    if not np.isfinite(grey).all():
        raise ReadError("The image holds pixels that are no finite numbers.", AGAIN)
    return grey


def check_size(width: int, height: int) -> None:
    """Refuse pictures that are too large or no pictures, by their size in pixels."""
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
            check_size(*image.size)
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

"""Pictures: PNG, JPEG and uncompressed DICOM become greys, as `riskweave.modalities.image` makes them."""

import io
import struct
import zlib
from typing import Any

from riskweave.deployment.runtime.reading import ReadError, foreign
from riskweave.deployment.runtime.stored import Buffer

__all__ = ["AGAIN", "MOST_PIXELS", "check_size", "parse_image"]

MOST_PIXELS = 80_000_000
"""A radiograph has 4 to 20 million. Pillow itself warns from 89 million on."""
EDGES = (2, 16_384)

ACCEPTED = "Accepted are PNG, JPEG and uncompressed DICOM with one image."
AGAIN = "Export the image once more."
"""What to do about most files that cannot be read."""

ORIENTATION = 0x0112
"""The tag of Exif that tells how a camera was held; 1 is upright."""

# What the decoders raise for files that are broken.
_PIL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, OverflowError, MemoryError)


def parse_image(data: bytes) -> Buffer:
    """Return the greys of a picture.

    Colours become grey (ITU-R 601 luma), a JPEG is turned upright. A DICOM's rescaling, window and polarity are
    applied.

    Parameters
    ----------
    data : bytes
        Of the file; what it is, is told by its content.

    Returns
    -------
    buffer of bytes or floats (height, width)
        In any unit, brighter is larger.

    Raises
    ------
    ReadError
    """
    if data[128:132] == b"DICM":
        # pydicom and NumPy take longer to load than all else that a prediction needs.
        from riskweave.deployment.runtime.dicom import parse_dicom

        return parse_dicom(data)
    return _picture(data)


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


def _picture(data: bytes) -> memoryview:
    try:
        with _opened(data) as image:
            check_size(*image.size)
            image.load()
            upright = image
            if image.getexif().get(ORIENTATION, 1) != 1:
                import PIL.ImageOps

                upright = PIL.ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):
                return _grid(upright.convert("F"), "f")
            # Through RGB: palettes and transparency have no grey of their own.
            return _grid(upright if image.mode == "L" else upright.convert("RGB").convert("L"), "B")
    except ReadError:
        raise
    except _PIL_ERRORS as error:
        raise ReadError(f"The image is damaged or cut short ({type(error).__name__}).", AGAIN) from error


def _opened(data: bytes) -> Any:
    """Return the image of Pillow, not decoded yet. `PIL.Image.open` would load the decoders of five kinds of files."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        from PIL.PngImagePlugin import PngImageFile as Decoder
    elif data.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile as Decoder
    else:
        raise _refused(data)
    try:
        return Decoder(io.BytesIO(data))
    except SyntaxError as error:
        raise _refused(data) from error


def _refused(data: bytes) -> ReadError:
    kind = foreign(data)
    if kind is None or kind.startswith(("a PNG", "a JPEG")):
        kind = f"{kind} that is damaged" if kind else "neither PNG nor JPEG nor DICOM"
    return ReadError(f"The file is {kind}.", ACCEPTED)


def _grid(image: Any, kind: str) -> memoryview:
    return memoryview(image.tobytes()).cast(kind, (image.height, image.width))

"""Golden patients as they are stored: recordings, pictures and the bits of the expected outputs."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["MISSING_SAMPLE", "decode_ecg", "decode_image", "hexes_of"]

MISSING_SAMPLE = -32768


def decode_ecg(ecg: Mapping[str, Any]) -> np.ndarray:
    """Return a golden recording (12, samples) in mV, NaN where it is missing."""
    stored = np.frombuffer(base64.b64decode(ecg["microvolts"]), dtype="<i2").reshape(len(ecg["leads"]), ecg["samples"])
    return np.where(stored == MISSING_SAMPLE, np.nan, stored / 1000.0)


def decode_image(image: Mapping[str, Any]) -> np.ndarray:
    """Return a golden picture (height, width), float32 greys from 0 to 255."""
    pixels = np.frombuffer(base64.b64decode(image["pixels"]), dtype=np.uint8)
    return pixels.reshape(image["height"], image["width"]).astype(np.float32)


def hexes_of(risks: np.ndarray) -> list[str]:
    """Return each number as the 16 hexadecimal digits of its 64 bits, the sign first."""
    return [struct.pack(">d", float(value)).hex() for value in np.asarray(risks, dtype=np.float64).ravel()]

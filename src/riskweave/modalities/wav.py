"""WAV files to samples.

`scipy.io.wavfile` takes a file that is cut short for a shorter one and tells oddities as warnings, which threads share;
the standard library's `wave` knows no floating-point samples. The format: Microsoft, "Multimedia Programming Interface
and Data Specifications 1.0" (1991), and WAVEFORMATEXTENSIBLE.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riskweave.modalities.files import UnreadableFileError

__all__ = ["Wave", "read_wav"]

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True)
class Wave:
    """The content of a WAV file.

    Attributes
    ----------
    samples : ndarray of float64, shape (samples,)
        Mean of the channels; 1 is the full scale of integer formats.
    rate : int
        Sampling rate in Hz.
    channels, bits : int
        Channels of the file, and bits of a sample.
    """

    samples: np.ndarray
    rate: int
    channels: int
    bits: int


def read_wav(path: Path) -> Wave:
    """Read a WAV file: PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64, with any number of channels.

    Raises
    ------
    UnreadableFileError
        When there is no such file, it is cut short or none of these.
    """
    if not path.is_file():
        raise UnreadableFileError("there is no such file")
    content = path.read_bytes()
    chunks = dict(_chunks(content))
    if b"fmt " not in chunks or b"data" not in chunks or len(chunks[b"fmt "]) < 16:
        raise UnreadableFileError("it lacks the format or the samples")
    coding, channels, rate, _, width, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if coding == EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        coding = struct.unpack("<H", chunks[b"fmt "][24:26])[0]
    if not channels or not rate or width != channels * ((bits + 7) // 8):
        raise UnreadableFileError("its header contradicts itself")
    data = chunks[b"data"]
    values = _decode(data[: len(data) // width * width], coding, bits).reshape(-1, channels)
    if not np.isfinite(values).all():
        raise UnreadableFileError("it holds samples that are not finite")
    return Wave(values.mean(axis=1), rate, channels, bits)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk of a RIFF file."""
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise UnreadableFileError("it is not a WAV file")
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack("<4sI", content[place : place + 8])
        part = content[place + 8 : place + 8 + size]
        if name in (b"fmt ", b"data") and len(part) < size:
            raise UnreadableFileError("it is cut short")
        yield name, part
        place += 8 + size + size % 2


def _decode(data: bytes, coding: int, bits: int) -> np.ndarray:
    """Return the samples as float64 between -1 and 1 (floating point: as they are)."""
    if coding == PCM and bits == 8:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float64) - 128.0) / 128.0
    if coding == PCM and bits == 24:
        # Three bytes become the upper ones of four.
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float64) / 2.0**31
    if coding == PCM and bits in (16, 32):
        return np.frombuffer(data, dtype=f"<i{bits // 8}").astype(np.float64) / 2.0 ** (bits - 1)
    if coding == FLOAT and bits in (32, 64):
        return np.frombuffer(data, dtype=f"<f{bits // 8}").astype(np.float64)
    raise UnreadableFileError(f"its coding (format {coding}, {bits} bits) is not one that is accepted")

"""WFDB records (PhysioNet): a header and its signal files, decoded without any library but numpy.

Format: WFDB Applications Guide, header(5) and signal(5), physionet.org/physiotools/wag. Records of one segment whose
signals have the same rate and no skew, in formats 8, 16, 24, 32, 61, 80, 160, 212, 310 and 311. What is left out is
refused, never guessed at.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from riskweave.deployment.runtime.reading import LEADS, ReadError, lead_name, millivolts

__all__ = ["Header", "Signal", "parse_header", "read_record"]

MOST_SIGNALS = 256
MOST_HEADER = 1024 * 1024

AGAIN = "Export the ECG once more as a WFDB record in format 16."
BROKEN = "The header is damaged or not of WFDB: "

# Of each format: so many bytes hold so many samples, and the number that means "no value".
_FORMATS = {
    "8": (1, 1, None), "16": (2, 1, -(2**15)), "24": (3, 1, -(2**23)), "32": (4, 1, -(2**31)), "61": (2, 1, -(2**15)),
    "80": (1, 1, -(2**7)), "160": (2, 1, -(2**15)), "212": (3, 2, -(2**11)), "310": (4, 3, -(2**9)),
    "311": (4, 3, -(2**9)),
}  # fmt: skip
_COMPRESSED = {"508", "516", "524"}
_WHOLE = {"8": "i1", "16": "<i2", "32": "<i4", "61": ">i2", "80": "u1", "160": "<u2"}
_OFFSET = {"80": 128, "160": 32768}

_FILE_NAME = re.compile(r"[-\w]+(\.\w+)?")
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?(?:\((-?\d+)\))?(?:/(\S+))?")
_INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Signal:
    """A line of the header."""

    file: str
    form: str
    offset: int
    gain: float
    baseline: int
    unit: str
    first: int
    name: str


@dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes
    ----------
    rate : float
        Samples a second.
    samples : int or None
        Of each signal; None where only the size of the files tells.
    signals : tuple of Signal
    """

    rate: float
    samples: int | None
    signals: tuple[Signal, ...]


def parse_header(data: bytes) -> Header:
    """Read a header.

    Raises
    ------
    ReadError
    """
    if len(data) > MOST_HEADER:
        raise ReadError("The header (.hea) is longer than 1 MB, which no header is.", "Choose the record's own header.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ReadError(BROKEN + "it has no lines.", AGAIN)
    count, rate, samples = _record_line(lines[0])
    if len(lines) - 1 < count:
        raise ReadError(BROKEN + f"it announces {count} signals and describes {len(lines) - 1}.", AGAIN)
    return Header(rate, samples, tuple(_signal_line(line) for line in lines[1 : 1 + count]))


def _record_line(line: str) -> tuple[int, float, int | None]:
    """Return the number of signals, the rate and the number of samples."""
    fields = line.split()
    if "/" in fields[0]:
        raise ReadError(
            "The record consists of several segments, which are not read.", "Choose the header of one of its segments."
        )
    try:
        count = int(fields[1])
        rate = float(fields[2].split("/")[0].split("(")[0]) if len(fields) > 2 else 250.0  # WFDB's own default
        samples = int(fields[3]) if len(fields) > 3 and ":" not in fields[3] else 0
    except (IndexError, ValueError) as error:
        raise ReadError(
            BROKEN + "its first line lacks the number of signals, the rate or the length.", AGAIN
        ) from error
    if not 1 <= count <= MOST_SIGNALS:
        raise ReadError(f"The header announces {count} signals; 1 to {MOST_SIGNALS} are allowed.", AGAIN)
    if not (math.isfinite(rate) and rate > 0) or samples < 0:
        raise ReadError(BROKEN + "its sampling rate or its length is not positive.", AGAIN)
    return count, rate, samples or None


def _signal_line(line: str) -> Signal:
    fields = line.split(None, 2)
    form = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    if form is None:
        raise ReadError(BROKEN + "a line of a signal lacks its file and format.", AGAIN)
    if not _FILE_NAME.fullmatch(fields[0]):
        raise ReadError(BROKEN + "a signal file's name is not of letters, digits, hyphens and one dot.", AGAIN)
    number, per_frame, skew, offset = form.groups()
    if number in _COMPRESSED:
        raise ReadError(f"The signals are compressed (WFDB format {number}), which is not read.", AGAIN)
    if number not in _FORMATS:
        raise ReadError(f"The signals are in WFDB format {number}, which is not read.", AGAIN)
    if int(per_frame or 1) != 1:
        raise ReadError(
            "The record's signals have different sampling rates, which is not read.",
            "Export the ECG once more with one sampling rate for all leads.",
        )
    if int(skew or 0) != 0:
        raise ReadError(
            "The record's signals are shifted in time against each other (skew), which is not read.",
            "Export the ECG once more with all leads sampled at the same times.",
        )
    rest = fields[2] if len(fields) > 2 else ""
    gain, baseline, unit, rest = _gain(rest)
    # Resolution, zero, first value, checksum, block size: each may be left out, with all that follow it.
    numbers: list[int | None] = []
    while len(numbers) < 5:
        token, _, after = rest.partition(" ")
        if not _INTEGER.fullmatch(token):
            break
        numbers.append(int(token))
        rest = after.lstrip()
    numbers += [None] * (5 - len(numbers))
    if baseline is None:
        baseline = numbers[1] or 0
    return Signal(fields[0], number, int(offset or 0), gain, baseline, unit, numbers[2] or 0, rest.strip())


def _gain(rest: str) -> tuple[float, int | None, str, str]:
    """Return gain, baseline, unit and what follows them; without a gain it is 200 a mV, as WFDB has it."""
    token, _, after = rest.replace("\t", " ").lstrip().partition(" ")
    found = _GAIN.fullmatch(token)
    if found is None or found[1] is None:
        return 200.0, None, "mV", rest.strip()
    gain = float(found[1]) or 200.0
    if not math.isfinite(gain):
        raise ReadError(BROKEN + "a signal's gain is not finite.", AGAIN)
    return gain, None if found[2] is None else int(found[2]), found[3] or "mV", after.lstrip()


def read_record(header: Header, fetch: Callable[[str], bytes], *, most: int) -> np.ndarray:
    """Read the standard leads of a record.

    Parameters
    ----------
    header : Header
    fetch : callable
        From the name of a signal file to its bytes; raises `ReadError` where there is none.
    most : int
        Samples of each lead that are read; all files have to be whole.

    Returns
    -------
    float64 array (12, samples)
        In mV, in the order of `LEADS`; NaN where there is no value.

    Raises
    ------
    ReadError
    """
    wanted = _find_leads(header.signals)
    files = {signal.file: [each for each in header.signals if each.file == signal.file] for signal in header.signals}
    data = {name: fetch(name) for name in files}
    samples = header.samples or min(_length(data[name], signals) for name, signals in files.items())
    if samples < 1:
        raise ReadError("The signal file holds no samples.", AGAIN)
    leads = np.full((len(LEADS), min(samples, most)), np.nan)
    for name, signals in files.items():
        _check_file(name, data[name], signals, samples)
        rows = [(row, signal) for row, signal in wanted.items() if signal.file == name]
        if rows:
            stored = _decode(data[name][signals[0].offset :], signals, leads.shape[1])
        for row, signal in rows:
            # The signal itself, not its equal: two channels may be described by the same words.
            digital = stored[:, next(place for place, each in enumerate(signals) if each is signal)]
            values = (digital.astype(np.float64) - signal.baseline) / signal.gain * millivolts(signal.unit)
            values[digital == _FORMATS[signal.form][2]] = np.nan
            leads[row] = values
    return leads


def _find_leads(signals: Sequence[Signal]) -> dict[int, Signal]:
    """Return the signal of each standard lead that is there; of several of a name the first."""
    named = {lead_name(signal.name): signal for signal in reversed(signals)}
    found = {row: named[lead.lower()] for row, lead in enumerate(LEADS) if lead.lower() in named}
    if not found:
        raise ReadError(
            "None of the record's signals has the name of a standard lead.",
            "Choose a 12-lead ECG; leads are named I, II, III, aVR, aVL, aVF, V1 to V6 in the header.",
        )
    if unknown := [LEADS[row] for row, signal in found.items() if millivolts(signal.unit) is None]:
        raise ReadError(
            f"The unit of {', '.join(unknown)} is not one of V, mV, uV and nV.",
            "Correct the units in the header (.hea).",
        )
    return found


def _length(data: bytes, signals: Sequence[Signal]) -> int:
    """Return how many samples of each signal a file holds."""
    held, per, _ = _FORMATS[signals[0].form]
    return (len(data) - signals[0].offset) * per // (held * len(signals))


def _size(form: str, count: int) -> int:
    """Return the bytes of so many samples, which may end within a block."""
    held, per, _ = _FORMATS[form]
    if form == "310" and count % 3 == 2:  # the third sample's bits lie between those of the first two
        count += 1
    return -(-count * held // per)


def _check_file(name: str, data: bytes, signals: Sequence[Signal], samples: int) -> None:
    if len({(signal.form, signal.offset) for signal in signals}) > 1:
        raise ReadError(BROKEN + "it describes one signal file in several formats.", AGAIN)
    size = signals[0].offset + _size(signals[0].form, samples * len(signals))
    if len(data) < size:
        raise ReadError(
            f"The signal file {name} is cut short: the header asks for {size} bytes, it has {len(data)}.",
            "Copy the record once more, and check that header and signal file belong together.",
        )


def _decode(data: bytes, signals: Sequence[Signal], samples: int) -> np.ndarray:
    """Return what is stored, shape (samples, signals of the file)."""
    form, count = signals[0].form, samples * len(signals)
    data = data[: _size(form, count)]
    if form in _WHOLE:
        stored = np.frombuffer(data, _WHOLE[form]).astype(np.int32) - _OFFSET.get(form, 0)
    else:
        stored = _UNPACK[form](data)[:count]
    stored = stored.reshape(samples, len(signals))
    if form == "8":  # differences
        stored = np.cumsum(stored, axis=0, dtype=np.int32) + np.array([signal.first for signal in signals], np.int32)
    return stored


def _blocks(data: bytes, size: int) -> np.ndarray:
    """Return the bytes as columns of blocks of `size`, the last one filled with zeros."""
    return np.frombuffer(data + b"\0" * (-len(data) % size), np.uint8).reshape(-1, size).T.astype(np.int32)


def _signed(values: Sequence[np.ndarray], bits: int) -> np.ndarray:
    """Return interleaved samples, in two's complement."""
    stored = np.stack(values, axis=1).ravel()
    return np.where(stored >= 1 << (bits - 1), stored - (1 << bits), stored)


def _unpack_24(data: bytes) -> np.ndarray:
    a, b, c = _blocks(data, 3)
    return _signed([a | b << 8 | c << 16], 24)


def _unpack_212(data: bytes) -> np.ndarray:
    a, b, c = _blocks(data, 3)
    return _signed([a | (b & 0x0F) << 8, c | (b & 0xF0) << 4], 12)


def _unpack_310(data: bytes) -> np.ndarray:
    a, b, c, d = _blocks(data, 4)
    return _signed([a >> 1 | (b & 7) << 7, c >> 1 | (d & 7) << 7, b >> 3 | (d >> 3) << 5], 10)


def _unpack_311(data: bytes) -> np.ndarray:
    a, b, c, d = _blocks(data, 4)
    return _signed([a | (b & 3) << 8, b >> 2 | (c & 15) << 6, c >> 4 | (d & 63) << 4], 10)


_UNPACK = {"24": _unpack_24, "212": _unpack_212, "310": _unpack_310, "311": _unpack_311}

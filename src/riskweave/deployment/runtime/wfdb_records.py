"""WFDB records (PhysioNet): a header and its signal files, unpacked to whole numbers without any library.

Format: WFDB Applications Guide, header(5) and signal(5), physionet.org/physiotools/wag. Records of one segment whose
signals have the same rate and no skew, in formats 8, 16, 24, 32, 61, 80, 160, 212, 310 and 311. What is left out is
refused, never guessed at.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from riskweave.deployment.runtime.reading import LEADS, ReadError, lead_name, millivolts
from riskweave.deployment.runtime.stored import Layout, Numbers, Stored

__all__ = ["Header", "Signal", "parse_header", "read_record"]

MOST_SIGNALS = 256
MOST_HEADER = 1024 * 1024
MOST_DIGITS = 18

AGAIN = "Export the ECG once more as a WFDB record in format 16."
BROKEN = "The header is damaged or not of WFDB: "

# Of each format: so many bytes hold so many samples, and the number that means "no value".
_FORMATS = {
    "8": (1, 1, math.nan), "16": (2, 1, -(2**15)), "24": (3, 1, -(2**23)), "32": (4, 1, -(2**31)),
    "61": (2, 1, -(2**15)), "80": (1, 1, -(2**7)), "160": (2, 1, -(2**15)), "212": (3, 2, -(2**11)),
    "310": (4, 3, -(2**9)), "311": (4, 3, -(2**9)),
}  # fmt: skip
_COMPRESSED = {"508", "516", "524"}

_FILE_NAME = re.compile(r"[-\w]+(\.\w+)?")
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?(?:\((-?\d+)\))?(?:/(\S+))?")
_NUMBERS = re.compile(r"((?:-?\d+(?: \s*|\Z)){0,5})(.*)")


class Signal(NamedTuple):
    """A line of the header."""

    file: str
    form: str
    offset: int
    gain: float
    baseline: int
    unit: str
    first: int
    name: str


class Header(NamedTuple):
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
        samples = _whole(fields[3]) if len(fields) > 3 and ":" not in fields[3] else 0
    except (IndexError, ValueError) as error:
        raise ReadError(
            BROKEN + "its first line lacks the number of signals, the rate or the length.", AGAIN
        ) from error
    if not 1 <= count <= MOST_SIGNALS:
        raise ReadError(f"The header announces {count} signals; 1 to {MOST_SIGNALS} are allowed.", AGAIN)
    if not (math.isfinite(rate) and rate > 0) or samples < 0:
        raise ReadError(BROKEN + "its sampling rate or its length is not positive.", AGAIN)
    return count, rate, samples or None


def _whole(text: str) -> int:
    """Return a whole number."""
    if len(text) > MOST_DIGITS:
        raise ReadError(BROKEN + f"a number in it has more than {MOST_DIGITS} digits.", AGAIN)
    return int(text)


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
    if _whole(per_frame or "1") != 1:
        raise ReadError(
            "The record's signals have different sampling rates, which is not read.",
            "Export the ECG once more with one sampling rate for all leads.",
        )
    if _whole(skew or "0") != 0:
        raise ReadError(
            "The record's signals are shifted in time against each other (skew), which is not read.",
            "Export the ECG once more with all leads sampled at the same times.",
        )
    rest = fields[2] if len(fields) > 2 else ""
    gain, baseline, unit, rest = _gain(rest)
    # Resolution, zero, first value, checksum, block size: each may be left out, with all that follow it.
    numbers, name = _NUMBERS.match(rest).groups()
    _, zero, first, *_ = [*map(_whole, numbers.split()), 0, 0, 0]
    if baseline is None:
        baseline = zero
    return Signal(fields[0], number, _whole(offset or "0"), gain, baseline, unit, first, name.strip())


def _gain(rest: str) -> tuple[float, int | None, str, str]:
    """Return gain, baseline, unit and what follows them; without a gain it is 200 a mV, as WFDB has it."""
    token, _, after = rest.replace("\t", " ").lstrip().partition(" ")
    found = _GAIN.fullmatch(token)
    if found is None or found[1] is None:
        return 200.0, None, "mV", rest.strip()
    gain = float(found[1]) or 200.0
    if not math.isfinite(gain):
        raise ReadError(BROKEN + "a signal's gain is not finite.", AGAIN)
    return gain, None if found[2] is None else _whole(found[2]), found[3] or "mV", after.lstrip()


def read_record(header: Header, fetch: Callable[[str], bytes], *, most: int) -> Stored:
    """Read the standard leads of a record.

    Parameters
    ----------
    header : Header
    fetch : callable
        From the name of a signal file to its bytes; raises `ReadError` where there is none.
    most : int
        Samples of each lead that are read; all files have to be whole.

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
    read, parts = min(samples, most), []
    for name, signals in files.items():
        _check_file(name, data[name], signals, samples)
        # The signal itself, not its equal: two channels may be described by the same words.
        rows = {row: place for row, one in wanted.items() for place, each in enumerate(signals) if each is one}
        if rows:
            parts.append(_part(memoryview(data[name])[signals[0].offset :], signals, rows, read))
    return Stored(read, tuple(parts))


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


def _part(data: memoryview, signals: Sequence[Signal], rows: Mapping[int, int], samples: int) -> Numbers:
    """Return the leads that are in a file: by their rows, the places of their signals."""
    form, step = signals[0].form, len(signals)
    count, places = samples * step, {row: (place, step) for row, place in rows.items()}
    size = 4 if form in {"8", "24", "32"} else 2
    data = data[: _size(form, count)]
    if form in _UNPACK:
        data = _UNPACK[form](bytes(data))[: size * count]
    elif form in {"8", *_CUT}:
        # One by one, so of these signals alone: there may be many others.
        found = [_found(data, signals[place], range(place, count, step)) for place in rows.values()]
        data = b"".join(_packed(numbers, size) for numbers in found)
        places = {row: (number * samples, 1) for number, row in enumerate(rows)}
    return Numbers(data, size, {row: _layout(signals[place], *places[row]) for row, place in rows.items()})


def _layout(of: Signal, first: int, step: int) -> Layout:
    return Layout(first, step, of.gain, float(of.baseline), millivolts(of.unit), _FORMATS[of.form][2])


def _found(data: memoryview, of: Signal, places: range) -> Iterable[int]:
    """Return the numbers of a signal."""
    if of.form == "8":  # differences
        return islice(accumulate(data.cast("b")[places.start :: places.step], initial=of.first), 1, None)
    return (_of_10_bits(data, place, _CUT[of.form]) for place in places)


def _packed(numbers: Iterable[int], size: int) -> bytes:
    numbers = list(numbers)
    try:
        return struct.pack(f"<{len(numbers)}{'h' if size == 2 else 'i'}", *numbers)
    except struct.error as error:
        raise ReadError(BROKEN + "a signal's first value is beyond 32 bits.", AGAIN) from error


def _translation(change: Callable[[int], int]) -> bytes:
    """Return a table for `bytes.translate`."""
    return bytes(change(byte) & 0xFF for byte in range(256))


_FLIPPED = _translation(lambda byte: byte ^ 0x80)
_SIGN = _translation(lambda byte: -(byte >> 7))
# The upper bytes of numbers of 12 bits, whose upper 4 bits are the lower or upper half of a byte.
_LOWER = _translation(lambda byte: (byte & 0x0F ^ 0x08) - 0x08)
_UPPER = _translation(lambda byte: (byte >> 4 ^ 0x08) - 0x08)


def _woven(*columns: bytes) -> bytes:
    """Return the first bytes of all columns, then their second ones, and so on; short columns are filled with zeros."""
    woven = bytearray(len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        woven[place :: len(columns)] = column.ljust(len(columns[0]), b"\0")
    return bytes(woven)


def _of_10_bits(data: memoryview, place: int, cut: Callable[[int, int], int]) -> int:
    """Return a number of 10 bits, of which three are in each word of 32; `cut` shifts one of the three down."""
    start = 4 * (place // 3)
    word = int.from_bytes(data[start : start + 4], "little")
    return (cut(word, place % 3) & 0x3FF ^ 0x200) - 0x200


def _cut_310(word: int, place: int) -> int:
    return word >> 11 & 0x1F | word >> 22 & 0x3E0 if place == 2 else word >> (1, 17)[place]


def _unpack_24(data: bytes) -> bytes:
    return _woven(data[::3], data[1::3], data[2::3], data[2::3].translate(_SIGN))


def _unpack_61(data: bytes) -> bytes:
    return _woven(data[1::2], data[::2])


def _unpack_80(data: bytes) -> bytes:
    own = data.translate(_FLIPPED)
    return _woven(own, own.translate(_SIGN))


def _unpack_160(data: bytes) -> bytes:
    return _woven(data[::2], data[1::2].translate(_FLIPPED))


def _unpack_212(data: bytes) -> bytes:
    a, b, c = data[::3], data[1::3], data[2::3]
    return _woven(a, b.translate(_LOWER), c, b.translate(_UPPER))


_UNPACK = {"24": _unpack_24, "61": _unpack_61, "80": _unpack_80, "160": _unpack_160, "212": _unpack_212}
_CUT = {"310": _cut_310, "311": lambda word, place: word >> 10 * place}

"""What the readers of recordings and pictures share: how much they take, and how they say no."""

from pathlib import Path

__all__ = [
    "LEADS",
    "MOST_BYTES",
    "CompressedError",
    "ReadError",
    "check_size",
    "foreign",
    "lead_name",
    "load",
    "millivolts",
]

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of a file that are read; a 12-lead ECG of a minute has under 1 MB, a radiograph under 40 MB."""

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}

# How files of other kinds begin, to tell people what they have.
_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"<?xml", "an XML file"),
    (b"<", "an XML or HTML file"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x89HDF", "an HDF5 file"),
)


class ReadError(ValueError):
    """A file cannot be read as a recording or a picture.

    Parameters
    ----------
    problem : str
        What is wrong, in plain words, nothing of what the file says about the patient.
    remedy : str
        What the reader of the message can do.
    """

    def __init__(self, problem: str, remedy: str):
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem} {remedy}")

    def __reduce__(self):
        return type(self), (self.problem, self.remedy)


class CompressedError(ReadError):
    """A file is whole, and compressed in a way that is not read: exported in another way it would be."""


def load(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    ReadError
        When there is none, or it is too large to be what is asked for.
    """
    try:
        if not path.is_file():
            raise ReadError(f"There is no file {path.name}.", "Check the name and the folder.")
        size = path.stat().st_size
        return check_size(path.read_bytes() if size <= MOST_BYTES else b"", size, path.name)
    except OSError as error:
        message = f"The file {path.name} cannot be opened ({type(error).__name__})."
        raise ReadError(message, "Check that you may read it and that the disk is there.") from error


def check_size(data: bytes, size: int, name: str) -> bytes:
    """Return the data, or refuse it: empty or too large."""
    if size > MOST_BYTES:
        problem = f"The file {name} has {size / 1024**2:.0f} MB; {MOST_BYTES // 1024**2} MB are allowed."
        raise ReadError(problem, "Export a single recording or picture, a long recording in part.")
    if not size:
        raise ReadError(f"The file {name} is empty.", "Export it once more.")
    return data


def foreign(data: bytes) -> str | None:
    """Return what kind of file this is, in words; None where that is unknown."""
    if data[128:132] == b"DICM":
        return "a DICOM file"
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((name for magic, name in _FOREIGN if start.startswith(magic)), None)


def lead_name(name: str) -> str:
    """Return the name of a channel as leads are compared: ``"Lead aVF "`` and ``"AVF"`` are the same."""
    return name.lower().replace("lead", "").replace("_", " ").strip()


def millivolts(unit: str) -> float | None:
    """Return what a unit is in mV, None where it is none of voltage."""
    return _MILLIVOLTS.get(unit.strip().lower())

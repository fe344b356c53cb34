"""Files as a module takes them: ECGs as 12 leads in mV, pictures as greys. From disk, or from memory for a server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from riskweave.deployment.runtime.pictures import parse_image
from riskweave.deployment.runtime.reading import LEADS, ReadError, check_size, foreign, load
from riskweave.deployment.runtime.stored import Buffer, Stored
from riskweave.deployment.runtime.wfdb_records import parse_header, read_record

__all__ = ["LEADS", "MOST_SAMPLES", "Ecg", "ReadError", "parse_ecg", "parse_image", "read_ecg", "read_image"]

MOST_SAMPLES = 150_000
"""Of each lead, as the module takes them (five minutes at 500 Hz): a longer recording is cut."""

TABLES = {".csv", ".tsv", ".txt"}
RECORDS = {".hea", ".dat", ".mat", ""}
ACCEPTED_ECG = (
    "Accepted are WFDB records (a header .hea with its .dat or .mat) and tables (.csv) with a column for each lead."
)


class Ecg(NamedTuple):
    """A recording.

    Attributes
    ----------
    leads : Stored, or memoryview of doubles (12, samples)
        As the file stores them; or in mV, in the order of `LEADS`, NaN where there is no value.
    rate : float
        Samples a second.
    """

    leads: Stored | memoryview
    rate: float


def read_ecg(path: Path, *, rate: float | None = None) -> Ecg:
    """Read an ECG from disk.

    Parameters
    ----------
    path : Path
        Of a record: its header, its signal file, or its name without a suffix; or a table.
    rate : float, optional
        Samples a second, for tables without a column of times.

    Raises
    ------
    ReadError
        With what is wrong and what to do.
    """
    path = Path(path)
    if path.suffix.lower() not in RECORDS:
        return parse_ecg({path.name: load(path)}, rate=rate)
    header = path if path.suffix.lower() == ".hea" else path.with_suffix(".hea")
    if not header.is_file():
        if path.is_file():
            _refuse_foreign(load(path))
        message = f"There is no header {header.name}."
        raise ReadError(message, f"A WFDB record needs it beside its signal file. {ACCEPTED_ECG}")
    return _record(load(header), lambda name: load(header.with_name(name)), rate)


def parse_ecg(files: Mapping[str, bytes], *, rate: float | None = None) -> Ecg:
    """Read an ECG from memory.

    Parameters
    ----------
    files : mapping of str to bytes
        By their names: a header with its signal files, or one table.
    rate : float, optional
        As of `read_ecg`.

    Raises
    ------
    ReadError
    """
    if not files:
        raise ReadError("No file was given.", ACCEPTED_ECG)
    for name, data in files.items():
        check_size(data, len(data), name)
    headers = [name for name in files if name.lower().endswith(".hea")]
    if len(headers) > 1:
        raise ReadError("There are several headers (.hea).", "Choose one record.")

    def fetch(name: str) -> bytes:
        if name not in files:
            raise ReadError(f"The signal file {name} is missing.", "Choose it together with its header (.hea).")
        return files[name]

    if headers:
        return _record(files[headers[0]], fetch, rate)
    # Most ECGs are records, which need nothing of it.
    from riskweave.deployment.runtime.ecg_tables import FORM, read_table

    name, data = next(iter(files.items()))
    _refuse_foreign(data)
    if len(files) == 1 and Path(name).suffix.lower() in TABLES:
        return Ecg(*read_table(data, rate=_checked(rate), most=MOST_SAMPLES))
    raise ReadError("The file is no ECG of a kind that is read.", f"{ACCEPTED_ECG} {FORM}")


def read_image(path: Path) -> Buffer:
    """Read a picture from disk: PNG, JPEG, or uncompressed DICOM, told apart by their content.

    Returns
    -------
    buffer of bytes or floats (height, width)
        Greys in any unit, brighter is larger.

    Raises
    ------
    ReadError
        With what is wrong and what to do.
    """
    return parse_image(load(Path(path)))


def _record(header: bytes, fetch: Callable[[str], bytes], rate: float | None) -> Ecg:
    _refuse_foreign(header)
    parsed = parse_header(header)
    if rate is not None and abs(parsed.rate - rate) > 0.01 * parsed.rate:
        problem = f"The header tells a sampling rate of {parsed.rate:g} Hz, and {rate:g} Hz was given."
        raise ReadError(problem, "Leave out the rate: a record has its own.")
    return Ecg(read_record(parsed, fetch, most=MOST_SAMPLES), parsed.rate)


def _checked(rate: float | None) -> float | None:
    if rate is not None and not 0 < rate < float("inf"):
        raise ReadError("The sampling rate is not a positive number.", "Give it in samples a second, such as 500.")
    return rate


def _refuse_foreign(data: bytes) -> None:
    if kind := foreign(data):
        raise ReadError(f"The file is {kind}, which is not read as an ECG.", ACCEPTED_ECG)

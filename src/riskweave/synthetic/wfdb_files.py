"""Writer of WFDB records in format 16.

`wfdb.wrsamp` writes the same files but takes 40 ms a record, which is longer than a record takes to synthesise; a test
compares the two, and reads these files with `wfdb`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["write_record"]


def write_record(*, path: Path, signal: np.ndarray, leads: Sequence[str], sampling_rate: int, gain: int) -> None:
    """Write one single-segment record, a header and a signal file.

    Parameters
    ----------
    path : pathlib.Path
        Path of the record without suffix; its name has letters, digits, hyphens and underscores only.
    signal : numpy.ndarray
        Signal in mV, shape (samples, leads).
    leads : sequence of str
        Names of the leads.
    sampling_rate : int
        Sampling rate in Hz.
    gain : int
        Digital units per mV; values beyond the 16 bits are clipped (-32768 itself means "no value" in WFDB).
    """
    digital = np.clip(np.rint(signal * gain), -32767, 32767).astype("<i2")
    name = path.name
    lines = [f"{name} {len(leads)} {sampling_rate} {len(digital)}"]
    checksums = digital.sum(axis=0, dtype=np.int64) % 65536
    for k, lead in enumerate(leads):
        lines.append(f"{name}.dat 16 {gain}(0)/mV 16 0 {digital[0, k]} {checksums[k]} 0 {lead}")
    path.with_name(name + ".hea").write_bytes(("\n".join(lines) + "\n").encode("ascii"))
    path.with_name(name + ".dat").write_bytes(digital.tobytes())

"""What a training step took of electricity and money, where the machine and the lab tell.

A counter of energy belongs to a whole processor or a whole graphics processor: what other jobs took meanwhile is in it.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from riskweave.errors import DataError

__all__ = ["PRICE", "Counters", "cost_of", "read_gpus", "read_processors"]

PRICE = "RISKWEAVE_PRICE_PER_HOUR"
"""Name of the variable with the price of an hour of the machine, or of a job's share of it, in the lab's currency."""
POWERCAP = Path("/sys/class/powercap")
MICROJOULE, MILLIJOULE = 1e-6, 1e-3


class Counters:
    """Energy since the start, added up from counters that may start over at their range."""

    def __init__(self) -> None:
        self.joules = 0.0
        self.last: dict[str, float] = {}

    def add(self, readings: Mapping[str, tuple[float, float]]) -> None:
        """Add what was used since the readings of before.

        Parameters
        ----------
        readings : mapping of str to (float, float)
            Of each counter: joules, and the range at which it starts over (infinity where it does not).
        """
        for name, (joules, span) in readings.items():
            before = self.last.get(name)
            if before is not None:
                used = joules - before
                self.joules += used if used >= 0 else used + (span if math.isfinite(span) else -used)
            self.last[name] = joules

    def total(self) -> float | None:
        """Return joules since the first reading; None where nothing could be read."""
        return round(self.joules, 3) if self.last else None


def read_processors(folder: Path = POWERCAP) -> dict[str, tuple[float, float]]:
    """Read the energy counters of the processors' packages (RAPL); empty where there are none, or only root may."""
    found = {}
    # `intel-rapl:0` is a package (AMD's too); `intel-rapl:0:0` is a part of it, and counted in it.
    for counter in sorted(folder.glob("intel-rapl:[0-9]*")):
        if counter.name.count(":") > 1:
            continue
        try:
            joules = int((counter / "energy_uj").read_text()) * MICROJOULE
            span = int((counter / "max_energy_range_uj").read_text()) * MICROJOULE
        except (OSError, ValueError):
            continue
        found[counter.name] = (joules, span)
    return found


def read_gpus(uuids: frozenset[str]) -> dict[str, tuple[float, float]]:
    """Read NVML's energy counters of the graphics processors with these ids; empty without driver or counter.

    The counter begins when the driver is loaded, with the Volta generation and later.
    """
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    found = {}
    try:
        for uuid in sorted(uuids):
            try:
                device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
                found[uuid] = (pynvml.nvmlDeviceGetTotalEnergyConsumption(device) * MILLIJOULE, math.inf)
            except pynvml.NVMLError:
                continue
    finally:
        pynvml.nvmlShutdown()
    return found


def cost_of(seconds: float, environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the estimated cost of some seconds at the price of :data:`PRICE`; None where no price is set.

    Raises
    ------
    DataError
        When the price is no number of 0 or more.
    """
    text = environment.get(PRICE, "").strip()
    if not text:
        return None
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not (math.isfinite(price) and price >= 0):
        raise DataError(PRICE, "is not a price per hour", "Set it to a number of 0 or more, or not at all")
    return round(price * seconds / 3600, 6)

"""What a training step used: processor, memory, graphics processor."""

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from riskweave.tracking.energy import Counters, read_gpus, read_processors

__all__ = ["measuring"]


@contextmanager
def measuring(interval: float = 1.0) -> Iterator[dict[str, Any]]:
    """Sample the use of the machine by this process and its children while the body runs.

    A graphics processor is looked at only once the process has begun to use it through torch, which is never imported
    here: a job without networks stays light.

    Parameters
    ----------
    interval : float
        Seconds between samples. One sample is taken at the start and one at the end, however short the body.

    Yields
    ------
    dict
        Empty until the body has ended, then: ``cpu_model``, ``cpus`` (available to the process),
        ``memory_total`` (bytes), ``cpu_percent_mean`` and ``cpu_percent_peak`` (100 is one processor busy),
        ``memory_peak`` (bytes resident, children included; pages that they share count for each), ``threads_peak``,
        ``samples``; ``cpu_energy`` (joules of the whole processors, where they can be read); ``torch_threads`` when
        torch is in use; ``gpus``, a list (empty without one) of ``name``, ``memory_total``, ``memory_peak`` (bytes
        allocated by torch), ``utilisation_mean`` and ``utilisation_peak`` (percent of the time that a kernel ran; only
        where nvidia-smi answers), ``energy`` (joules of the whole device since torch was first seen to use it, where
        NVML tells).
    """
    facts: dict[str, Any] = {}
    sampler = _Sampler(interval)
    sampler.start()
    try:
        yield facts
    finally:
        sampler.stop()
    facts.update(
        cpu_model=_cpu_model(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        memory_total=psutil.virtual_memory().total,
        **sampler.summary(),
    )
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        facts["torch_threads"] = torch.get_num_threads()
    facts["gpus"] = _gpus(sampler.utilisation, sampler.gpu_energy)


class _Sampler(threading.Thread):
    """Thread that looks at the process and its children at each interval."""

    def __init__(self, interval: float):
        super().__init__(name="riskweave-hardware", daemon=True)
        self.interval = interval
        self.ended = threading.Event()
        self.process = psutil.Process()
        self.seen: dict[tuple[int, float], float] = {}  # processor seconds of each process, own and children
        self.before = 0.0  # processor seconds that were spent before the body
        self.points: list[tuple[float, float, int, int]] = []  # time, processor seconds, bytes, threads
        self.utilisation: dict[str, list[float]] = {}
        self.energy = Counters()
        self.gpu_energy: dict[str, Counters] = {}
        self.sample()
        self.before = sum(self.seen.values())

    def run(self) -> None:
        while not self.ended.wait(self.interval):
            self.sample()
            self.sample_gpus()

    def stop(self) -> None:
        """End the thread and take the last sample."""
        self.ended.set()
        self.join()
        self.sample()
        self.sample_gpus()

    def sample(self) -> None:
        """Add up processor seconds, resident memory and threads of the process and its children."""
        memory = threads = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                with process.oneshot():
                    spent = process.cpu_times()
                    self.seen[process.pid, process.create_time()] = spent.user + spent.system
                    memory += process.memory_info().rss
                    threads += process.num_threads()
            except psutil.Error:  # a child that ends between the list and the look
                continue
        self.points.append((time.perf_counter(), sum(self.seen.values()), memory, threads))
        self.energy.add(read_processors())

    def sample_gpus(self) -> None:
        """Read the use of the graphics processors, once torch uses them."""
        if not _cuda_in_use():
            return
        for uuid, percent in _nvidia_smi("uuid,utilization.gpu"):
            if percent.isdecimal():
                self.utilisation.setdefault(uuid.removeprefix("GPU-"), []).append(float(percent))
        for uuid, reading in read_gpus(_uuids()).items():
            self.gpu_energy.setdefault(uuid, Counters()).add({uuid: reading})

    def summary(self) -> dict[str, Any]:
        """Return means and peaks over the samples."""
        times, spent, memory, threads = zip(*self.points, strict=True)
        elapsed = max(times[-1] - times[0], 1e-9)
        mean = 100 * max(spent[-1] - self.before, 0.0) / elapsed
        steps = [
            100 * (later[1] - earlier[1]) / (later[0] - earlier[0])
            for earlier, later in zip(self.points, self.points[1:], strict=False)
            # A step much shorter than the clock tick of processor times (10 ms) says nothing about the peak.
            if later[0] - earlier[0] > 0.1
        ]
        return {
            "cpu_percent_mean": round(mean, 1),
            "cpu_percent_peak": round(max([mean, *steps]), 1),
            "memory_peak": max(memory),
            "threads_peak": max(threads),
            "samples": len(self.points),
            **({} if self.energy.total() is None else {"cpu_energy": self.energy.total()}),
        }


def _cuda_in_use() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized()


def _uuids() -> frozenset[str]:
    """Return the ids of the graphics processors that torch sees."""
    cuda = sys.modules["torch"].cuda
    return frozenset(str(cuda.get_device_properties(device).uuid) for device in range(cuda.device_count()))


def _gpus(utilisation: dict[str, list[float]], energy: dict[str, Counters]) -> list[dict[str, Any]]:
    """Describe the graphics processors that this process or, as far as their use tells, a child of it has used."""
    if not _cuda_in_use():
        return []
    torch, found = sys.modules["torch"], []
    # Devices that were given to this job; without such a choice, who uses another one is not known.
    given = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
    for device in range(torch.cuda.device_count()):
        peak = torch.cuda.max_memory_allocated(device)
        about = torch.cuda.get_device_properties(device)
        percents = utilisation.get(str(about.uuid))
        if not peak and not (given and any(percents or ())):
            continue
        facts = {"name": about.name, "memory_total": about.total_memory, **({"memory_peak": peak} if peak else {})}
        if percents:
            facts["utilisation_mean"] = round(statistics.fmean(percents), 1)
            facts["utilisation_peak"] = max(percents)
        if str(about.uuid) in energy:
            facts["energy"] = energy[str(about.uuid)].total()
        found.append(facts)
    return found


def _nvidia_smi(query: str) -> list[list[str]]:
    """Ask the driver's own tool; empty where it is missing or fails."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line]


def _cpu_model() -> str:
    """Return the processor's name as Linux gives it, else as Python does."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

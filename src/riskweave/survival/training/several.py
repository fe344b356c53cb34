"""One training on several devices of a machine: a process for each, which computes its part of every batch.

The processes gather what the network says of a whole batch before the loss is taken
(`riskweave.survival.training.task.SurvivalTask`), so that losses which compare the subjects of a batch mean what they
mean on one device, and `batch_size` stays what the study says. Lightning averages the gradients
(`pytorch_lightning.strategies.DDPStrategy`).

The processes are started as programs of their own (`riskweave.survival.training.rank`): a process that has used CUDA
cannot be forked, and Python's own way to start others would run the main program, a script of the workflow, once more
in each.
"""

import contextlib
import io
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch

from riskweave.errors import DataError, ResourceError, StudyError
from riskweave.survival.training.run import Run

__all__ = ["BEST", "ERROR", "LOG", "devices_for", "packed", "train_on_several"]

logger = logging.getLogger(__name__)

BEST, ERROR, LOG = "best", "error-", "log"
"""Files of the processes: the best weights, what went wrong in one of them, what the first has to say."""

SECONDS = 0.1
"""Time between two looks whether the processes are well."""

PATIENCE = 5.0
"""Seconds for the process whose error made the others fail to tell it."""

FATAL = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS)
"""Signals that end a process before it could tell; on others it may end because of its partner's error."""


def devices_for(gpus: int) -> int:
    """Return on how many devices a training that was given `gpus` of them runs: 1 on a machine without."""
    if gpus < 2:
        return 1
    there = torch.cuda.device_count()
    if 0 < there < gpus:
        # As where Slurm took them from several nodes, or where they are instances of one that is divided.
        logger.warning("this job was given %d GPUs, and CUDA sees %d: it trains on those", gpus, there)
    return max(1, min(gpus, there))


def train_on_several(run: Run, *, devices: int) -> None:
    """Train on several devices; ``run.keep`` has the best weights at the end.

    On a machine without GPUs the processes share its processors: that is for tests of this way to train.

    Parameters
    ----------
    run : Run
        Without a callback that prunes.
    devices : int
        Processes, from 2: the first `devices` GPUs that CUDA sees have one each.

    Raises
    ------
    ResourceError
        When a process is killed, as by the kernel for want of memory.
    """
    if run.keep.prune is not None:
        raise ValueError("a training on several devices cannot be pruned")
    if torch.cuda.is_available():
        # What this process computes between two trainings leaves room for the one beside it; and the use of a device is
        # looked at (`riskweave.tracking.hardware`) in processes that have CUDA ready.
        torch.cuda.init()
        torch.cuda.empty_cache()
    content = packed(run)
    # Nothing of what is trained on stands in the folder: who is killed cannot remove it.
    with tempfile.TemporaryDirectory(prefix="riskweave-") as name:
        folder = Path(name)
        processes = [_start(folder, rank, devices) for rank in range(devices)]
        try:
            for process in processes:
                # One that has ended cannot be told; why it ended is found out below.
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(content)
            _wait(processes, folder)
        finally:
            for process in processes:
                process.kill()
                process.wait()
            _tell(folder)
        run.keep.load_state_dict(torch.load(folder / BEST, weights_only=True))


class _Pickler(cloudpickle.Pickler):
    """Writes of recordings that are mapped from a file where they are: each process maps the file itself."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is made again in another process."""
        if isinstance(obj, np.memmap) and isinstance(obj.base, mmap):
            order = "C" if obj.flags.c_contiguous else "F"
            return np.memmap, (obj.filename, obj.dtype, "r", obj.offset, obj.shape, order)
        return super().reducer_override(obj)


def packed(run: Any) -> bytes:
    """Return what processes of this training, and nobody else, make the same object of by `pickle.loads`."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(run)
    return buffer.getvalue()


def _start(folder: Path, rank: int, devices: int) -> subprocess.Popen:
    """Start the process of a device."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    # They talk within the machine alone; what a user sets is respected, as for cards that are linked in another way.
    network = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    # One machine, whatever a scheduler says of it: Lightning counts from these.
    own = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # -P: files of the folder that it runs in are not its modules.
    command = [sys.executable, "-P", "-m", "riskweave.survival.training.rank"]
    command += [str(folder), str(devices), str(os.getpid())]
    return subprocess.Popen(command, env={**network, **os.environ, **own}, stdin=subprocess.PIPE)


def _wait(processes: Sequence[subprocess.Popen], folder: Path) -> None:
    """Wait for the end of all; where one fails, raise its error."""
    while True:
        codes = [process.poll() for process in processes]
        if any(codes):
            raise _error(processes, folder)
        if all(code is not None for code in codes):
            return
        time.sleep(SECONDS)


def _error(processes: Sequence[subprocess.Popen], folder: Path) -> Exception:
    """Return what went wrong first: the others lose their partner and fail of that."""
    deadline = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(SECONDS)
    told = [_read(path) for path in sorted(folder.glob(f"{ERROR}*"), key=lambda path: path.stat().st_mtime_ns)]
    of_itself = [each for each in told if not isinstance(each[0], torch.distributed.DistError)]
    signals = [signal.Signals(-process.returncode) for process in processes if (process.returncode or 0) < 0]
    if signals and (not of_itself or set(signals) & set(FATAL)):
        names = ", ".join(each.name for each in signals)
        return ResourceError(
            f"training on {len(processes)} devices",
            f"{len(signals)} of the processes ended on a signal ({names})",
            "Where the machine's memory was used up, run fewer jobs at a time or ask for more (`mem_mb`)",
        )
    silent = RuntimeError("a process of a training on several devices ended without a word"), ""
    error, frames = next(iter([*of_itself, *told, silent]))
    if not isinstance(error, (DataError, StudyError, ResourceError)):
        logger.error("one of the %d processes failed in:\n%s", len(processes), frames)
    return error


def _read(path: Path) -> tuple[Exception, str]:
    """Return the error of a process and where it was raised."""
    try:
        return pickle.loads(path.read_bytes())
    except (pickle.UnpicklingError, EOFError, OSError):
        return RuntimeError("a process of a training on several devices could not tell its error"), ""


def _tell(folder: Path) -> None:
    """Log what the first process had to say, which has no log of its own."""
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
            logger.info("first process: %s", line)

"""One training on several devices of a machine: a process for each, which computes its part of every batch.

The processes gather what the network says of a whole batch before the loss is taken
(`riskweave.survival.training.task.SurvivalTask`), so that losses which compare the subjects of a batch mean what they
mean on one device, and `batch_size` stays what the study says. Lightning averages the gradients
(`pytorch_lightning.strategies.DDPStrategy`).

The processes are started as programs of their own: a process that has used CUDA cannot be forked, and Python's own way
to start others would run the main program, a script of the workflow, once more in each.
"""

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

from riskweave.errors import ResourceError
from riskweave.processes import end_with_parent
from riskweave.survival.training.run import Run, environment, train

__all__ = ["devices_for", "main", "train_on_several", "write_run"]

SECONDS = 0.1
"""Time between two looks whether the processes are well."""

PATIENCE = 5.0
"""Seconds for the process whose error made the others fail to tell it."""


def devices_for(gpus: int) -> int:
    """Return on how many devices a training that was given `gpus` of them runs: 1 on a machine without."""
    return 1 if gpus < 2 else max(1, min(gpus, torch.cuda.device_count()))


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
    # Readable for its owner alone, as `tempfile` promises: what is trained on stands in it.
    with tempfile.TemporaryDirectory(prefix="riskweave-") as name:
        folder = Path(name)
        write_run(run, folder / "run")
        processes = [_start(folder, rank, devices) for rank in range(devices)]
        try:
            _wait(processes, folder)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        run.keep.load_state_dict(torch.load(folder / "best", weights_only=True))


class _Pickler(cloudpickle.Pickler):
    """Writes of recordings that are mapped from a file where they are: each process maps the file itself."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is made again in another process."""
        if isinstance(obj, np.memmap) and isinstance(obj.base, mmap):
            order = "C" if obj.flags.c_contiguous else "F"
            return np.memmap, (obj.filename, obj.dtype, "r", obj.offset, obj.shape, order)
        return super().reducer_override(obj)


def write_run(run: Any, path: Path) -> None:
    """Write what the processes are to do, for processes of this training and nobody else."""
    with path.open("wb") as file:
        _Pickler(file).dump(run)


def _start(folder: Path, rank: int, devices: int) -> subprocess.Popen:
    """Start the process of a device."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    # They talk within the machine alone; what a user sets is respected, as for cards that are linked in another way.
    network = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    own = {"LOCAL_RANK": str(rank), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, str(folder), str(devices), str(os.getpid())]
    return subprocess.Popen(command, env={**network, **os.environ, **own})


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
    told = sorted(folder.glob("error-*"), key=lambda path: path.stat().st_mtime_ns)
    errors = [pickle.loads(path.read_bytes()) for path in told]
    killed = [-process.returncode for process in processes if (process.returncode or 0) < 0]
    of_itself = [error for error in errors if not isinstance(error, torch.distributed.DistError) and not killed]
    if killed:
        names = ", ".join(signal.Signals(number).name for number in killed)
        return ResourceError(
            f"training on {len(processes)} devices",
            f"{len(killed)} of the processes ended on a signal ({names})",
            "Where the machine's memory was used up, run fewer jobs at a time or ask for more (`mem_mb`)",
        )
    return [*of_itself, *errors, RuntimeError("a process of a training on several devices ended without a word")][0]


def main(folder: Path, devices: int, parent: int) -> int:
    """Train as one of several processes; the first leaves the best weights. Returns the exit status."""
    end_with_parent(parent)
    rank = int(os.environ["LOCAL_RANK"])
    try:
        run: Run = cloudpickle.loads((folder / "run").read_bytes())
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(rank)
        # They meet at a file of their own and not, as Lightning's do, at a port that others could reach.
        where = f"file://{folder / 'meeting'}"
        torch.distributed.init_process_group(backend, init_method=where, rank=rank, world_size=devices)
        with environment(seed=run.seed, threads=run.threads):
            train(run, devices=devices)
        if rank == 0:
            torch.save(run.keep.state_dict(), folder / "best")
        torch.distributed.destroy_process_group()
    except Exception as error:
        # The process that started this one raises it.
        (folder / f"error-{rank}").write_bytes(cloudpickle.dumps(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

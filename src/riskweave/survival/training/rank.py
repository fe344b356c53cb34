"""The program of one of several processes that train together; see `riskweave.survival.training.several`."""

import logging
import os
import pickle
import sys
import traceback
from pathlib import Path

import torch

from riskweave.files import replacing
from riskweave.processes import end_with_parent
from riskweave.survival.training.run import Run, environment, train
from riskweave.survival.training.several import BEST, ERROR, LOG, packed

__all__ = ["main"]


def main(folder: Path, devices: int, parent: int) -> int:
    """Train as one of several processes, on what comes through the standard input; the first leaves the best weights.

    Parameters
    ----------
    folder : Path
        Of this training's processes.
    devices : int
        How many there are; ``LOCAL_RANK`` says which one this is.
    parent : int
        Process id of the one that started them, with which this one ends.

    Returns
    -------
    int
        Exit status: 0, or 1 where the error is in the folder.
    """
    end_with_parent(parent)
    rank = int(os.environ["LOCAL_RANK"])
    _log_to(folder / LOG if rank == 0 else None)
    try:
        run: Run = pickle.load(sys.stdin.buffer)
        _meet(folder, rank, devices)
        with environment(seed=run.seed, threads=run.threads):
            train(run, devices=devices)
        if rank == 0:
            torch.save(run.keep.state_dict(), folder / BEST)
        torch.distributed.destroy_process_group()
    except Exception as error:
        # The process that started this one raises it.
        frames = "".join(traceback.format_tb(error.__traceback__))
        with replacing(folder / f"{ERROR}{rank}") as (partial,):
            partial.write_bytes(packed((_portable(error), frames)))
        return 1
    return 0


def _log_to(path: Path | None) -> None:
    """Write what is logged, and warnings, to a file; without one to nowhere: all processes say the same."""
    handler = logging.NullHandler() if path is None else logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)


def _meet(folder: Path, rank: int, devices: int) -> None:
    """Connect the processes: at a file of their own and not, as Lightning would, at a port that others could reach."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(rank)
    where = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group(backend, init_method=where, rank=rank, world_size=devices)


def _portable(error: Exception) -> Exception:
    """Return an error as it arrives in another process: itself, or in words where it cannot be put together again."""
    try:
        return pickle.loads(packed(error))
    except Exception:
        return RuntimeError(f"{type(error).__qualname__}: {error}")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

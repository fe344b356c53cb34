"""Training that survives a kill: the state of every epoch on the disk, with a fingerprint of what it belongs to."""

import hashlib
import json
import logging
import pickle
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from riskweave.files import replacing
from riskweave.tracking.provenance import PACKAGE_FOLDER, code_fingerprint

__all__ = ["Checkpoint", "fingerprint"]

logger = logging.getLogger(__name__)

SECONDS = 5.0
"""Shortest time between two saves: epochs of a small network take milliseconds, which are cheaper done again."""

KEY = "riskweave_fingerprint"


def fingerprint(settings: Mapping[str, Any], *contents: bytes) -> str:
    """Return a digest of plain settings and of the contents of arrays, of the code and of the version of torch.

    The code is that of the whole package, read once in a process: what an older version of it has trained would be
    other than what it says, after a fix of a network as after one of a loss.
    """
    versions = {"code": code_fingerprint(PACKAGE_FOLDER), "torch": torch.__version__}
    digest = hashlib.sha256(json.dumps({**settings, **versions}, sort_keys=True, default=str).encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


class Checkpoint(pl.Callback):
    """Save the training after an epoch, and find it again.

    The file holds what Lightning needs to go on (weights, optimiser, schedule, progress, the states of the callbacks)
    and a fingerprint. It is replaced at once, so that a kill leaves the last or the one before.

    Parameters
    ----------
    folder : Path
        Where the file is; made when it is missing.
    fingerprint : str
        Of all that decides about the training's result.
    """

    def __init__(self, folder: Path, fingerprint: str):
        self.path, self.fingerprint = Path(folder) / "training.ckpt", fingerprint
        self._saved, self._apart = time.monotonic(), SECONDS

    def found(self) -> Path | None:
        """Return the file of an earlier, unfinished training with this fingerprint; remove any other."""
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
            logger.warning("The checkpoint of an earlier training cannot be read: the training starts again.")
            content = {}
        if content.get(KEY) == self.fingerprint:
            logger.info("An earlier training of the same settings and data goes on after epoch %d.", content["epoch"])
            return self.path
        self.discard()
        return None

    def discard(self) -> None:
        """Remove the file, and its folder when nothing else is in it."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:  # noqa: ARG002
        """Add the fingerprint."""
        checkpoint[KEY] = self.fingerprint

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Save, unless the last save is too recent, or the training is over."""
        due = not trainer.should_stop and time.monotonic() - self._saved >= self._apart
        # Of several processes the first decides and writes; the others, whose clocks differ, join it.
        if not trainer.strategy.broadcast(due):
            return
        with replacing(self.path) if trainer.is_global_zero else nullcontext([self.path]) as (partial,):
            trainer.save_checkpoint(partial)
        self._saved = time.monotonic()

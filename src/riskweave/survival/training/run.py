"""One training from its first epoch to its last: seeds and threads, Lightning's loop, and the best weights."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.seed import isolate_rng

from riskweave.study.training import Training
from riskweave.survival.training.batches import Batches
from riskweave.survival.training.checkpoint import Checkpoint
from riskweave.survival.training.task import WARM_UP, SurvivalTask, precision_of

__all__ = ["KeepBest", "Prune", "Run", "environment", "train"]

Prune = Callable[[int, float], None]


class KeepBest(pl.Callback):
    """Keep the weights of the best validation loss in memory, those before training included, and stop early.

    Patience counts from the end of the learning rate's warm-up: before, a network need not have caught up with the null
    model yet. The generators are seeded anew in each epoch, so that a training that goes on after a kill is the same.
    Where the validation rows cannot tell networks apart (`judged` is false), the last epoch is kept.
    """

    def __init__(self, training: Training, *, seed: int, prune: Prune | None, judged: bool):
        self.patience, self.warm_up = training.patience, WARM_UP * training.epochs
        self.seed, self.prune, self.judged = seed, prune, judged
        self.saved: Checkpoint | None = None
        self.curves: list[tuple[int, str, float]] = []
        self.best_loss, self.best_epoch, self.weights = float("inf"), 0, None

    def state_dict(self) -> dict[str, Any]:
        """Return what was found so far, for a checkpoint."""
        return {
            "curves": [list(row) for row in self.curves],
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was found before."""
        self.curves = [tuple(row) for row in state_dict["curves"]]
        self.best_loss, self.best_epoch = state_dict["best_loss"], state_dict["best_epoch"]
        self.weights = state_dict["weights"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Seed the generators of the epoch."""
        # Each of several processes draws its own changes of inputs and its own dropout; the first draws those of one.
        own = [trainer.global_rank] if trainer.global_rank else []
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, *own])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SurvivalTask) -> None:
        """Compare the epoch with the best one so far; the sanity check before training is epoch 0."""
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        # All processes have to stop after the same epoch, whatever the last digit on their device.
        value = trainer.strategy.broadcast(pl_module.validation_loss())
        self.curves.append((epoch, "val_loss", value))
        if value < self.best_loss or self.weights is None or not self.judged:
            self.best_loss, self.best_epoch = value, epoch
            self.weights = {key: tensor.detach().cpu().clone() for key, tensor in pl_module.state_dict().items()}
        elif epoch - max(self.best_epoch, self.warm_up) >= self.patience:
            trainer.should_stop = True
        if self.prune is not None:
            with ExitStack() as stack:
                if self.saved is not None:
                    # A pruned training is over.
                    stack.callback(self.saved.discard)
                self.prune(epoch, value)
                stack.pop_all()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SurvivalTask) -> None:
        """Note the training loss of the epoch."""
        self.curves.append((trainer.current_epoch + 1, "train_loss", pl_module.train_loss()))


@dataclass(frozen=True)
class Run:
    """A training that is ready to begin, or to go on.

    Attributes
    ----------
    task : SurvivalTask
        Net and head as they start.
    loaders : tuple of Batches
        Of training and validation rows.
    training : Training
        Block of the study.
    keep : KeepBest
        Has the best weights at the end.
    seed, threads : int
        Seed of every generator; CPU threads of a process.
    saved : Checkpoint, optional
        Saves the state of the training after epochs.
    found : Path, optional
        State of an earlier, unfinished training to go on from.
    """

    task: SurvivalTask
    loaders: tuple[Batches, Batches]
    training: Training
    keep: KeepBest
    seed: int
    threads: int
    saved: Checkpoint | None = None
    found: Path | None = None


@contextmanager
def environment(*, seed: int, threads: int) -> Iterator[None]:
    """Seed every generator, set the threads and keep Lightning quiet; put everything back at the end."""
    logger = logging.getLogger("pytorch_lightning")
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        logger.level,
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    variables = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    logger.setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    # Deterministic torch writes NaN into all new memory, which costs a tenth of the time of a step and finds only
    # operations that read what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings(), isolate_rng():
            # Lightning's own use of a class that newer torch calls deprecated; nothing to be done about it here.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            # Lightning's way to gather outputs with their gradients, which torch means to replace.
            warnings.filterwarnings("ignore", message="torch.distributed.nn.functional.all_gather is deprecated")
            # Lightning takes any machine of a cluster for one of its jobs, whose tasks it would be; it is told not to.
            warnings.filterwarnings("ignore", message="The `srun` command is available")
            pl.seed_everything(seed, workers=True, verbose=False)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        logger.setLevel(before[3])
        torch.utils.deterministic.fill_uninitialized_memory = before[4]
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def train(run: Run, *, devices: int = 1) -> None:
    """Train to the end, or, with several devices, this process's part of each batch.

    Parameters
    ----------
    run : Run
    devices : int
        Processes that train together, each on its own device; above 1 they are started by
        `riskweave.survival.training.several.train_on_several`.
    """
    trainer = _trainer(run, devices)
    for loader in run.loaders:
        loader.part = trainer.global_rank, devices
    run.loaders[0].epoch = lambda: trainer.current_epoch
    if torch.cuda.is_available():
        run.task.net.to(memory_format=torch.channels_last)
    trainer.fit(run.task, *run.loaders, ckpt_path=run.found, weights_only=True)
    run.task.cpu()
    run.task.trainer = None


def _trainer(run: Run, devices: int) -> pl.Trainer:
    """Return a trainer that writes nothing to disk by itself and gives the same digits each time."""
    cuda = torch.cuda.is_available()
    # One process in whatever job it runs: Lightning would otherwise read SLURM's variables and expect its tasks.
    how: dict[str, Any] = {"plugins": [LightningEnvironment()]}
    if devices > 1:
        # The same parameters are used in each step; those that are never used (as of the layer that pretraining leaves
        # out) are allowed then. Batches are normalised as wholes where torch can: not on processors.
        how |= {"strategy": DDPStrategy(static_graph=True), "sync_batchnorm": cuda}
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=devices,
        **how,
        precision=precision_of(run.training),
        # On CUDA the likelihood's cumulative sum has no implementation that is promised to be deterministic.
        deterministic="warn" if cuda else True,
        max_epochs=run.training.epochs,
        # Epoch 0, all validation rows before training; a training that goes on has it behind.
        num_sanity_val_steps=-1 if run.found is None else 0,
        gradient_clip_val=1.0,
        callbacks=[run.keep] if run.saved is None else [run.keep, run.saved],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )

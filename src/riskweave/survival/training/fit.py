"""Training of any network with any head: fit on training rows, stop on validation rows, go on after a kill."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from riskweave.errors import DataError
from riskweave.study.training import Training
from riskweave.survival.heads.base import Head
from riskweave.survival.training.batches import Batches, RiskSetBatches
from riskweave.survival.training.checkpoint import Checkpoint, fingerprint
from riskweave.survival.training.inputs import Inputs, as_inputs, digest_of_inputs
from riskweave.survival.training.task import WARM_UP, SurvivalTask, Whole, precision_of

__all__ = ["CURVE_COLUMNS", "Fitted", "Prune", "fit", "outputs"]

logger = logging.getLogger(__name__)

CURVE_COLUMNS = ("fold", "epoch", "metric", "value")

Prune = Callable[[int, float], None]


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes
    ----------
    net, head : nn.Module, Head
        With the weights of the best epoch, on the CPU, in evaluation mode.
    curves : DataFrame
        fold, epoch, metric (val_loss, train_loss), value; epoch 0 is before training.
    best_epoch : int
        Epoch whose weights were kept; 0: those before training.
    """

    net: nn.Module
    head: Head
    curves: pd.DataFrame
    best_epoch: int

    @property
    def network(self) -> nn.Module:
        """The net and the head in one module."""
        return Whole(self.net, self.head).train(self.net.training)


class _KeepBest(pl.Callback):
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
        return {
            "curves": [list(row) for row in self.curves],
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curves = [tuple(row) for row in state_dict["curves"]]
        self.best_loss, self.best_epoch = state_dict["best_loss"], state_dict["best_epoch"]
        self.weights = state_dict["weights"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        torch.manual_seed(int(np.random.SeedSequence([self.seed, trainer.current_epoch]).generate_state(1)[0]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SurvivalTask) -> None:
        """Compare the epoch with the best one so far; the sanity check before training is epoch 0."""
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        value = pl_module.validation_loss()
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
        self.curves.append((trainer.current_epoch + 1, "train_loss", pl_module.train_loss()))


@contextmanager
def _environment(*, seed: int, threads: int) -> Iterator[None]:
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


def _trainer(training: Training, callbacks: list[pl.Callback], *, resumes: bool) -> pl.Trainer:
    """Return a trainer that writes nothing to disk by itself and gives the same digits each time."""
    cuda = torch.cuda.is_available()
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        # One process in whatever job it runs: Lightning would otherwise read SLURM's variables and expect its tasks.
        plugins=[LightningEnvironment()],
        precision=precision_of(training),
        # On CUDA the likelihood's cumulative sum has no implementation that is promised to be deterministic.
        deterministic="warn" if cuda else True,
        max_epochs=training.epochs,
        # Epoch 0, all validation rows before training; a training that goes on has it behind.
        num_sanity_val_steps=0 if resumes else -1,
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


def _check(inputs: Inputs, time: np.ndarray, event: np.ndarray, rows: str) -> None:
    if len(inputs) < 2:
        raise DataError(
            "folds, column role",
            f"a fold has {len(inputs)} {rows} rows for a network",
            "At least 2 are needed: use fewer folds or a larger validation share, or a feature set more subjects have.",
        )
    if not len(inputs) == len(time) == len(event):
        raise ValueError(f"{rows}: {len(inputs)} inputs, {len(time)} times and {len(event)} events")


def _loaders(
    head: Head, inputs: Inputs, inputs_val: Inputs, *, labels: Any, labels_val: Any, training: Training, seed: int
) -> tuple[Batches, Batches]:
    shared = {"size": training.batch_size, "seed": seed, "ahead": torch.cuda.is_available()}
    if head.risk_sets is None or len(inputs) <= training.batch_size:
        train = Batches(inputs, labels, **shared)
    else:
        train = RiskSetBatches(inputs, labels, risk_sets=head.risk_sets, **shared)
    return train, Batches(inputs_val, labels_val, size=4 * training.batch_size, ahead=shared["ahead"])


def fit(
    build: Callable[[], nn.Module],
    head: Head,
    *,
    inputs: Inputs | np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    inputs_val: Inputs | np.ndarray,
    time_val: np.ndarray,
    event_val: np.ndarray,
    training: Training,
    seed: int,
    threads: int,
    fold: int = 0,
    augment: Callable[..., Tensor | tuple[Tensor, ...]] | None = None,
    parameter_groups: Mapping[str, float] | None = None,
    zero_head: bool = False,
    head_weights: Mapping[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    prune: Prune | None = None,
) -> Fitted:
    """Train a network on training rows, stop on validation rows, and return it with its best weights.

    The weights before training count as epoch 0. The head starts at the null model of the training rows where it can,
    so that epoch 0 is the null model wherever the net's output (or with `zero_head` the head's effect) starts at zero.
    A net with a layer ``scale`` gets its constants from the training rows. On a CPU the same arguments give the same
    bits, also when the training was killed and goes on from its checkpoint.

    Parameters
    ----------
    build : callable
        Makes the net, called once the generators are seeded. Its output is (n, ``net.features``).
    head : Head
        Of the kind of model; learns its cut points or time scale here, from the training rows.
    inputs, inputs_val : Inputs or arrays (n, ...)
        What the net takes.
    time, event, time_val, event_val : arrays (n, ...)
        Days from the index time (> 0); 0 censored, 1 target, 2.. competing; or what else the head takes.
    training : Training
        Epochs, patience, batch size, learning rate, weight decay, optimiser.
    seed, threads : int
        Seed of every generator; CPU threads.
    fold : int
        Number of the fold in the curves.
    augment : callable, optional
        Random change of the inputs of a training batch, on the device: takes and returns what ``net.forward`` takes.
    parameter_groups : mapping of str to float, optional
        Start of a parameter's name in the net to its share of the learning rate (``{"encoders.": 0.1}``).
    zero_head : bool
        Let the head's effects start at zero: for a net whose output is not zero itself before training.
    head_weights : mapping of str to Tensor, optional
        Weights that the head starts from instead of the null model: those of a head trained on the same rows.
    checkpoint : Path, optional
        Folder for the state of the training, saved after epochs (not more often than every few seconds) and removed at
        the end. A later call with the same arguments and data goes on from there; the state of any other is discarded.
    prune : callable, optional
        Called with the epoch and the validation loss after each epoch, and before the first (epoch 0); stops the
        training by raising.

    Returns
    -------
    Fitted

    Raises
    ------
    DataError
        When there are fewer than 2 rows of either role, no training row has an event, or inputs are not finite.
    """
    inputs, inputs_val = as_inputs(inputs), as_inputs(inputs_val)
    _check(inputs, time, event, "training")
    _check(inputs_val, time_val, event_val, "validation")
    head.learn(time, event)
    labels, labels_val = head.prepare(time, event), head.prepare(time_val, event_val)
    loaders = _loaders(head, inputs, inputs_val, labels=labels, labels_val=labels_val, training=training, seed=seed)
    keep = _KeepBest(training, seed=seed, prune=prune, judged=_judged(head, labels_val))
    with _environment(seed=seed, threads=threads):
        net = build()
        if hasattr(net, "scale"):
            net.scale.set_from(_batches(inputs))
        head.connect(net.features, zero=zero_head)
        head.null_start(*labels)
        if head_weights is not None:
            head.load_state_dict(head_weights)
        task = SurvivalTask(net, head, training=training, augment=augment, parameter_groups=parameter_groups)
        saved = None
        if checkpoint is not None:
            settings = {"seed": seed, "threads": threads, "parameter_groups": dict(parameter_groups or {})}
            arrays = (time, event, time_val, event_val)
            saved = Checkpoint(checkpoint, _mark(task, settings, (inputs, inputs_val), arrays))
        _run(task, keep, loaders, training=training, saved=saved)
    task.load_state_dict(keep.weights)
    task.eval()
    curves = pd.DataFrame(keep.curves, columns=CURVE_COLUMNS[1:])
    curves.insert(0, CURVE_COLUMNS[0], fold)
    if head.needs_outputs:
        head.finish(outputs(Whole(net, head), inputs, threads=threads), time, event)
    return Fitted(net, head, curves, keep.best_epoch)


def _batches(inputs: Inputs, size: int = 256) -> Iterator[Tensor]:
    """Yield what the net takes first, batch by batch."""
    for rows in np.array_split(np.arange(len(inputs)), -(-len(inputs) // size)):
        yield inputs.batch(rows)[0]


def _judged(head: Head, labels: tuple[np.ndarray, ...]) -> bool:
    """Tell whether validation rows with these labels can judge a network; warn where they cannot."""
    judged = head.judged_by(*labels)
    if not judged:
        logger.warning(
            "none of the %d validation rows has an event while another one is at risk: the validation loss of a "
            "%s network says nothing. It trains for all its epochs, and the last one is kept. Raise folds.validation, "
            "or take another kind of model for an endpoint of few events",
            len(labels[0]),
            head.kind,
        )
    return judged


def _mark(
    task: SurvivalTask, settings: Mapping[str, Any], inputs: tuple[Inputs, Inputs], outcomes: tuple[np.ndarray, ...]
) -> str:
    """Return the fingerprint of all that decides about the result of a training that has not begun."""
    told = {
        **settings,
        "training": task.block.model_dump(mode="json"),
        "head": task.head.settings(),
        "augment": _name(task.augment),
        "network": str(task),
    }
    weights = [np.ascontiguousarray(each.numpy()) for each in task.state_dict().values()]
    arrays = [np.ascontiguousarray(each) for each in outcomes]
    return fingerprint(told, *map(digest_of_inputs, inputs), *arrays, *weights)


def _name(function: Callable | None) -> list[str]:
    """Return the name of a function and the arguments it is bound to: without addresses, which differ by process."""
    if isinstance(function, partial):
        return [*_name(function.func), repr(function.args), repr(sorted(function.keywords.items()))]
    return [getattr(function, "__qualname__", type(function).__qualname__)]


def _run(
    task: SurvivalTask,
    keep: _KeepBest,
    loaders: tuple[Batches, Batches],
    *,
    training: Training,
    saved: Checkpoint | None,
) -> None:
    """Train to the end, from a checkpoint where there is one."""
    keep.saved = saved
    path = None if saved is None else saved.found()
    trainer = _trainer(training, [keep] if saved is None else [keep, saved], resumes=path is not None)
    loaders[0].epoch = lambda: trainer.current_epoch
    if torch.cuda.is_available():
        task.net.to(memory_format=torch.channels_last)
    trainer.fit(task, *loaders, ckpt_path=path, weights_only=True)
    if saved is not None:
        saved.discard()
    task.cpu()
    task.trainer = None


@torch.no_grad()
def outputs(module: nn.Module, inputs: Inputs | np.ndarray, *, threads: int, batch_size: int = 256) -> np.ndarray:
    """Return a module's outputs for all subjects, computed in evaluation mode in batches, in single precision.

    Parameters
    ----------
    module : nn.Module
        On the CPU, where it is again at the end.
    inputs : Inputs or array (n, ...)
        Read batch by batch.
    threads : int
        CPU threads.
    batch_size : int
        Subjects at once.

    Returns
    -------
    float32 array (n, ...)
    """
    inputs = as_inputs(inputs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module.eval().to(device)
        loader = Batches(inputs, (np.empty(len(inputs), dtype=np.int8),), size=batch_size, ahead=device.type == "cuda")
        parts = [
            module(*(tensor.to(device, non_blocking=True) for tensor in batch)).float().cpu() for batch, _ in loader
        ]
    finally:
        module.cpu()
        torch.set_num_threads(before)
    return torch.cat(parts).numpy()

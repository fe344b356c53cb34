"""Training of a network on discrete-time hazards: one Lightning module and one function for every network."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from riskweave.errors import DataError
from riskweave.networks.layers import HazardHead
from riskweave.study.features import Training
from riskweave.survival.discrete import discretise, null_hazards

with warnings.catch_warnings():
    # pycox's docstrings hold "\s"; Python warns when it compiles them, that is on the first import of an installation.
    warnings.filterwarnings("ignore", message="invalid escape sequence")
    warnings.filterwarnings("ignore", message='"\\\\s" is an invalid escape sequence')
    from pycox.models.loss import NLLLogistiHazardLoss

__all__ = ["CURVE_COLUMNS", "Batches", "DiscreteTimeTask", "KeepBest", "fit", "outputs"]

CURVE_COLUMNS = ("fold", "epoch", "metric", "value")

WARM_UP = 0.2
"""Share of the epochs in which the learning rate rises to its peak."""


class Batches:
    """Rows of tensors in batches of nearly equal size: a loader without a call for each row.

    Batch normalisation fails on a batch of one row, which a fixed size can leave at the end.

    Parameters
    ----------
    tensors : tuple of Tensor
        With the same number of rows n.
    batch_size : int
        Most rows of a batch.
    generator : torch.Generator, optional
        Shuffles the rows in each pass; without it they come in their order.
    """

    def __init__(self, tensors: tuple[Tensor, ...], *, batch_size: int, generator: torch.Generator | None = None):
        self.tensors, self.generator = tensors, generator
        self.rows = len(tensors[0])
        self.count = -(-self.rows // batch_size)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.arange(self.rows)
        if self.generator is not None:
            order = torch.randperm(self.rows, generator=self.generator)
        for rows in order.tensor_split(self.count):
            yield tuple(tensor[rows] for tensor in self.tensors)


class DiscreteTimeTask(pl.LightningModule):
    """A network and its hazard head, trained on the discrete-time likelihood.

    The loss is pycox's negative log-likelihood of LogisticHazard (Kvamme and Borgan 2021, Lifetime Data Analysis
    27:710, equation 6), summed over the causes and averaged over the rows.

    Parameters
    ----------
    net : nn.Module
        Maps inputs to (n, ``net.features``).
    cuts : array (J + 1,)
        Cut points of the time axis in days.
    causes : int
        Causes K: the target and its competitors.
    training : Training
        Epochs, learning rate and weight decay.
    augment : callable, optional
        Random change of a training batch of inputs.
    zero_head : bool
        Let the head's effects start at zero (for a net whose output is not zero itself before training).
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        cuts: np.ndarray,
        causes: int,
        training: Training,
        augment: Callable[[Tensor], Tensor] | None = None,
        zero_head: bool = False,
    ):
        super().__init__()
        self.net = net
        self.head = HazardHead(net.features, causes=causes, intervals=len(cuts) - 1, zero=zero_head)
        self.cuts, self.training_block, self.augment = cuts, training, augment
        self.likelihood = NLLLogistiHazardLoss(reduction="none")
        self.best_epoch = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the hazards (n, K, J)."""
        return self.head(self.net(x))

    def loss(self, logits: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the mean loss of rows with intervals `index` and `observed` events, both (n, K)."""
        total = logits.new_zeros(())
        for cause in range(logits.shape[1]):
            each = self.likelihood(logits[:, cause].float(), index[:, cause].clamp(min=0), observed[:, cause])
            total = total + (each * (index[:, cause] >= 0)).sum()
        return total / len(logits)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a training batch."""
        x, index, observed = batch
        value = self.loss(self(self.augment(x) if self.augment else x), index, observed)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(x))
        return value

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        """Log the loss of a validation batch."""
        x, index, observed = batch
        self.log("val_loss", self.loss(self(x), index, observed), on_epoch=True, batch_size=len(x))

    def configure_optimizers(self) -> dict:
        """Return AdamW on a one-cycle schedule; biases, norms and the baseline hazards are not decayed."""
        block = self.training_block
        decayed, free = [], []
        for name, parameter in self.named_parameters():
            (free if parameter.ndim < 2 or name == "head.baseline" else decayed).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": block.weight_decay}, {"params": free, "weight_decay": 0.0}],
            lr=block.learning_rate,
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=block.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=WARM_UP,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class KeepBest(pl.Callback):
    """Keep the weights of the best validation loss in memory, those before training included, and stop early.

    Lightning's own callbacks write checkpoints to disk and know nothing of the weights before the first epoch.

    Parameters
    ----------
    training : Training
        Its patience counts from the end of the learning rate's warm-up: before, a network need not have caught up with
        the null model yet.
    """

    def __init__(self, training: Training):
        self.patience, self.warm_up = training.patience, WARM_UP * training.epochs
        self.curves: list[tuple[int, str, float]] = []
        self.best_loss, self.best_epoch, self.state = np.inf, 0, None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch with the best one so far; the sanity check before training is epoch 0."""
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        value = float(trainer.callback_metrics["val_loss"])
        self.curves.append((epoch, "val_loss", value))
        if value < self.best_loss:
            self.best_loss, self.best_epoch = value, epoch
            self.state = {key: tensor.detach().cpu().clone() for key, tensor in pl_module.state_dict().items()}
        elif epoch - max(self.best_epoch, self.warm_up) >= self.patience:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Note the training loss of the epoch."""
        self.curves.append((trainer.current_epoch + 1, "train_loss", float(trainer.callback_metrics["train_loss"])))


@contextmanager
def _environment(*, seed: int, threads: int) -> Iterator[None]:
    """Seed every generator, set the threads and keep Lightning quiet; put everything back at the end."""
    logger = logging.getLogger("pytorch_lightning")
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        logger.level,
    )
    variables = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    logger.setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings(), isolate_rng():
            # Lightning's own use of a class that newer torch calls deprecated; nothing to be done about it here.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            pl.seed_everything(seed, workers=True, verbose=False)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        logger.setLevel(before[3])
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _trainer(training: Training, keep: KeepBest) -> pl.Trainer:
    """Return a trainer that writes nothing to disk and gives the same digits each time."""
    cuda = torch.cuda.is_available()
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        # One process in whatever job it runs: Lightning would otherwise read SLURM's variables and expect its tasks.
        plugins=[LightningEnvironment()],
        precision=("bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed") if cuda else "32-true",
        # On CUDA the likelihood's cumulative sum has no implementation that is promised to be deterministic.
        deterministic="warn" if cuda else True,
        max_epochs=training.epochs,
        num_sanity_val_steps=-1,
        gradient_clip_val=1.0,
        callbacks=[keep],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


def _tensors(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, *, rows: str, cuts: np.ndarray, causes: int
) -> tuple[Tensor, Tensor, Tensor]:
    if len(x) < 2:
        raise DataError(
            "folds, column role",
            f"a fold has {len(x)} {rows} rows for a network",
            "At least 2 are needed: use fewer folds or a larger validation share, or a feature set more subjects have.",
        )
    bad = int((~np.isfinite(x).reshape(len(x), -1).all(axis=1)).sum())
    if bad:
        raise DataError(
            f"inputs of a network, {rows} rows",
            f"{bad} of {len(x)} rows hold values that are not finite",
            "Networks need imputed columns and readable recordings and images.",
        )
    index, observed = discretise(time, event, cuts=cuts, causes=causes)
    inputs = np.ascontiguousarray(x, dtype=np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(index), torch.from_numpy(observed)


def fit(
    build: Callable[[], nn.Module],
    *,
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    x_val: np.ndarray,
    time_val: np.ndarray,
    event_val: np.ndarray,
    cuts: np.ndarray,
    causes: int,
    training: Training,
    seed: int,
    threads: int,
    fold: int = 0,
    augment: Callable[[Tensor], Tensor] | None = None,
    zero_head: bool = False,
) -> tuple[DiscreteTimeTask, pd.DataFrame]:
    """Train a network on training rows, stop on validation rows, and return it with its best weights.

    The weights before training count as epoch 0. The head starts from the training rows' own hazards, so that epoch 0
    is the null model wherever the net's output (or with `zero_head` the head's effect) starts at zero. A net with a
    layer ``scale`` gets its constants from the training rows. On a CPU the same arguments give the same bits.

    Parameters
    ----------
    build : callable
        Makes the net, called once the generators are seeded.
    x, x_val : arrays (n, ...)
        Inputs, finite.
    time, event, time_val, event_val : arrays (n,)
        Days from the index time (> 0); 0 censored, 1 target, 2.. competing.
    cuts : array (J + 1,)
        Cut points in days, from the training rows.
    causes : int
        Causes K.
    training : Training
        Epochs, patience, batch size, learning rate, weight decay.
    seed, threads : int
        Seed of every generator; CPU threads.
    fold : int
        Number of the fold in the curves.
    augment, zero_head
        See `DiscreteTimeTask`.

    Returns
    -------
    task : DiscreteTimeTask
        On the CPU, in evaluation mode, with ``best_epoch``.
    curves : DataFrame
        fold, epoch, metric (val_loss, train_loss), value.

    Raises
    ------
    DataError
        When there are fewer than 2 rows or inputs are not finite.
    """
    rows = _tensors(x, time, event, rows="training", cuts=cuts, causes=causes)
    rows_val = _tensors(x_val, time_val, event_val, rows="validation", cuts=cuts, causes=causes)
    keep = KeepBest(training)
    with _environment(seed=seed, threads=threads):
        net = build()
        if hasattr(net, "scale"):
            net.scale.set_from(rows[0].unsqueeze(1) if rows[0].ndim == 3 and len(net.scale.mean) == 1 else rows[0])
        task = DiscreteTimeTask(net, cuts=cuts, causes=causes, training=training, augment=augment, zero_head=zero_head)
        hazards = null_hazards(rows[1].numpy(), rows[2].numpy(), intervals=len(cuts) - 1)
        task.head.set_baseline(torch.from_numpy(hazards))
        order = torch.Generator().manual_seed(seed)
        _trainer(training, keep).fit(
            task,
            Batches(rows, batch_size=training.batch_size, generator=order),
            Batches(rows_val, batch_size=4 * training.batch_size),
        )
    task.cpu()
    task.trainer = None
    task.load_state_dict(keep.state)
    task.best_epoch = keep.best_epoch
    curves = pd.DataFrame(keep.curves, columns=CURVE_COLUMNS[1:])
    curves.insert(0, CURVE_COLUMNS[0], fold)
    return task.eval(), curves


@torch.no_grad()
def outputs(module: nn.Module, x: np.ndarray, *, threads: int, batch_size: int = 256) -> np.ndarray:
    """Return a module's outputs for all rows of `x`, computed in evaluation mode in batches.

    Parameters
    ----------
    module : nn.Module
        On the CPU, where it is again at the end.
    x : array (n, ...)
        Inputs; a memory-mapped array is read batch by batch.
    threads : int
        CPU threads.
    batch_size : int
        Rows at once.

    Returns
    -------
    float32 array (n, ...)
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module.eval().to(device)
        parts = [
            module(torch.from_numpy(np.array(x[start : start + batch_size], dtype=np.float32)).to(device)).float().cpu()
            for start in range(0, len(x), batch_size)
        ]
    finally:
        module.cpu()
        torch.set_num_threads(before)
    return torch.cat(parts).numpy()

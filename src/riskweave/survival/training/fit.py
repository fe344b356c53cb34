"""Training of any network with any head: fit on training rows, stop on validation rows, go on after a kill."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from riskweave.errors import DataError, StudyError
from riskweave.study.training import Training
from riskweave.survival.heads.base import Head
from riskweave.survival.training.batches import Batches, RiskSetBatches
from riskweave.survival.training.checkpoint import Checkpoint, fingerprint
from riskweave.survival.training.inputs import Inputs, as_inputs, digest_of_inputs
from riskweave.survival.training.run import KeepBest, Prune, Run, environment, train
from riskweave.survival.training.task import SurvivalTask, Whole

__all__ = ["CURVE_COLUMNS", "Fitted", "Prune", "fit", "outputs"]

logger = logging.getLogger(__name__)

CURVE_COLUMNS = ("fold", "epoch", "metric", "value")


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


def _check(inputs: Inputs, time: np.ndarray, event: np.ndarray, rows: str) -> None:
    if len(inputs) < 2:
        raise DataError(
            "folds, column role",
            f"a fold has {len(inputs)} {rows} rows for a network",
            "At least 2 are needed: use fewer folds or a larger validation share, or a feature set more subjects have.",
        )
    if not len(inputs) == len(time) == len(event):
        raise ValueError(f"{rows}: {len(inputs)} inputs, {len(time)} times and {len(event)} events")


def _check_parts(loaders: tuple[Batches, Batches], training: Training, devices: int) -> None:
    """Refuse devices whose parts of a batch would be too small for a normalisation to learn from."""
    smallest, unseen = (len(loader.inputs) // len(loader) for loader in loaders)
    if devices > 1 and (smallest < 2 * devices or unseen < devices):
        raise StudyError(
            f"training.batch_size of {training.batch_size}: batches of {smallest} training and {unseen} validation "
            f"rows are too small to be divided among {devices} devices, of which each needs 2 training rows. Raise it, "
            "or ask for fewer devices: `gpu` of the rule under set-resources in the profile."
        )


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
    devices: int = 1,
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
    devices : int
        Devices that train together, each its part of every batch; see `riskweave.survival.training.several`.
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
    StudyError
        When batches are too small to be divided among the devices.
    """
    inputs, inputs_val = as_inputs(inputs), as_inputs(inputs_val)
    _check(inputs, time, event, "training")
    _check(inputs_val, time_val, event_val, "validation")
    head.learn(time, event)
    labels, labels_val = head.prepare(time, event), head.prepare(time_val, event_val)
    loaders = _loaders(head, inputs, inputs_val, labels=labels, labels_val=labels_val, training=training, seed=seed)
    _check_parts(loaders, training, devices)
    keep = KeepBest(training, seed=seed, prune=prune, judged=_judged(head, labels_val))
    with environment(seed=seed, threads=threads):
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
            settings = {"seed": seed, "threads": threads, "devices": devices}
            settings["parameter_groups"] = dict(parameter_groups or {})
            arrays = (time, event, time_val, event_val)
            saved = Checkpoint(checkpoint, _mark(task, settings, (inputs, inputs_val), arrays))
        keep.saved = saved
        found = None if saved is None else saved.found()
        run = Run(task, loaders, training, keep, seed=seed, threads=threads, saved=saved, found=found)
        if devices == 1:
            train(run)
        else:
            # Loaded where it is used: its processes run it as their main program.
            from riskweave.survival.training.several import train_on_several

            train_on_several(run, devices=devices)
        if saved is not None:
            saved.discard()
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

"""The Lightning module of every network: a net, a head with its loss, and the optimiser."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from riskweave.study.training import Training
from riskweave.survival.heads.base import Head
from riskweave.survival.training.batches import Batch

__all__ = ["SurvivalTask", "Whole", "precision_of"]

logger = logging.getLogger(__name__)

WARM_UP = 0.2
"""Share of the epochs in which the learning rate rises to its peak."""


class Whole(nn.Sequential):
    """A net and its head, one after the other; the net may take several inputs."""

    def __init__(self, net: nn.Module, head: nn.Module):
        super().__init__(net, head)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the head's raw output."""
        return self[1](self[0](*inputs))


class SurvivalTask(pl.LightningModule):
    """A network and its head, trained on the head's loss.

    Parameters
    ----------
    net : nn.Module
        Maps inputs to (n, ``net.features``).
    head : Head
        Connected to the net.
    training : Training
        Epochs, learning rate, weight decay and optimiser.
    augment : callable, optional
        Random change of the inputs of a training batch: takes and returns what ``net.forward`` takes.
    parameter_groups : mapping of str to float
        Start of the name of parameters of the net to their share of the learning rate.
    """

    def __init__(
        self,
        net: nn.Module,
        head: Head,
        *,
        training: Training,
        augment: Callable[..., Tensor | tuple[Tensor, ...]] | None = None,
        parameter_groups: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self.net, self.head = net, head
        self.block, self.augment, self.parameter_groups = training, augment, dict(parameter_groups or {})
        self._losses: list[tuple[Tensor, int]] = []
        self._validation: list[tuple[Tensor, tuple[Tensor, ...]]] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the head's raw output, in single precision."""
        return self.head(self.net(*inputs)).float()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a training batch."""
        inputs, labels = batch
        if self.augment is not None:
            changed = self.augment(*inputs)
            inputs = changed if isinstance(changed, tuple) else (changed,)
        loss = self.head.loss(self._whole(self(*inputs), len(labels[0])), *labels)
        self._losses.append((loss.detach(), len(labels[0])))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Keep the outputs: the loss is that of all validation rows together, whose risk sets are whole."""
        inputs, labels = batch
        self._validation.append((self._whole(self(*inputs), len(labels[0])), labels))

    def _whole(self, output: Tensor, rows: int) -> Tensor:
        """Return the outputs for all rows of a batch, of which each of several processes has computed its part.

        The gradient of the gathered outputs is the sum over the processes, each of which takes the same loss; that of
        the weights is their mean: together the gradient that one process would have found.
        """
        world = self.trainer.world_size
        if world == 1:
            return output
        sizes = [len(part) for part in np.array_split(np.arange(rows), world)]
        padding = [0, 0] * (output.ndim - 1) + [0, max(sizes) - len(output)]
        gathered = self.all_gather(functional.pad(output, padding), sync_grads=torch.is_grad_enabled())
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    def train_loss(self) -> float:
        """Return the mean training loss since the last call."""
        kept, self._losses = self._losses, []
        total = torch.stack([loss for loss, _ in kept]).double().cpu()
        weights = torch.tensor([rows for _, rows in kept], dtype=torch.float64)
        return float((total * weights).sum() / weights.sum())

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the loss of the validation rows since the last call."""
        kept, self._validation = self._validation, []
        labels = [torch.cat(label) for label in zip(*(labels for _, labels in kept), strict=True)]
        return float(self.head.validation_loss(torch.cat([output for output, _ in kept]), *labels))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002 - Lightning's signature
    ) -> None:
        """Clip the norm of all gradients, as Lightning does by itself unless a fused optimiser meets mixed precision.

        Its refusal concerns the scaled gradients of float16, which is not used here: bfloat16 needs no scale.
        """
        if gradient_clip_val:
            own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(own, gradient_clip_val)

    def configure_optimizers(self) -> dict:
        """Return the optimiser on a one-cycle schedule; biases, norms and baselines are not decayed."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                rates = [rate for start, rate in self.parameter_groups.items() if name.startswith(f"net.{start}")]
                decayed = parameter.ndim >= 2 and not name.endswith("baseline")
                groups.setdefault((rates[0] if rates else 1.0, decayed), []).append(parameter)
        block = self.block
        optimizer = _optimizer(
            block.optimiser,
            [
                {
                    "params": parameters,
                    "lr": block.learning_rate * rate,
                    "weight_decay": block.weight_decay if decayed else 0.0,
                }
                for (rate, decayed), parameters in groups.items()
            ],
        )
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[block.learning_rate * rate for rate, _ in groups],
            total_steps=steps,
            # A warm-up of exactly one step (5 epochs of one batch) torch divides by zero; a little more does the same.
            pct_start=WARM_UP if steps * WARM_UP != 1 else 1.01 * WARM_UP,
            cycle_momentum=block.optimiser != "sgd",
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _optimizer(name: str, groups: list[dict]) -> torch.optim.Optimizer:
    # One kernel for all parameters saves a third of the time of a step of a small network.
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(groups, fused=True)


def precision_of(training: Training) -> str:
    """Return Lightning's name of the precision: what the study asks for, where there is a GPU that has it."""
    if training.precision == "32" or not torch.cuda.is_available():
        return "32-true"
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        logger.warning("this GPU has no bfloat16: the network is trained in single precision")
        return "32-true"
    return training.precision

"""Layers that the networks share: scaling of the input, the embedding."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["ChannelScale", "Embedding"]


class ChannelScale(nn.Module):
    """Standardise each channel with constants of the training rows, which travel with the weights.

    Parameters
    ----------
    channels : int
        Channels, on axis 1 of the input.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def set_from(self, x: Tensor | Iterable[Tensor]) -> None:
        """Take mean and standard deviation of each channel from training rows (n, channels, ...), all or in batches.

        Grey images may come without an axis of channels.
        """
        channels = len(self.mean)
        count, total, squares = 0, 0.0, 0.0
        for rows in [x] if isinstance(x, Tensor) else x:
            values = rows.double().reshape(len(rows), channels, -1)
            count += len(rows) * values.shape[2]
            total, squares = total + values.sum(dim=(0, 2)), squares + values.square().sum(dim=(0, 2))
        mean = total / count
        std = ((squares / count - mean.square()).clamp(min=0) * (count / max(1, count - 1))).sqrt()
        self.mean.copy_(mean)
        # A channel that is flat in all rows stays as it is instead of being blown up.
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised input, of the same shape."""
        shape = [1, -1] + [1] * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)


class Embedding(nn.Module):
    """A small linear layer whose output is the embedding.

    Its weights start at zero: before training every embedding is the zero vector and the hazards are those of the null
    model. A network that finds no signal on its validation rows keeps these weights.

    The input is standardised over the batch: pooled activations differ far less between subjects than from zero, and
    without it the layer first learns what all subjects have in common, which the baseline hazards know already. It is
    held within 4 standard deviations, so that an activation that is rare in training cannot throw an embedding far off.

    Parameters
    ----------
    inputs : int
        Width of the input.
    size : int
        Columns of the embedding.
    dropout : float
        Dropout of the input (0 to 1).
    """

    def __init__(self, inputs: int, size: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs, affine=False, momentum=0.3)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, size) of `x` (n, inputs)."""
        return self.linear(self.dropout(self.norm(x).clamp(-4.0, 4.0)))

"""Layers that the networks share: scaling of the input, the embedding, the hazards."""

import torch
from torch import Tensor, nn

__all__ = ["ChannelScale", "Embedding", "HazardHead", "forget"]


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
    def set_from(self, x: Tensor) -> None:
        """Take mean and standard deviation of each channel from training rows `x` (n, channels, ...)."""
        rest = [axis for axis in range(x.ndim) if axis != 1]
        self.mean.copy_(x.mean(dim=rest))
        # A channel that is flat in all rows stays as it is instead of being blown up.
        std = x.std(dim=rest)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised input, of the same shape."""
        shape = [1, -1] + [1] * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)


class Embedding(nn.Module):
    """A small linear layer whose output is the embedding.

    Its weights start at zero: before training every embedding is the zero vector and the hazards are those of the null
    model. An encoder that finds no signal on its validation rows keeps these weights, and its constant columns are
    dropped downstream instead of adding noise.

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


class HazardHead(nn.Module):
    """Logits of the discrete-time hazards, one block of intervals for each cause.

    ``logit h_kj(z) = b_kj + w_k z + v_kj z``: a baseline, an effect that all intervals share and deviations of each
    interval. The shared effect lets a small cohort learn a risk from all its events at once.

    Parameters
    ----------
    inputs : int
        Width of the input z.
    causes, intervals : int
        Causes K and intervals J.
    zero : bool
        Start with effects of zero: for an input that is not zero itself at the start.
    """

    def __init__(self, inputs: int, *, causes: int, intervals: int, zero: bool):
        super().__init__()
        self.causes, self.intervals = causes, intervals
        self.baseline = nn.Parameter(torch.zeros(causes, intervals))
        self.shared = nn.Linear(inputs, causes, bias=False)
        self.varying = nn.Linear(inputs, causes * intervals, bias=False)
        if zero:
            nn.init.zeros_(self.shared.weight)
        nn.init.zeros_(self.varying.weight)

    @torch.no_grad()
    def set_baseline(self, hazards: Tensor) -> None:
        """Start from the null model's hazards (causes, intervals), each between 0 and 1, exclusive."""
        self.baseline.copy_(torch.logit(hazards))

    def forward(self, z: Tensor) -> Tensor:
        """Return the logits (n, causes, intervals) for `z` (n, inputs)."""
        varying = self.varying(z).view(-1, self.causes, self.intervals)
        return self.baseline + self.shared(z).unsqueeze(-1) + varying


def forget(network: nn.Module) -> None:
    """Reset a network's embedding, in place, to what it was before training: zeros for every input."""
    for module in network.modules():
        if isinstance(module, Embedding):
            nn.init.zeros_(module.linear.weight)
            nn.init.zeros_(module.linear.bias)

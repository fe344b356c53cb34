"""Dilated residual temporal convolutional network (TCN) for recordings such as the electrocardiogram."""

from typing import Any

import torch
from torch import Tensor, nn

from riskweave.networks.layers import ChannelScale, Embedding

__all__ = ["TCN", "from_block"]


def _convolution(
    inputs: int, outputs: int, *, taps: int, causal: bool, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Return a convolution with zero padding to length ceil(n / stride), batch normalisation and ReLU."""
    reach = (taps - 1) * dilation
    left = reach if causal else reach // 2
    # Explicit padding: PyTorch's padding="same" refuses strides and warns about even kernels.
    return nn.Sequential(
        nn.ConstantPad1d((left, reach - left), 0.0),
        nn.Conv1d(inputs, outputs, taps, stride=stride, dilation=dilation, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


class TCN(nn.Module):
    """Strided stem, residual blocks of doubling dilation, mean and maximum over time, embedding.

    After Bai, Kolter and Koltun (2018, arXiv:1803.01271), with one convolution in each block instead of two: half the
    cost, and on 12 leads of 10 s no worse. The stem's stride makes the blocks cheap.

    Parameters
    ----------
    leads : int
        Channels of the input.
    channels, blocks, kernel_size : int
        Channels, number and taps of the residual blocks; block i has dilation 2^i.
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout in the blocks and before the embedding (0 to 1).
    causal : bool
        A position sees only samples at or before its own; otherwise as many on both sides.
    stride : int
        Samples between two positions of the blocks.

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    width : int
        Width of what `pooled` returns.
    receptive_field : int
        Samples of the input that one position of the last block sees.
    """

    def __init__(
        self,
        leads: int,
        *,
        channels: int,
        blocks: int,
        kernel_size: int,
        embedding: int,
        dropout: float,
        causal: bool = False,
        stride: int = 4,
    ):
        super().__init__()
        self.scale = ChannelScale(leads)
        stem_taps = max(kernel_size, stride)  # fewer taps than the stride would skip samples
        self.stem = _convolution(leads, channels, taps=stem_taps, causal=causal, stride=stride)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _convolution(channels, channels, taps=kernel_size, causal=causal, dilation=2**i),
                nn.Dropout1d(dropout),
            )
            for i in range(blocks)
        )
        self.embedding = Embedding(2 * channels, embedding, dropout)
        self.features, self.width = embedding, 2 * channels
        self.receptive_field = stem_taps + stride * (kernel_size - 1) * (2**blocks - 1)

    def feature_map(self, x: Tensor) -> Tensor:
        """Return what the last block sees in `x` (n, leads, samples): (n, channels, ceil(samples / stride))."""
        x = self.stem(self.scale(x))
        for block in self.blocks:
            x = x + block(x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Return mean and maximum over time (n, width) of what the last block sees in `x` (n, leads, samples)."""
        x = self.feature_map(x)
        return torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of recordings `x` (n, leads, samples)."""
        return self.embedding(self.pooled(x))


def from_block(encoder: Any, *, shape: tuple[int, int]) -> TCN:
    """Return the network of a `TcnEncoder` block for recordings of a shape (leads, samples)."""
    return TCN(
        shape[0],
        channels=encoder.channels,
        blocks=encoder.blocks,
        kernel_size=encoder.kernel_size,
        embedding=encoder.embedding,
        dropout=encoder.dropout,
        causal=encoder.causal,
    )

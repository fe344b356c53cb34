"""Convolutional network for spectrograms."""

from typing import Any

import torch
from torch import Tensor, nn

from riskweave.networks.layers import ChannelScale, Embedding

__all__ = ["SpectrogramCNN", "from_block"]

_BLOCKS = 3


class SpectrogramCNN(nn.Module):
    """Three blocks of a convolution and a pooling by two, mean and maximum over time, embedding.

    Pictures are convolved alike in all places; in a spectrogram the place on the frequency axis has a meaning. So only
    time is pooled away in the end, and each of the frequencies left has weights of its own.

    Parameters
    ----------
    bands : int
        Frequencies of the input.
    channels : int
        Channels of the first block; they double with each.
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout after each block and before the embedding (0 to 1).

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    """

    def __init__(self, bands: int, *, channels: int, embedding: int, dropout: float):
        super().__init__()
        self.scale = ChannelScale(bands)
        layers, inputs, height = [], 1, bands
        for block in range(_BLOCKS):
            outputs = channels * 2**block
            layers += [
                # The first one reads every second frame: neighbouring windows overlap by half.
                nn.Conv2d(inputs, outputs, 3, stride=(1, 1 if block else 2), padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.Dropout2d(dropout),
            ]
            inputs, height = outputs, -(-height // 2)
        self.blocks = nn.Sequential(*layers)
        self.embedding = Embedding(2 * inputs * height, embedding, dropout)
        self.features = embedding

    def feature_map(self, x: Tensor) -> Tensor:
        """Return what the last block sees in `x` (n, bands, frames): (n, channels, bands / 8, frames / 16)."""
        return self.blocks(self.scale(x).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of spectrograms `x` (n, bands, frames) in dB."""
        seen = self.feature_map(x).flatten(1, 2)
        return self.embedding(torch.cat([seen.mean(dim=-1), seen.amax(dim=-1)], dim=1))


def from_block(encoder: Any, *, shape: tuple[int, int]) -> SpectrogramCNN:
    """Return the network of a `SpectrogramEncoder` block for spectrograms of a shape (bands, frames)."""
    return SpectrogramCNN(shape[0], channels=encoder.channels, embedding=encoder.embedding, dropout=encoder.dropout)

"""Recurrent network for the words of notes."""

from typing import Any

import torch
from torch import Tensor, nn

from riskweave.networks.layers import Embedding

__all__ = ["WordLSTM", "from_block"]


class WordLSTM(nn.Module):
    """Word vectors, a long short-term memory in both directions, mean and maximum over the words, embedding.

    Hochreiter and Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735); maximum over time as in Conneau et al. 2017
    (arXiv:1705.02364), and the mean beside it. The vectors of the words themselves are pooled too: a bag of words is
    learnt in an epoch or two, and the memory adds what depends on their order.

    Parameters
    ----------
    words : int
        Words that are told apart, with 0 (behind the end).
    width, hidden : int
        Width of the word vectors, and of the state of each direction.
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout of the word vectors and before the embedding (0 to 1).

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    """

    def __init__(self, words: int, *, width: int, hidden: int, embedding: int, dropout: float):
        super().__init__()
        self.vectors = nn.Embedding(words, width, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        # Two of one direction, on padded notes: ten times as fast on a CPU as one of both on packed ones, whose
        # gradient takes a time that grows with the square of the length.
        self.onwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)
        self.embedding = Embedding(2 * width + 4 * hidden, embedding, dropout)
        self.features = embedding

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of notes `x` (n, words), int64 with 0 behind the end of each."""
        known = x != 0
        vectors = self.dropout(self.vectors(x))
        turned = _turned(known).unsqueeze(-1)
        # What stands behind the end of a note is read after it, in both directions, and its states count for nothing.
        back = self.backwards(vectors.gather(1, turned.expand_as(vectors)))[0]
        states = torch.cat([self.onwards(vectors)[0], back.gather(1, turned.expand_as(back))], dim=2)
        return self.embedding(torch.cat([*_pooled(vectors, known), *_pooled(states, known)], dim=1))


def _turned(known: Tensor) -> Tensor:
    """Return for each place of `known` (n, words) the one that is there once the words, not the rest, turn round."""
    places = torch.arange(known.shape[1], device=known.device)
    return torch.where(known, known.sum(dim=1, keepdim=True) - 1 - places, places)


def _pooled(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and maximum (n, width) of `x` (n, words, width) over the known words; zeros where there is none."""
    mask = known.unsqueeze(-1)
    mean = (x * mask).sum(dim=1) / known.sum(dim=1, keepdim=True).clamp(min=1)
    highest = x.masked_fill(~mask, -torch.inf).amax(dim=1)
    return mean, torch.where(known.any(dim=1, keepdim=True), highest, 0.0)


def from_block(encoder: Any, *, words: int) -> WordLSTM:
    """Return the network of an `LstmEncoder` block for so many words."""
    return WordLSTM(
        words,
        width=encoder.width,
        hidden=encoder.hidden,
        embedding=encoder.embedding,
        dropout=encoder.dropout,
    )

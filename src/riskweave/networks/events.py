"""Networks over the dated events of a health record."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from riskweave.networks.layers import Embedding

__all__ = ["EventNetwork", "from_block"]

DECAYS = (7.0, 30.0, 365.0, 3650.0)
"""Days after which an event's recency is down to 1/e, in four speeds."""


class EventNetwork(nn.Module):
    """Each event encoded by its code, value and time; attention over the events; embedding.

    An event's vector is a vector of its code plus its value times a second vector of the code, as what a value means
    is the code's; a layer joins it with how long ago it was. The events of a subject are pooled three ways: weighted
    by a learnt attention (Ilse et al. 2018, arXiv:1802.04712), their maximum, and their number. As a set (Zaheer et al.
    2017, arXiv:1703.06114) each event is encoded on its own; as a sequence a gated recurrent unit (Cho et al. 2014,
    arXiv:1406.1078) reads them in time order first.

    Parameters
    ----------
    codes : int
        Codes that are told apart, with 0 (no event).
    width : int
        Width of an event's vector.
    recurrent : bool
        Whether the events are read as a sequence.
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout of the events' vectors and before the embedding (0 to 1).

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    """

    def __init__(self, codes: int, *, width: int, recurrent: bool, embedding: int, dropout: float):
        super().__init__()
        self.of_code = nn.Embedding(codes, width, padding_idx=0)
        self.of_value = nn.Embedding(codes, width, padding_idx=0)
        self.join = nn.Sequential(nn.Linear(width + 1 + len(DECAYS), width), nn.ReLU(), nn.Dropout(dropout))
        self.recurrent = nn.GRU(width, width, batch_first=True) if recurrent else None
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        self.embedding = Embedding(2 * width + 1, embedding, dropout)
        self.features = embedding
        self.register_buffer("decays", torch.tensor(DECAYS))

    def forward(self, codes: Tensor, values: Tensor, days: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of the events of n subjects.

        Parameters
        ----------
        codes : Tensor (n, events) of int64
            0 where there is no event; those count for nothing, wherever they stand.
        values : Tensor (n, events, 2)
            Scaled value (0 without one), and whether there is one.
        days : Tensor (n, events)
            Days before the index time; events are in time order.
        """
        known = codes != 0
        recency = torch.exp(-days.unsqueeze(-1) / self.decays)
        event = self.of_code(codes) + values[..., :1] * self.of_value(codes)
        event = self.join(torch.cat([event, values[..., 1:], recency], dim=-1))
        if self.recurrent is not None:
            # Events that augmentation left out are behind the others, in the order that these have.
            order = torch.argsort((~known).to(torch.int8), dim=1, stable=True)
            known = known.gather(1, order)
            event = event.gather(1, order.unsqueeze(-1).expand_as(event))
            lengths = known.sum(dim=1).clamp(min=1)
            packed = pack_padded_sequence(event, lengths.cpu(), batch_first=True, enforce_sorted=False)
            event, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=codes.shape[1])
        return self.embedding(self._pool(event, known))

    def _pool(self, event: Tensor, known: Tensor) -> Tensor:
        """Return attention, maximum and logarithm of the number of the known events: (n, 2 width + 1)."""
        mask = known.unsqueeze(-1)
        # Subjects of whom no event is left give zeros, not the mean of nothing.
        scores = self.attention(event).masked_fill(~mask, -1e4)
        weights = torch.softmax(scores, dim=1) * mask
        pooled = (weights * event).sum(dim=1)
        some = known.any(dim=1, keepdim=True)
        highest = torch.where(some, event.masked_fill(~mask, -1e4).amax(dim=1), 0.0)
        number = torch.log1p(known.sum(dim=1, keepdim=True).to(event.dtype))
        return torch.cat([pooled, highest, number], dim=1)


def from_block(encoder: Any, *, codes: int) -> EventNetwork:
    """Return the network of an `EventEncoder` block for so many codes."""
    return EventNetwork(
        codes,
        width=encoder.width,
        recurrent=encoder.architecture == "sequence",
        embedding=encoder.embedding,
        dropout=encoder.dropout,
    )

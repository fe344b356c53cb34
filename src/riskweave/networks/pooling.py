"""From the embeddings of a subject's recordings to one embedding of the subject."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GatedAttention", "Pooled"]


def _membership(owner: Tensor) -> Tensor:
    """Return which of the m recordings belong to which of the n subjects, as booleans (n, m)."""
    subjects = torch.arange(int(owner.max()) + 1, device=owner.device)
    return subjects[:, None] == owner[None, :]


class GatedAttention(nn.Module):
    """Score of each recording: how much its embedding counts among those of its subject.

    ``score(h) = w (tanh(V h) * sigmoid(U h))``, the gated attention of Ilse, Tomczak and Welling (2018,
    arXiv:1802.04712, equation 9). Scores start equal, so that training starts from the mean.

    Parameters
    ----------
    width : int
        Width of the embeddings.
    hidden : int
        Width of V and U.
    """

    def __init__(self, width: int, hidden: int = 16):
        super().__init__()
        self.content = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, h: Tensor) -> Tensor:
        """Return the scores (m,) of embeddings `h` (m, width)."""
        return self.score(torch.tanh(self.content(h)) * torch.sigmoid(self.gate(h))).squeeze(-1)


class Pooled(nn.Module):
    """A network for one recording, and a rule that makes one embedding of those of a subject's recordings.

    A subject with one recording gets that recording's embedding, whatever the rule.

    Parameters
    ----------
    net : nn.Module
        Maps the tensors of m recordings to embeddings (m, ``net.features``).
    rule : {"attention", "mean"}
        Weights from a learnt gated attention, or equal ones.

    Attributes
    ----------
    features : int
        Width of the output.

    Raises
    ------
    ValueError
        For another rule.
    """

    def __init__(self, net: nn.Module, rule: str):
        super().__init__()
        if rule not in ("attention", "mean"):
            raise ValueError(f"pooling {rule!r}: allowed are 'attention' and 'mean'")
        self.net = net
        self.attention = GatedAttention(net.features) if rule == "attention" else None
        self.features = net.features

    @property
    def scale(self) -> nn.Module:
        """The layer that standardises the input, where the network has one."""
        return self.net.scale

    def weights(self, h: Tensor, owner: Tensor) -> Tensor:
        """Return how much each of m recordings counts for each of n subjects, of shape (n, m); rows sum to 1."""
        member = _membership(owner)
        scores = h.new_zeros(len(h)) if self.attention is None else self.attention(h)
        # A dense matrix instead of sums by index, which CUDA adds up in any order.
        return scores.expand(len(member), -1).masked_fill(~member, float("-inf")).softmax(dim=1)

    def forward(self, *inputs: Any) -> Tensor:
        """Return the embeddings (n, features) of n subjects.

        Parameters
        ----------
        *inputs : Tensor
            What the network takes for m recordings, and at the end their owners: for each the position of its subject,
            int64 (m,); every position from 0 to n - 1 occurs.
        """
        *recordings, owner = inputs
        h = self.net(*recordings)
        return self.weights(h, owner).to(h.dtype) @ h

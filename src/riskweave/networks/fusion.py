"""Masked attention over the modalities that a subject has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from riskweave.networks.mlp import MLP

__all__ = ["Joint", "MaskedAttention", "hide_modalities"]


def hide_modalities(present: Tensor, chance: float) -> Tensor:
    """Hide modalities at random, never the last one of a subject.

    Parameters
    ----------
    present : bool Tensor (n, M)
        Which subjects have which modality.
    chance : float
        Chance that a modality of a subject is hidden.

    Returns
    -------
    bool Tensor (n, M)
        Which modalities are left: those of `present` less the hidden ones, one at random where all would be hidden.
    """
    kept = present & (torch.rand(present.shape, device=present.device) >= chance)
    order = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    spared = nn.functional.one_hot(order.argmax(dim=1), present.shape[1]).bool() & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, spared)


class MaskedAttention(nn.Module):
    """One vector of a subject from vectors of the modalities that it has.

    The vector of modality m is ``v_m = A_m x_m + mlp_m(x_m) + e_m``, and that of the subject

    ``z = sum_m v_m * (1 + tanh(B c_m))``, with ``c_m = sum_k a_mk v_k`` and
    ``a_mk = softmax_k(v_m Q K v_k / sqrt(width))``,

    where all sums go over the modalities that the subject has: what is missing adds nothing and is attended to by
    nobody. Attention is that of Vaswani et al. 2017 (arXiv 1706.03762); as a gate on each vector, which starts open
    (``B = 0``), it leaves the model additive in the modalities until the training finds that one changes what another
    means. A modality that says nothing gets a vector of zero from the weight decay. `mlp_m` starts at zero too.

    Parameters
    ----------
    widths : sequence of int
        Columns of each of the M modalities; the inputs are these columns side by side, in this order.
    width : int
        Width of the vectors.
    hidden : sequence of int
        Hidden layers of each modality's perceptron; empty: only the linear map.
    dropout : float
        Dropout in the perceptrons (0 to 1).
    modality_dropout : float
        Chance in training that a modality of a subject is hidden; one always stays.

    Attributes
    ----------
    features : int
        Width of the output.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        width: int,
        hidden: Sequence[int],
        dropout: float,
        modality_dropout: float,
    ):
        super().__init__()
        self.widths, self.features, self.modality_dropout = list(widths), width, modality_dropout
        self.linear = nn.ModuleList(nn.Linear(columns, width) for columns in widths)
        self.curved = nn.ModuleList(_Perceptron(columns, width, hidden, dropout) for columns in widths if hidden)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.gate.weight)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Return the vectors (n, features) of inputs `x` (n, sum of the widths), masked by `present` (n, M).

        Inputs of a modality that a subject lacks do not matter, as long as they are finite.
        """
        present = present > 0.5
        if self.training and self.modality_dropout:
            present = hide_modalities(present, self.modality_dropout)
        parts = x.split(self.widths, dim=1)
        vectors = torch.stack([linear(part) for linear, part in zip(self.linear, parts, strict=True)], dim=1)
        if len(self.curved):
            curved = [net(part) for net, part in zip(self.curved, parts, strict=True)]
            vectors = vectors + torch.stack(curved, dim=1)
        mask = present.to(vectors.dtype).unsqueeze(-1)
        vectors = vectors * mask
        scores = self.query(vectors) @ self.key(vectors).transpose(1, 2) / self.features**0.5
        # Finite, so that a subject without any modality has weights too; its vectors are zero.
        weights = scores.masked_fill(~present.unsqueeze(1), -1e4).softmax(dim=2)
        context = weights @ vectors
        return (vectors * (1 + torch.tanh(self.gate(context)))).sum(dim=1)


class _Perceptron(nn.Module):
    """A multilayer perceptron whose output starts at zero."""

    def __init__(self, columns: int, width: int, hidden: Sequence[int], dropout: float):
        super().__init__()
        self.body = MLP(columns, hidden=hidden, dropout=dropout)
        self.last = nn.Linear(self.body.features, width, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class Joint(nn.Module):
    """A network of a design's rows, of which encoders make some columns from the recordings.

    Parameters
    ----------
    body : nn.Module
        Maps rows (n, p) to (n, ``body.features``).
    encoders : sequence of nn.Module
        Each maps its inputs to (k, outputs).
    columns : sequence of (outputs, places) pairs
        For each encoder which of its outputs are used, and their places among the p columns.
    scales : sequence of Tensor (4, used outputs)
        For each encoder lower and upper bound, mean and standard deviation that take its outputs to columns.
    widths : sequence of int
        Of how many tensors the inputs of each encoder consist.

    Attributes
    ----------
    features : int
        Width of the output.
    """

    def __init__(
        self,
        body: nn.Module,
        encoders: Sequence[nn.Module],
        *,
        columns: Sequence[tuple[Sequence[int], Sequence[int]]],
        scales: Sequence[Tensor],
        widths: Sequence[int],
    ):
        super().__init__()
        self.body, self.encoders, self.widths = body, nn.ModuleList(encoders), list(widths)
        self.columns, self.features = [(list(outputs), list(places)) for outputs, places in columns], body.features
        for number, scale in enumerate(scales):
            self.register_buffer(f"scale_{number}", scale)

    def forward(self, rows: Tensor, *inputs: Tensor) -> Tensor:
        """Return (n, features).

        Parameters
        ----------
        rows : Tensor (n, p)
            The columns that encoders make hold something finite for who has no recording.
        *inputs : Tensor
            For each encoder the places of those who have a recording among the rows (k,), then its inputs. Where
            ``k = 0``, the inputs are not looked at.
        """
        rows, start = rows.clone(), 0
        for number, (encoder, width) in enumerate(zip(self.encoders, self.widths, strict=True)):
            places, own = inputs[start], inputs[start + 1 : start + 1 + width]
            start += 1 + width
            # In training, batch normalisation needs two: one recording alone keeps what the rows hold.
            if len(places) > int(self.training):
                used, columns = self.columns[number]
                lower, upper, mean, scale = getattr(self, f"scale_{number}")
                found = (encoder(*own)[:, used].float().clamp(lower, upper) - mean) / scale
                rows[places[:, None], torch.tensor(columns, device=rows.device)] = found
        return self.body(rows)

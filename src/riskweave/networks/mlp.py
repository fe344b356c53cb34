"""Multilayer perceptron for tabular columns."""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Hidden layers of linear map, ReLU, batch normalisation and dropout.

    Parameters
    ----------
    inputs : int
        Columns.
    hidden : sequence of int
        Widths of the layers; empty: the columns themselves, which makes the model on top linear.
    dropout : float
        Dropout after each layer (0 to 1).

    Attributes
    ----------
    features : int
        Width of the output.
    """

    def __init__(self, inputs: int, *, hidden: Sequence[int], dropout: float):
        super().__init__()
        layers = []
        width = inputs
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.BatchNorm1d(size), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers)
        self.features = width

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden representation (n, features) of `x` (n, inputs)."""
        return self.layers(x)

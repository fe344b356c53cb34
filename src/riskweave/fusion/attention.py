"""Attention fusion: a network with a part for each modality and a masked attention over those that a subject has."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from torch import Tensor, nn

from riskweave.networks.fusion import MaskedAttention
from riskweave.study.fusions import AttentionFusion
from riskweave.study.models import NetworkModel
from riskweave.survival.design import Design
from riskweave.survival.null import NullModel
from riskweave.survival.registry import Estimator

__all__ = ["Attention", "from_block"]


class _Body(nn.Module):
    """The attention on rows that hold the columns of all modalities, then which of them a subject has."""

    def __init__(self, attention: MaskedAttention):
        super().__init__()
        self.attention, self.features = attention, attention.features

    def forward(self, rows: Tensor) -> Tensor:
        columns = sum(self.attention.widths)
        return self.attention(rows[:, :columns], rows[:, columns:])


class Attention:
    """A network for each modality, whose vectors a masked, gated attention adds up; see `MaskedAttention`.

    Parameters
    ----------
    build : callable
        Makes the estimator, a network; see `riskweave.fusion.registry.build_fusion`.
    causes : int
        Number of causes.
    width : int
        Width of a modality's vector.
    hidden : sequence of int
        Hidden layers of each modality's perceptron.
    dropout : float
        Dropout in the perceptrons (0 to 1).
    modality_dropout : float
        Chance in training that a modality of a subject is hidden.

    Attributes
    ----------
    estimator : Estimator
        The fitted one.
    """

    def __init__(
        self,
        *,
        build: Callable[..., Estimator],
        causes: int,
        width: int,
        hidden: Sequence[int],
        dropout: float,
        modality_dropout: float,
    ):
        self._build, self.causes = build, causes
        self._settings = {"width": width, "hidden": hidden, "dropout": dropout, "modality_dropout": modality_dropout}

    def fit(  # noqa: PLR0917 - the protocol of all fusions
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "Attention":
        """Train on the training rows and stop early on the validation rows."""
        self.places = [place for place, group in enumerate(design.groups) if group.columns]
        names = self.names(design)
        self.estimator = self._build(columns=names, body=self._body(design)) if names else NullModel(causes=self.causes)
        del self._build
        self.estimator.fit(self.rows(design), time, event, self.rows(design_val), time_val, event_val)
        return self

    def predict(self, design: Design, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times), of every row whatever it lacks."""
        return self.estimator.predict(self.rows(design), times)

    def linear_predictor(self, design: Design) -> np.ndarray | None:
        """Return the log hazard ratio of the target, of shape (n,), or None."""
        return self.estimator.linear_predictor(self.rows(design))

    def names(self, design: Design) -> list[str]:
        """Return the names of the columns that `rows` begins with."""
        return [name for place in self.places for name in design.names_of_group(place)]

    def rows(self, design: Design) -> np.ndarray:
        """Return what the network reads: the columns of all modalities, then which of them a subject has."""
        parts = [design.of_group(place) for place in self.places]
        return np.concatenate([*parts, design.present[:, self.places].astype(float)], axis=1)

    def _body(self, design: Design) -> Callable[..., nn.Module]:
        widths = [len(design.groups[place].columns) for place in self.places]

        return lambda _: _Body(MaskedAttention(widths, **self._settings))

    @property
    def curves(self) -> pd.DataFrame:
        """How the training went."""
        return self.estimator.curves

    @property
    def architecture(self) -> str:
        """What was fitted."""
        return self.estimator.architecture

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept; None where there are no columns."""
        return getattr(self.estimator, "best_epoch", None)


def from_block(
    fusion: AttentionFusion,
    *,
    model: NetworkModel,
    build: Callable[..., Estimator],
    causes: int,
    seed: int,  # noqa: ARG001 - the estimator has it
    threads: int,  # noqa: ARG001 - the estimator has them
    **further: object,  # noqa: ARG001 - what other kinds need
) -> Attention:
    """Return the unfitted fusion of a study block; see `riskweave.fusion.registry.build_fusion`."""
    return Attention(
        build=build,
        causes=causes,
        width=fusion.width,
        hidden=model.hidden,
        dropout=model.dropout,
        modality_dropout=fusion.modality_dropout,
    )

"""What a head is: the last layer of a network, its loss, and the risks that its output means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = ["Head", "RiskSets"]


@dataclass(frozen=True)
class RiskSets:
    """How a head wants its risk sets sampled; see `riskweave.survival.training.batches.RiskSetBatches`.

    Parameters
    ----------
    controls : int
        Controls drawn for each event.
    group : int
        Events that share their controls.
    """

    controls: int
    group: int = 1


class Head(nn.Module):
    """The last layer of a network for time-to-event outcomes.

    In the order of use: `learn` takes what the head needs to know of the outcomes of the training rows, `connect` makes
    its layers, `prepare` makes the labels that `loss` takes, `null_start` starts at the model that knows no covariate,
    `finish` estimates what is left after training; then `incidence` turns outputs into risks.

    Parameters
    ----------
    causes : int
        Causes K: events are coded 1 (target) to K; 0 is censored.
    options : any
        Settings of the kind, plain values, kept as ``options``.

    Attributes
    ----------
    risk_sets : RiskSets or None
        Set by heads whose loss compares subjects with their risk set.
    needs_outputs : bool
        Whether `finish` is to be called with the outputs of the training rows.
    learnt : dict
        What `learn` and `finish` found, in plain values: it travels with the weights.
    """

    kind = ""
    risk_sets: RiskSets | None = None
    needs_outputs = False

    def __init__(self, *, causes: int, **options: Any):
        super().__init__()
        self.causes, self.options = causes, options
        self.features = 0
        self.learnt: dict[str, Any] = {}

    @staticmethod
    def body_layers(hidden: Sequence[int]) -> Sequence[int]:
        """Return which of a model's hidden layers are those of the net below the head: all."""
        return hidden

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:
        """Take cut points or a time scale from the outcomes of the training rows, (n,) each, in days."""
        raise NotImplementedError

    def layers(self, features: int, *, zero: bool) -> None:
        """Make the layers, for inputs of width `features`; with `zero` their effects start at zero."""
        raise NotImplementedError

    def connect(self, features: int, *, zero: bool = False) -> None:
        """Make the layers for a net with outputs of this width; see `layers`."""
        self.features = features
        self.layers(features, zero=zero)

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the labels of rows with these outcomes: arrays with n rows each, as `loss` takes them."""
        raise NotImplementedError

    def null_start(self, *labels: np.ndarray) -> None:
        """Start from the null model of the training rows with these labels; nothing where every start is one."""

    def loss(self, output: Tensor, *labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def validation_loss(self, output: Tensor, *labels: Tensor) -> Tensor:
        """Return the mean loss of all validation rows together."""
        return self.loss(output, *labels)

    def judged_by(self, *labels: np.ndarray) -> bool:  # noqa: ARG002
        """Tell whether the loss of validation rows with these labels differs between networks: that of most heads does.

        Heads that compare events with who is at risk have nothing to compare where no validation row has an event.
        """
        return True

    def finish(self, output: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        """Estimate what is left, such as a baseline hazard, from the outputs of the training rows."""

    def incidence(self, output: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative incidences (n, causes, times) at these days from outputs of the rows."""
        raise NotImplementedError

    def linear_predictor(self, output: np.ndarray) -> np.ndarray | None:  # noqa: ARG002
        """Return the log hazard ratio of the target (n,), or None for a kind without one."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return kind, causes and options, in plain values."""
        return {"kind": self.kind, "causes": self.causes, "options": dict(self.options)}

    def state(self) -> dict[str, Any]:
        """Return all that `riskweave.survival.heads.restore_head` needs: plain values and tensors."""
        return {**self.settings(), "features": self.features, "learnt": self.learnt, "weights": self.state_dict()}

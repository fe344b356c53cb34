"""Every time-to-event model that is a network of tabular columns: a body, a head of its kind, and the training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from riskweave.networks.mlp import MLP
from riskweave.study.models import NetworkModel
from riskweave.survival.heads import build_head
from riskweave.survival.training import CURVE_COLUMNS, Inputs, Prune, as_inputs, fit, outputs

__all__ = ["NeuralModel", "from_block"]

PREDICTED = 4096
"""Rows of a table that pass through a network at once when it predicts."""


class NeuralModel:
    """A network on tabular columns with the head of its kind (see docs/models.md).

    Without training it is the null model; the weights of the best validation loss are kept, those before training
    included.

    Parameters
    ----------
    block : NetworkModel
        Block of the study.
    causes : int
        Causes K: events are coded 1 (target) to K; 0 is censored.
    seed, threads : int
        Seed of weights, batches and dropout; CPU threads.
    body : callable, optional
        Makes the layers below the head from the number of columns: a module with attribute ``features``, the width of
        its output. Without it, a multilayer perceptron of the block's hidden layers.
    checkpoint : Path, optional
        Folder that keeps the training while it runs; see `riskweave.survival.training.fit`.
    prune : callable, optional
        Called with the epoch and the validation loss; stops the training by raising.

    Attributes
    ----------
    curves : DataFrame
        fold (0), epoch, metric, value of the last fit.
    best_epoch : int
        Epoch whose weights were kept; 0: those of the null model.
    architecture : str
        Summary of the network.
    network : Whole
        Net and head, on the CPU.
    """

    def __init__(
        self,
        block: NetworkModel,
        *,
        causes: int,
        seed: int = 0,
        threads: int = 1,
        body: Callable[[int], nn.Module] | None = None,
        checkpoint: Path | None = None,
        prune: Prune | None = None,
    ):
        self.block, self.causes, self.seed, self.threads = block, causes, seed, threads
        self._further: dict[str, Any] = {"checkpoint": checkpoint, "prune": prune}
        self._body = body
        self.curves = pd.DataFrame(columns=list(CURVE_COLUMNS))
        self.architecture = ""

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "NeuralModel":
        """Train on training rows and stop early on validation rows.

        Parameters
        ----------
        x_train, x_val : arrays (n, p)
            Columns, numeric, finite and scaled.
        time, event, time_val, event_val : arrays (n,)
            Days from the index time (> 0); 0 censored, 1 target, 2.. competing.

        Returns
        -------
        NeuralModel
            Itself.

        Raises
        ------
        DataError
            When no training row has an event, inputs are not finite or there are fewer than 2 rows of either role.
        """
        head = build_head(self.block, causes=self.causes)
        columns = x_train.shape[1]
        hidden = head.body_layers(self.block.hidden)
        body = self._body or (lambda p: MLP(p, hidden=hidden, dropout=self.block.dropout))
        fitted = fit(
            lambda: body(columns),
            head,
            inputs=x_train,
            time=np.asarray(time, dtype=float),
            event=np.asarray(event),
            inputs_val=x_val,
            time_val=np.asarray(time_val, dtype=float),
            event_val=np.asarray(event_val),
            training=self.block.training,
            seed=self.seed,
            threads=self.threads,
            zero_head=True,
            **self._further,
        )
        self.network, self.curves, self.best_epoch = fitted.network, fitted.curves, fitted.best_epoch
        self.architecture = str(self.network)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what a fitted model needs: how it was to be trained stays behind."""
        return {**self.__dict__, "_further": {}, "_body": None}

    def outputs(self, x: np.ndarray | Inputs) -> np.ndarray:
        """Return the head's raw outputs of rows `x`."""
        return outputs(self.network, as_inputs(x), threads=self.threads, batch_size=PREDICTED)

    def predict(self, x: np.ndarray, times: Sequence[float]) -> np.ndarray:
        """Return the cumulative incidences of all causes.

        Parameters
        ----------
        x : array (n, p)
            Columns as at the fit.
        times : sequence of float
            Days (>= 0).

        Returns
        -------
        float64 array (n, K, len(times))
        """
        return self.network[1].incidence(self.outputs(x), np.asarray(times, dtype=float))

    def linear_predictor(self, x: np.ndarray) -> np.ndarray | None:
        """Return the log hazard ratio of the target (n,), or None where the hazards are not proportional."""
        return self.network[1].linear_predictor(self.outputs(x))


def from_block(
    model: NetworkModel,
    *,
    causes: int,
    seed: int,
    threads: int,
    body: Callable[[int], nn.Module] | None = None,
    checkpoint: Path | None = None,
    prune: Prune | None = None,
    **further: Any,  # noqa: ARG001 - what other kinds need
) -> NeuralModel:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return NeuralModel(model, causes=causes, seed=seed, threads=threads, body=body, checkpoint=checkpoint, prune=prune)

"""LogisticHazard: a multilayer perceptron on discrete-time hazards of tabular columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from riskweave.networks.mlp import MLP
from riskweave.study.features import Training
from riskweave.study.models import LogisticHazardModel
from riskweave.survival.discrete import cumulative_incidence, cut_points
from riskweave.survival.task import fit, outputs

__all__ = ["LogisticHazard", "from_block"]


class LogisticHazard:
    """Discrete-time hazards from a multilayer perceptron, one block of intervals for each cause.

    The method is that of Gensheimer and Narasimhan 2019 (PeerJ 7:e6257) with pycox's loss (Kvamme and Borgan 2021).
    Between the cut points the rates are constant: see `riskweave.survival.discrete.cumulative_incidence`.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers; empty for a linear model.
    intervals : int
        Intervals of the time axis.
    dropout : float
        Dropout in the layers (0 to 1).
    training : Training
        Epochs, patience, batch size, learning rate, weight decay.
    seed, threads : int
        Seed of weights, batches and dropout; CPU threads.
    causes : int, optional
        Causes K; the largest event code of the training and validation rows when not given.

    Attributes
    ----------
    curves : DataFrame
        fold (0), epoch, metric, value of the last fit.
    best_epoch : int
        Epoch whose weights were kept; 0: those of the null model.
    architecture : str
        Summary of the network.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (32,),
        intervals: int = 20,
        dropout: float = 0.2,
        training: Training = Training(epochs=100, patience=10, learning_rate=3e-3),  # noqa: B008 (immutable)
        seed: int = 0,
        threads: int = 1,
        causes: int | None = None,
    ):
        self.hidden, self.intervals, self.dropout, self.training = tuple(hidden), intervals, dropout, training
        self.seed, self.threads, self.causes = seed, threads, causes
        self.curves = pd.DataFrame(columns=["fold", "epoch", "metric", "value"])
        self.architecture = ""

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "LogisticHazard":
        """Train on training rows and stop early on validation rows.

        Parameters
        ----------
        x_train, x_val : arrays (n, p)
            Columns, numeric, finite and scaled.
        time, event, time_val, event_val : arrays (n,)
            Days from the index time (> 0); 0 censored, 1 target, 2.. competing.

        Returns
        -------
        LogisticHazard
            Itself.

        Raises
        ------
        DataError
            When no training row has an event, inputs are not finite or there are fewer than 2 rows of either role.
        """
        x_train, x_val = np.asarray(x_train, dtype=np.float32), np.asarray(x_val, dtype=np.float32)
        self.cuts = cut_points(time, event, intervals=self.intervals)
        self.n_causes = self.causes or int(max(np.max(event), np.max(event_val, initial=0)))
        inputs = x_train.shape[1]
        task, self.curves = fit(
            lambda: MLP(inputs, hidden=self.hidden, dropout=self.dropout),
            x=x_train,
            time=time,
            event=event,
            x_val=x_val,
            time_val=time_val,
            event_val=event_val,
            cuts=self.cuts,
            causes=self.n_causes,
            training=self.training,
            seed=self.seed,
            threads=self.threads,
            zero_head=True,
        )
        # Without the Lightning module around them the weights pickle into a small file.
        self.network = nn.Sequential(task.net, task.head)
        self.best_epoch = task.best_epoch
        self.architecture = str(self.network)
        return self

    def hazards(self, x: np.ndarray) -> np.ndarray:
        """Return the discrete hazards (n, K, J) of rows `x` (n, p), each between 0 and 1."""
        logits = outputs(self.network, np.asarray(x, dtype=np.float32), threads=self.threads, batch_size=4096)
        return torch.sigmoid(torch.from_numpy(logits).double()).numpy()

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
        return cumulative_incidence(self.hazards(x), cuts=self.cuts, times=np.asarray(times, dtype=float))

    def linear_predictor(self, x: np.ndarray) -> None:  # noqa: ARG002
        """Return None: the hazards are not proportional."""
        return


def from_block(
    model: LogisticHazardModel,
    *,
    causes: int,
    seed: int,
    threads: int,
    columns: list[str] | None,  # noqa: ARG001 - the network names no columns
    **further: Any,  # noqa: ARG001 - what other kinds need
) -> LogisticHazard:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return LogisticHazard(
        hidden=model.hidden,
        intervals=model.intervals,
        dropout=model.dropout,
        training=model.training,
        causes=causes,
        seed=seed,
        threads=threads,
    )

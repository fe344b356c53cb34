"""The model where no column says anything: everybody has the incidence of the training rows."""

import numpy as np
import pandas as pd

from riskweave.survival.competing import at_times, cumulative_incidence, one_cause

__all__ = ["NullModel"]


class NullModel:
    """Aalen-Johansen incidence of the training rows, the same for everybody.

    Stands in where a fold has no column that varies, as when the only encoder of an experiment found no signal: its
    embeddings are constant, and the experiment's result is that the feature set predicts nothing.

    Parameters
    ----------
    causes : int
        Number of causes.
    """

    def __init__(self, *, causes: int):
        self.causes = causes
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])
        self.architecture = "no columns: incidence of the training rows"

    def fit(self, x_train: np.ndarray, time: np.ndarray, event: np.ndarray, *validation: np.ndarray) -> "NullModel":  # noqa: ARG002
        """Estimate the incidences; the columns and the validation rows are not looked at."""
        self.grid = np.unique(time[event > 0])
        at_risk = len(time) - np.searchsorted(np.sort(time), self.grid, side="left")
        when = [np.searchsorted(self.grid, time[one_cause(event, cause)]) for cause in range(1, self.causes + 1)]
        increments = np.stack([np.bincount(steps, minlength=len(self.grid)) / at_risk for steps in when])
        self.incidence = cumulative_incidence(np.cumsum(increments, axis=1)[None], within="product")[0]
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times)."""
        incidence = at_times(self.incidence, grid=self.grid, times=np.asarray(times, dtype=float))
        return np.repeat(incidence[None], len(x), axis=0)

    def linear_predictor(self, x: np.ndarray) -> np.ndarray:
        """Return log hazard ratios of 0, of shape (n,)."""
        return np.zeros(len(x))

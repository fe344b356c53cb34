"""From a model block of the study to an estimator."""

from importlib import import_module
from typing import Protocol

import numpy as np
import pandas as pd

from riskweave.study.models import Model
from riskweave.survival.implementations import ESTIMATORS

__all__ = ["Estimator", "build_estimator"]


class Estimator(Protocol):
    """What every time-to-event model can do.

    Attributes
    ----------
    curves : DataFrame with columns epoch, metric, value
        How the training went; empty where a fit has no epochs.
    architecture : str
        What was fitted, in a few words or lines.
    """

    curves: pd.DataFrame
    architecture: str

    def fit(  # noqa: PLR0917 - matrices and outcomes of both roles, always in this order
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "Estimator":
        """Fit on the training rows; validation rows choose penalties or stop the training early."""

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times)."""

    def linear_predictor(self, x: np.ndarray) -> np.ndarray | None:
        """Return the log hazard ratio of the target, of shape (n,), or None."""


def build_estimator(
    *, model: Model, causes: int, seed: int, threads: int = 1, columns: list[str] | None = None
) -> Estimator:
    """Return the unfitted estimator of a model block.

    Parameters
    ----------
    model : Model
        Block of the study.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    seed : int
        Same seed, same model.
    threads : int
        Threads to use.
    columns : list of str, optional
        Names of the design matrix' columns.

    Raises
    ------
    StudyError
        When the model needs an optional package that is not installed.
    """
    module = import_module(ESTIMATORS[model.kind])
    return module.from_block(model, causes=causes, seed=seed, threads=threads, columns=columns)

"""From a fusion block of the study to a model of a design."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import numpy as np
import pandas as pd

from riskweave.fusion.implementations import FUSIONS
from riskweave.study.fusions import Fusion
from riskweave.study.models import Model
from riskweave.survival.design import Design
from riskweave.survival.null import NullModel
from riskweave.survival.registry import Estimator

__all__ = ["FusedModel", "build_fusion", "estimator_of"]


class FusedModel(Protocol):
    """What every fusion can do: what an estimator can, for a design instead of a matrix.

    It may have the attributes ``params`` (what it chose), ``metrics`` and ``best_epoch`` of an estimator.

    Attributes
    ----------
    curves : DataFrame with columns epoch, metric, value
        How the training went; empty where a fit has no epochs.
    architecture : str
        What was fitted, in a few words or lines.
    """

    curves: pd.DataFrame
    architecture: str

    def fit(  # noqa: PLR0917 - designs and outcomes of both roles, always in this order
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "FusedModel":
        """Fit on the training rows; validation rows choose penalties or stop the training early."""

    def predict(self, design: Design, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times), of every row whatever it lacks."""

    def linear_predictor(self, design: Design) -> np.ndarray | None:
        """Return the log hazard ratio of the target, of shape (n,), or None."""


def estimator_of(build: Callable[..., Estimator], columns: list[str], *, causes: int, **changes) -> Estimator:
    """Return an unfitted estimator of these columns; without any, the model that gives everybody the same risks."""
    return build(columns=columns, **changes) if columns else NullModel(causes=causes)


def build_fusion(
    fusion: Fusion,
    *,
    model: Model,
    build: Callable[..., Estimator],
    causes: int,
    seed: int,
    threads: int = 1,
    **further: object,
) -> FusedModel:
    """Return the unfitted model of a fusion block.

    Parameters
    ----------
    fusion : Fusion
        Block of the study.
    model : Model
        Block of the study.
    build : callable
        Makes an unfitted estimator of that model from ``columns`` (names) and what else of
        `riskweave.survival.registry.build_estimator` a fusion sets for itself.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    seed : int
        Same seed, same model.
    threads : int
        Threads to use.
    **further
        What a kind needs beyond that.
    """
    module = import_module(FUSIONS[fusion.kind])
    return module.from_block(fusion, model=model, build=build, causes=causes, seed=seed, threads=threads, **further)

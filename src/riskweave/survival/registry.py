"""From a model block of the study to an estimator."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from riskweave.errors import StudyError
from riskweave.study.models import Model
from riskweave.survival.design import Design
from riskweave.survival.implementations import ESTIMATORS, HEADS
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Estimator", "Preprocessing", "build_estimator", "build_preprocessing"]


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


class Preprocessing(Protocol):
    """What makes a design of feature tables.

    Attributes
    ----------
    columns_ : list of str
        Names of the design's columns.
    """

    columns_: list[str]

    def fit(self, tables: list[FeatureTable], subjects: pd.Index, people: pd.Series | None = None) -> "Preprocessing":
        """Fit on the training subjects; see `riskweave.survival.preprocessing.DesignMatrix.fit`."""

    def design(self, tables: list[FeatureTable], subjects: pd.Index) -> Design:
        """Return the design of these subjects."""


def build_preprocessing(model: Model) -> Preprocessing:
    """Return the unfitted preprocessing of a model block: the design matrix, or what the model has in its place.

    A model that takes raw values, in their units and with those that are missing, has a function ``preprocessing`` in
    its module, which makes it from the block.
    """
    own = getattr(import_module(ESTIMATORS[model.kind]), "preprocessing", None)
    return DesignMatrix() if own is None else own(model)


def build_estimator(
    *,
    model: Model,
    causes: int,
    seed: int,
    threads: int = 1,
    columns: list[str] | None = None,
    members: Mapping[str, Model] | None = None,
    checkpoint: Path | None = None,
    body: Callable[[int], "nn.Module"] | None = None,
    prune: Callable[[int, float], None] | None = None,
) -> Estimator:
    """Return the unfitted estimator of a model block.

    What a kind has no use for, it takes and ignores, so that callers need not know the kinds.

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
    members : mapping of str to Model, optional
        Blocks of the study's models by name, of which an ensemble finds its members.
    checkpoint : Path, optional
        Folder in which a network keeps its training, to go on with after the job was killed; see
        `riskweave.survival.training.fit`.
    body : callable, optional
        Makes a network's layers below its head from the number of columns: a module with attribute ``features``, the
        width of its output. Without it, a multilayer perceptron.
    prune : callable, optional
        Called after each epoch of a network with the epoch and the validation loss; stops the training by raising.

    Raises
    ------
    StudyError
        When the model needs an optional package that is not installed, or a body is given to a model without network.
    """
    if body is not None and model.kind not in HEADS:
        raise StudyError(
            f"a model of kind {model.kind!r} is no network and takes no body. Use one of {', '.join(sorted(HEADS))}."
        )
    module = import_module(ESTIMATORS[model.kind])
    return module.from_block(
        model,
        causes=causes,
        seed=seed,
        threads=threads,
        columns=columns,
        members=members,
        checkpoint=checkpoint,
        body=body,
        prune=prune,
    )

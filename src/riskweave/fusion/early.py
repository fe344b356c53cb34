"""Early fusion: one model on the columns and masks of all modalities together."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from riskweave.fusion.products import Products
from riskweave.fusion.registry import estimator_of
from riskweave.study.fusions import EarlyFusion
from riskweave.survival.design import Design
from riskweave.survival.registry import Estimator

__all__ = ["Early", "from_block"]


class Early:
    """One estimator on the whole design matrix.

    The columns of a modality that a subject lacks are 0, the mean of those who have it, and its mask says so: the
    missing-indicator method, whose weight of the mask a model learns as any other.

    Parameters
    ----------
    build : callable
        Makes the estimator, see `riskweave.fusion.registry.build_fusion`.
    causes : int
        Number of causes.
    products : int
        Leading columns of each modality whose products with those of the others are columns too.

    Attributes
    ----------
    estimator : Estimator
        The fitted one.
    """

    def __init__(self, *, build: Callable[..., Estimator], causes: int, products: int = 0):
        self._build, self.causes = build, causes
        self.products = Products(products) if products else None

    def fit(  # noqa: PLR0917 - the protocol of all fusions
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "Early":
        """Fit the estimator on the training rows; see `riskweave.survival.registry.Estimator`."""
        columns = design.columns
        if self.products is not None:
            columns = [*columns, *self.products.fit(design, time, event).names_]
        self.estimator = estimator_of(self._build, columns, causes=self.causes)
        del self._build
        if hasattr(self.estimator, "people"):
            # An ensemble divides the training rows, all of a person in one part.
            self.estimator.people = design.people
        self.estimator.fit(self._values(design), time, event, self._values(design_val), time_val, event_val)
        return self

    def predict(self, design: Design, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times)."""
        return self.estimator.predict(self._values(design), times)

    def linear_predictor(self, design: Design) -> np.ndarray | None:
        """Return the log hazard ratio of the target, of shape (n,), or None."""
        return self.estimator.linear_predictor(self._values(design))

    def counts(self, design: Design) -> dict[str, int]:
        """Return what the estimator counts in these rows, such as subjects that a clinical score refuses."""
        return self.estimator.counts(self._values(design)) if hasattr(self.estimator, "counts") else {}

    def _values(self, design: Design) -> np.ndarray:
        products = np.zeros((len(design), 0)) if self.products is None else self.products.transform(design)
        return np.append(design.values, products, axis=1)

    @property
    def curves(self) -> pd.DataFrame:
        """How the training went."""
        return self.estimator.curves

    @property
    def architecture(self) -> str:
        """What was fitted."""
        return self.estimator.architecture

    @property
    def params(self) -> dict:
        """What the estimator chose."""
        return getattr(self.estimator, "params", {})

    @property
    def metrics(self) -> dict:
        """What the estimator measured."""
        return getattr(self.estimator, "metrics", {})

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept; None where there are no epochs."""
        return getattr(self.estimator, "best_epoch", None)


def from_block(
    fusion: EarlyFusion,
    *,
    build: Callable[..., Estimator],
    causes: int,
    seed: int,  # noqa: ARG001 - nothing here is random
    threads: int,  # noqa: ARG001 - the estimator has them
    **further: object,  # noqa: ARG001 - what other kinds need
) -> Early:
    """Return the unfitted fusion of a study block; see `riskweave.fusion.registry.build_fusion`."""
    return Early(build=build, causes=causes, products=fusion.products)

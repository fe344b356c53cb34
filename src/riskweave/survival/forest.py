"""Random survival forest, one cause-specific forest for each cause (scikit-survival, the extra `forest`)."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from riskweave.study.models import RandomSurvivalForestModel
from riskweave.survival.competing import at_times, cumulative_incidence, one_cause
from riskweave.survival.extras import load_sksurv

__all__ = ["CauseSpecificForest", "from_block"]

logger = logging.getLogger(__name__)

KIND = "random_survival_forest"

SPLIT_TIMES = 50
"""Distinct times at which the log-rank test of a split looks: its cost is proportional to them, and with 3,000 subjects
and all distinct times a forest takes ten times as long as with 100. Leaf curves keep the exact times."""

LEAST_SURVIVAL = 1e-12
CELLS = 4_000_000


@dataclass(frozen=True)
class _Drops:
    """The steps of the Kaplan-Meier curves of one tree's leaves, of shape (steps,), sorted by leaf, then time.

    Which leaf, at which of the forest's event times (its position), and the logarithm of the factor by which the
    survival drops.
    """

    leaf: np.ndarray
    position: np.ndarray
    factor: np.ndarray


@dataclass(frozen=True)
class _Cause:
    """A forest, the distinct times (days) of its events, and its leaves' curves, tree by tree."""

    forest: Any
    times: np.ndarray
    drops: list[_Drops]


class CauseSpecificForest:
    """Cause-specific random survival forests, combined to cumulative incidences.

    For each cause a forest of log-rank trees (Ishwaran et al. 2008, Ann Appl Stat 2:841-860) in which the events of the
    other causes are censored. Its survival function is the mean over the trees of the Kaplan-Meier curve of the
    bootstrap rows in the leaf, as scikit-survival's ``predict_survival_function``; the cumulative hazard of the cause
    is minus its logarithm. The curves are kept as the steps of the leaves, so that a forest needs no memory for
    curves in every node: scikit-survival keeps nodes x distinct times values per tree, which is gigabytes for 10,000
    subjects.

    A fitted forest holds no training row, but what its leaves predict with: the days of events among their few
    subjects. Who shares it shares these.

    Parameters
    ----------
    trees, min_samples_leaf : int
    max_features : {"sqrt", "log2"} or float
        Columns tried at a split.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    seed : int
    threads : int
        Trees grown at once; the result does not depend on it.

    Attributes
    ----------
    curves : DataFrame
        Empty: the fit has no epochs.
    """

    def __init__(
        self,
        *,
        trees: int,
        min_samples_leaf: int,
        max_features: str | float,
        causes: int,
        seed: int,
        threads: int,
    ):
        load_sksurv(KIND)
        self.trees = trees
        self.min_samples_leaf = min_samples_leaf
        self.max_features = max_features
        self.causes = causes
        self.seed = seed
        self.threads = threads
        self.params: dict = {}
        self.metrics: dict = {}
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])

    def fit(self, x_train, time, event, x_val, time_val, event_val) -> "CauseSpecificForest":  # noqa: ARG002, PLR0917
        """Fit on the training rows (validation rows are not used): see `CauseSpecificCox.fit`."""
        x_train = np.asarray(x_train, dtype=np.float32)
        time = np.asarray(time, dtype=np.float64)
        self._fitted = [self._grow(x_train, time, one_cause(event, k), k) for k in range(1, self.causes + 1)]
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        x = np.asarray(x, dtype=np.float32)
        times = np.asarray(times, dtype=np.float64)
        grid = times if self.causes == 1 else self._grid(times)
        hazards = np.zeros((len(x), self.causes, len(grid)))
        if len(x):
            for k, fitted in enumerate(self._fitted):
                if fitted is not None:
                    hazards[:, k] = -np.log(np.maximum(_survival(fitted, x, grid), LEAST_SURVIVAL))
        # Rounding must not make a hazard fall.
        hazards = np.maximum.accumulate(hazards, axis=2)
        return at_times(cumulative_incidence(hazards), grid=grid, times=times)

    def linear_predictor(self, x: np.ndarray) -> None:  # noqa: ARG002 - shared protocol
        """Return None: a forest has no linear predictor."""
        return

    @property
    def architecture(self) -> str:
        """What the model is, in words."""
        return (
            f"random survival forest, {self.trees} trees, at least {self.min_samples_leaf} rows in a leaf, "
            f"{self.causes} cause-specific forest(s)"
        )

    def _grow(self, x: np.ndarray, time: np.ndarray, event: np.ndarray, cause: int) -> _Cause | None:
        if not event.any():
            logger.info("cause %d has no training events: its hazard is zero", cause)
            return None
        ensemble, util = load_sksurv(KIND)
        forest = ensemble.RandomSurvivalForest(
            n_estimators=self.trees,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            low_memory=True,
            random_state=self.seed + cause - 1,
            n_jobs=self.threads,
        )
        forest.fit(x, util.Surv.from_arrays(event, _split_times(time, event)))
        order = np.argsort(time, kind="stable")
        leaves = forest.apply(x[order])
        times = np.unique(time[event])
        drops = [
            _leaf_drops(
                leaf=leaves[:, index],
                weight=np.bincount(samples, minlength=len(time))[order],
                time=time[order],
                event=event[order],
                times=times,
            )
            for index, samples in enumerate(forest.estimators_samples_)
        ]
        return _Cause(forest, times, drops)

    def _grid(self, times: np.ndarray) -> np.ndarray:
        """Return fine steps at which competing hazards are combined: the wanted times, and event times between."""
        events = np.concatenate([fitted.times for fitted in self._fitted if fitted is not None])
        events = np.unique(events[events <= times.max()])
        if len(events) > 4 * SPLIT_TIMES:
            events = np.unique(np.quantile(events, np.linspace(0, 1, 4 * SPLIT_TIMES), method="nearest"))
        return np.union1d(events, times)


def _split_times(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Round times up to at most `SPLIT_TIMES` quantiles of the event times."""
    distinct = np.unique(time[event])
    if len(distinct) <= SPLIT_TIMES:
        return time
    marks = np.unique(np.quantile(time[event], np.linspace(0, 1, SPLIT_TIMES), method="nearest"))
    position = np.searchsorted(marks, time, side="left")
    # Times after the last event say "survived it": one more mark.
    return np.append(marks, max(time.max(), marks[-1]) + 1.0)[position]


def _survival(fitted: _Cause, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the forest's survival function, of shape (n, grid): the mean of the leaves' Kaplan-Meier curves."""
    interval = np.searchsorted(grid, fitted.times, side="left")
    wanted = fitted.forest.apply(x)
    total = np.zeros((len(x), len(grid)))
    for index, (tree, drops) in enumerate(zip(fitted.forest.estimators_, fitted.drops, strict=True)):
        total += _leaf_curves(drops, interval=interval, nodes=tree.tree_.node_count, steps=len(grid))[wanted[:, index]]
    return total / len(fitted.drops)


def _leaf_drops(
    *, leaf: np.ndarray, weight: np.ndarray, time: np.ndarray, event: np.ndarray, times: np.ndarray
) -> _Drops:
    """Return where the Kaplan-Meier curve of each leaf drops; rows are sorted by time."""
    order = np.argsort(leaf, kind="stable")
    order = order[weight[order] > 0]
    leaf, weight, time, event = leaf[order], weight[order], time[order], event[order]
    # Groups of equal time within a leaf: the rows are sorted by leaf, then time.
    new = np.append(True, (np.diff(leaf) != 0) | (np.diff(time) != 0))
    start = np.flatnonzero(new)
    weights = np.add.reduceat(weight, start)
    deaths = np.add.reduceat(weight * event, start)
    group_leaf = leaf[start]
    size = np.bincount(leaf, weights=weight)
    # At risk: the leaf's rows less those of its earlier groups.
    before = np.cumsum(weights) - weights
    first = np.append(True, np.diff(group_leaf) != 0)
    offset = before[first][np.cumsum(first) - 1]
    at_risk = size[group_leaf] - (before - offset)
    keep = deaths > 0
    with np.errstate(divide="ignore"):
        factor = np.log1p(-deaths[keep] / at_risk[keep])
    position = np.searchsorted(times, time[start][keep])
    return _Drops(group_leaf[keep].astype(np.int32), position.astype(np.int32), factor)


def _leaf_curves(drops: _Drops, *, interval: np.ndarray, nodes: int, steps: int) -> np.ndarray:
    """Return the Kaplan-Meier curve of each leaf, of shape (nodes, steps), from the steps' intervals of the grid."""
    column = interval[drops.position]
    keep = column < steps
    cells = drops.leaf[keep] * np.int64(steps) + column[keep]
    log_survival = np.bincount(cells, weights=drops.factor[keep], minlength=nodes * steps).reshape(nodes, steps)
    return np.exp(np.cumsum(log_survival, axis=1))


def from_block(
    model: RandomSurvivalForestModel,
    *,
    causes: int,
    seed: int,
    threads: int,
    columns: list[str] | None,  # noqa: ARG001 - the forest names no columns
    **further: Any,  # noqa: ARG001 - what other kinds need
) -> CauseSpecificForest:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return CauseSpecificForest(
        trees=model.trees,
        min_samples_leaf=model.min_samples_leaf,
        max_features=model.max_features,
        causes=causes,
        seed=seed,
        threads=threads,
    )

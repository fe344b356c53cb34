"""What a trained estimator learnt, as plain values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from riskweave.deployment.learnt import DEEP_SURV, HEADS
from riskweave.deployment.recipe import Boosted, Cox, Network, Trees, Weibull
from riskweave.errors import DataError
from riskweave.study.deployment import DEPLOYED_MODELS, FEWEST_IN_LEAF

__all__ = ["read_model"]

_NEVER = (np.zeros(0), np.zeros(0))
"""Baseline hazard of a cause without training events."""


def read_model(
    estimator: Any, *, columns: int, times: Sequence[float], fewest: int = FEWEST_IN_LEAF
) -> Cox | Boosted | Weibull | Network:
    """Return what an estimator learnt.

    Parameters
    ----------
    estimator : fitted estimator of `riskweave.survival.registry`
    columns : int
        Of the design.
    times : sequence of float
        Days at which risks are wanted, increasing.
    fewest : int
        Training rows that a leaf of a tree must have: so many are never those of fewer than ten people.

    Raises
    ------
    DataError
        When it is of a kind that cannot be deployed, or leaves of its trees are too small.
    """
    # By their names: the classes' modules load libraries that only fitting needs.
    readers = {
        "CauseSpecificCox": _cox,
        "CauseSpecificBoosting": _boosted,
        "CauseSpecificWeibull": _weibull,
    }
    kind = type(estimator).__name__
    if kind in readers:
        return readers[kind](estimator, columns, times, fewest)
    network = getattr(estimator, "network", None)
    if network is not None and network[1].kind in {*HEADS, DEEP_SURV}:
        head = network[1]
        return Network(
            network.eval(), head.kind, np.asarray(head.learnt.get("cuts", ()), dtype=np.float64), dict(head.learnt)
        )
    raise DataError(
        "models.zip",
        f"a model of kind {kind} cannot be deployed",
        f"Deploy one of kind {', '.join(DEPLOYED_MODELS)}; a fold without any usable column has no model",
    )


def _cox(estimator: Any, columns: int, times: Sequence[float], fewest: int) -> Cox:  # noqa: ARG001
    zeros, hazards = np.zeros(columns), [cause.hazard for cause in estimator._fitted]
    return Cox(
        np.stack([zeros if hazard is None else hazard.coefficients for hazard in hazards]),
        np.stack([zeros if hazard is None else hazard.means for hazard in hazards]),
        [_NEVER if each is None else (each.baseline.times, each.baseline.cumulative) for each in hazards],
    )


def _boosted(estimator: Any, columns: int, times: Sequence[float], fewest: int) -> Boosted:  # noqa: ARG001
    causes = estimator._fitted
    return Boosted(
        [
            _trees([], rate=0.0, centre=0.0, fewest=fewest)
            if each is None
            else _trees(each.trees, rate=each.learning_rate, centre=each.centre, fewest=fewest)
            for each in causes
        ],
        [_NEVER if each is None else (each.baseline.times, each.baseline.cumulative) for each in causes],
    )


def _weibull(estimator: Any, columns: int, times: Sequence[float], fewest: int) -> Weibull:  # noqa: ARG001
    from riskweave.survival.weibull import combined_at

    causes = estimator._fitted
    return Weibull(
        np.array([np.inf if each is None else each.intercept for each in causes]),
        np.stack([np.zeros(columns) if each is None else each.slopes for each in causes]),
        np.array([1.0 if each is None else each.shape for each in causes]),
        combined_at(np.asarray(times, dtype=np.float64), causes=len(causes)),
    )


def _trees(grown: Sequence[Any], *, rate: float, centre: float, fewest: int) -> Trees:
    """Return the trees of a cause: scikit-learn's nodes as splits and leaves."""
    roots, columns, thresholds, left, right, leaves = [], [], [], [], [], []
    for tree in grown:
        splits = tree.children_left >= 0
        rows = int(tree.n_node_samples[~splits].min())
        if rows < fewest:
            why = "" if fewest == FEWEST_IN_LEAF else ": nine people have up to as many index times together"
            raise DataError(
                "models.zip",
                f"a tree has a leaf of {rows} training rows, which may tell about single people{why}",
                f"Train with `min_samples_leaf` of at least {fewest}, in the space of a search too",
            )
        place = np.where(splits, len(columns) + np.cumsum(splits) - 1, -len(leaves) - np.cumsum(~splits))
        roots.append(int(place[0]))
        columns += tree.feature[splits].tolist()
        thresholds += tree.threshold[splits].tolist()
        left += place[tree.children_left[splits]].tolist()
        right += place[tree.children_right[splits]].tolist()
        leaves += (rate * tree.value[~splits, 0, 0]).tolist()
    places = (np.array(each, dtype=np.int64) for each in (roots, columns))
    branches = (np.array(each, dtype=np.int64) for each in (left, right))
    return Trees(*places, _below(thresholds), *branches, np.array(leaves, dtype=np.float64), centre)


def _below(thresholds: Sequence[float]) -> np.ndarray:
    """Return the largest numbers in single precision that are at most these.

    scikit-learn compares columns in single precision with thresholds in double precision, halfway between two of them:
    the same columns are at most the one as are at most the other.
    """
    exact = np.array(thresholds, dtype=np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    return np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)

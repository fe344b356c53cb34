"""SurvivalBoost: boosted trees on the cumulative incidences of all causes at once (hazardous)."""

import logging
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression
from sklearn.ensemble import HistGradientBoostingClassifier

from riskweave.errors import DataError
from riskweave.evaluation.censoring import uncensored_probability
from riskweave.study.models import SurvivalBoostModel
from riskweave.survival.null import NullModel

__all__ = ["BoostedIncidences", "CoarseTimes", "from_block", "increasing"]

logger = logging.getLogger(__name__)

BINS = 254
"""Distinct values of a column: the most that histogram trees tell apart without looking for quantiles."""

STEPS = 64
"""Times at which a fitted model is asked: its cost is proportional to them."""

LEAST_UNCENSORED = 0.1
"""Probability of being uncensored down to which the trees learn."""

TRUSTED = 0.1
"""Largest difference of the mean predicted incidence of the training rows from what they show, as a share of it ..."""

ROUNDING = 0.005
"""... and besides: early incidences are small."""

ROWS = 200_000
"""Rows (subjects x times) that are predicted at once."""


class CoarseTimes(HistGradientBoostingClassifier):
    """Histogram trees whose first column, the time, has `BINS` distinct values between 0 and `end`.

    hazardous draws new times for each tree. scikit-learn then looks for the quantiles of a weighted column, which takes
    a hundred times as long as the tree; a column of few distinct values has its bins already.
    """

    end = 1.0

    def _coarse(self, X: np.ndarray) -> np.ndarray:
        X = np.array(X, dtype=np.float64)
        X[:, 0] = np.clip(np.floor(X[:, 0] / self.end * BINS), 0, BINS - 1)
        return X

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "CoarseTimes":
        """Fit as scikit-learn does."""
        return super().fit(self._coarse(X), y, sample_weight=sample_weight)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        return super().predict_proba(self._coarse(X))

    def __getstate__(self) -> dict:
        """Return what predicts: what only draws and compares while trees are grown stays behind."""
        return {**super().__getstate__(), "_feature_subsample_rng": None, "_loss": None}

    def __setstate__(self, state: dict) -> None:
        """Make the loss again, which turns what the trees say into probabilities; it holds nothing of its own."""
        super().__setstate__(state)
        self._loss = self._get_loss(sample_weight=None)


@dataclass(frozen=True)
class _Fitted:
    """Trees, their classes (0 nothing yet, then causes), bounds of each column's bins, times (days) of the curves.

    The null model gives the incidences after the last of these times.
    """

    trees: CoarseTimes
    classes: np.ndarray
    bounds: list[np.ndarray]
    grid: np.ndarray
    null: NullModel


class BoostedIncidences:
    r"""Trees boosted on the cumulative incidences of all causes at once, without proportional hazards.

    For random times :math:`t` the state of a subject (nothing yet, or which cause by t) is a class that boosted trees
    predict from the columns and t, weighted by the inverse probability of being uncensored: a proper score for the
    incidences of all causes together (Alberge, Maladière, Grisel, Abécassis and Varoquaux 2025, AISTATS; hazardous).
    Censoring is taken as independent of the columns (Kaplan-Meier), as it is in the evaluation.

    The trees know nothing of order: about one step in ten of a predicted curve goes down. Curves are
    therefore asked for at `STEPS` fixed times (quantiles of the event times), replaced by the non-decreasing curves
    nearest to them (isotonic regression), and joined by lines. Where the causes together then exceed one, all curves of
    that subject are scaled down.

    Weights of the few who are observed long after the others were censored are huge, and hazardous limits them, which
    counts those without an event too little: the incidence of NWTCO (86 % censored) was drawn to one at the end, and
    its integrated Brier score was worse than that of the Kaplan-Meier estimate. The trees therefore learn the times up
    to where `LEAST_UNCENSORED` of the training rows are uncensored. Whoever is free of events then goes on with the
    Aalen-Johansen incidence that the training rows have from there.

    Where follow-up hangs on the columns, as when one study ended earlier than another, there are times from which on
    all who are free of events are censored in a part of the subjects: only events are left to learn from, and the trees
    predict them for everybody there (on NWTCO a mean incidence of 0.47 where 0.15 was observed; the Brier score, whose
    weights know nothing of columns either, praised it). Curves are therefore used up to the last time until which their
    mean over the training rows stays within `TRUSTED` of the Aalen-Johansen incidence, and go on as above.

    Columns are put into at most `BINS` bins by their quantiles, which histogram trees do anyhow.

    Stored are trees and bounds of bins, no training row. The validation rows are not used.

    Parameters
    ----------
    iterations, learning_rate, max_leaf_nodes, min_samples_leaf
        See the study block.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    seed : int

    Attributes
    ----------
    curves : DataFrame
        Empty: each tree sees other times, and their losses cannot be compared.
    """

    def __init__(
        self,
        *,
        iterations: int,
        learning_rate: float,
        max_leaf_nodes: int,
        min_samples_leaf: int,
        causes: int,
        seed: int,
    ):
        self.iterations = iterations
        self.settings = {
            "learning_rate": learning_rate,
            "max_leaf_nodes": max_leaf_nodes,
            "min_samples_leaf": min_samples_leaf,
        }
        self.causes = causes
        self.seed = seed
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])

    def fit(self, x_train, time, event, x_val, time_val, event_val) -> "BoostedIncidences":  # noqa: ARG002, PLR0917
        """Fit on the training rows (validation rows are not used): see `CauseSpecificCox.fit`.

        Raises
        ------
        DataError
            When no training row has an event, or a cause has so few that a draw of times misses them all.
        """
        x_train, time, event = (
            np.asarray(x_train, dtype=np.float64),
            np.asarray(time, dtype=np.float64),
            np.asarray(event),
        )
        counts = np.bincount(event, minlength=self.causes + 1)[1:]
        for cause, count in enumerate(counts, start=1):
            if count == 0:
                logger.info("cause %d has no training events: its incidence is zero", cause)
        if not counts.any():
            raise DataError(
                "outcomes, column event",
                f"none of the {len(event)} training rows of a fold has an event",
                "Fewer folds, a longer time at risk or more target codes give each fold events to learn from",
            )
        days = np.unique(time[event > 0])
        learnt = days[uncensored_probability(time=time, event=event, at=days) >= LEAST_UNCENSORED]
        last = learnt[-1] if len(learnt) else days[0]
        bounds = [_bounds(column) for column in x_train.T]
        null = NullModel(causes=self.causes).fit(x_train, time, event)
        # A little later than the last event: the censorings made here shall not make its weight infinite.
        event, time = np.where(time > last, 0, event), np.minimum(time, last * (1 + 1e-6))
        counts = np.bincount(event, minlength=self.causes + 1)[1:]
        model = self._booster(end=float(time.max()))
        try:
            model.fit(_binned(x_train, bounds), {"event": event, "duration": time})
        except ValueError as error:
            if "unobserved" not in str(error):
                raise
            raise DataError(
                "survival_boost, outcomes, column event",
                f"a draw of times missed all events of a cause: the rarest has {counts[counts > 0].min()} in "
                f"{len(event)} training rows",
                "Merge rare competing causes into one, or use a cause-specific model (cox, gradient_boosting)",
            ) from error
        grid = np.unique(np.quantile(time[event > 0], np.linspace(0, 1, STEPS), method="nearest"))
        self._fitted = _Fitted(model.estimator_, model.event_ids_.astype(int), bounds, grid, null)
        self._fitted = replace(self._fitted, grid=grid[: self._trusted(x_train)])
        return self

    def _trusted(self, x_train: np.ndarray) -> int:
        """Return how many steps of the grid are used, at least one."""
        grid = self._fitted.grid
        observed = self._fitted.null.predict(np.zeros((1, 0)), grid)[0]
        mean, chunk = np.zeros_like(observed), max(1, ROWS // len(grid))
        for start in range(0, len(x_train), chunk):
            mean += self._raw(x_train[start : start + chunk]).sum(axis=0) / len(x_train)
        # The first trees are coarse in early times: what counts is where the curves leave for good.
        near = (np.abs(mean - observed) <= TRUSTED * observed + ROUNDING).all(axis=0)
        used = len(grid) - int(np.argmax(near[::-1])) if near.any() else 0
        if used < len(grid):
            logger.warning(
                "survival_boost: from %g days on follow-up hangs on the columns, and risks leave what is observed: "
                "they go on as the incidence of all training rows does",
                grid[max(used - 1, 0)],
            )
        return max(used, 1)

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        times = np.asarray(times, dtype=np.float64)
        grid, null = self._fitted.grid, self._fitted.null
        nobody = np.zeros((1, 0))
        before, after = (null.predict(nobody, days)[0] for days in (grid[-1:], np.maximum(times, grid[-1])))
        later = np.divide(after - before, 1 - before.sum(), out=np.zeros_like(after), where=before.sum() < 1)
        found = np.zeros((len(x), self.causes, len(times)))
        chunk = max(1, ROWS // len(grid))
        # Between its steps a curve is a line, which starts at zero.
        days = np.concatenate([[0.0], grid])
        position = np.clip(np.searchsorted(days, times), 1, len(grid))
        share = np.clip((times - days[position - 1]) / np.diff(days)[position - 1], 0, 1)
        for start in range(0, len(x), chunk):
            curves = increasing(self._raw(np.asarray(x[start : start + chunk], dtype=np.float64)))
            curves = np.concatenate([np.zeros_like(curves[:, :, :1]), curves], axis=2)
            low, high = curves[:, :, position - 1], curves[:, :, position]
            # Rounding must not lift a value above the next one.
            joined = np.minimum(low + (high - low) * share, high)
            free = 1 - curves[:, :, -1].sum(axis=1)
            found[start : start + chunk] = joined + np.maximum(free, 0)[:, None, None] * later
        return found

    def linear_predictor(self, x: np.ndarray) -> None:  # noqa: ARG002 - shared protocol
        """Return None: the hazards are not proportional."""
        return

    @property
    def architecture(self) -> str:
        """What the model is, in words."""
        return (
            f"SurvivalBoost, {self.iterations} iterations, trees of at most {self.settings['max_leaf_nodes']} leaves, "
            f"{self.causes} cause(s) at once"
        )

    def _booster(self, *, end: float):
        """Return hazardous' model with trees that take coarse times."""
        with warnings.catch_warnings():
            # Its own docstrings hold invalid escapes, of which Python warns when it first compiles them.
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            from hazardous import SurvivalBoost

        settings, seed = self.settings, self.seed

        class Boost(SurvivalBoost):
            def _build_base_estimator(self) -> CoarseTimes:
                # Without early stopping: scikit-learn would hold rows out of large data, by an unseeded draw.
                trees = CoarseTimes(max_iter=1, warm_start=True, early_stopping=False, random_state=seed, **settings)
                trees.end = end
                return trees

        return Boost(
            n_iter=self.iterations, ipcw_strategy="kaplan-meier", show_progressbar=False, random_state=seed, **settings
        )

    def _raw(self, x: np.ndarray) -> np.ndarray:
        """Return what the trees say, of shape (n, causes, grid)."""
        fitted = self._fitted
        binned = _binned(x, fitted.bounds)
        rows = np.hstack([np.tile(fitted.grid, len(x))[:, None], np.repeat(binned, len(fitted.grid), axis=0)])
        raw = np.zeros((len(x), self.causes, len(fitted.grid)))
        if len(x):
            found = fitted.trees.predict_proba(rows).reshape(len(x), len(fitted.grid), -1)
            raw[:, fitted.classes[1:] - 1] = found[:, :, 1:].transpose(0, 2, 1)
        return raw


def increasing(curves: np.ndarray) -> np.ndarray:
    """Return the non-decreasing curves nearest to these, whose sum over the causes is at most one.

    Parameters
    ----------
    curves : array (n, K, t)
        Numbers from 0 to 1.

    Returns
    -------
    float64 array (n, K, t)
        Least-squares isotonic regression of each curve; those of a row whose sum ends above one are divided by it.
    """
    flat = np.array(curves, dtype=np.float64).reshape(-1, curves.shape[2])
    for row in np.flatnonzero((np.diff(flat, axis=1) < 0).any(axis=1)):
        flat[row] = isotonic_regression(flat[row]).x
    result = flat.reshape(curves.shape)
    return result / np.maximum(result[:, :, -1:].sum(axis=1, keepdims=True), 1.0)


def _bounds(column: np.ndarray) -> np.ndarray:
    """Return the inner bounds of a column's bins: between distinct values, or at quantiles where they are many."""
    values = np.unique(column)
    if len(values) <= BINS:
        return (values[:-1] + values[1:]) / 2
    return np.unique(np.quantile(column, np.arange(1, BINS) / BINS))


def _binned(x: np.ndarray, bounds: list[np.ndarray]) -> np.ndarray:
    return np.column_stack([np.searchsorted(inner, column) for column, inner in zip(x.T, bounds, strict=True)]).astype(
        np.float64
    )


def from_block(
    model: SurvivalBoostModel,
    *,
    causes: int,
    seed: int,
    threads: int,  # noqa: ARG001 - the caller limits the threads of numerical libraries
    columns: list[str] | None,  # noqa: ARG001 - trees name no columns
    **further: object,  # noqa: ARG001 - what other kinds need
) -> BoostedIncidences:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return BoostedIncidences(
        iterations=model.iterations,
        learning_rate=model.learning_rate,
        max_leaf_nodes=model.max_leaf_nodes,
        min_samples_leaf=model.min_samples_leaf,
        causes=causes,
        seed=seed,
    )

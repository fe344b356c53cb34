"""Ridge-penalised Cox proportional hazards, one cause-specific model for each cause (lifelines)."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning

from riskweave.errors import DataError
from riskweave.study.models import CoxModel
from riskweave.survival.competing import at_times, cumulative_incidence, one_cause

__all__ = ["CauseSpecificCox", "from_block"]

logger = logging.getLogger(__name__)

CELLS = 4_000_000
"""Most values of an array of hazards (subjects x causes x event times) that predictions hold at once: 32 MB."""


@dataclass(frozen=True)
class _Hazard:
    """What predictions need of a fitted model, and no more: lifelines' fitter holds every training row.

    Coefficients and the means they refer to, of shape (columns,); the baseline cumulative hazard, of shape (steps,),
    from each of its times (days) on.
    """

    coefficients: np.ndarray
    means: np.ndarray
    times: np.ndarray
    cumulative: np.ndarray

    @classmethod
    def of(cls, model: CoxPHFitter) -> "_Hazard":
        baseline = model.baseline_cumulative_hazard_.iloc[:, 0]
        # lifelines gives the times of censorings too, at which the hazard does not change.
        steps = baseline[baseline.diff().fillna(baseline) > 0]
        means = model._norm_mean.to_numpy(copy=True)
        return cls(model.params_.to_numpy(copy=True), means, steps.index.to_numpy(copy=True), steps.to_numpy(copy=True))

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        """Return the log hazard ratio to the mean training subject, of shape (n,)."""
        # Column by column, as lifelines: the same digits.
        return np.asfortranarray(np.asarray(x, dtype=np.float64) - self.means) @ self.coefficients

    def baseline(self, times: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard of the mean training subject at these days."""
        return at_times(self.cumulative, grid=self.times, times=times)


@dataclass(frozen=True)
class _Cause:
    """One cause's fitted model; no hazard is a hazard of zero."""

    hazard: _Hazard | None
    penalty: float | None
    validation_log_likelihood: float | None


class CauseSpecificCox:
    r"""Cause-specific Cox models with a ridge penalty chosen on the validation rows, combined to cumulative incidences.

    For each cause, events of the others are censored (Prentice et al. 1978, Biometrics 34:541-554). The penalised
    partial log-likelihood with Efron's ties is :math:`\ell(\beta) / n - \frac{\lambda}{2} \lVert\beta\rVert^2`
    on columns of unit standard deviation (lifelines); the baseline hazard is Breslow's. The penalty :math:`\lambda`
    with the highest partial log-likelihood of the validation rows is kept; without validation events, the largest.

    Parameters
    ----------
    penalties : list of float
        Ridge penalties to choose from, at least 0.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    columns : list of str, optional
        Names of the design matrix' columns, for the coefficients.

    Attributes
    ----------
    params : dict
        The chosen penalty of each cause (None for a cause without training events).
    metrics : dict
        The validation partial log-likelihood per row of each cause at the chosen penalty.
    curves : DataFrame
        Empty: the fit has no epochs.
    """

    def __init__(self, *, penalties: list[float], causes: int, columns: list[str] | None = None):
        self.penalties = sorted(penalties)
        self.causes = causes
        self.columns = columns
        self._names = list(columns or [])
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "CauseSpecificCox":
        """Fit on the training rows, choosing the penalty on the validation rows.

        Parameters
        ----------
        x_train, x_val : ndarray of shape (n, columns)
            Design matrices without missing values.
        time, time_val : ndarray of shape (n,)
            Days from the index time, above 0.
        event, event_val : ndarray of shape (n,)
            0 censored, 1 target, 2 and up competing.

        Raises
        ------
        DataError
            When no penalty converges.
        """
        names = self.columns if self.columns is not None else [f"column_{i}" for i in range(x_train.shape[1])]
        self._names = list(names)
        self._fitted = []
        for cause in range(1, self.causes + 1):
            train = self._frame(x_train, time, one_cause(event, cause))
            validation = self._frame(x_val, time_val, one_cause(event_val, cause))
            self._fitted.append(_choose(train, validation, self.penalties, cause))
        self.params = {f"penalty_cause_{k}": fitted.penalty for k, fitted in enumerate(self._fitted, start=1)}
        self.metrics = {
            f"validation_log_likelihood_cause_{k}": fitted.validation_log_likelihood
            for k, fitted in enumerate(self._fitted, start=1)
            if fitted.validation_log_likelihood is not None
        }
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        times = np.asarray(times, dtype=float)
        jumps = [fitted.hazard.times for fitted in self._fitted if fitted.hazard is not None]
        # With one cause, 1 - exp(-A) needs the hazard at the wanted times only.
        grid = times if self.causes == 1 else np.unique(np.concatenate(jumps))
        chunk = max(1, CELLS // (self.causes * max(1, len(grid))))
        parts = [self._incidence(x[i : i + chunk], grid, times) for i in range(0, len(x), chunk)]
        return np.concatenate(parts) if parts else np.zeros((0, self.causes, len(times)))

    def linear_predictor(self, x: np.ndarray) -> np.ndarray:
        """Return the log hazard ratio of the target cause to the mean training subject, of shape (n,)."""
        hazard = self._fitted[0].hazard
        return np.zeros(len(x)) if hazard is None else hazard.log_ratio(x)

    def coefficients(self) -> pd.DataFrame:
        """Return the log hazard ratios per unit of each column, of shape (columns, causes)."""
        return pd.DataFrame(
            {
                f"cause_{k}": np.zeros(len(self._names)) if f.hazard is None else f.hazard.coefficients
                for k, f in enumerate(self._fitted, start=1)
            },
            index=pd.Index(self._names, name="column"),
        )

    @property
    def architecture(self) -> str:
        """What the model is, in words."""
        return f"Cox proportional hazards, ridge, {len(self._names)} columns, {self.causes} cause-specific model(s)"

    def _frame(self, x: np.ndarray, time: np.ndarray, event: np.ndarray) -> pd.DataFrame:
        frame = pd.DataFrame(np.asarray(x, dtype=np.float64), columns=self._names)
        return frame.assign(**{DURATION: np.asarray(time, dtype=np.float64), EVENT: event})

    def _incidence(self, x: np.ndarray, grid: np.ndarray, times: np.ndarray) -> np.ndarray:
        hazards = np.zeros((len(x), self.causes, len(grid)))
        for k, fitted in enumerate(self._fitted):
            if fitted.hazard is None:
                continue
            # A subject far outside the training rows must not overflow: e^50 is certainty already.
            ratio = np.exp(np.clip(fitted.hazard.log_ratio(x), -50, 50))
            hazards[:, k] = ratio[:, None] * fitted.hazard.baseline(grid)
        return at_times(cumulative_incidence(hazards), grid=grid, times=times)


DURATION, EVENT = "__time__", "__event__"


def _choose(train: pd.DataFrame, validation: pd.DataFrame, penalties: list[float], cause: int) -> _Cause:
    """Fit one cause with each penalty and keep the one with the best validation likelihood."""
    events = int(train[EVENT].sum())
    if events == 0:
        logger.info("cause %d has no training events: its hazard is zero", cause)
        return _Cause(None, None, None)
    judged = bool(validation[EVENT].any())
    best, best_score, best_penalty = None, None, None
    # From the largest penalty down: its fit is the easiest, and starts the next one.
    for penalty in sorted(penalties, reverse=True):
        model = _fit(train, penalty, start=best)
        if model is None:
            logger.warning(
                "cause %d: Cox model with penalty %g does not converge; larger penalties remain", cause, penalty
            )
            continue
        score = _score(model, validation) if judged else None
        if best is None or (judged and score > best_score):
            best, best_score, best_penalty = model, score, penalty
        if not judged:
            logger.warning("cause %d has no validation events: the largest penalty %g is kept", cause, penalty)
            break
    if best is None:
        columns = train.shape[1] - 2
        raise DataError(
            f"Cox model of cause {cause}",
            f"no penalty of {penalties} converges on {len(train)} training subjects with {events} events and "
            f"{columns} columns",
            "Give a larger penalty (models.<name>.penalty, such as 1.0), or fewer columns",
        )
    return _Cause(_Hazard.of(best), best_penalty, best_score)


def _fit(train: pd.DataFrame, penalty: float, start: CoxPHFitter | None) -> CoxPHFitter | None:
    """Fit one model; None when it does not converge."""
    model = CoxPHFitter(penalizer=penalty)
    point = None if start is None else (start.params_ * start._norm_std).to_numpy()
    with warnings.catch_warnings():
        # A fit that the library doubts is a fit that failed; its advice on columns of low variance is none.
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Column.*very low variance", category=ConvergenceWarning)
        try:
            model.fit(train, duration_col=DURATION, event_col=EVENT, initial_point=point)
        except (ConvergenceError, ConvergenceWarning, np.linalg.LinAlgError):
            return None
    return model if np.isfinite(model.params_).all() else None


def _score(model: CoxPHFitter, rows: pd.DataFrame) -> float:
    """Return the partial log-likelihood per row; minus infinity where it is not finite."""
    score = float(model.score(rows, scoring_method="log_likelihood"))
    return score if np.isfinite(score) else -np.inf


def from_block(
    model: CoxModel,
    *,
    causes: int,
    seed: int,  # noqa: ARG001 - nothing here is random
    threads: int,  # noqa: ARG001 - the caller limits the threads of numerical libraries
    columns: list[str] | None,
    **further: Any,  # noqa: ARG001 - what other kinds need
) -> CauseSpecificCox:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return CauseSpecificCox(penalties=list(model.penalty), causes=causes, columns=columns)

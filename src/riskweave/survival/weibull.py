"""Penalised Weibull accelerated failure time, one cause-specific model for each cause (lifelines)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import WeibullAFTFitter

from riskweave.study.models import WeibullAftModel
from riskweave.survival.competing import CELLS, at_times, cumulative_incidence, one_cause
from riskweave.survival.penalised import DURATION, EVENT, Penalty, choose, names_of, quietly, table, varying

__all__ = ["CauseSpecificWeibull", "combined_at", "from_block"]

STEPS = 400
"""Steps between 0 and the last wanted day at which competing hazards are combined."""


@dataclass(frozen=True)
class _Cause:
    """One cause's parameters: cumulative hazard ``(t / exp(intercept + x @ slopes)) ** shape``, t in days."""

    intercept: float
    slopes: np.ndarray
    shape: float
    means: np.ndarray
    penalty: float
    score: float | None

    @classmethod
    def of(cls, model: WeibullAFTFitter, *, unit: float, means: np.ndarray, penalty: float, score: float | None):
        scale = model.params_["lambda_"]
        # Columns that were the same in all training rows were not fitted: they have no effect.
        slopes = scale.drop("Intercept").reindex(names_of(len(means)), fill_value=0.0).to_numpy(copy=True)
        shape = float(np.exp(model.params_["rho_"]["Intercept"]))
        return cls(float(scale["Intercept"] + np.log(unit)), slopes, shape, means, penalty, score)

    def cumulative(self, x: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return the cumulative hazards, of shape (n, days)."""
        location = self.intercept + np.asarray(x, dtype=np.float64) @ self.slopes
        with np.errstate(divide="ignore"):
            logarithm = self.shape * (np.log(days) - location[:, None])
        # Someone far outside the training rows must not overflow: e^50 is certainty already.
        return np.exp(np.clip(logarithm, None, 50))


def combined_at(times: np.ndarray, *, causes: int) -> np.ndarray:
    """Return the days at which the hazards of the causes are combined, increasing; the wanted times are among them."""
    if causes == 1:
        return np.unique(times)  # 1 - exp(-A) needs no steps
    # Early steps are narrow: hazards with shapes below one start steep.
    return np.union1d(times.max(initial=0.0) * np.linspace(0, 1, STEPS + 1)[1:] ** 2, times)


class CauseSpecificWeibull:
    r"""Cause-specific Weibull models with a ridge penalty chosen on the validation rows.

    The logarithm of the time to each cause is linear in the columns with an extreme-value error, events of the other
    causes being censorings: cumulative hazard :math:`(t / e^{b_0 + x^\top b})^\rho` with a shape :math:`\rho` that all
    subjects share. It is the parametric model that is both accelerated failure time and proportional hazards: the log
    hazard ratio of a column is :math:`-\rho b_j` (Kalbfleisch and Prentice 2002, The Statistical Analysis of Failure
    Time Data, section 2.3.2). Its curves are smooth and go on beyond the follow-up, as far as the Weibull form can be
    trusted there.

    Maximised is :math:`\ell / n - \frac{\lambda}{2} \lVert b \rVert^2` on columns of unit standard deviation
    (lifelines); intercept and shape are not penalised. The penalty with the highest log-likelihood of the validation
    rows is kept; without validation events, the largest. Stored are the parameters, and no training row.

    Parameters
    ----------
    penalties : sequence of float
        Ridge penalties to choose from, at least 0.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.

    Attributes
    ----------
    params : dict
        Chosen penalty and shape of each cause (None for a cause without training events).
    metrics : dict
        Log-likelihood per validation row of each cause at the chosen penalty, with times in units of the mean training
        time.
    curves : DataFrame
        Empty: the fit has no epochs.
    """

    def __init__(self, *, penalties: Sequence[float], causes: int):
        self.penalties = sorted(penalties)
        self.causes = causes
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "CauseSpecificWeibull":
        """Fit on the training rows, choosing the penalty on the validation rows: see `CauseSpecificCox.fit`.

        Raises
        ------
        DataError
            When no penalty converges.
        """
        x_train = np.asarray(x_train, dtype=np.float64)
        # lifelines' optimiser starts near a scale of one.
        unit = float(np.mean(time))
        path = [Penalty(strength) for strength in reversed(self.penalties)]
        self._fitted: list[_Cause | None] = []
        for cause in range(1, self.causes + 1):
            train, validation = varying(
                table(x_train, time / unit, one_cause(event, cause)),
                table(x_val, time_val / unit, one_cause(event_val, cause)),
            )
            chosen = choose(train, validation, path, fit=_fit, name="Weibull model", cause=cause)
            self._fitted.append(
                None
                if chosen is None
                else _Cause.of(
                    chosen.model,
                    unit=unit,
                    means=x_train.mean(axis=0),
                    penalty=chosen.penalty.strength,
                    score=chosen.score,
                )
            )
        self.params, self.metrics = {}, {}
        for k, fitted in enumerate(self._fitted, start=1):
            self.params[f"penalty_cause_{k}"] = None if fitted is None else fitted.penalty
            self.params[f"shape_cause_{k}"] = None if fitted is None else fitted.shape
            if fitted is not None and fitted.score is not None:
                self.metrics[f"validation_log_likelihood_cause_{k}"] = fitted.score
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        times = np.asarray(times, dtype=float)
        grid = combined_at(times, causes=self.causes)
        chunk = max(1, CELLS // (self.causes * max(1, len(grid))))
        found = np.zeros((len(x), self.causes, len(times)))
        for start in range(0, len(x), chunk):
            rows = x[start : start + chunk]
            hazards = np.zeros((len(rows), self.causes, len(grid)))
            for k, fitted in enumerate(self._fitted):
                if fitted is not None:
                    hazards[:, k] = fitted.cumulative(rows, grid)
            found[start : start + chunk] = at_times(cumulative_incidence(hazards), grid=grid, times=times)
        return found

    def linear_predictor(self, x: np.ndarray) -> np.ndarray:
        """Return the log hazard ratio of the target cause to the mean training subject, of shape (n,)."""
        fitted = self._fitted[0]
        if fitted is None:
            return np.zeros(len(x))
        return -fitted.shape * ((np.asarray(x, dtype=np.float64) - fitted.means) @ fitted.slopes)

    @property
    def architecture(self) -> str:
        """What the model is, in words."""
        return f"Weibull accelerated failure time, ridge, {self.causes} cause-specific model(s)"


def _fit(train: pd.DataFrame, penalty: Penalty, before: WeibullAFTFitter | None) -> WeibullAFTFitter | None:  # noqa: ARG001
    """Fit one model; None when it does not converge. lifelines' own start is good: those before are not used."""
    model = WeibullAFTFitter(penalizer=penalty.strength)
    return quietly(lambda: model.fit(train, duration_col=DURATION, event_col=EVENT))


def from_block(
    model: WeibullAftModel,
    *,
    causes: int,
    seed: int,  # noqa: ARG001 - nothing here is random
    threads: int,  # noqa: ARG001 - the caller limits the threads of numerical libraries
    columns: list[str] | None,  # noqa: ARG001 - its parameters are not shown by name
    **further: object,  # noqa: ARG001 - what other kinds need
) -> CauseSpecificWeibull:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return CauseSpecificWeibull(penalties=model.penalty, causes=causes)

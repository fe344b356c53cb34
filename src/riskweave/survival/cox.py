"""Penalised Cox proportional hazards, one cause-specific model for each cause (lifelines, skglm)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter

from riskweave.study.models import CoxModel
from riskweave.survival.competing import one_cause
from riskweave.survival.descent import DescentCox, fit_by_descent
from riskweave.survival.penalised import DURATION, EVENT, Penalty, choose, names_of, quietly, table, varying
from riskweave.survival.proportional import Baseline, proportional_incidence

__all__ = ["CauseSpecificCox", "from_block"]

WIDE = 100
"""Columns above which a ridge is fitted by coordinate descent: a Newton step of lifelines takes their square."""


@dataclass(frozen=True)
class _Hazard:
    """What predictions need of a fitted model, and no more: lifelines' fitter holds every training row.

    Coefficients and the means they refer to, of shape (columns,), and the baseline hazard at these means.
    """

    coefficients: np.ndarray
    means: np.ndarray
    baseline: Baseline

    @classmethod
    def of(cls, model: CoxPHFitter | DescentCox, fitted: pd.Index, columns: int) -> "_Hazard":
        """Take what a model learnt of the columns `fitted`; the others have no effect."""
        if isinstance(model, DescentCox):
            learnt, means, baseline = model.params_.to_numpy(), model.means, model.baseline
        else:
            learnt, means = model.params_.to_numpy(), model._norm_mean.to_numpy()
            # lifelines gives the times of censorings too, at which the hazard does not change.
            cumulative = model.baseline_cumulative_hazard_.iloc[:, 0]
            baseline = Baseline.of(cumulative.index.to_numpy(), cumulative.to_numpy())
        there = np.isin(names_of(columns), fitted)
        coefficients, centres = np.zeros((2, columns))
        coefficients[there], centres[there] = learnt, means
        return cls(coefficients, centres, baseline)

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        """Return the log hazard ratio to the mean training subject, of shape (n,)."""
        # Column by column, as lifelines: the same digits.
        return np.asfortranarray(np.asarray(x, dtype=np.float64) - self.means) @ self.coefficients


@dataclass(frozen=True)
class _Cause:
    """One cause's fitted model; no hazard is a hazard of zero."""

    hazard: _Hazard | None = None
    penalty: Penalty | None = None
    score: float | None = None


class CauseSpecificCox:
    r"""Cause-specific Cox models with a penalty chosen on the validation rows, combined to cumulative incidences.

    For each cause, events of the others are censored (Prentice et al. 1978, Biometrics 34:541-554). The penalised
    partial log-likelihood with Efron's ties is
    :math:`\ell(\beta) / n - \lambda (\alpha \lVert\beta\rVert_1 + \frac{1-\alpha}{2} \lVert\beta\rVert_2^2)`
    on columns of unit standard deviation (lifelines): ridge with :math:`\alpha = 0`, lasso (Tibshirani 1997, Stat Med
    16:385-395) with 1, elastic net (Zou and Hastie 2005, J R Stat Soc B 67:301-320) between. The baseline hazard is
    Breslow's. The pair of :math:`\lambda` and :math:`\alpha` with the highest partial log-likelihood of the validation
    rows is kept; without validation events, the largest :math:`\lambda` with the smallest :math:`\alpha`.

    Without a lasso and with up to `WIDE` columns, lifelines fits. Otherwise skglm does by coordinate descent, which
    leaves exact zeros: lifelines' smooth stand-in for :math:`|\beta_j|` takes minutes for a hundred columns.

    Parameters
    ----------
    penalties : sequence of float
        Penalties :math:`\lambda` to choose from, at least 0.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    l1_ratios : sequence of float
        Shares :math:`\alpha` of the lasso to choose from, 0 to 1.
    columns : list of str, optional
        Names of the design matrix' columns, for the coefficients.

    Attributes
    ----------
    params : dict
        The chosen penalty and l1_ratio of each cause (None for a cause without training events); with a lasso also how
        many columns it keeps.
    metrics : dict
        The validation partial log-likelihood per row of each cause at the chosen penalty.
    curves : DataFrame
        Empty: the fit has no epochs.
    """

    def __init__(
        self,
        *,
        penalties: Sequence[float],
        causes: int,
        l1_ratios: Sequence[float] = (0.0,),
        columns: list[str] | None = None,
    ):
        self.penalties = sorted(penalties)
        self.l1_ratios = sorted(l1_ratios)
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
            train, validation = varying(
                table(x_train, time, one_cause(event, cause)), table(x_val, time_val, one_cause(event_val, cause))
            )
            chosen = choose(train, validation, self._path(), fit=_fit, name="Cox model", cause=cause)
            if chosen is None:
                self._fitted.append(_Cause())
                continue
            hazard = _Hazard.of(chosen.model, train.columns, x_train.shape[1])
            self._fitted.append(_Cause(hazard, chosen.penalty, chosen.score))
        self.params, self.metrics = {}, {}
        for k, fitted in enumerate(self._fitted, start=1):
            self._describe(k, fitted)
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        ratios = [np.zeros(len(x)) if f.hazard is None else f.hazard.log_ratio(x) for f in self._fitted]
        baselines = [None if f.hazard is None else f.hazard.baseline for f in self._fitted]
        return proportional_incidence(np.column_stack(ratios), baselines, times)

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
        penalty = "ridge" if self.l1_ratios == [0.0] else "lasso" if self.l1_ratios == [1.0] else "elastic net"
        return f"Cox proportional hazards, {penalty}, {len(self._names)} columns, {self.causes} cause-specific model(s)"

    def _path(self) -> list[Penalty]:
        """Return the penalties in the order of `choose`; none but the first ratio for a penalty of zero."""
        return [
            Penalty(strength, ratio)
            for ratio in self.l1_ratios
            for strength in reversed(self.penalties)
            if strength > 0 or ratio == self.l1_ratios[0]
        ]

    def _describe(self, cause: int, fitted: _Cause) -> None:
        penalty = fitted.penalty
        self.params[f"penalty_cause_{cause}"] = None if penalty is None else penalty.strength
        self.params[f"l1_ratio_cause_{cause}"] = None if penalty is None else penalty.l1_ratio
        if penalty is not None and penalty.l1_ratio > 0:
            self.params[f"columns_kept_cause_{cause}"] = int(np.count_nonzero(fitted.hazard.coefficients))
        if fitted.score is not None:
            self.metrics[f"validation_log_likelihood_cause_{cause}"] = fitted.score


def _fit(
    train: pd.DataFrame, penalty: Penalty, before: CoxPHFitter | DescentCox | None
) -> CoxPHFitter | DescentCox | None:
    """Fit one model, starting from the one before; None when it does not converge."""
    start = before.scaled if isinstance(before, DescentCox) else None
    if isinstance(before, CoxPHFitter):
        start = (before.params_ * before._norm_std).to_numpy()
    # Two columns of the table are the outcome.
    if penalty.l1_ratio > 0 or train.shape[1] - 2 > WIDE:
        return fit_by_descent(train, penalty, start)
    model = CoxPHFitter(penalizer=penalty.strength)
    return quietly(lambda: model.fit(train, duration_col=DURATION, event_col=EVENT, initial_point=start))


def from_block(
    model: CoxModel,
    *,
    causes: int,
    seed: int,  # noqa: ARG001 - nothing here is random
    threads: int,  # noqa: ARG001 - the caller limits the threads of numerical libraries
    columns: list[str] | None,
    **further: object,  # noqa: ARG001 - what other kinds need
) -> CauseSpecificCox:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return CauseSpecificCox(penalties=model.penalty, l1_ratios=model.l1_ratio, causes=causes, columns=columns)

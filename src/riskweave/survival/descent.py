"""Cox models by coordinate descent (skglm): for a lasso, and for more columns than Newton steps can carry."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from riskweave.survival.penalised import DURATION, EVENT, Penalty
from riskweave.survival.proportional import Baseline, breslow

__all__ = ["DescentCox", "fit_by_descent"]

TOLERANCE = 1e-6
"""Largest distance of the gradient from where it has to be, per row and unit standard deviation of a column."""

STEPS = 200


@dataclass(frozen=True)
class DescentCox:
    """A fitted model: its coefficients per standard deviation, and what they refer to, all of shape (columns,)."""

    scaled: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    baseline: Baseline

    @property
    def params_(self) -> pd.Series:
        """Log hazard ratios per unit of each column."""
        return pd.Series(self.scaled / self.deviations)

    def score(self, rows: pd.DataFrame, scoring_method: str = "log_likelihood") -> float:
        """Return the partial log-likelihood (Efron's ties) per row of a table of `riskweave.survival.penalised.table`.

        The name and the argument are lifelines', whose models are judged beside these.
        """
        if scoring_method != "log_likelihood":
            raise ValueError(f"scoring_method is {scoring_method!r}: only log_likelihood is known")
        from skglm.datafits import Cox

        values, outcome = _arrays(rows)
        likelihood = Cox(use_efron=True)
        likelihood.initialize(values, outcome)
        risk = ((values - self.means) / self.deviations) @ self.scaled
        return -float(likelihood.value(outcome, self.scaled, risk))


def fit_by_descent(rows: pd.DataFrame, penalty: Penalty, start: np.ndarray | None) -> DescentCox | None:
    r"""Fit one cause by proximal Newton steps with coordinate descent inside (skglm; Bertrand et al. 2022, NeurIPS).

    What is minimised is that of `riskweave.survival.cox.CauseSpecificCox`, Efron's ties included. The first fit of a
    process takes 10 to 20 s, in which numba compiles; later ones take a fraction of a second.

    Parameters
    ----------
    rows : DataFrame
        From `riskweave.survival.penalised.table`.
    penalty : Penalty
    start : ndarray of shape (columns,), optional
        Coefficients per standard deviation to start from.

    Returns
    -------
    DescentCox or None
        None when it does not converge.
    """
    from skglm.datafits import Cox
    from skglm.penalties import L1_plus_L2
    from skglm.solvers import ProxNewton

    values, outcome = _arrays(rows)
    means, deviations = values.mean(axis=0), values.std(axis=0, ddof=1)
    # A column that is the same for all has no coefficient, whatever it is divided by.
    deviations = np.where(deviations > 0, deviations, 1.0)
    values = np.asfortranarray((values - means) / deviations)
    start = np.zeros(values.shape[1]) if start is None else np.array(start, dtype=np.float64)
    solver = ProxNewton(max_iter=STEPS, tol=TOLERANCE, fit_intercept=False)
    with warnings.catch_warnings():
        # Its criterion tells of convergence too, and is looked at below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scaled, _, distance = solver.solve(
            values, outcome, Cox(use_efron=True), L1_plus_L2(penalty.strength, penalty.l1_ratio), start, values @ start
        )
    if not (np.isfinite(scaled).all() and distance <= TOLERANCE):
        return None
    return DescentCox(scaled, means, deviations, breslow(values @ scaled, outcome[:, 0], outcome[:, 1] == 1))


def _arrays(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return columns, and time and event, as skglm wants them."""
    values = rows.drop(columns=[DURATION, EVENT]).to_numpy(dtype=np.float64)
    return np.asfortranarray(values), np.asfortranarray(rows[[DURATION, EVENT]].to_numpy(dtype=np.float64))

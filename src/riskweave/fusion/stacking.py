"""Cox regression of a few columns with weights that may not be negative."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

__all__ = ["RiskSets", "fit_weights"]


@dataclass(frozen=True)
class RiskSets:
    """Who is still at risk when somebody has the event, found once for all evaluations of a likelihood.

    Attributes
    ----------
    order : int ndarray of shape (n,)
        Rows from the latest time to the earliest.
    last : int ndarray of shape (times,)
        For each distinct event time, from the earliest on, the place in `order` of the last row at risk.
    events : int ndarray of shape (times,)
        Events at that time.
    of_row : int ndarray of shape (n,)
        For each row in `order`, how many of the event times it is at risk at.
    """

    order: np.ndarray
    last: np.ndarray
    events: np.ndarray
    of_row: np.ndarray

    @classmethod
    def of(cls, time: np.ndarray, event: np.ndarray) -> "RiskSets":
        """Find them from times in days and whether the event happened, both of shape (n,)."""
        order = np.argsort(-time, kind="stable")
        times, events = np.unique(time[event], return_counts=True)
        return cls(
            order=order,
            last=np.searchsorted(-time[order], -times, side="right") - 1,
            events=events,
            of_row=np.searchsorted(times, time[order], side="right"),
        )


def fit_weights(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, *, penalty: float, nonnegative: np.ndarray
) -> np.ndarray:
    r"""Return the weights of a ridge-penalised Cox regression, some of which may not be negative.

    They maximise :math:`\ell(w) / n - \frac{\lambda}{2} \lVert w \rVert^2`, the scale of lifelines' penalties, where
    :math:`\ell` is the log partial likelihood with Breslow's ties (Breslow 1974, Biometrics 30:89-99). It is concave,
    so that the bounded optimum is unique with a penalty (L-BFGS-B, Byrd et al. 1995). Libraries for Cox regression
    have no bounds.

    Parameters
    ----------
    x : ndarray of shape (n, columns)
        Of about unit scale.
    time : ndarray of shape (n,)
        Days.
    event : bool ndarray of shape (n,)
        At least one is true.
    penalty : float
        The :math:`\lambda` of the ridge.
    nonnegative : bool ndarray of shape (columns,)
        Which weights are at least 0.

    Returns
    -------
    ndarray of shape (columns,)
    """
    if not x.shape[1]:
        return np.zeros(0)
    sets, total = RiskSets.of(time, event), x[event].sum(axis=0)
    ordered, rows, log_events = x[sets.order], len(x), np.log(sets.events)
    at_risk = sets.of_row > 0
    steps = sets.of_row[at_risk] - 1

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        log_ratios = ordered @ weights
        # In logs, so that no sum overflows or vanishes.
        log_sums = np.logaddexp.accumulate(log_ratios)[sets.last]
        increments = np.logaddexp.accumulate(log_events - log_sums)
        value = sets.events @ log_sums - total @ weights
        slope = ordered[at_risk].T @ np.exp(log_ratios[at_risk] + increments[steps]) - total
        return value / rows + penalty / 2 * weights @ weights, slope / rows + penalty * weights

    bounds = [(0.0 if lowest else None, None) for lowest in nonnegative]
    options = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-8}
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x

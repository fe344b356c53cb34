"""Right-censored log-likelihood of the predicted incidence curves."""

import numpy as np

from riskweave.evaluation.censoring import aalen_johansen, row_weights, sort_outcomes
from riskweave.evaluation.curves import Hazards, piecewise_hazards

__all__ = ["hazard_log_likelihood", "log_likelihood", "mean_log_likelihood", "null_log_likelihood"]


def log_likelihood(*, time: np.ndarray, event: np.ndarray, incidence: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Log-likelihood of each subject's outcome under its predicted curves, up to the last time of the grid.

    Hazards are piecewise constant between grid times (see :func:`riskweave.evaluation.curves.piecewise_hazards`): an
    event of cause k at T contributes the logarithm of the hazard of k at T, per day, minus the cumulative hazard of all
    causes; who is censored at T, or still under observation at the last grid time, only the latter. Higher is better;
    the level depends on the grid and on the unit of time, so compare it on the same subjects and grid only, or with
    :func:`null_log_likelihood`. An interval in which a cause has no incidence counts as one of 1e-7, so that an event
    which was said to be impossible costs much but not everything.

    Assumes that censoring is independent of the event given the predictors; no distribution of censoring is estimated.
    Rewards calibration and discrimination together, over the whole grid.

    Parameters
    ----------
    time, event : (n,) arrays
        Days, > 0; 0 censored, 1 target, 2 and up competing.
    incidence : (n, k) or (causes, n, k) array
        Predicted cumulative incidence at each of `times`. Where competing events occur, of all causes in the order of
        their codes, the target first.
    times : (k,) array
        Days, > 0, increasing.

    Returns
    -------
    (n,) float64 array
        Its mean over resamples of subjects is a product with their multiplicities.

    References
    ----------
    Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 2002, sections 3.2 and 8.2.
    """
    hazards = piecewise_hazards(time=time, event=event, incidence=incidence, times=times)
    return hazard_log_likelihood(hazards, np.asarray(event))


def hazard_log_likelihood(hazards: Hazards, event: np.ndarray) -> np.ndarray:
    """Log-likelihood of each subject's outcome, as :func:`log_likelihood`, from hazards at its own time."""
    happened = hazards.within & (event > 0)
    rate = hazards.rate[np.maximum(event, 1) - 1, np.arange(len(event))]
    return np.where(happened, np.log(rate), 0.0) - hazards.cumulative.sum(axis=0)


def mean_log_likelihood(
    *,
    time: np.ndarray,
    event: np.ndarray,
    incidence: np.ndarray,
    times: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """Mean of :func:`log_likelihood` over subjects, each counted as often as its integer weight; higher is better."""
    outcomes = sort_outcomes(time, event)
    each = log_likelihood(time=time, event=event, incidence=incidence, times=times)
    return float(np.average(each[outcomes.order], weights=row_weights(weights, outcomes)[0]))


def null_log_likelihood(
    *, time: np.ndarray, event: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean log-likelihood when everyone is given the observed (Aalen-Johansen) incidences of all causes on the grid.

    What a model must beat. Parameters as in :func:`mean_log_likelihood`.
    """
    event = np.asarray(event)
    causes = np.arange(1, max(event.max(), 1) + 1)
    recoded = [np.where(event == cause, 1, np.where(event == 0, 0, 2)) for cause in causes]
    curves = [aalen_johansen(time=time, event=codes, at=times, weights=weights) for codes in recoded]
    incidence = np.broadcast_to(np.array(curves)[:, None, :], (len(causes), len(event), len(np.asarray(times))))
    return mean_log_likelihood(time=time, event=event, incidence=incidence, times=times, weights=weights)

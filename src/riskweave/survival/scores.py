"""Scores of predicted cumulative incidences against censored outcomes: what a search of hyper-parameters maximises."""

from collections.abc import Sequence

import numpy as np

from riskweave.errors import DataError

__all__ = ["FLOOR", "censored_log_likelihood"]

FLOOR = 1e-5
"""Smallest probability that is scored: a step function can give an interval none at all, and log 0 would decide alone.

Like the clipping of scikit-learn's ``log_loss``; it lies far below the incidence of any interval of a usual cohort.
"""


def censored_log_likelihood(
    risks: np.ndarray, times: Sequence[float], time: np.ndarray, event: np.ndarray
) -> np.ndarray:
    r"""Return each subject's right-censored log-likelihood of its predicted cumulative incidences.

    The incidences of a grid are joined by straight lines, which makes them a distribution of event time and cause for
    every subject: a subject with an event of cause k in ``(t[j-1], t[j]]`` scores
    :math:`\log(F_k(t_j) - F_k(t_{j-1}))`, the logarithm of its density there but for the interval's width, which is the
    same for every model; a subject without an event by time t scores :math:`\log(1 - \sum_k F_k(t))`. Who is observed
    beyond the last time of the grid counts as event-free at that time.

    As the likelihood of a distribution it is a proper score where censoring says nothing about the risk: up to the
    straight lines, no other incidences expect a higher one than the true ones (Rindt, Hu, Steinsaltz and Sejdinovic
    2022, AISTATS, for one cause; Yanagisawa 2023, ICML, for logarithmic scores on a grid). Concordance is not proper
    (Blanche, Kattan and Gerds 2019, Biostatistics 20:347), and an integrated Brier score needs a model of the
    censoring, which a fold's few validation rows estimate badly.

    Parameters
    ----------
    risks : array (n, causes, times)
        Cumulative incidences, non-decreasing in time, whose sum over the causes is at most 1.
    times : sequence of float
        Days > 0, increasing.
    time : array (n,)
        Days from the index time, > 0.
    event : array (n,)
        0 censored, 1 target, 2.. competing.

    Returns
    -------
    float64 array (n,)
        Higher is better; 0 is perfect.

    Raises
    ------
    DataError
        When risks are not finite.
    """
    risks, time, event = np.asarray(risks, dtype=float), np.asarray(time, dtype=float), np.asarray(event)
    lost = int((~np.isfinite(risks)).any(axis=(1, 2)).sum())
    if lost:
        problem = f"{lost} of {len(risks)} predictions are no finite numbers"
        raise DataError("predicted risks", problem, "Lower the model's learning rate, or raise its penalty")
    grid = np.concatenate([[0.0], np.asarray(times, dtype=float)])
    curves = np.concatenate([np.zeros((*risks.shape[:2], 1)), risks], axis=2)
    rows, inside = np.arange(len(time)), time <= grid[-1]
    end = np.minimum(np.searchsorted(grid, time, side="left"), len(grid) - 1)
    growth = curves[rows, :, end] - curves[rows, :, end - 1]
    fraction = np.where(inside, (time - grid[end - 1]) / (grid[end] - grid[end - 1]), 1.0)
    free = 1.0 - (curves[rows, :, end - 1] + fraction[:, None] * growth).sum(axis=1)
    happened = inside & (event > 0)
    cause = np.where(happened, event, 1) - 1
    return np.log(np.maximum(np.where(happened, growth[rows, cause], free), FLOOR))

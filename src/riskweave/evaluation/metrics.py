"""The metrics, one function each: from arrays to a number.

All of them take risks as cumulative incidence of the target event (0 to 1), times in days, events coded 0 censored, 1
target, 2 and up competing, and optional integer weights (how often a subject was drawn by a bootstrap).
"""

import numpy as np

from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes, aalen_johansen, row_weights, sort_outcomes

__all__ = [
    "brier_score",
    "harrell_c",
    "index_of_prediction_accuracy",
    "integrated_brier_score",
    "null_brier_score",
    "observed_expected_ratio",
    "risk_ranks",
    "trapezoid_mean",
    "uno_c",
]


def risk_ranks(risk: np.ndarray) -> np.ndarray:
    """Dense ranks from 1; equal risks share a rank."""
    return np.unique(risk, return_inverse=True)[1].astype(np.int64) + 1


def trapezoid_mean(scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean of a score over time by the trapezoidal rule, on the last axis; a single time is its own mean."""
    times = np.asarray(times, float)
    if len(times) == 1:
        return scores[..., 0]
    return np.trapezoid(scores, times, axis=-1) / (times[-1] - times[0])


def _checked(risk: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    risk = np.asarray(risk, float)
    if risk.shape != shape or not np.all(np.isfinite(risk)):
        raise ValueError(f"risks are finite numbers of shape {shape}, found shape {risk.shape}")
    return risk


def _prepared(time, event, weights) -> tuple[SortedOutcomes, np.ndarray, np.ndarray]:
    outcomes = sort_outcomes(time, event)
    rows = row_weights(weights, outcomes)
    return outcomes, rows, kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)


def _concordance(time, event, risk, weights, horizon) -> np.ndarray:
    outcomes, rows, uncensored = _prepared(time, event, weights)
    rank = risk_ranks(_checked(risk, outcomes.time.shape))[outcomes.order]
    limits = outcomes.through(np.array([horizon]))
    return kernel.concordance(rank, outcomes.kind, outcomes.starts, rows, uncensored, limits)[0]


def harrell_c(*, time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Harrell's concordance: how often the subject with the earlier target event has the higher risk.

    A pair is comparable when one subject has the target event and the other is observed longer, is censored at the same
    time, or had a competing event before (it will never have the target and stays in the comparison for good). Two
    target events of the same time are not comparable; equal risks count one half. 0.5 is chance (and exactly 0.5 for a
    constant risk), 1 perfect, higher is better.

    Assumes that censoring is independent of the event. The estimand depends on how much is censored: compare
    experiments on the same subjects only. All events of the follow-up count, whatever horizon the risk is of.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, > 0.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.
    risk : (n,) array
        Anything that grows with the risk; here the cumulative incidence at a horizon.
    weights : (n,) array of int, optional
        How often each subject counts.

    Returns
    -------
    float
        NaN when no pair is comparable.

    References
    ----------
    Harrell et al., JAMA 1982;247:2543. With competing events: Wolbers et al., Epidemiology 2009;20:555.
    """
    return float(_concordance(time, event, risk, weights, np.inf)[0])


def uno_c(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float, weights: np.ndarray | None = None
) -> float:
    """Uno's concordance of target events up to a horizon, corrected for censoring by inverse probability weights.

    Pairs as in :func:`harrell_c`, for target events at or before the horizon. A pair with a subject still under
    observation weighs 1/G(t-)^2, a pair with a subject whose competing event came at s <= t weighs 1/(G(t-) G(s-)); G
    is the Kaplan-Meier estimate of true censoring, just before the time. 0.5 is chance, higher is better.

    Assumes that censoring is independent of the event and of the predictors, and that a fair share of the subjects is
    still under observation at the horizon.

    Parameters
    ----------
    time, event, risk, weights
        As in :func:`harrell_c`.
    horizon : float
        Days; the truncation.

    Returns
    -------
    float
        NaN when no pair is comparable.

    References
    ----------
    Uno et al., Stat Med 2011;30:1105. With competing events: Wolbers et al., Biostatistics 2014;15:526.
    """
    return float(_concordance(time, event, risk, weights, horizon)[1])


def brier_score(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Brier score of the cumulative incidence: mean squared error of the risk, corrected for censoring.

    At time t a subject with the target event at or before t contributes (1 - risk)^2 / G(T-), with a competing event
    risk^2 / G(T-), free of events risk^2 / G(t-), and nothing when censored before t. A subject censored on day t
    itself is known to be free of events on that day. 0 is perfect, lower is better; the scale depends on the incidence,
    so read it against :func:`null_brier_score`.

    Assumes that censoring is independent of the event and of the predictors.

    Parameters
    ----------
    time, event, weights
        As in :func:`harrell_c`.
    risk : (n, k) array
        Predicted cumulative incidence of the target event at each of `times`, 0 to 1.
    times : (k,) array
        Days, not beyond the last follow-up.

    Returns
    -------
    (k,) float64 array

    References
    ----------
    Graf et al., Stat Med 1999;18:2529. With competing events: Schoop et al., Biom J 2011;53:88.
    """
    outcomes, rows, uncensored = _prepared(time, event, weights)
    risk = _checked(risk, (len(outcomes.time), len(times)))[outcomes.order]
    first, had_target = outcomes.known(times)
    loss = (had_target - risk) ** 2
    return kernel.squared_errors(loss, outcomes.kind, first, outcomes.before(times), rows, uncensored)[0]


def null_brier_score(
    *, time: np.ndarray, event: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Brier score of a model that gives everyone the observed (Aalen-Johansen) cumulative incidence.

    Parameters and returns as in :func:`brier_score`. What a model must beat; lower is better.
    """
    observed = aalen_johansen(time=time, event=event, at=times, weights=weights)
    risk = np.broadcast_to(observed, (len(np.asarray(time)), len(observed)))
    return brier_score(time=time, event=event, risk=risk, times=times, weights=weights)


def integrated_brier_score(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean of the Brier score from the first to the last of `times`, by the trapezoidal rule; lower is better.

    Parameters as in :func:`brier_score`, `times` increasing. Comparable only on the same subjects and times.
    """
    return float(trapezoid_mean(brier_score(time=time, event=event, risk=risk, times=times, weights=weights), times))


def index_of_prediction_accuracy(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Share of the null model's integrated Brier score that the predictions remove: 1 - IBS / IBS of the null model.

    1 is perfect, 0 no better than the observed incidence for everyone, negative worse than that; higher is better.
    Parameters as in :func:`integrated_brier_score`.

    References
    ----------
    Kattan and Gerds, Diagn Progn Res 2018;2:7.
    """
    model = brier_score(time=time, event=event, risk=risk, times=times, weights=weights)
    null = null_brier_score(time=time, event=event, times=times, weights=weights)
    return float(1 - trapezoid_mean(model, times) / trapezoid_mean(null, times))


def observed_expected_ratio(
    *, time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float, weights: np.ndarray | None = None
) -> float:
    """Calibration in the large: observed (Aalen-Johansen) cumulative incidence over the mean predicted risk.

    1 is calibrated, above 1 the risk is under-predicted, below 1 over-predicted. Assumes independent censoring.

    Parameters
    ----------
    time, event, weights
        As in :func:`harrell_c`.
    risk : (n,) array
        Predicted cumulative incidence at the horizon, 0 to 1.
    horizon : float
        Days.

    References
    ----------
    van Geloven et al., BMJ 2022;377:e069249.
    """
    observed = aalen_johansen(time=time, event=event, at=np.array([horizon]), weights=weights)[0]
    expected = np.average(_checked(risk, np.shape(time)), weights=weights)
    return float(observed / expected) if expected > 0 else float("nan")

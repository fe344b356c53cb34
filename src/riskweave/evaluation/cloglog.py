"""Regressions of the incidence at a horizon on the complementary log-log scale, where F = 1 - exp(-exp(a + b z)).

Two ways to the same scale. `fit_hazards` follows all events up to the horizon under proportional hazards: a Cox
regression, or with competing events the subdistribution hazards of Fine and Gray. `fit_pseudo_observations` looks at
the horizon alone and assumes nothing of the hazards before it.
"""

# ruff: noqa: PLR0917 - compiled functions take their arrays by position

from dataclasses import dataclass

import numpy as np

from riskweave.compiled import compiled
from riskweave.evaluation import kernel
from riskweave.evaluation.censoring import SortedOutcomes
from riskweave.evaluation.kernel import COMPETING, TARGET

__all__ = ["INCIDENCE_FLOOR", "CloglogFit", "cloglog", "fit_hazards", "fit_pseudo_observations", "inverse_cloglog"]

# Incidences of exactly 0 or 1 have no finite complementary log-log: they are taken for this far from the end.
INCIDENCE_FLOOR = 1e-7
STEPS, HALVINGS, TOLERANCE = 60, 30, 1e-10


def cloglog(incidence: np.ndarray) -> np.ndarray:
    """log(-log(1 - F)): the logarithm of the cumulative (subdistribution) hazard; F is kept 1e-7 away from 0 and 1."""
    return np.log(-np.log1p(-np.clip(incidence, INCIDENCE_FLOOR, 1 - INCIDENCE_FLOOR)))


def inverse_cloglog(predictor: np.ndarray) -> np.ndarray:
    """1 - exp(-exp(x)), 0 to 1."""
    return -np.expm1(-np.exp(np.minimum(predictor, 700.0)))


@dataclass(frozen=True)
class CloglogFit:
    """A fitted regression.

    Attributes
    ----------
    coefficients : (1 + p,) float64 array
        The level at the horizon, then the slopes; NaN where they cannot be estimated.
    influence : (n, 1 + p) float64 array
        What each subject moves the coefficients by, to first order, in the order of the arrays given: the sum of its
        squares (over independent subjects) is the robust variance.
    information : (p, p) float64 array
        Of the slopes, for the variance under the model; of pseudo-observations there is none (empty).
    """

    coefficients: np.ndarray
    influence: np.ndarray
    information: np.ndarray


@compiled()
def _risk_sets(z, relative, kind, starts, groups, weights, uncensored):
    """Sum over the risk set and over the target events of each group of equal times, in one sweep back in time.

    Who had a competing event before t stays in the risk set with weight G(t-)/G(s-), as Fine and Gray have it.

    Returns
    -------
    (groups, 2, 1 + p + p * p) float64 array
        Sums of relative hazards, times z, times z z', of the risk set and of the target events.
    """
    p = z.shape[1]
    width = 1 + p + p * p
    sums = np.zeros((groups, 2, width))
    present = np.zeros(width)
    gone = np.zeros(width)
    terms = np.empty((len(kind), width))
    for i in range(len(kind)):
        value = weights[i] * relative[i]
        terms[i, 0] = value
        for j in range(p):
            terms[i, 1 + j] = value * z[i, j]
            for k in range(p):
                terms[i, 1 + p + j * p + k] = value * z[i, j] * z[i, k]
        if i >= starts[groups]:
            present += terms[i]
        elif kind[i] == COMPETING and weights[i] > 0:
            gone += terms[i] / uncensored[i]
    for g in range(groups - 1, -1, -1):
        for i in range(starts[g], starts[g + 1]):
            present += terms[i]
            if kind[i] == COMPETING and weights[i] > 0:
                gone -= terms[i] / uncensored[i]
            elif kind[i] == TARGET:
                sums[g, 1] += terms[i]
        sums[g, 0] = present + uncensored[starts[g]] * gone
    return sums


@compiled()
def _likelihood(sums, events, p):
    """Log partial likelihood less its linear part, gradient and information, with Efron's correction for ties."""
    value = 0.0
    gradient = np.zeros(p)
    information = np.zeros((p, p))
    for g in range(len(events)):
        for tied in range(events[g]):
            part = sums[g, 0] - (tied / events[g]) * sums[g, 1]
            value -= np.log(part[0])
            for j in range(p):
                gradient[j] -= part[1 + j] / part[0]
                for k in range(p):
                    product = part[1 + j] * part[1 + k] / part[0]
                    information[j, k] += (part[1 + p + j * p + k] - product) / part[0]
    return value, gradient, information


@dataclass(frozen=True)
class _Hazards:
    """What the partial likelihood needs, in sorted order."""

    outcomes: SortedOutcomes
    z: np.ndarray
    offset: np.ndarray
    rows: np.ndarray
    uncensored: np.ndarray
    groups: int
    events: np.ndarray  # (groups,) target events
    happened: np.ndarray  # (n,) multiplicity of the target events up to the horizon

    def at(self, slopes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Log partial likelihood, gradient, information, sums of the risk sets, and relative hazards."""
        predictor = self.offset + self.z @ slopes
        # A step too far overflows: it has no likelihood then, and is halved.
        with np.errstate(over="ignore"):
            relative = np.exp(predictor - self.offset.max())
        o = self.outcomes
        sums = _risk_sets(self.z, relative, o.kind, o.starts, self.groups, self.rows, self.uncensored)
        value, gradient, information = _likelihood(sums, self.events, self.z.shape[1])
        value += float(self.happened @ (predictor - self.offset.max()))
        return value, gradient + self.happened @ self.z, information, sums, relative


def _newton(problem: _Hazards) -> np.ndarray | None:
    """Slopes that maximise the partial likelihood; None where the information is singular or there is no maximum."""
    slopes = np.zeros(problem.z.shape[1])
    value, gradient, information, *_ = problem.at(slopes)
    for _ in range(STEPS):
        if len(slopes) and (not np.all(np.isfinite(information)) or np.linalg.cond(information) > 1e12):
            return None
        step = np.linalg.solve(information, gradient)
        for _ in range(HALVINGS):
            proposal = problem.at(slopes + step)
            if proposal[0] >= value - 1e-9 * abs(value):
                break
            step /= 2
        slopes, (value, gradient, information, *_) = slopes + step, proposal
        if np.all(np.abs(step) <= TOLERANCE * (1 + np.abs(slopes))):
            return slopes
    return None


def fit_hazards(
    outcomes: SortedOutcomes, z: np.ndarray, offset: np.ndarray, rows: np.ndarray, horizon: float
) -> CloglogFit:
    """Cox regression of the target event up to the horizon, or Fine-Gray regression where there are competing events.

    Slopes by the partial likelihood (Efron's ties), the level by Breslow's estimate. With competing events subjects
    stay in the risk set after them, weighted by the Kaplan-Meier estimate of censoring; the uncertainty of that, a
    small part, is not in the influence. O(n p^2) per step of Newton's method.

    Parameters
    ----------
    outcomes : SortedOutcomes
    z : (n, p) array
        Predictors, in the order of the subjects given; p may be 0.
    offset : (n,) array
        Added to the linear predictor.
    rows : (1, n) int64 array
        Multiplicities in sorted order.
    horizon : float
        Days.

    References
    ----------
    Cox, J R Stat Soc B 1972;34:187; Fine and Gray, JASA 1999;94:496; influence as Lin and Wei, JASA 1989;84:1074.
    """
    kind, starts, order = outcomes.kind, outcomes.starts, outcomes.order
    n, p = z.shape
    until = int(outcomes.through([horizon])[0])
    happened = np.where((kind == TARGET) & (np.arange(n) < until), rows[0], 0)
    groups = int(np.searchsorted(starts, until))
    uncensored = kernel.still_uncensored(kind, starts, rows)[0]
    events = np.add.reduceat(happened, starts[:groups]) if groups else np.zeros(0, np.int64)
    sorted_z = np.ascontiguousarray(z[order], dtype=float)
    problem = _Hazards(outcomes, sorted_z, offset[order], rows[0], uncensored, groups, events, happened)
    slopes = _newton(problem) if events.sum() > 0 else None
    if slopes is None:
        return CloglogFit(np.full(1 + p, np.nan), np.full((n, 1 + p), np.nan), np.full((p, p), np.nan))
    _, _, information, sums, relative = problem.at(slopes)
    level, sorted_influence = _influence(problem, sums, relative, information)
    influence = np.empty((n, 1 + p))
    influence[order] = sorted_influence
    coefficients = np.concatenate([[np.log(level) - offset.max()], slopes])
    return CloglogFit(coefficients, influence, information)


def _influence(problem, sums, relative, information) -> tuple[float, np.ndarray]:
    """Breslow's cumulative hazard at the horizon, and what each subject moves its logarithm and the slopes by."""
    kind, starts, groups = problem.outcomes.kind, problem.outcomes.starts, problem.groups
    n, p = problem.z.shape
    at_risk = np.maximum(sums[:, 0, 0], 1e-300)
    increment, mean = problem.events / at_risk, sums[:, 0, 1 : 1 + p] / at_risk[:, None]
    # per group: hazard, hazard times the mean of z, variance of the hazard; weighted: for who had a competing event
    terms = np.column_stack([increment, mean * increment[:, None], increment / at_risk])
    later = problem.uncensored[starts[:groups], None] * terms
    total = np.concatenate([np.zeros((1, 2 + p)), terms.cumsum(axis=0)])
    weighted = np.concatenate([np.zeros((1, 2 + p)), later.cumsum(axis=0)])
    group = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    inside = group < groups
    group = np.minimum(group, groups - 1)
    seen = total[group + 1]
    stays = inside & (kind == COMPETING) & (problem.rows > 0)
    seen[stays] += (weighted[-1] - weighted[group[stays] + 1]) / problem.uncensored[:n][stays, None]
    is_event = (inside & (kind == TARGET)).astype(float)
    score = is_event[:, None] * (problem.z - mean[group])
    score -= relative[:, None] * (problem.z * seen[:, :1] - seen[:, 1 : 1 + p])
    slopes = np.linalg.solve(information, score.T).T if p else np.zeros((n, 0))
    level = is_event / at_risk[group] - relative * seen[:, 1 + p] - slopes @ total[-1, 1 : 1 + p]
    return total[-1, 0], np.column_stack([level / total[-1, 0], slopes])


def fit_pseudo_observations(pseudo: np.ndarray, z: np.ndarray, offset: np.ndarray, weights: np.ndarray) -> CloglogFit:
    """Regression of pseudo-observations with the complementary log-log link: generalised estimating equations.

    Working independence and constant variance, that is least squares, by Gauss and Newton's method with halved steps.
    The robust variance takes pseudo-observations for independent, which is slightly conservative.

    Parameters
    ----------
    pseudo : (n,) array
        From :func:`riskweave.evaluation.pseudo_observations.pseudo_observations`.
    z : (n, p) array
    offset : (n,) array
    weights : (n,) array
        How often each subject counts.

    References
    ----------
    Klein and Andersen, Biometrics 2005;61:223; for calibration van Geloven et al., BMJ 2022;377:e069249.
    """
    design = np.column_stack([np.ones(len(z)), z])
    failed = CloglogFit(np.full(design.shape[1], np.nan), np.full(design.shape, np.nan), np.zeros((0, 0)))
    observed = np.average(pseudo, weights=weights)
    if not 0 < observed < 1:
        return failed
    beta = np.zeros(design.shape[1])
    beta[0] = cloglog(observed) - np.average(offset, weights=weights)
    predicted = inverse_cloglog(offset + design @ beta)
    loss = float(weights @ (pseudo - predicted) ** 2)
    for _ in range(STEPS):
        predictor = offset + design @ beta
        slope = design * np.exp(predictor - np.exp(np.minimum(predictor, 700.0)))[:, None]
        bread = slope.T @ (slope * weights[:, None])
        if not np.all(np.isfinite(bread)) or np.linalg.cond(bread) > 1e13:
            return failed
        residual = pseudo - inverse_cloglog(predictor)
        step = np.linalg.solve(bread, slope.T @ (weights * residual))
        if np.all(np.abs(step) <= TOLERANCE * (1 + np.abs(beta))):
            return CloglogFit(beta, np.linalg.solve(bread, (slope * residual[:, None]).T).T, np.zeros((0, 0)))
        for _ in range(HALVINGS):
            proposed = float(weights @ (pseudo - inverse_cloglog(offset + design @ (beta + step))) ** 2)
            if proposed <= loss * (1 + 1e-12):  # rounding must not halve the last steps for ever
                break
            step /= 2
        beta, loss = beta + step, min(loss, proposed)
    return failed

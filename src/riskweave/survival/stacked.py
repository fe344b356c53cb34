"""Stacked ensemble: cumulative incidences of several models, averaged with weights learnt out of fold."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from riskweave.errors import DataError, StudyError
from riskweave.evaluation.censoring import uncensored_probability
from riskweave.study.models import Model, StackedModel
from riskweave.survival.parts import parts_of
from riskweave.survival.registry import Estimator, build_estimator

__all__ = ["StackedEnsemble", "brier_terms", "from_block", "grid_of", "simplex_weights"]

logger = logging.getLogger(__name__)

GRID = 20
"""Times at which the weights look at the risks."""

LEAST_UNCENSORED = 0.1
"""The weights look no further than to where this share of the subjects is uncensored: beyond, few subjects count for
many, and the weights would be theirs."""


class StackedEnsemble:
    r"""Average of the members' cumulative incidences with weights that are not negative and sum to one.

    The training rows are divided into parts, with like shares of each event and all rows of a person in one. Every
    member is fitted without each part in turn (with the validation rows to stop or choose by, as always) and predicts
    it, so that each training row has risks :math:`\hat F^m_k(t)` by models that have not seen it. The weights minimise

    .. math::

       \sum_k \overline{B}_k(w) + \lambda\, b \lVert w - 1/M \rVert^2, \qquad
       \overline{B}_k(w) = \operatorname{mean}_{t} \frac1n \sum_i \omega_i(t)
       \Bigl(1\{T_i \le t, D_i = k\} - \sum_m w_m \hat F^m_k(t \mid x_i)\Bigr)^2

    the Brier score of each cause, weighted by the inverse probability of being uncensored (Graf et al. 1999, Stat Med
    18:2529-2545) and averaged over a grid of times, with a penalty :math:`\lambda` on the distance to equal weights in
    units of their score :math:`b`. This is stacking of survival models (Wey, Connett and Rudser 2015, Biostatistics
    16:537-549), a super learner (Golmakani and Polley 2020, Int J Biostat 16:20190065) with a convex combination. Among
    members of like quality weights are hardly determined by the data; the penalty makes them equal rather than
    arbitrary. The members are then fitted again, on all training rows.

    An average of cumulative incidences is one: non-decreasing, and summing to one at most with the other causes.

    Parameters
    ----------
    members : mapping of str to Model
        Blocks of the members, by name, in the order of the study.
    parts : int
        Parts of the training rows; fewer where fewer people of them have the target event.
    shrinkage : float
        The penalty's :math:`\lambda`, at least 0.
    causes : int
        Number of causes: events are coded 1 (target) to `causes`; 0 is censored.
    seed : int
        Of the parts and the members.
    threads : int
    columns : list of str, optional
        Names of the columns.
    checkpoint : Path, optional
        Folder for what members that are networks keep of their training.

    Attributes
    ----------
    people : array (n,) or None
        Whose rows the training rows are, where a person can have several; to be set before the fit.
    weights : dict of str to float
    params : dict
        ``weight_<member>``, and the chosen parameters of each member as ``<member>.<parameter>``.
    metrics : dict
        ``out_of_fold_brier_<member>`` and, for the weighted average, ``out_of_fold_brier``: over all causes and times.
    curves : DataFrame
        Of the members fitted on all training rows, as ``<member>.<metric>``.
    """

    def __init__(
        self,
        members: Mapping[str, Model],
        *,
        parts: int,
        shrinkage: float,
        causes: int,
        seed: int,
        threads: int = 1,
        columns: list[str] | None = None,
        checkpoint: Path | None = None,
    ):
        self.members = dict(members)
        self.parts, self.shrinkage, self.causes = parts, shrinkage, causes
        self.seed, self.threads, self.columns = seed, threads, columns
        self._checkpoint = checkpoint
        self.people: np.ndarray | None = None
        self.weights = dict.fromkeys(self.members, 1 / len(self.members))
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])
        # Fails now, not after an hour, where a member's package is missing.
        for name in self.members:
            self._member(name)

    def fit(  # noqa: PLR0917 - the protocol of all estimators
        self,
        x_train: np.ndarray,
        time: np.ndarray,
        event: np.ndarray,
        x_val: np.ndarray,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "StackedEnsemble":
        """Learn the weights, then fit the members on all training rows: see `CauseSpecificCox.fit`.

        Raises
        ------
        DataError
            When fewer than two people of the training rows have the target event, or a member cannot be fitted.
        """
        validation = (x_val, time_val, event_val)
        times = grid_of(time, event)
        risks = self._out_of_fold(x_train, time, event, validation, times)
        quadratic, linear, constant = brier_terms(risks, time=time, event=event, times=times)
        weights = simplex_weights(quadratic, linear, constant, shrinkage=self.shrinkage)
        self.weights = dict(zip(self.members, weights.tolist(), strict=True))
        logger.info(
            "weights of the ensemble: %s", ", ".join(f"{name} {value:.2f}" for name, value in self.weights.items())
        )
        self._fitted = {}
        for name in self.members:
            # A member without weight has no say in any prediction.
            if self.weights[name] > 0:
                self._fitted[name] = self._member(name).fit(x_train, time, event, *validation)
        self._describe(quadratic, linear, constant, weights)
        # What is stored is used elsewhere, and tells of nobody.
        self._checkpoint = self.people = None
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time."""
        total = np.zeros((len(x), self.causes, len(times)))
        for name, member in self._fitted.items():
            total += self.weights[name] * np.asarray(member.predict(x, times), dtype=np.float64)
        return np.minimum(total, 1.0)

    def linear_predictor(self, x: np.ndarray) -> None:  # noqa: ARG002 - shared protocol
        """Return None: an average of incidences has no linear predictor."""
        return

    @property
    def architecture(self) -> str:
        """What the model is, in words: a line for each member."""
        lines = [
            f"{self.weights[name]:.3f} x {name}: {getattr(self, '_fitted', {})[name].architecture}"
            for name in getattr(self, "_fitted", {})
        ]
        return "\n".join([f"stacked ensemble of {', '.join(self.members)}", *lines])

    def _member(self, name: str, part: int | None = None) -> Estimator:
        place = name if part is None else f"{name}_part_{part}"
        return build_estimator(
            model=self.members[name],
            causes=self.causes,
            seed=self.seed,
            threads=self.threads,
            columns=self.columns,
            checkpoint=None if self._checkpoint is None else Path(self._checkpoint) / place,
        )

    def _out_of_fold(
        self, x: np.ndarray, time: np.ndarray, event: np.ndarray, validation: tuple, times: np.ndarray
    ) -> np.ndarray:
        """Return the members' risks of rows that they were fitted without, of shape (members, n, causes, times)."""
        people = np.arange(len(x)) if self.people is None else np.asarray(self.people)
        # Competing events need not be in every part: where a cause is absent, members take its hazard as zero.
        cases = len(np.unique(people[event == 1]))
        parts = min(self.parts, cases)
        if parts < 2:
            raise DataError(
                "stacked ensemble, outcomes, column event",
                f"{cases} people have the target event among the {len(event)} training rows of a fold",
                "Its weights need at least 2: use one model instead, or an endpoint with more events",
            )
        risks = np.empty((len(self.members), len(x), self.causes, len(times)))
        part_of = parts_of(people, event, parts=parts, seed=self.seed)
        for part in range(parts):
            rest, held = part_of != part, part_of == part
            for place, name in enumerate(self.members):
                member = self._member(name, part).fit(x[rest], time[rest], event[rest], *validation)
                risks[place, held] = member.predict(x[held], times)
        return risks

    def _describe(self, quadratic: np.ndarray, linear: np.ndarray, constant: float, weights: np.ndarray) -> None:
        self.params = {f"weight_{name}": value for name, value in self.weights.items()}
        self.metrics = {"out_of_fold_brier": _score(weights, quadratic, linear, constant)}
        curves = []
        for name, alone in zip(self.members, np.eye(len(weights)), strict=True):
            self.metrics[f"out_of_fold_brier_{name}"] = _score(alone, quadratic, linear, constant)
            if name in self._fitted:
                member = self._fitted[name]
                self.params |= {f"{name}.{key}": value for key, value in getattr(member, "params", {}).items()}
                curves.append(member.curves.assign(metric=name + "." + member.curves["metric"].astype(str)))
        curves = [curve[["epoch", "metric", "value"]] for curve in curves if len(curve)]
        if curves:
            self.curves = pd.concat(curves, ignore_index=True)


def grid_of(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return the times (days) at which the weights look: quantiles of the event times while enough is uncensored."""
    days = np.unique(time[event > 0])
    known = days[uncensored_probability(time=time, event=event, at=days) >= LEAST_UNCENSORED]
    days = known if len(known) else days[:1]
    happened = time[(event > 0) & (time <= days[-1])]
    return np.unique(np.quantile(happened, (np.arange(GRID) + 1) / GRID, method="nearest"))


def brier_terms(
    risks: np.ndarray, *, time: np.ndarray, event: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return A, b, c with which the Brier score of an average with weights w is ``w @ A @ w - 2 * b @ w + c``.

    The score is summed over the causes, averaged over the times by the length of their steps (so that it is a time
    integral whatever the grid), and weighted by the inverse Kaplan-Meier probability of being uncensored: just before
    their event for those who had one, at the time itself for those still under observation.

    Parameters
    ----------
    risks : array (M, n, K, t)
        Cumulative incidences of M members.
    time, event : arrays (n,)
        Days; 0 censored, 1..K.
    times : array (t,)
        Increasing days.

    Returns
    -------
    A : array (M, M)
    b : array (M,)
    c : float
    """
    members, rows, causes, _ = risks.shape
    steps = np.diff(times, prepend=0.0)
    own = uncensored_probability(time=time, event=event, at=time)
    still = uncensored_probability(time=time, event=event, at=np.nextafter(times, np.inf))
    quadratic, linear, constant = np.zeros((members, members)), np.zeros(members), 0.0
    for j, day in enumerate(times):
        weight = np.where(time > day, 1 / still[j], np.where(event > 0, 1 / own, 0.0)) * steps[j] / steps.sum() / rows
        for k in range(causes):
            had = ((event == k + 1) & (time <= day)).astype(float)
            found = risks[:, :, k, j]
            quadratic += (found * weight) @ found.T
            linear += found @ (weight * had)
            constant += float(weight @ had)
    return quadratic, linear, constant


def _score(weights: np.ndarray, quadratic: np.ndarray, linear: np.ndarray, constant: float) -> float:
    return float(weights @ quadratic @ weights - 2 * linear @ weights + constant)


def simplex_weights(quadratic: np.ndarray, linear: np.ndarray, constant: float, *, shrinkage: float) -> np.ndarray:
    """Return the weights that minimise the score of `brier_terms` and a penalty on the distance to equal weights.

    Parameters
    ----------
    quadratic, linear, constant
        From `brier_terms`.
    shrinkage : float
        Penalty, in units of the score of equal weights.

    Returns
    -------
    array (M,)
        At least 0, with sum 1; those below 0.001 are 0.
    """
    members = len(linear)
    equal = np.full(members, 1 / members)
    penalty = shrinkage * _score(equal, quadratic, linear, constant)
    # The score is of the order of 0.1 and its differences of 0.001: scaled, so that the solver's tolerance is small.
    scale = 1 / max(np.abs(np.diag(quadratic)).max(), np.finfo(float).tiny)
    curvature = scale * (quadratic + penalty * np.eye(members))
    slope = scale * (linear + penalty * equal)
    found = minimize(
        lambda w: w @ curvature @ w - 2 * slope @ w,
        equal,
        jac=lambda w: 2 * (curvature @ w - slope),
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    weights = np.where(found.x < 1e-3, 0.0, found.x)
    return weights / weights.sum()


def from_block(
    model: StackedModel,
    *,
    causes: int,
    seed: int,
    threads: int,
    columns: list[str] | None,
    members: Mapping[str, Model] | None = None,
    checkpoint: Path | None = None,
    **further: object,  # noqa: ARG001 - what other kinds need
) -> StackedEnsemble:
    """Return the unfitted estimator of a study block; see `riskweave.survival.registry.build_estimator`.

    Raises
    ------
    StudyError
        When a member's block is not given, or a member's package is not installed.
    """
    unknown = [name for name in model.members if name not in (members or {})]
    if unknown:
        raise StudyError(f"a stacked model needs the blocks of its members; missing: {', '.join(unknown)}")
    return StackedEnsemble(
        {name: members[name] for name in model.members},
        parts=model.parts,
        shrinkage=model.shrinkage,
        causes=causes,
        seed=seed,
        threads=threads,
        columns=columns,
        checkpoint=checkpoint,
    )

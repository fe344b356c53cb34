"""A clinical score as a time-to-event model: nothing is fitted to its risk, which is that of the published formula."""

import numpy as np
import pandas as pd

from riskweave.clinical_scores.compute import score_of
from riskweave.errors import DataError
from riskweave.study.clinical_scores import ClinicalScoreModel
from riskweave.study.scoring import HORIZON_TOLERANCE
from riskweave.survival.null import NullModel
from riskweave.survival.score_inputs import ScoreInputs

__all__ = ["ClinicalScore", "from_block", "preprocessing"]


class ClinicalScore:
    r"""Risks of a clinical score, beside fitted models on the same subjects.

    **At the score's horizon** :math:`H` (and up to `HORIZON_TOLERANCE` days around it) the risk is the formula's
    :math:`r(x)`, untouched by any data. A score says nothing about other times; a prediction table needs risks on the
    whole time grid. **Before the horizon** it is :math:`1 - (1 - r(x))^{g(t)}` with
    :math:`g(t) = \log(1 - F(t)) / \log(1 - F(H))`, where :math:`F` is the Aalen-Johansen incidence of the target in the
    training rows: the order of the subjects is the score's at each time, how the risk grows is the cohort's.

    **Subjects that the score refuses** (outside its validity, inputs missing) have the incidence of the training rows,
    the same for all of them: every experiment of an endpoint is compared on the same subjects. `counts` tells how many.

    **Competing causes** have the incidence of the training rows, scaled down where it would exceed
    :math:`1 - r(x)` at the horizon.

    Parameters
    ----------
    model : ClinicalScoreModel
        Block of the study.
    columns : list of str
        The inputs, in the order of the design's columns.
    causes : int
        Number of causes.
    """

    def __init__(self, *, model: ClinicalScoreModel, columns: list[str], causes: int):
        lacking = [name for name in model.needs() if name not in columns]
        if lacking:
            raise DataError(
                f"clinical score {model.score}", f"the inputs {', '.join(lacking)} are missing", "Name their columns"
            )
        self.model, self.columns, self.causes = model, list(columns), causes
        self.curves = pd.DataFrame(columns=["epoch", "metric", "value"])
        self.params = {"risk_before_horizon": "shape of the training rows' incidence"}

    def fit(self, x_train: np.ndarray, time: np.ndarray, event: np.ndarray, *validation: np.ndarray) -> "ClinicalScore":
        """Estimate the incidences of the training rows; the score itself is not fitted."""
        self._null = NullModel(causes=self.causes).fit(x_train, time, event, *validation)
        return self

    def predict(self, x: np.ndarray, times: list[int]) -> np.ndarray:
        """Return the cumulative incidences, of shape (n, causes, times), at these days after the index time.

        Raises
        ------
        DataError
            When a time is beyond the score's horizon.
        """
        times = np.asarray(times, dtype=float)
        last = times.max(initial=0.0)
        if last > self.model.days + HORIZON_TOLERANCE:
            raise DataError(
                f"clinical score {self.model.score}",
                f"it gives the risk of {self.model.years} years, and day {last:g} is after that",
                f"Make {round(self.model.days)} the last horizon of the endpoint",
            )
        # Of one row: the same for everybody.
        incidence = self._null.predict(x[:1], [*np.minimum(times, self.model.days), self.model.days])[0]
        marginal, end = incidence[:, :-1], incidence[:, -1]
        scored = score_of(self.model, x, self.columns)
        risk = np.where(scored.refused, 0.0, scored.risk)
        found = np.empty((len(x), self.causes, len(times)))
        with np.errstate(divide="ignore"):
            found[:, 0] = -np.expm1(np.log1p(-risk)[:, None] * self._growth(times, marginal[0], end[0]))
        others = end[1:].sum()
        share = np.minimum(1.0, (1 - risk) / others) if others > 0 else np.ones(len(x))
        found[:, 1:] = marginal[1:] * share[:, None, None]
        found[scored.refused] = marginal
        return found

    def linear_predictor(self, x: np.ndarray) -> None:
        """Return None: the scores' hazard ratios refer to other populations."""

    def counts(self, x: np.ndarray) -> dict[str, int]:
        """Return how many rows the score refuses, and why: each for the first of its reasons."""
        scored = score_of(self.model, x, self.columns)
        reasons = {f"refused_{reason}": count for reason, count in scored.counts().items()}
        return {"refused": int(scored.refused.sum()), **reasons}

    def _growth(self, times: np.ndarray, marginal: np.ndarray, end: float) -> np.ndarray:
        """Return the share of the log survival at the horizon that is reached at each time: 1 at the horizon."""
        known = 0 < end < 1  # otherwise the training rows tell nothing of how it grows
        share = np.log1p(-marginal) / np.log1p(-end) if known else np.minimum(times / self.model.days, 1.0)
        return np.where(np.abs(times - self.model.days) <= HORIZON_TOLERANCE, 1.0, share)

    @property
    def architecture(self) -> str:
        """What the model is, in words."""
        told = [self.model.score, self.model.outcome, self.model.region, f"{self.model.years} years"]
        return f"published clinical score, not fitted: {', '.join(word for word in told if word)}"


def preprocessing(model: ClinicalScoreModel) -> ScoreInputs:
    """Return what takes the place of the design matrix: raw inputs."""
    return ScoreInputs(model)


def from_block(
    model: ClinicalScoreModel,
    *,
    causes: int,
    seed: int,  # noqa: ARG001 - nothing here is random
    threads: int,  # noqa: ARG001 - the caller limits the threads of numerical libraries
    columns: list[str] | None,
    **further: object,  # noqa: ARG001 - what other kinds need
) -> ClinicalScore:
    """Return the estimator of a study block; see `riskweave.survival.registry.build_estimator`."""
    return ClinicalScore(model=model, columns=columns or [], causes=causes)

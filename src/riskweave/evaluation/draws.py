"""A measure on the study's resamples: estimate, resampled values and the interval that the study asks for."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.intervals import acceleration, bca_interval, jackknife_influence, leave_out
from riskweave.evaluation.resampled import in_threads
from riskweave.study.evaluation import Evaluation

__all__ = ["Drawn", "draw"]

logger = logging.getLogger(__name__)

# People are left out in so many groups: tells the acceleration to within about 0.003.
JACKKNIFE_GROUPS = 200


@dataclass(frozen=True)
class Drawn:
    """What a measure is, and what it is in the resamples.

    Attributes
    ----------
    estimate : (...) float64 array
    resampled : (resamples, ...) float64 array
        NaN where a resample has no value.
    left_out : (groups, ...) float64 array or None
        Without a group of people at a time, for BCa intervals; None for percentile intervals.
    """

    estimate: np.ndarray
    resampled: np.ndarray
    left_out: np.ndarray | None

    def interval(self, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, of the shape of `estimate`; NaN where more than 5 % of the resamples lack a value."""
        if self.left_out is None:
            return percentile_interval(self.resampled, confidence)
        speeds = acceleration(jackknife_influence(self.left_out))
        return bca_interval(self.resampled, self.estimate, speeds, confidence)

    def minus(self, position: int) -> "Drawn":
        """Differences to one position of the first axis of `estimate`, paired within each resample."""
        left_out = None if self.left_out is None else self.left_out - self.left_out[:, position : position + 1]
        return Drawn(
            self.estimate - self.estimate[position],
            self.resampled - self.resampled[:, position : position + 1],
            left_out,
        )


def draw(
    measure: Callable[[np.ndarray], np.ndarray],
    *,
    people: np.ndarray,
    evaluation: Evaluation,
    threads: int = 1,
    what: str = "",
) -> Drawn:
    """Compute a measure on the subjects as they are and on the study's resamples of people.

    The same study draws the same resamples for every measure, so that measures are paired. Only the values are kept:
    memory is that of the subjects and one batch of resamples.

    Parameters
    ----------
    measure : callable
        From (rows, n) int64 multiplicities of the subjects to (rows, ...) values; a row's digits depend on it alone.
    people : (n,) int64 array
        The person of each subject: 0 to the number of people - 1.
    evaluation : Evaluation
        Resamples, seed and kind of interval.
    threads : int, default 1
        Any number gives the same digits.
    what : str, default ""
        Name in the log.
    """
    # compiles, too, before any thread starts
    estimate = measure(np.ones((1, len(people)), dtype=np.int64))[0]
    rows = resamples(people=people, count=evaluation.bootstrap, seed=evaluation.seed)
    values = np.concatenate([in_threads(measure, weights, threads) for weights in rows])
    left_out = None
    if evaluation.interval == "bca":
        rows = leave_out(people=people, groups=JACKKNIFE_GROUPS, seed=evaluation.seed)
        left_out = np.concatenate([in_threads(measure, weights, threads) for weights in rows])
    logger.info("%s: %d resamples", what or "measure", evaluation.bootstrap)
    return Drawn(estimate, values, left_out)

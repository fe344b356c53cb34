"""Outcomes sorted once for all metrics, the censoring distribution, and the observed cumulative incidence."""

from dataclasses import dataclass

import numpy as np

from riskweave.evaluation import kernel

__all__ = ["SortedOutcomes", "aalen_johansen", "row_weights", "sort_outcomes", "uncensored_probability"]


@dataclass(frozen=True)
class SortedOutcomes:
    """Outcomes in the order that the kernel needs; made by :func:`sort_outcomes`.

    Attributes
    ----------
    order : (n,) int64 array
        Position of each sorted subject in the arrays given.
    time : (n,) float64 array
        Sorted times (days).
    kind : (n,) int8 array
        ``kernel.TARGET``, ``kernel.COMPETING`` or ``kernel.CENSORED``.
    starts : (groups + 1,) int64 array
        Bounds of the groups of equal time.
    """

    order: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    starts: np.ndarray

    def before(self, times: np.ndarray) -> np.ndarray:
        """Count the subjects whose time is earlier than each of `times`."""
        return np.searchsorted(self.time, np.asarray(times, float), side="left")

    def through(self, times: np.ndarray) -> np.ndarray:
        """Count the subjects whose time is at or before each of `times`."""
        return np.searchsorted(self.time, np.asarray(times, float), side="right")

    def left_by(self, times: np.ndarray) -> np.ndarray:
        """Count the subjects that each of `times` finds with an event, or with an earlier censoring.

        Who is censored on the very day is known to be free of events on that day.
        """
        first, last = self.before(times), self.through(times)
        return np.array(
            [f + np.count_nonzero(self.kind[f:e] != kernel.CENSORED) for f, e in zip(first, last, strict=True)],
            dtype=np.int64,
        )

    def known(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tell what each of `times` (increasing) finds of each sorted subject.

        Returns
        -------
        first : (n,) int64 array
            First column of `times` that finds the subject gone, by an event or an earlier censoring.
        had_target : (n, times) bool array
            Whether the target event is known to have happened.
        """
        first = np.searchsorted(self.left_by(times), np.arange(len(self.time)), side="right")
        return first, (self.kind == kernel.TARGET)[:, None] & (first[:, None] <= np.arange(len(times)))

    def take(self, members: np.ndarray) -> "SortedOutcomes":
        """Keep some of the subjects.

        Parameters
        ----------
        members : (n,) bool array
            In sorted order.
        """
        time = self.time[members]
        return SortedOutcomes(self.order[members], time, self.kind[members], _starts(time))


def _starts(time: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.flatnonzero(np.diff(time) > 0) + 1, [len(time)]]).astype(np.int64)


def sort_outcomes(time: np.ndarray, event: np.ndarray) -> SortedOutcomes:
    """Sort subjects by time; at equal times events come before censorings.

    Parameters
    ----------
    time : (n,) array
        Days to the event or to the end of follow-up, finite and positive.
    event : (n,) array of int
        0 censored, 1 target, 2 and up competing.

    Raises
    ------
    ValueError
        When there is no subject, lengths differ, or times or events are not as described.
    """
    time, event = np.asarray(time, float), np.asarray(event)
    if len(time) == 0 or time.shape != event.shape or time.ndim != 1:
        raise ValueError(
            f"time and event are one-dimensional, of one length and not empty: {time.shape}, {event.shape}"
        )
    if not np.all(np.isfinite(time)) or time.min() <= 0 or event.min() < 0:
        raise ValueError("times are finite and positive, events 0 (censored), 1 (target), 2 and up (competing)")
    kind = np.where(event == 1, kernel.TARGET, np.where(event == 0, kernel.CENSORED, kernel.COMPETING)).astype(np.int8)
    order = np.lexsort((kind, time))
    return SortedOutcomes(order, time[order], kind[order], _starts(time[order]))


def row_weights(weights: np.ndarray | None, outcomes: SortedOutcomes) -> np.ndarray:
    """Integer weights of the subjects as given, as one row in sorted order; ones when not given."""
    if weights is None:
        return np.ones((1, len(outcomes.time)), dtype=np.int64)
    weights = np.asarray(weights)
    if weights.shape != outcomes.time.shape or not np.issubdtype(weights.dtype, np.integer) or weights.min() < 0:
        raise ValueError("weights are non-negative integers, one for each subject")
    return weights.astype(np.int64)[outcomes.order][None, :]


def uncensored_probability(
    *, time: np.ndarray, event: np.ndarray, at: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Kaplan-Meier probability of being uncensored just before given times, G(t-).

    Only true censoring counts: target and competing events end the observation without being censorings. Assumes that
    censoring is independent of the event and of the predictors.

    Parameters
    ----------
    time, event, weights
        As in :func:`riskweave.evaluation.metrics.harrell_c`.
    at : (k,) array
        Times (days).

    Returns
    -------
    (k,) float64 array
    """
    outcomes = sort_outcomes(time, event)
    probability = kernel.still_uncensored(outcomes.kind, outcomes.starts, row_weights(weights, outcomes))
    return probability[0, outcomes.before(at)]


def aalen_johansen(
    *, time: np.ndarray, event: np.ndarray, at: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Observed cumulative incidence of the target event, competing events being events of their own.

    Without competing events it equals one minus the Kaplan-Meier estimate. Ties are kept as they are (no jitter).
    Source: Aalen and Johansen, Scand J Stat 1978;5:141.

    Parameters
    ----------
    time, event, weights
        As in :func:`riskweave.evaluation.metrics.harrell_c`.
    at : (k,) array
        Times (days).

    Returns
    -------
    (k,) float64 array
        Probability of the target event at or before each time, 0 to 1.
    """
    outcomes = sort_outcomes(time, event)
    cumulative = kernel.incidence(outcomes.kind, outcomes.starts, row_weights(weights, outcomes))
    return cumulative[0, outcomes.through(at)]

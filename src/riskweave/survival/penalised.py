"""Penalised regressions of lifelines: one cause at a time, with the penalty that the validation rows like best."""

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lifelines.exceptions import ConvergenceError, ConvergenceWarning

from riskweave.errors import DataError

__all__ = ["DURATION", "EVENT", "Chosen", "Penalty", "choose", "names_of", "quietly", "table", "varying"]

logger = logging.getLogger(__name__)

DURATION, EVENT = "__time__", "__event__"
"""Columns of the outcome in the tables that lifelines gets."""


@dataclass(frozen=True)
class Penalty:
    """A penalty on standardised columns: its strength, and the lasso's share of it (0 ridge, 1 lasso)."""

    strength: float
    l1_ratio: float = 0.0

    def __str__(self) -> str:
        return f"{self.strength:g}" + (f" with l1_ratio {self.l1_ratio:g}" if self.l1_ratio else "")


@dataclass(frozen=True)
class Chosen:
    """A fitted model, its penalty, and its log-likelihood per validation row (None without validation events)."""

    model: Any
    penalty: Penalty
    score: float | None


def table(x: np.ndarray, time: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Return columns and outcome of one cause as lifelines wants them.

    Columns are named by their place, with leading zeros: lifelines sorts names, and takes some for its own.
    """
    x = np.asarray(x, dtype=np.float64)
    frame = pd.DataFrame(x, columns=names_of(x.shape[1]))
    return frame.assign(**{DURATION: np.asarray(time, dtype=np.float64), EVENT: event})


def names_of(columns: int) -> list[str]:
    """Return the names of a table's columns."""
    return [f"x{i:06d}" for i in range(columns)]


def varying(train: pd.DataFrame, validation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables without the columns that are the same in all training rows.

    Parts of the training rows, as an ensemble fits, have such columns where all rows together have none. They have no
    effect, and lifelines would divide by their standard deviation.
    """
    columns = train.columns.drop([DURATION, EVENT])
    constant = columns[(train[columns].max() == train[columns].min()).to_numpy()]
    return train.drop(columns=constant), validation.drop(columns=constant)


def quietly(fit: Callable[[], Any]) -> Any | None:
    """Return a fit's model, or None when it does not converge: a fit that the library doubts is one that failed."""
    with warnings.catch_warnings():
        # In the attempts of a line search numbers may overflow; what counts is whether the fit ends well. This filter
        # comes first, since later ones win, and lifelines' warnings are of this class too.
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("error", ConvergenceWarning)
        # Its advice on columns of low variance is none: rare categories are such columns.
        warnings.filterwarnings("ignore", message="Column.*very low variance", category=ConvergenceWarning)
        try:
            model = fit()
        except (ConvergenceError, ConvergenceWarning, np.linalg.LinAlgError):
            return None
    return model if np.isfinite(model.params_).all() else None


def choose(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    penalties: Iterable[Penalty],
    *,
    fit: Callable[[pd.DataFrame, Penalty, Any], Any | None],
    name: str,
    cause: int,
) -> Chosen | None:
    """Fit one cause with each penalty and keep the model with the best likelihood of the validation rows.

    Parameters
    ----------
    train, validation : DataFrame
        From `table`.
    penalties : iterable of Penalty
        Strengths from the largest down, for one l1_ratio after the other: each fit is the start of the next, and
        without validation events the first that converges is kept.
    fit : callable
        From rows, penalty and the model before (None for the first) to a fitted model, or None when there is none.
    name : str
        Of the model, for messages.
    cause : int

    Returns
    -------
    Chosen or None
        None when no training row has the event: the hazard is zero.

    Raises
    ------
    DataError
        When no penalty converges.
    """
    events = int(train[EVENT].sum())
    if events == 0:
        logger.info("cause %d has no training events: its hazard is zero", cause)
        return None
    judged = bool(validation[EVENT].any())
    best, before = None, None
    for penalty in penalties:
        model = fit(train, penalty, before)
        if model is None:
            logger.warning("cause %d: %s with penalty %s does not converge; others remain", cause, name, penalty)
            continue
        before = model
        if not judged:
            logger.warning("cause %d has no validation events: the largest penalty %s is kept", cause, penalty)
            return Chosen(model, penalty, None)
        score = float(model.score(validation, scoring_method="log_likelihood"))
        score = score if np.isfinite(score) else -np.inf
        if best is None or score > best.score:
            best = Chosen(model, penalty, score)
    if best is None:
        raise DataError(
            f"{name} of cause {cause}",
            f"no penalty of {sorted({penalty.strength for penalty in penalties})} converges on {len(train)} training "
            f"subjects with {events} events and {train.shape[1] - 2} columns",
            "Give a larger penalty (models.<name>.penalty, such as 1.0), or fewer columns",
        )
    return best

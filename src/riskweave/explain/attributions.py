"""Why one subject's risk differs from the mean: Shapley values of its columns, feature sets or modalities.

An attribution says what the model makes of the values. It is no cause, and no advice what to change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riskweave.explain.rows import Predict, Rows, Unit

__all__ = ["Attributions", "shapley_attributions"]


@dataclass(frozen=True)
class Attributions:
    """Shapley values of some subjects.

    Attributes
    ----------
    shares : (subjects, units, horizons) float64 array
        What each unit adds to the risk. Their sum over units is risk minus mean risk, to rounding.
    error : array of the same shape
        Standard error of the sampling: over orders and background rows.
    risk : (subjects, horizons) array
    mean_risk : (horizons,) array
        Of the background rows.
    """

    shares: np.ndarray
    error: np.ndarray
    risk: np.ndarray
    mean_risk: np.ndarray


def _orders(units: int, background: int, rounds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return orders (m, units), each followed by its reverse, and the background row that each starts from."""
    forward = np.stack([rng.permutation(units) for _ in range(background * rounds)])
    both = np.stack([forward, forward[:, ::-1]], axis=1).reshape(-1, units)
    return both, np.repeat(np.tile(np.arange(background), rounds), 2)


def _walk(
    predict: Predict, *, subject: Rows, background: Rows, units: Sequence[Unit], orders: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Return what each unit adds on each way from a background row to the subject: (ways, units, horizons)."""
    ways, steps = len(orders), len(units) + 1
    place = np.argsort(orders, axis=1)
    # Row w * steps + s is way w after s units have taken the subject's values.
    taken = place[:, None, :] < np.arange(steps)[None, :, None]
    taken = taken.reshape(ways * steps, len(units))
    own = background.take(np.repeat(starts, steps))
    other = subject.take(np.zeros(ways * steps, dtype=np.int64))
    chosen = {column: taken[:, u] for u, unit in enumerate(units) for column in unit.columns}
    risks = predict(own.mixed(other, chosen)).reshape(ways, steps, -1)
    added = np.diff(risks, axis=1)
    return np.take_along_axis(added, place[:, :, None], axis=1)


def shapley_attributions(
    predict: Predict,
    subjects: Rows,
    background: Rows,
    units: Sequence[Unit],
    *,
    rounds: int = 1,
    seed: int = 1,
) -> Attributions:
    """Attribute the difference between each subject's risk and the mean risk to its units.

    The game is that of Lundberg and Lee (NeurIPS 2017): units outside a coalition have the values of a background row
    (interventional). Its Shapley values are sampled by walks from a background row to the subject, unit by unit in a
    random order and in its reverse (Strumbelj and Kononenko, Knowl Inf Syst 2014;41:647; antithetic pairs as Mitchell
    et al., J Mach Learn Res 2022;23:43). Every background row starts equally many walks, so that a subject's values
    sum to its risk minus the background's mean risk exactly, whatever the number of walks.

    A row on the way has a modality once some column of it comes from a row that has it; columns that the subject lacks
    are then missing. Taking a modality away from a background row that has it ends with the last of its columns.

    Parameters
    ----------
    predict : callable
        See `riskweave.explain.rows.Predict`.
    subjects : Rows
        To be explained.
    background : Rows
        Training rows that stand for the population: 50 to 200, drawn at random.
    units : sequence of Unit
        Of one level, together all columns that the model reads.
    rounds : int
        Walks from each background row, besides their reverses.
    seed : int
        The same orders serve every subject.

    Returns
    -------
    Attributions
    """
    orders, starts = _orders(len(units), len(background), rounds, np.random.default_rng(seed))
    values, errors = [], []
    for position in range(len(subjects)):
        subject = subjects.take(np.array([position]))
        added = _walk(predict, subject=subject, background=background, units=units, orders=orders, starts=starts)
        values.append(added.mean(axis=0))
        # A way and its reverse are one draw.
        pairs = added.reshape(-1, 2, *added.shape[1:]).mean(axis=1)
        spread = pairs.std(axis=0, ddof=1) if len(pairs) > 1 else np.full(pairs.shape[1:], np.nan)
        errors.append(spread / np.sqrt(len(pairs)))
    return Attributions(
        shares=np.stack(values),
        error=np.stack(errors),
        risk=predict(subjects),
        mean_risk=predict(background).mean(axis=0),
    )

"""Permutation importance: what the predictions lose when a column, a feature set or a modality tells nothing any more.

The model stays as it is and is asked again about test rows in which the values have changed places. That measures what
this model relies on, not what could be predicted, and not what causes the outcome. Two permutations answer different
questions:

``marginal``
    Values change places among all rows that have the modality (Breiman, Mach Learn 2001;45:5; Fisher, Rudin and
    Dominici, J Mach Learn Res 2019;20:177). Where columns hang together, it asks the model about people who do not
    exist, and counts what a column shares with others as its own.
``conditional``
    Values change places only among rows alike in all other columns: in the leaves of a regression tree of the column on
    the others (conditional subgroups: Molnar et al., Data Min Knowl Discov 2024;38:2903; after Strobl et al., BMC
    Bioinformatics 2008;9:307). What is left is the column's own share. Leaves are not points: part of a close
    dependence remains in them, so that the figure lies between the marginal one and the truth.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.evaluation.variances import brier_influence, concordance_influence, normal_interval, standard_error
from riskweave.explain.rows import Explained, Observed, Rows, Unit
from riskweave.explain.subgroups import subgroups

__all__ = ["FEWEST", "METHODS", "permutation_importance", "predict_all", "shuffled"]

FEWEST = 10
"""Fewest people of which anything is told."""

MOST_ROWS = 20_000
"""Rows that a model is asked about at once."""

SAME = 1e-6
"""Risks that differ by less are the same: networks round otherwise in batches of another size."""

METHODS = ("marginal", "conditional")
METRICS = ("harrell_c", "brier")


@dataclass(frozen=True)
class _Score:
    """A metric at each horizon and the influence of each subject on it: (horizons,) and (n, horizons)."""

    estimate: np.ndarray
    influence: np.ndarray


def _scores(observed: Observed, risks: np.ndarray, horizons: Sequence[int]) -> dict[str, _Score]:
    """Return both metrics as losses of risks (n, horizons): larger is worse."""
    outcome = {"time": observed.time, "event": observed.event}
    pairs = [concordance_influence(**outcome, risk=risks[:, h]) for h in range(len(horizons))]
    discordance = _Score(np.array([-pair[0] for pair in pairs]), -np.column_stack([pair[1] for pair in pairs]))
    return {
        "harrell_c": discordance,
        "brier": _Score(*brier_influence(**outcome, risk=risks, times=np.array(horizons))),
    }


def predict_all(folds: Sequence[Explained], rows: Sequence[Rows], subjects: int) -> np.ndarray:
    """Return the risks (subjects, horizons) of all folds' rows, each by the model of its fold."""
    parts = [fold.predict(part) for fold, part in zip(folds, rows, strict=True)]
    risks = np.full((subjects, parts[0].shape[1]), np.nan)
    for fold, part in zip(folds, parts, strict=True):
        risks[fold.places] = part
    return risks


def shuffled(rows: Rows, unit: Unit, rng: np.random.Generator, strata: np.ndarray | None = None) -> Rows:
    """Return rows in which the values of a unit have changed places, together.

    Each row gets the values of another one: a random cycle through all of them. Rows that lack the modality, or have
    other feature sets of it than the rest, stay among themselves, so that nobody gains or loses a modality.

    Parameters
    ----------
    rows : Rows
    unit : Unit
    rng : Generator
    strata : (n,) array of int, optional
        Values change places within a stratum only.
    """
    return _exchanged(rows, unit, [_donors(len(rows), _alike(rows, unit, strata), rng)])


def _alike(rows: Rows, unit: Unit, strata: np.ndarray | None) -> list[np.ndarray]:
    """Return the positions of rows among which values may change places: same feature sets and stratum."""
    has = np.column_stack([rows.present[name] for name in unit.sets])
    group = np.zeros(len(rows), dtype=np.int64)
    for key in has.T if strata is None else [*has.T, strata]:
        levels, place = np.unique(key, return_inverse=True)
        group = np.unique(group * len(levels) + place, return_inverse=True)[1]
    return [np.flatnonzero(group == number) for number in np.unique(group[has.any(axis=1)])]


def _donors(n: int, alike: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return from which of n rows each gets its values: (n,)."""
    donors = np.arange(n)
    for positions in alike:
        order = rng.permutation(positions)
        donors[order] = np.roll(order, 1)
    return donors


def _exchanged(rows: Rows, unit: Unit, donors: Sequence[np.ndarray]) -> Rows:
    """Return the rows with the values of their donors, once for each of several exchanges, one under the other."""
    everywhere = np.ones(len(rows) * len(donors), dtype=bool)
    own = rows if len(donors) == 1 else rows.take(np.tile(np.arange(len(rows)), len(donors)))
    return own.mixed(rows.take(np.concatenate(donors)), dict.fromkeys(unit.columns, everywhere))


def _generator(seed: int, unit: Unit, *numbers: int) -> np.random.Generator:
    """Return the random numbers of a unit: the same whatever other units there are."""
    label = zlib.crc32(f"{unit.level}/{unit.feature_set}/{unit.name}".encode())
    return np.random.default_rng([seed, label, *numbers])


def _lost(
    folds: Sequence[Explained],
    observed: Observed,
    unit: Unit,
    *,
    base: np.ndarray,
    horizons: Sequence[int],
    repeats: int,
    seed: int,
    method: str,
) -> dict[str, _Score] | None:
    """Return the mean of the metrics over the permutations; None where none changes any prediction."""
    strata: list[np.ndarray | None] = [None] * len(folds)
    if method == "conditional":
        strata = [subgroups(fold.rows, unit, fold.background) for fold in folds]
    # All permutations in one call: most of a prediction's time is spent before the first row.
    found = np.full((repeats, *base.shape), np.nan)
    for fold, stratum in zip(folds, strata, strict=True):
        alike = _alike(fold.rows, unit, stratum)
        exchanges = [
            _donors(len(fold.rows), alike, _generator(seed, unit, repeat, fold.fold)) for repeat in range(repeats)
        ]
        at_once = max(1, MOST_ROWS // max(len(fold.rows), 1))
        for start in range(0, repeats, at_once):
            part = exchanges[start : start + at_once]
            risks = fold.predict(_exchanged(fold.rows, unit, part))
            found[start : start + len(part), fold.places] = risks.reshape(len(part), len(fold.rows), -1)
    if np.abs(found - base).max() < SAME:
        return None
    total: dict[str, _Score] = {}
    for risks in found:
        for metric, score in _scores(observed, risks, horizons).items():
            before = total.get(metric, _Score(np.zeros(len(horizons)), np.zeros(score.influence.shape)))
            total[metric] = _Score(
                before.estimate + score.estimate / repeats, before.influence + score.influence / repeats
            )
    return total


def _rows_of(
    unit: Unit, method: str, *, n: int | None, numbers: dict[str, np.ndarray], horizons: Sequence[int]
) -> list[dict]:
    told = {
        "level": unit.level,
        "name": unit.name,
        "feature_set": unit.feature_set or None,
        "modality": unit.modality,
        "method": method,
    }
    return [
        told | {"metric": metric, "horizon": horizon, "n": n}
        | dict(zip(("estimate", "lower", "upper"), numbers[metric][:, h], strict=True))
        for metric in METRICS
        for h, horizon in enumerate(horizons)
    ]  # fmt: skip


def permutation_importance(
    folds: Sequence[Explained],
    observed: Observed,
    units: Sequence[Unit],
    *,
    horizons: Sequence[int],
    repeats: int = 5,
    seed: int = 1,
    methods: Sequence[str] = METHODS,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Measure what the predictions lose when units tell nothing any more.

    Metrics are those of the evaluation, on the test rows of all folds together, each predicted by its own fold: the
    concordance of the risk at a horizon (Harrell's; its loss) and the Brier score there (its rise). Values change
    places within a fold. The estimate is the mean over the permutations; its interval is analytic, over people, from
    the influences of subjects on the difference, and holds what the permutations add: it assumes a hundred people or
    more, and does not cover the training of other models.

    Parameters
    ----------
    folds : sequence of Explained
    observed : Observed
        What happened to the subjects that the folds' places point to; each is a row of one fold.
    units : sequence of Unit
        See `riskweave.explain.rows.units_of`.
    horizons : sequence of int
        Days of the columns that `predict` returns, increasing.
    repeats : int
        Permutations of each unit and method.
    seed : int
        A unit's permutations depend on it and on the unit alone.
    methods : sequence of {"marginal", "conditional"}
    confidence : float

    Returns
    -------
    DataFrame
        level, name, feature_set, modality, method, metric, horizon, n (subjects who have the modality), estimate,
        lower, upper: above 0 the unit is of use. Everything is null where fewer than 10 people have the modality, and n
        where fewer than 10 lack it; conditional figures are missing where nothing but sparse histories is permuted.
    """
    base = predict_all(folds, [fold.rows for fold in folds], len(observed.time))
    reference = _scores(observed, base, horizons)
    found = []
    for unit in units:
        has = np.zeros(len(observed.time), dtype=bool)
        for fold in folds:
            has[fold.places] = np.any([fold.rows.present[name] for name in unit.sets], axis=0)
        shown = len(np.unique(observed.people[has])) >= FEWEST
        counted = shown and not 0 < len(np.unique(observed.people[~has])) < FEWEST
        for method in methods:
            if method == "conditional" and all(column in folds[0].rows.opaque for column in unit.columns):
                continue
            numbers = {metric: np.full((3, len(horizons)), np.nan) for metric in METRICS}
            if shown:
                lost = _lost(
                    folds, observed, unit, base=base, horizons=horizons, repeats=repeats, seed=seed, method=method
                )
                for metric in METRICS:
                    numbers[metric] = _interval(lost and lost[metric], reference[metric], observed.people, confidence)
            found += _rows_of(unit, method, n=int(has.sum()) if counted else None, numbers=numbers, horizons=horizons)
    return pd.DataFrame(found).astype({"horizon": "Int64", "n": "Int64"})


def _interval(lost: _Score | None, reference: _Score, people: np.ndarray, confidence: float) -> np.ndarray:
    """Return estimate and bounds (3, horizons) of a loss."""
    if lost is None:
        return np.zeros((3, len(reference.estimate)))
    estimate = lost.estimate - reference.estimate
    error = standard_error(lost.influence - reference.influence, people)
    return np.stack([estimate, *normal_interval(estimate, error, confidence)])

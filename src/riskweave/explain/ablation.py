"""What each modality adds, from experiments with all subsets of them: Shapley's division of the concordance.

Models are trained without the modality here, so that others may take its place: the question is what a modality is
worth to a study. Permutation importance (:mod:`riskweave.explain.importance`) tells what one trained model relies on.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.evaluation import kernel
from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.metrics import risk_ranks
from riskweave.evaluation.resampled import in_threads, weight_rows
from riskweave.explain.rows import Observed
from riskweave.study.subsets import MOST_PLAYERS

__all__ = ["missing_subsets", "shapley_shares", "shapley_weights", "subsets_of"]

TOTAL = "all"


def subsets_of(players: Sequence[str]) -> list[frozenset[str]]:
    """Return all subsets, the empty one first, then by size and in the order of the players."""
    return [frozenset(part) for size in range(len(players) + 1) for part in combinations(players, size)]


def missing_subsets(found: Iterable[frozenset[str]], players: Sequence[str]) -> list[str]:
    """Return the non-empty subsets that are not among those found, as ``ehr+ecg``."""
    present = set(found)
    order = list(players)
    return ["+".join(sorted(part, key=order.index)) for part in subsets_of(players) if part and part not in present]


def _weights(players: Sequence[str]) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return (player, measure) and, as rows, the weights by which the values of `subsets_of` make each."""
    subsets = subsets_of(players)
    at = {subset: place for place, subset in enumerate(subsets)}
    whole = frozenset(players)
    named, rows = [(player, "share") for player in players], list(shapley_weights(players))
    pairs = [(player, "alone", frozenset([player]), frozenset()) for player in players]
    pairs += [(player, "last", whole, whole - {player}) for player in players]
    for player, measure, gained, before in [*pairs, (TOTAL, "share", whole, frozenset())]:
        row = np.zeros(len(subsets))
        row[at[gained]], row[at[before]] = 1.0, -1.0
        named.append((player, measure))
        rows.append(row)
    return named, np.stack(rows)


def shapley_weights(players: Sequence[str]) -> np.ndarray:
    """Return the weights (players, subsets) by which the values of `subsets_of` make each player's share.

    A player's share is the mean, over all orders in which players may come, of what it adds to those before it (Shapley
    1953, Contributions to the Theory of Games II:307).
    """
    subsets, n = subsets_of(players), len(players)
    weights = np.zeros((n, len(subsets)))
    for p, player in enumerate(players):
        for s, subset in enumerate(subsets):
            inside = player in subset
            before = len(subset) - inside
            size = factorial(before) * factorial(n - before - 1) / factorial(n)
            weights[p, s] = size if inside else -size
    return weights


def _concordances(
    risks: Sequence[np.ndarray | None], observed: Observed, rows: np.ndarray | None, threads: int
) -> np.ndarray:
    """Return Harrell's concordance of each risk (resamples, risks); 0.5 for the one that is None."""
    outcomes = sort_outcomes(observed.time, observed.event)
    weights = weight_rows(rows, outcomes)
    values = np.full((len(weights), len(risks)), 0.5)

    def harrell(part: np.ndarray, rank: np.ndarray) -> np.ndarray:
        uncensored = np.ones((len(part), part.shape[1] + 1))
        limits = np.zeros(0, dtype=np.int64)
        return kernel.concordance(rank, outcomes.kind, outcomes.starts, part, uncensored, limits)[:, 0]

    for s, risk in enumerate(risks):
        if risk is not None:
            rank = risk_ranks(np.asarray(risk, dtype=float))[outcomes.order]
            values[:, s] = in_threads(lambda part, rank=rank: harrell(part, rank), weights, threads)
    return values


def _checked(
    risks: Mapping[frozenset[str], np.ndarray], players: Sequence[str], base: np.ndarray | None, n: int
) -> list[np.ndarray | None]:
    """Return the risks of all subsets in order, the base first."""
    if not 0 < len(players) <= MOST_PLAYERS or len(set(players)) < len(players):
        raise ValueError(f"1 to {MOST_PLAYERS} different players, found {len(players)}")
    lacking = missing_subsets(risks, players)
    if lacking:
        raise DataError(
            "all-subsets ablation",
            f"{len(lacking)} of {2 ** len(players) - 1} subsets have no experiment: {', '.join(lacking[:20])}",
            "Shapley shares need an experiment of each subset: use `all_subsets_of`, with one model and one fusion",
        )
    ordered = [base, *(risks[subset] for subset in subsets_of(players) if subset)]
    for risk in ordered:
        if risk is not None and (np.shape(risk) != (n,) or not np.all(np.isfinite(risk))):
            raise ValueError(f"risks are finite numbers of the same {n} subjects, found shape {np.shape(risk)}")
    return ordered


def shapley_shares(
    risks: Mapping[frozenset[str], np.ndarray],
    observed: Observed,
    players: Sequence[str],
    *,
    base: np.ndarray | None = None,
    count: int = 1000,
    seed: int = 1,
    confidence: float = 0.95,
    threads: int = 1,
) -> pd.DataFrame:
    """Divide the concordance of the experiment with everything among the modalities.

    The value of a subset is Harrell's concordance of its experiment, on the same subjects for all; that of none is 0.5,
    or the concordance of `base`. Shares are exact: no subset is left out or sampled. They sum to what the experiment
    with everything has beyond the base, in every resample too. Intervals are percentile intervals over people, paired
    over the subsets; they do not cover training again.

    Parameters
    ----------
    risks : mapping of frozenset of players to (n,) array
        Risk at a horizon by the experiment with these, for every non-empty subset.
    observed : Observed
        Outcomes of the n subjects.
    players : sequence of str
        Modalities or feature sets, 8 at most.
    base : (n,) array, optional
        Risk by what every experiment has beside the players (`always` in the study).
    count, seed, confidence, threads
        Of the resamples.

    Returns
    -------
    DataFrame
        name, measure, estimate, lower, upper. Of each player its ``share``, and what it adds ``alone`` (to the base)
        and ``last`` (to all others), the two ends of what shares average; then the ``share`` of ``all``, the sum.
        Above 0 it adds discrimination.

    Raises
    ------
    DataError
        When subsets are missing; says which.
    """
    ordered = _checked(risks, players, base, len(observed.time))
    named, weights = _weights(players)
    estimate = _concordances(ordered, observed, None, threads)[0] @ weights.T
    drawn = [
        _concordances(ordered, observed, rows, threads) @ weights.T
        for rows in resamples(people=observed.people, count=count, seed=seed)
    ]
    lower, upper = percentile_interval(np.concatenate(drawn), confidence)
    told = pd.DataFrame(named, columns=["name", "measure"])
    return told.assign(estimate=estimate, lower=lower, upper=upper)

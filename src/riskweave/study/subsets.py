"""Experiments of all subsets of some feature sets, which divide a concordance among them."""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riskweave.study.experiments import Experiment
    from riskweave.study.study import Study

__all__ = ["MOST_PLAYERS", "Family", "check_shapley", "complete_families"]

MOST_PLAYERS = 8
"""Feature sets whose subsets are all needed: 255 experiments."""


@dataclass(frozen=True)
class Family:
    """An experiment and those of all subsets of its feature sets, of one model and one fusion.

    Attributes
    ----------
    experiment : str
        The one with everything.
    players : tuple of str
        Feature sets among which is divided, in the order of the study file.
    base : str or None
        Experiment with nothing but what all of them have (`always`), where there is such.
    members : dict of str to str
        From a subset, as ``ehr+ecg``, to its experiment.
    missing : tuple of str
        Subsets without an experiment; what all have among them.
    """

    experiment: str
    players: tuple[str, ...]
    base: str | None
    members: dict[str, str]
    missing: tuple[str, ...]


class _Matrix:
    """The experiments of an endpoint, found by what they are made of."""

    def __init__(self, study: "Study", endpoint: str):
        self.experiments = study.of_endpoint(endpoint)
        self._names: dict[tuple[frozenset[str], str, str], str] = {}
        for each in self.experiments:
            self._names.setdefault((frozenset(each.feature_sets), each.model, each.fusion), each.name)

    def find(self, sets: tuple[str, ...], like: "Experiment") -> str | None:
        """Return the experiment of these feature sets; a single one has nothing to fuse, and may be an early one."""
        found = self._names.get((frozenset(sets), like.model, like.fusion))
        return found or (self._names.get((frozenset(sets), like.model, "early")) if len(sets) == 1 else None)


def _family(matrix: _Matrix, whole: "Experiment", always: tuple[str, ...]) -> Family:
    players = tuple(name for name in whole.feature_sets if name not in always)
    members, missing = {}, []
    base = matrix.find(always, whole) if always else None
    if always and base is None:
        missing.append("+".join(always))
    for size in range(1, len(players) + 1):
        for subset in combinations(players, size):
            sets = (*always, *subset)
            found = whole.name if size == len(players) else matrix.find(sets, whole)
            if found is None:
                missing.append("+".join(sets))
            else:
                members["+".join(subset)] = found
    return Family(whole.name, players, base, members, tuple(missing))


def _families(study: "Study", endpoint: str) -> list[Family]:
    """Return the families of `all_subsets_of` and of `evaluation.shapley`, with what they lack."""
    matrix = _Matrix(study, endpoint)
    always_of = {
        frozenset({*block.all_subsets_of, *block.always}): tuple(block.always)
        for block in study.experiments.values()
        if block.all_subsets_of
    }
    wanted = [
        each
        for each in matrix.experiments
        if each.name in study.evaluation.shapley or frozenset(each.feature_sets) in always_of
    ]
    sizes = [(each, always_of.get(frozenset(each.feature_sets), ())) for each in wanted]
    return [
        _family(matrix, each, always)
        for each, always in sizes
        if 2 <= len(set(each.feature_sets) - set(always)) <= MOST_PLAYERS
    ]


def complete_families(study: "Study", endpoint: str) -> list[Family]:
    """Return the families of an endpoint that lack no subset.

    Those are all of the study's `all_subsets_of` with 2 to 8 feature sets (with `always`, where an experiment has that
    alone), and those of the experiments under `evaluation.shapley`.
    """
    return [family for family in _families(study, endpoint) if not family.missing]


def check_shapley(study: "Study") -> list[str]:
    """Return a line for each experiment under `evaluation.shapley` that cannot be divided."""
    key, problems = "evaluation.shapley", []
    for endpoint in study.endpoints:
        found = {family.experiment: family for family in _families(study, endpoint)}
        for each in study.of_endpoint(endpoint):
            if each.name not in study.evaluation.shapley:
                continue
            family = found.get(each.name)
            if family is None:
                problems.append(
                    f"{key}: {each.name!r} has {len(each.feature_sets)} feature sets. Between 2 and {MOST_PLAYERS} can "
                    "share its concordance"
                )
            elif family.missing:
                shown = ", ".join(family.missing[:10]) + (", ..." if len(family.missing) > 10 else "")
                problems.append(
                    f"{key}: {each.name!r} needs an experiment of every subset of its feature sets, with model "
                    f"{each.model!r} and fusion {each.fusion!r}. Endpoint {endpoint!r} lacks {len(family.missing)}: "
                    f"{shown}. Add them, or use `all_subsets_of: [{', '.join(family.players)}]`"
                )
    return problems

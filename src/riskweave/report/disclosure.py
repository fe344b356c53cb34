"""Disclosure control of counts: small ones are not shown, nor others from which they would follow.

Counts of a report hang together: groups add up to totals, steps of a selection to the number they began with. A reader
who knows these sums can compute a count that was left out when too little else was. The counts are therefore kept with
their sums (:class:`Counts`), and what a reader can work out is a linear programme: the lowest and the highest value of
a count that agree with all that is shown.

:func:`protect` leaves out every count from 1 to below the threshold, and then further ones until that range reaches,
for each small count, from 0 to the threshold or above. Which further ones: those that a least change of the shown
counts moves when the small count is moved to either end (the network flow heuristic of complementary suppression:
Fischetti and Salazar-Gonzalez, Oper Res 2001;49:405; Hundepool et al., Statistical Disclosure Control, Wiley 2012,
chapter 4); those that turn out not to be needed are shown again. :func:`intervals` computes the ranges on its own and
is the audit. All counts that are not shown carry the same mark, so the mark does not tell which of them are small.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

__all__ = ["Counts", "intervals", "is_small", "protect", "protect_around", "unprotected"]

TOLERANCE = 1e-6
# How dear it is to leave out a count: sums are dearer than their parts, fixed counts are left out last.
FIXED = 1e6


def is_small(count: int, threshold: int) -> bool:
    """Tell whether a count is from 1 to below the threshold."""
    return 0 < count < threshold


@dataclass
class Counts:
    """Counts of subjects and the sums that tie them.

    Attributes
    ----------
    cells : dict of key to int
        The counts; none is negative.
    sums : list of (key, list of keys)
        Each total with its parts.
    weights : dict of key to float
        How dear it is to leave a count out; 1 where none is given.
    fixed : set of key
        Counts that the report shows elsewhere, and which can therefore not be left out.
    hidden : set of key
        Counts that are not shown anywhere, but must not follow from others either.
    """

    cells: dict[Hashable, int] = field(default_factory=dict)
    sums: list[tuple[Hashable, list[Hashable]]] = field(default_factory=list)
    weights: dict[Hashable, float] = field(default_factory=dict)
    fixed: set[Hashable] = field(default_factory=set)
    hidden: set[Hashable] = field(default_factory=set)

    def add(
        self, key: Hashable, value: int, *, weight: float = 1.0, fixed: bool = False, hidden: bool = False
    ) -> Hashable:
        """Add a count and return its key; a count that is there already must be the same."""
        value = int(value)
        if value < 0 or self.cells.get(key, value) != value:
            raise ValueError(f"count {key!r} is negative or differs from an earlier one of that key")
        self.cells[key] = value
        self.weights[key] = max(weight, self.weights.get(key, 0.0))
        if fixed:
            self.fixed.add(key)
        if hidden:
            self.hidden.add(key)
        return key

    def total(self, key: Hashable, parts: Iterable[Hashable]) -> None:
        """State that a count is the sum of others, all of which were added before."""
        parts = list(parts)
        if self.cells[key] != sum(self.cells[part] for part in parts):
            raise ValueError(f"count {key!r} is not the sum of its parts")
        self.sums.append((key, parts))

    def difference(self, key: Hashable, one: Hashable, other: Hashable, *, both: int) -> None:
        """State that two counts are of overlapping subjects: who is in one and not in the other must not follow.

        Parameters
        ----------
        key : hashable
            Name of the overlap.
        one, other : hashable
            The counts, added before.
        both : int
            Subjects that are in both. Where one lies wholly within the other, readers are taken to know it.
        """
        common = self.add((key, "both"), both, hidden=True)
        for side, total in (("one", one), ("other", other)):
            alone = self.cells[total] - both
            parts = [common] if alone == 0 else [common, self.add((key, side), alone, hidden=True)]
            self.total(total, parts)

    def small(self, threshold: int) -> list[Hashable]:
        """Return the keys of the counts from 1 to below the threshold, fixed ones excepted."""
        return [k for k, value in self.cells.items() if is_small(value, threshold) and k not in self.fixed]


class _System:
    """The sums as a matrix, with what a reader can work out from a set of shown counts."""

    def __init__(self, counts: Counts):
        self.keys = list(counts.cells)
        self.place = {key: i for i, key in enumerate(self.keys)}
        self.values = np.array([counts.cells[key] for key in self.keys], float)
        rows = np.zeros((len(counts.sums), len(self.keys)))
        for r, (total, parts) in enumerate(counts.sums):
            rows[r, self.place[total]] -= 1
            for part in parts:
                rows[r, self.place[part]] += 1
        self.rows = rows

    def _component(self, cell: int, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums and the free counts that hang together with a free count."""
        used = self.rows != 0
        members = np.zeros(len(self.keys), bool)
        members[cell] = True
        while True:
            sums = used[:, members].any(axis=1)
            grown = used[sums].any(axis=0) & free
            grown[cell] = True
            if (grown == members).all():
                return np.flatnonzero(sums), np.flatnonzero(members)
            members = grown

    def interval(self, cell: int, free: np.ndarray) -> tuple[float, float]:
        """Return the lowest and the highest value of a count that agree with the counts that are not free."""
        if not free[cell]:
            return self.values[cell], self.values[cell]
        sums, members = self._component(cell, free)
        if len(sums) == 0:
            return 0.0, np.inf
        left = self.rows[np.ix_(sums, members)]
        right = -(self.rows[sums] @ np.where(free, 0.0, self.values))
        goal = (members == cell).astype(float)
        bounds = []
        for sign in (1.0, -1.0):
            found = linprog(sign * goal, A_eq=left, b_eq=right, bounds=(0, None), method="highs")
            if found.status == 3:  # unbounded
                bounds.append(np.inf)
            elif found.status == 0:
                bounds.append(abs(found.fun))
            else:
                raise ValueError("the shown counts contradict their sums")
        return bounds[0], bounds[1]

    def covered(self, cell: int, free: np.ndarray, threshold: int) -> bool:
        """Tell whether a count can be anything from 0 to the threshold."""
        low, high = self.interval(cell, free)
        return low <= TOLERANCE and high >= threshold - TOLERANCE

    def move(self, cell: int, target: tuple[float, float | None], free: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return which shown counts change when a count is moved to a range by the least weighted change of them."""
        shown = np.flatnonzero(~free)
        n, m = len(self.keys), len(shown)
        # the values, then what is added to and taken from each shown count
        moves = np.zeros((m, n + 2 * m))
        moves[np.arange(m), shown] = 1
        moves[np.arange(m), n + np.arange(m)] = -1
        moves[np.arange(m), n + m + np.arange(m)] = 1
        sums = np.hstack([self.rows, np.zeros((len(self.rows), 2 * m))])
        bounds: list[tuple[float, float | None]] = [(0, None)] * (n + 2 * m)
        bounds[cell] = target
        found = linprog(
            np.concatenate([np.zeros(n), weights[shown], weights[shown]]),
            A_eq=csr_array(np.vstack([sums, moves])),
            b_eq=np.concatenate([np.zeros(len(sums)), self.values[shown]]),
            bounds=bounds,
            method="highs",
        )
        if found.status != 0:
            raise ValueError("the sums admit no other value of a small count")
        changed = np.abs(found.x[:n] - self.values) > TOLERANCE
        return changed & ~free


def protect(counts: Counts, threshold: int) -> set[Hashable]:
    """Choose which counts can be shown.

    Parameters
    ----------
    counts : Counts
    threshold : int
        Counts from 1 to below it are small. With 1 everything is shown.

    Returns
    -------
    set of key
        What can be shown: none of it small, and each small count could still be anything from 0 to the threshold.
        Fixed counts are missing from it only where nothing else would do.
    """
    small = counts.small(threshold)
    shown = {key for key in counts.cells if key not in counts.hidden}
    if not small:
        return shown
    system = _System(counts)
    free = np.array([key not in shown or key in set(small) for key in system.keys])
    weights = np.array([FIXED if key in counts.fixed else counts.weights[key] for key in system.keys])
    weights = weights * np.where(system.values == 0, 3.0, 1.0)
    cells = [system.place[key] for key in small]
    added: list[int] = []
    for cell in sorted(cells, key=lambda c: (system.values[c], c)):
        for target in ((float(threshold), None), (0.0, 0.0)):
            low, high = system.interval(cell, free)
            enough = high >= threshold - TOLERANCE if target[1] is None else low <= TOLERANCE
            if not enough:
                changed = np.flatnonzero(system.move(cell, target, free, weights))
                free[changed] = True
                added += changed.tolist()
    # what turned out not to be needed is shown again, the dearest first
    for cell in sorted(added, key=lambda c: (-weights[c], -system.values[c], c)):
        free[cell] = False
        if not all(system.covered(other, free, threshold) for other in cells):
            free[cell] = True
    return {key for key, left_out in zip(system.keys, free, strict=True) if not left_out}


def protect_around(counts: Counts, threshold: int) -> set[Hashable]:
    """Choose which counts can be shown next to the fixed ones; none where the fixed ones leave no room for it.

    Parameters
    ----------
    counts : Counts
    threshold : int
        As in :func:`protect`.
    """
    shown = protect(counts, threshold)
    return shown if counts.fixed <= shown else set(counts.fixed)


def intervals(counts: Counts, shown: Iterable[Hashable]) -> dict[Hashable, tuple[float, float]]:
    """Audit: what a reader who knows the sums can work out about the counts that are not shown.

    Parameters
    ----------
    counts : Counts
    shown : iterable of key
        The counts that the reader sees.

    Returns
    -------
    dict of key to (lowest, highest)
        The range of each count that is not shown.
    """
    system = _System(counts)
    shown = set(shown)
    free = np.array([key not in shown for key in system.keys])
    return {key: system.interval(i, free) for i, key in enumerate(system.keys) if free[i]}


def unprotected(counts: Counts, shown: Iterable[Hashable], threshold: int) -> Mapping[Hashable, tuple[float, float]]:
    """Return the small counts that are shown or whose range does not reach from 0 to the threshold, with the range."""
    shown = set(shown)
    ranges = intervals(counts, shown)
    cells = counts.cells
    small = {key: ranges.get(key, (cells[key], cells[key])) for key in counts.small(threshold)}
    return {k: (low, high) for k, (low, high) in small.items() if low > TOLERANCE or high < threshold - TOLERANCE}

"""Disclosure control: small counts are not shown and do not follow from what is, checked by trying all tables."""

import numpy as np
import pytest

from riskweave.report.disclosure import Counts, intervals, protect, protect_around, unprotected

THRESHOLD = 10


def _table(cells):
    """Return the counts of a two-way table with both margins and the total."""
    counts = Counts()
    rows, columns = cells.shape
    for i, j in np.ndindex(rows, columns):
        counts.add((i, j), cells[i, j])
    for i in range(rows):
        counts.add((i, "all"), cells[i].sum(), weight=3)
        counts.total((i, "all"), [(i, j) for j in range(columns)])
    for j in range(columns):
        counts.add(("all", j), cells[:, j].sum(), weight=3)
        counts.total(("all", j), [(i, j) for i in range(rows)])
    counts.add(("all", "all"), cells.sum(), weight=9)
    counts.total(("all", "all"), [(i, "all") for i in range(rows)])
    counts.total(("all", "all"), [("all", j) for j in range(columns)])
    return counts


@pytest.mark.parametrize("seed", range(25))
def test_no_small_count_of_a_random_table_follows_from_what_is_shown(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 6, size=2))
    cells = rng.choice([0, 1, 2, 4, 7, 9, 10, 15, 40, 300], size=shape)
    counts = _table(cells)
    shown = protect(counts, THRESHOLD)
    assert not any(0 < counts.cells[key] < THRESHOLD for key in shown)
    ranges = intervals(counts, shown)
    for key, value in counts.cells.items():
        if 0 < value < THRESHOLD:
            low, high = ranges[key]
            assert low == pytest.approx(0, abs=1e-6)
            assert high >= THRESHOLD - 1e-6
    # nothing was left out in vain: what is not shown cannot be worked out
    assert all(high - low > 0.5 for low, high in ranges.values())
    assert unprotected(counts, shown, THRESHOLD) == {}


def _agreeing(counts, shown, limit):
    """Return all 2 x 3 tables of numbers below a limit that agree with the shown counts, by trying every one."""
    tables = np.stack(np.meshgrid(*[np.arange(limit)] * 6, indexing="ij"), axis=-1).reshape(-1, 2, 3)
    for key in shown:
        i, j = ((slice(None) if part == "all" else slice(part, part + 1)) for part in key)
        tables = tables[tables[:, i, j].sum(axis=(1, 2)) == counts.cells[key]]
    return tables


@pytest.mark.parametrize("seed", range(6))
def test_ranges_are_those_of_all_tables_that_agree(seed):
    """The same question put to every table with whole numbers, without linear programming."""
    cells = np.random.default_rng(seed).integers(0, 6, size=(2, 3))
    counts = _table(cells)
    found = _agreeing(counts, protect(counts, 3), 8)
    assert (found == cells).all(axis=(1, 2)).any()
    for (i, j), value in np.ndenumerate(cells):
        if 0 < value < 3:
            assert found[:, i, j].min() == 0
            assert found[:, i, j].max() >= 3


def test_a_table_without_small_counts_is_shown_whole():
    counts = _table(np.array([[10, 0], [25, 400]]))
    assert protect(counts, THRESHOLD) == set(counts.cells)


def test_one_small_count_in_a_row_takes_another_with_it():
    counts = _table(np.array([[3, 40, 50], [60, 70, 80]]))
    shown = protect(counts, THRESHOLD)
    assert {key for key in counts.cells if key not in shown} >= {(0, 0)}
    assert len(counts.cells) - len(shown) == 4  # a rectangle: the least that hides one cell of a two-way table


def test_steps_of_a_selection_are_no_way_round():
    counts = Counts()
    counts.add("all", 2000, weight=5)
    previous = "all"
    for step, out in enumerate([3, 60, 0]):
        excluded = counts.add(("out", step), out)
        remaining = counts.add(("left", step), counts.cells[previous] - out, weight=9 if step == 2 else 1)
        counts.total(previous, [excluded, remaining])
        previous = remaining
    shown = protect(counts, THRESHOLD)
    assert ("out", 0) not in shown
    assert ("left", 2) in shown
    assert unprotected(counts, shown, THRESHOLD) == {}


def test_the_audit_finds_a_count_that_follows_from_a_margin():
    counts = _table(np.array([[3, 40], [60, 70]]))
    naive = {key for key, value in counts.cells.items() if not 0 < value < THRESHOLD}
    assert intervals(counts, naive)[(0, 0)] == pytest.approx((3, 3))
    assert (0, 0) in unprotected(counts, naive, THRESHOLD)


def test_two_small_counts_with_a_shown_sum_are_not_enough():
    """3 + 4 = 7: either could be recovered to within 7, and the sum is small itself."""
    counts = Counts()
    for key, value in {"a": 3, "b": 4, "c": 500}.items():
        counts.add(key, value)
    counts.add("all", 507)
    counts.total("all", ["a", "b", "c"])
    shown = protect(counts, THRESHOLD)
    assert shown == {"all"}


def test_fixed_counts_stay_and_hidden_ones_do_not_follow():
    """Two endpoints of nearly the same subjects: the difference of their tables tells on the few."""
    counts = Counts()
    counts.add("n1", 1000, fixed=True)
    counts.add("n2", 950, fixed=True)
    for level, (one, two) in {"f": (400, 396), "m": (600, 554)}.items():
        counts.add(("1", level), one)
        counts.add(("2", level), two)
        counts.difference(level, ("1", level), ("2", level), both=two)
    counts.total("n1", [("1", "f"), ("1", "m")])
    counts.total("n2", [("2", "f"), ("2", "m")])
    shown = protect(counts, THRESHOLD)
    assert {"n1", "n2"} <= shown
    low, high = intervals(counts, shown)[("f", "one")]
    assert (low, high >= THRESHOLD) == (0, True)


def test_with_a_threshold_of_one_everything_is_shown():
    counts = _table(np.array([[1, 2], [3, 4]]))
    assert protect(counts, 1) == set(counts.cells)


def test_counts_that_contradict_their_sum_are_refused():
    counts = Counts()
    counts.add("a", 1)
    counts.add("all", 3)
    with pytest.raises(ValueError, match="not the sum"):
        counts.total("all", ["a"])


def test_where_fixed_counts_leave_no_room_nothing_else_is_shown():
    counts = Counts()
    for key, value in {"a": 3, "b": 40}.items():
        counts.add(key, value)
    counts.add("a again", 3, fixed=True)  # a report that had shown it elsewhere
    counts.add("all", 43, fixed=True)
    counts.total("all", ["a", "b"])
    counts.total("a again", ["a"])
    assert protect_around(counts, THRESHOLD) == {"a again", "all"}

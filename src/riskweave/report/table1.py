"""Table 1: who the subjects at risk for each endpoint are, by group, with counts that tell on nobody.

Percentages are of all subjects of the column, those without a value included: a percentage of the measured would tell
how many are missing. Columns with few different numbers are counted like categories, since a mean of zeros and ones is
a count. Where a count of a row is not shown, neither is the standardised difference, from which it would follow.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.page import SUPPRESSED
from riskweave.parquet import read_frame
from riskweave.report.disclosure import Counts, is_small, protect_around
from riskweave.report.inputs import EVENT, NO_EVENT, EndpointData
from riskweave.report.population import Population, pairs

__all__ = ["Variable", "count_variable", "make_tables", "read_variable", "standardised_difference"]


FEW_VALUES = 8
MOST_LEVELS = 12
OVERALL = "all"


@dataclass(frozen=True)
class Variable:
    """A column of the subject table, ready to be counted.

    Attributes
    ----------
    name : str
    levels : tuple of str
        Its categories; ("measured",) for numbers.
    code : (n,) int64 array
        Number of each subject's category; the number of categories where the value is missing.
    numbers : (n,) float64 array or None
        The values of a column of numbers.
    """

    name: str
    levels: tuple[str, ...]
    code: np.ndarray
    numbers: np.ndarray | None = None


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def read_variable(subjects: Path, column: str, *, threshold: int) -> Variable:
    """Read a column of the subject table, in the order of the identifiers.

    Numbers with more than 8 different values stay numbers; all else is categories, the most frequent 12 of them, the
    others together. A category of fewer than `threshold` is among the others: its name alone may tell who it is.
    """
    values = read_frame(subjects, columns=["subject_id", column]).sort_values("subject_id")[column]
    values = values.reset_index(drop=True)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and values.nunique() > FEW_VALUES:
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        return Variable(column, ("measured",), np.where(np.isnan(numbers), 1, 0), numbers)
    if not numeric:
        values = values.astype("string")
    codes, found = pd.factorize(values, sort=True)
    names = [_text(value) for value in found]
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    keep = np.flatnonzero(sizes >= threshold)
    if len(keep) < len(names) or len(names) > MOST_LEVELS:
        keep = np.sort(keep[np.lexsort((keep, -sizes[keep]))[: MOST_LEVELS - 1]])
        number = np.full(len(names), len(keep))
        number[keep] = np.arange(len(keep))
        names = [names[k] for k in keep] + ["others"]
        codes = np.where(codes >= 0, number[codes], -1)
    return Variable(column, tuple(names), np.where(codes >= 0, codes, len(names)).astype(np.int64))


def _add_levels(counts: Counts, variable: Variable, data: EndpointData, *, compared: bool) -> None:
    """Add the cells of one endpoint: level by group, with the margins that are known from elsewhere."""
    size, name = len(variable.levels) + 1, data.name
    code = variable.code[data.rows]
    overall = np.bincount(code, minlength=size)
    n = counts.add((name, OVERALL), len(code), fixed=True)
    whole = [counts.add((name, OVERALL, level), overall[level], weight=3) for level in range(size)]
    counts.total(n, whole)
    if not compared:
        return
    columns = []
    for g in range(len(data.groups)):
        found = np.bincount(code[data.group == g], minlength=size)
        margin = counts.add((name, g), found.sum(), fixed=True)
        columns.append([counts.add((name, g, level), found[level]) for level in range(size)])
        counts.total(margin, columns[-1])
    for level, key in enumerate(whole):
        counts.total(key, [column[level] for column in columns])


def count_variable(
    variable: Variable,
    endpoints: Mapping[str, EndpointData],
    compared: Mapping[str, bool],
    common: list[tuple[str, str, np.ndarray, np.ndarray]],
) -> Counts:
    """Count the levels of a variable in all tables at once.

    Parameters
    ----------
    variable : Variable
    endpoints : dict of name to EndpointData
        Those whose tables are shown.
    compared : dict of name to bool
        Whether the groups of an endpoint are shown.
    common : list
        What :func:`riskweave.report.population.pairs` returns: subjects of two endpoints, whose tables differ by few.

    Returns
    -------
    Counts
        Keys: (endpoint, "all" or group, level); the level after the last is missing values.
    """
    counts = Counts()
    for name, data in endpoints.items():
        _add_levels(counts, variable, data, compared=compared[name])
    size = len(variable.levels) + 1
    for one, other, here, there in common:
        first, second = endpoints[one], endpoints[other]
        scopes: list[tuple[Hashable, Hashable, np.ndarray]] = [(OVERALL, OVERALL, np.ones(len(here), bool))]
        if compared[one] and compared[other]:
            for name in (name for name in first.groups if name in second.groups):
                g, h = first.groups.index(name), second.groups.index(name)
                scopes.append((g, h, (first.group[here] == g) & (second.group[there] == h)))
        for g, h, members in scopes:
            both = np.bincount(variable.code[first.rows[here[members]]], minlength=size)
            for level in range(size):
                key = ("of", one, other, g, level)
                counts.difference(key, (one, g, level), (other, h, level), both=both[level])
    return counts


def standardised_difference(one: np.ndarray, other: np.ndarray, *, levels: int | None = None) -> float:
    """Standardised mean difference of two groups, missing values left out.

    Numbers: difference of the means over the root of the mean variance. Categories: the multivariate form of Yang and
    Dalton (SAS Global Forum 2012, paper 335).

    Parameters
    ----------
    one, other : arrays
        Values of each group; category numbers where `levels` is given.
    levels : int, optional
        Number of categories; higher numbers are missing values.

    Returns
    -------
    float
        At least 0; NaN where it is not defined.
    """
    if levels is None:
        one, other = one[~np.isnan(one)], other[~np.isnan(other)]
        if min(len(one), len(other)) < 2:
            return np.nan
        spread = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
        return float(abs(one.mean() - other.mean()) / spread) if spread > 0 else np.nan
    shares = []
    for codes in (one, other):
        found = np.bincount(codes, minlength=levels + 1)[:levels]
        if found.sum() == 0:
            return np.nan
        shares.append(found / found.sum())
    gap = (shares[0] - shares[1])[1:]
    spread = sum(np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in shares) / 2
    if len(gap) == 0 or not spread.any():
        return np.nan
    return float(np.sqrt(max(0.0, gap @ np.linalg.pinv(spread) @ gap)))


def _largest_difference(variable: Variable, data: EndpointData) -> float:
    """Return the difference of event and no event, or the largest of all pairs of groups."""
    values = (variable.numbers if variable.numbers is not None else variable.code)[data.rows]
    levels = None if variable.numbers is not None else len(variable.levels)
    numbers = range(2) if data.groups[0] == EVENT and data.groups[1].startswith(NO_EVENT) else range(len(data.groups))
    parts = [values[data.group == g] for g in numbers]
    found = [standardised_difference(a, b, levels=levels) for i, a in enumerate(parts) for b in parts[:i]]
    return max((value for value in found if not np.isnan(value)), default=np.nan)


def _digits(numbers: np.ndarray) -> int:
    spread = np.nanstd(numbers)
    return int(np.clip(1 - np.floor(np.log10(spread)), 0, 4)) if spread > 0 else 1


def _numbers(values: np.ndarray, digits: int, threshold: int) -> tuple[str, str]:
    """Return mean (SD) and median [quartiles]; no mean where all but a few have one value: it counts them."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return "", ""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    off = len(values) - np.unique(values, return_counts=True)[1].max()
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    mean = f"{values.mean():z.{digits}f} ({spread:.{digits}f})"
    median = f"{middle:z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"
    return SUPPRESSED if is_small(int(off), threshold) else mean, median


def _share(count: int, n: int) -> str:
    return f"{count} ({100 * count / n:.1f})" if n else "0"


def _rows(
    variable: Variable, data: EndpointData, counts: Counts, shown: set[Hashable], threshold: int, *, compared: bool
) -> list[dict[str, str]]:
    """Return the rows of a variable: the numbers' summaries or the categories' counts, and those without a value."""
    scopes = [(OVERALL, OVERALL, slice(None))]
    if compared:
        scopes += [(g, name, data.group == g) for g, name in enumerate(data.groups)]
    size = len(variable.levels)
    cells = {scope: [(data.name, scope, level) for level in range(size + 1)] for scope, _, _ in scopes}

    def count_row(label: str, level: int) -> dict[str, str]:
        row = {"variable": variable.name, "level": label}
        for scope, title, _ in scopes:
            key = cells[scope][level]
            n = sum(counts.cells[cell] for cell in cells[scope])
            row[title] = _share(counts.cells[key], n) if key in shown else SUPPRESSED
        return row

    if variable.numbers is not None:
        digits = _digits(variable.numbers[data.rows])
        few = any(is_small(counts.cells[cells[scope][0]], threshold) for scope, _, _ in scopes)
        texts = {title: _numbers(variable.numbers[data.rows][part], digits, threshold) for _, title, part in scopes}
        hide = few or any(mean == SUPPRESSED for mean, _ in texts.values())
        if hide:
            texts = {title: (SUPPRESSED, median) for title, (_, median) in texts.items()}
        rows = [
            {"variable": variable.name, "level": label}
            | {title: SUPPRESSED if few else texts[title][place] for _, title, _ in scopes}
            for place, label in enumerate(("mean (SD)", "median [quartiles]"))
        ]
    else:
        hide = any(key not in shown for scope in cells for key in cells[scope])
        binary = set(variable.levels) in ({"0", "1"}, {"no", "yes"})
        named = list(enumerate(variable.levels))[1 if binary else 0 :]
        # a level that none of these subjects has is not their business
        named = [(level, label) for level, label in named if counts.cells[cells[OVERALL][level]] or len(named) == 1]
        rows = [count_row(f"{label}, n (%)", level) for level, label in named]
    if any(counts.cells[cells[scope][size]] for scope in cells):
        rows.append(count_row("no value, n (%)", size))
    if compared and rows:
        difference = np.nan if hide else _largest_difference(variable, data)
        for position, row in enumerate(rows):
            row["SMD"] = "" if position else SUPPRESSED if hide else "" if np.isnan(difference) else f"{difference:.2f}"
    return rows


def make_tables(
    *,
    subjects: Path,
    columns: list[str],
    endpoints: Mapping[str, EndpointData],
    population: Population,
    total: int,
) -> dict[str, pd.DataFrame]:
    """Make Table 1 of each endpoint; columns are read one at a time.

    Parameters
    ----------
    subjects : Path
        The subject table.
    columns : list of str
        Its columns to describe.
    endpoints : dict of name to EndpointData
    population : Population
        The counts of the whole report.
    total : int
        Rows of the subject table.

    Returns
    -------
    dict of endpoint to DataFrame
        All text: variable, level, all, the groups, SMD. Endpoints whose number of subjects is not shown are left out.
    """
    threshold = population.threshold
    tabled = {name: data for name, data in endpoints.items() if population.tabled(data)}
    compared = {name: population.compared(data) for name, data in tabled.items()}
    common = pairs(tabled, total)
    rows: dict[str, list[dict[str, str]]] = {}
    for name, data in tabled.items():
        first = {"variable": "subjects", "level": "n", OVERALL: str(len(data.rows))}
        if compared[name]:
            sizes = np.bincount(data.group, minlength=len(data.groups))
            first |= {group: str(size) for group, size in zip(data.groups, sizes, strict=True)} | {"SMD": ""}
        rows[name] = [first]
    for column in columns:
        variable = read_variable(subjects, column, threshold=threshold)
        counts = count_variable(variable, tabled, compared, common)
        shown = protect_around(counts, threshold)
        for name, data in tabled.items():
            rows[name] += _rows(variable, data, counts, shown, threshold, compared=compared[name])
    return {name: pd.DataFrame(found).fillna("") for name, found in rows.items()}

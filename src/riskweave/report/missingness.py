"""Missing values of the features, and which modalities people have: shares overall and by group.

A subject without a modality has no row in its feature table and counts as without a value. Columns are read one at a
time, so that memory does not grow with their number.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.page import SUPPRESSED
from riskweave.report.disclosure import Counts, protect_around
from riskweave.report.inputs import EndpointData, positions

__all__ = ["availability_table", "lacking_shown", "missingness_table"]


def _ids(path: Path) -> np.ndarray:
    if not Path(path).is_file():
        raise DataError(str(path), "there is no such file (feature table)", "Run the rule that makes it")
    return pq.read_table(path, columns=["subject_id"]).column("subject_id").to_numpy(zero_copy_only=False).astype(str)


def _without_value(column: pa.ChunkedArray) -> np.ndarray:
    """Return where a column has no value; NaN is none."""
    if pa.types.is_floating(column.type):
        return pc.is_null(column, nan_is_null=True).to_numpy()
    return pc.is_null(column).to_numpy()


def _percent(count: int, n: int) -> str:
    return f"{100 * count / n:.1f}" if n else ""


def _simple(kind: pa.DataType) -> bool:
    """Tell whether a column holds one number, truth value or text per subject; sparse histories do not."""
    return (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_dictionary(kind)
    )


def _base(absent: np.ndarray, sizes: np.ndarray, *, compared: bool, threshold: int, fixed: bool) -> set[object]:
    """Return which counts of people without the modality can be shown: "all" and the numbers of the groups.

    Every column without missing values shows them.
    """
    counts = Counts()
    scopes: list[object] = ["all", *(range(len(sizes)) if compared else ())]
    for scope in scopes:
        n, without = (sizes.sum(), absent.sum()) if scope == "all" else (sizes[scope], absent[scope])
        counts.add((scope, "n"), n, fixed=True)
        counts.add((scope, "absent"), without, weight=3 if scope == "all" else 1, fixed=fixed and scope == "all")
        counts.add((scope, "with"), n - without, fixed=fixed and scope == "all")
        counts.total((scope, "n"), [(scope, "absent"), (scope, "with")])
    if compared:
        for part in ("absent", "with"):
            counts.total(("all", part), [(g, part) for g in range(len(sizes))])
    shown = protect_around(counts, threshold)
    return {scope for scope in scopes if {(scope, "absent"), (scope, "with")} <= shown}


def _column(
    absent: np.ndarray, missing: np.ndarray, sizes: np.ndarray, known: set[object], *, compared: bool
) -> Counts:
    """Return the counts of a column by group and overall: without the modality, without a value in it, with one."""
    counts = Counts()
    parts = {"absent": absent, "missing": missing, "present": sizes - absent - missing}
    scopes: list[object] = ["all", *(range(len(sizes)) if compared else ())]
    for scope in scopes:
        cells = {part: values.sum() if scope == "all" else values[scope] for part, values in parts.items()}
        for part, value in cells.items():
            shown = part == "absent" and scope in known
            counts.add((scope, part), value, fixed=shown, hidden=part != "present" and not shown)
        counts.add((scope, "n"), sum(cells.values()), fixed=True)
        counts.add((scope, "without"), cells["absent"] + cells["missing"], weight=3 if scope == "all" else 1)
        counts.total((scope, "without"), [(scope, "absent"), (scope, "missing")])
        counts.total((scope, "n"), [(scope, "without"), (scope, "present")])
    if compared:
        for part in parts:
            counts.total(("all", part), [(g, part) for g in range(len(sizes))])
    return counts


def _visible(
    absent: np.ndarray, missing: np.ndarray, sizes: np.ndarray, known: set[object], *, compared: bool, threshold: int
) -> set[object]:
    """Return the groups, and "all", for which the number without a value in a column can be shown."""
    if not missing.any():
        return known
    shown = protect_around(_column(absent, missing, sizes, known, compared=compared), threshold)
    scopes: list[object] = ["all", *(range(len(sizes)) if compared else ())]
    return {scope for scope in scopes if {(scope, "without"), (scope, "present")} <= shown}


def missingness_table(
    *,
    features: Mapping[str, Path],
    ids: np.ndarray,
    data: EndpointData,
    compared: bool,
    lacking_shown: Mapping[str, bool],
    threshold: int,
) -> pd.DataFrame:
    """Count the subjects at risk without a value, for each column of each feature table.

    Parameters
    ----------
    features : dict of feature set to Path
        Feature tables.
    ids : (n,) array of str
        The subject table's identifiers, sorted.
    data : EndpointData
        The subjects that are counted, with their groups.
    compared : bool
        Whether groups are shown.
    lacking_shown : dict of feature set to bool
        Whether the report shows how many lack the modality of a feature set. Where not, this table does not either.
    threshold : int

    Returns
    -------
    DataFrame
        feature_set, column, description, subjects, without (count), percent, and a percentage for each group: numbers
        as text. Columns that do not hold one value per subject (sparse histories) are left out.
    """
    group = np.full(len(ids), -1)
    group[data.rows] = data.group if compared else 0
    names = data.groups if compared else ()
    sizes = np.bincount(group[group >= 0], minlength=max(1, len(names)))
    rows = []
    for feature_set, path in features.items():
        place = positions(ids, _ids(path))
        groups = np.where(place >= 0, group[place], -1)
        counted = groups >= 0
        absent = sizes - np.bincount(groups[counted], minlength=len(sizes))
        settings = {"compared": bool(names), "threshold": threshold}
        allowed = lacking_shown.get(feature_set, True) or not absent.any()
        known = _base(absent, sizes, fixed=feature_set in lacking_shown, **settings) if allowed else set()
        for field in pq.read_schema(path):
            if field.name == "subject_id" or not _simple(field.type):
                continue
            empty = _without_value(pq.read_table(path, columns=[field.name]).column(field.name))
            missing = np.bincount(groups[counted & empty], minlength=len(sizes))
            shown = _visible(absent, missing, sizes, known, **settings) if allowed else set()
            about = (field.metadata or {}).get(b"description", b"").decode()
            row = {"feature_set": feature_set, "column": field.name, "description": about}
            without = absent + missing
            row |= {"subjects": str(sizes.sum()), "without": str(without.sum()) if "all" in shown else SUPPRESSED}
            row["percent"] = _percent(without.sum(), sizes.sum()) if "all" in shown else SUPPRESSED
            for g, name in enumerate(names):
                row[f"percent, {name}"] = _percent(without[g], sizes[g]) if g in shown else SUPPRESSED
            rows.append(row)
    columns = ["feature_set", "column", "description", "subjects", "without", "percent"]
    return pd.DataFrame(rows, columns=[*columns, *(f"percent, {name}" for name in names)])


def _members(paths: Sequence[Path], ids: np.ndarray) -> np.ndarray:
    """Return who has a row in some of the tables."""
    members = np.zeros(len(ids), bool)
    for path in paths:
        place = positions(ids, _ids(path))
        members[place[place >= 0]] = True
    return members


def lacking_shown(
    *,
    availability: Mapping[str, Mapping[str, Path]],
    totals: Mapping[str, int | None],
    ids: np.ndarray,
    data: EndpointData,
    threshold: int,
) -> dict[str, bool]:
    """Tell for which feature sets :func:`missingness_table` may show who has no row; others decide for themselves.

    Not where the number with the modality is not shown, and not where so few have the modality without a row in the
    set that the two numbers together would tell of them.

    Parameters
    ----------
    availability : dict of modality to dict of feature set to Path
    totals : dict of modality to int or None
        As :func:`availability_table` returns them.
    ids, data, threshold
        As in :func:`missingness_table`.
    """
    shown = {}
    for modality, tables in availability.items():
        everyone = _members(list(tables.values()), ids)[data.rows]
        for name, path in tables.items():
            beside = int((everyone & ~_members([path], ids)[data.rows]).sum())
            if totals[modality] is None or beside < threshold:
                shown[name] = totals[modality] is not None and beside == 0
    return shown


def availability_table(
    *, availability: Mapping[str, Sequence[Path]], ids: np.ndarray, data: EndpointData, threshold: int
) -> tuple[pd.DataFrame, dict[str, int | None]]:
    """Count the subjects at risk by the modalities that they have.

    Parameters
    ----------
    availability : dict of modality to sequence of Path
        The feature tables of each modality: who has a row in some of them has the modality.
    ids, data, threshold
        As in :func:`missingness_table`.

    Returns
    -------
    patterns : DataFrame
        A column for each modality (yes or no), subjects and percent as text; patterns that occur, the most frequent
        first.
    totals : dict of modality to int or None
        How many have it; None where it is not shown.
    """
    has = {modality: _members(paths, ids)[data.rows] for modality, paths in availability.items()}
    bits = sum((np.asarray(members, np.int64) << i for i, members in enumerate(has.values())), np.int64(0))
    sizes = np.bincount(np.broadcast_to(bits, len(data.rows)), minlength=2 ** len(has))
    counts = Counts()
    n = counts.add("n", sizes.sum(), fixed=True)
    patterns = [counts.add(("pattern", p), size) for p, size in enumerate(sizes)]
    counts.total(n, patterns)
    for i, modality in enumerate(has):
        for side, wanted in (("with", 1), ("without", 0)):
            parts = [key for p, key in enumerate(patterns) if (p >> i) & 1 == wanted]
            key = counts.add((side, modality), sum(counts.cells[part] for part in parts), weight=3)
            counts.total(key, parts)
    shown = protect_around(counts, threshold)
    order = [p for p in np.lexsort((np.arange(len(sizes)), -sizes)) if sizes[p]]
    # the order must not tell which of two suppressed counts is the larger
    order = [p for p in order if patterns[p] in shown] + sorted(p for p in order if patterns[p] not in shown)
    rows = [
        {modality: "yes" if (p >> i) & 1 else "no" for i, modality in enumerate(has)}
        | {
            "subjects": str(sizes[p]) if patterns[p] in shown else SUPPRESSED,
            "percent": f"{100 * sizes[p] / sizes.sum():.1f}" if patterns[p] in shown else SUPPRESSED,
        }
        for p in order
    ]
    totals = {
        modality: counts.cells[("with", modality)] if {("with", modality), ("without", modality)} <= shown else None
        for modality in has
    }
    return pd.DataFrame(rows, columns=[*has, "subjects", "percent"]), totals

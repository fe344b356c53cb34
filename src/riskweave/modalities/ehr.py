"""EHR features: static columns of the subject table and aggregates of dated events, computed set-wise by DuckDB.

Only events at or before the index time are ever read into an aggregate. An event at midnight is dated to the day only
and may have happened at any hour of it: on the day of an index time with an hour it does not count. Undated (static)
measurements, whose time is null, count wherever no time is needed: in the whole history, but not in a window, and not
for slopes and times since.
"""

import dataclasses
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from riskweave.errors import DataError, StudyError, nearest
from riskweave.modalities.base import Column, write_features
from riskweave.study.features import EhrFeatures, EventFeatures

__all__ = ["aggregate_events"]

logger = logging.getLogger(__name__)

# Columns of the subject table that are never features: who, when, and the follow-up, which only the future knows.
NOT_FEATURES = ("subject_id", "index_time", "followup_end")

# A midnight is a date and covers its whole day, unless the index time is that midnight.
IN_HISTORY = "(time IS NULL OR time = index_time OR (time < index_time AND time <> date_trunc('day', index_time)))"


@dataclasses.dataclass(frozen=True)
class _Aggregate:
    sql: str
    unit: str
    description: str
    absent: float = np.nan  # the value for a subject without such an event


# `days` is the time from the event to the index (0 at the index, null when undated), `value` the number or null.
# Of several values of one instant the largest is `last`: the table's order within an instant means nothing.
SQL = {
    "last": _Aggregate(
        "arg_max(value, (coalesce(-days, '-infinity'::DOUBLE), value)) FILTER (value IS NOT NULL)",
        "",
        "Last value",
    ),
    "mean": _Aggregate("avg(value)", "", "Mean of the values"),
    "min": _Aggregate("min(value)", "", "Smallest value"),
    "max": _Aggregate("max(value)", "", "Largest value"),
    "count": _Aggregate("count(*)", "events", "Number of events", absent=0.0),
    "slope": _Aggregate(
        "CASE WHEN max(days) FILTER (value IS NOT NULL) > min(days) FILTER (value IS NOT NULL) "
        "THEN regr_slope(value, -days / 365.25) END",
        "per year",
        "Least-squares slope of the values over time",
    ),
    "ever": _Aggregate("1", "", "1 when there is such an event, else 0", absent=0.0),
    "time_since": _Aggregate("min(days)", "days", "Time from the last event to the index time"),
}


def aggregate_events(*, subjects: Path, events: Path, features: EhrFeatures, output: Path, threads: int = 1) -> None:
    """Make the feature table of an `ehr` feature set: a row for every subject of the study.

    Columns of events are named ``<code>:<aggregate>``, with ``@<window>d`` behind it when they look back over a window
    (``LAB//CHOL:last``, ``ICD10//I50:ever@365d``). `count` and `ever` are 0 for a subject without such an event, the
    other aggregates missing. Values that are missing or not finite count as events without a value.

    Parameters
    ----------
    subjects : Path
        Table of subjects: subject_id, index_time and the static columns.
    events : Path
        Table of events: subject_id, time (null for undated), code, numeric_value.
    features : EhrFeatures
        The block of the study file. Windows are in days: an event counts when it is less than `window` days before the
        index time.
    output : Path
        The feature table to write (`riskweave.modalities.base.write_features`).
    threads : int
        Threads that read and select the events. Sums are then made by one thread, so that their last digit never
        depends on how many there were.

    Raises
    ------
    DataError
        When a static column does not exist, is not a feature or holds no value; when a code prefix finds no event at or
        before the index time; when a column would be missing for all subjects (with `by_code` single columns are left
        out, and only a block without any column is an error).
    StudyError
        When two columns would have the same name.
    """
    table = pd.read_parquet(subjects).sort_values("subject_id", kind="stable", ignore_index=True)
    frames, columns = _static(table, features.static, subjects)
    if features.events:
        with (
            tempfile.TemporaryDirectory(prefix="riskweave-duckdb-") as spill,
            duckdb.connect(config={"threads": threads, "temp_directory": spill}) as connection,
        ):
            codes = _load_history(connection, table, events, features.events)
            for block in features.events:
                values, described = _aggregate(connection, block, codes, len(table), events)
                frames.append(values)
                columns.extend(described)
    _refuse_repeated(columns)
    frame = pd.concat([table[["subject_id"]], *frames], axis=1)
    _refuse_empty(frame, columns, events)
    write_features(frame, output, columns)
    logger.info("%d columns for %d subjects", len(columns), len(frame))


def _static(table: pd.DataFrame, names: list[str], subjects: Path) -> tuple[list[pd.DataFrame], list[Column]]:
    allowed = [name for name in table.columns if name not in NOT_FEATURES]
    remedy = f"Static columns can be: {', '.join(allowed) or 'none'}."
    columns, series = [], []
    for name in names:
        where = f"{subjects.name}, column {name}"
        if name in NOT_FEATURES:
            raise DataError(where, "it cannot be a feature", remedy)
        if name not in table.columns:
            raise DataError(where, f"there is no such column.{nearest(name, allowed)}", remedy)
        values = table[name]
        if values.isna().all():
            raise DataError(
                where,
                f"the column is empty for all {len(table)} subjects",
                "Fill it, or take it out of `static` in the study file.",
            )
        kind = pd.api.types.infer_dtype(values, skipna=True)
        if kind == "boolean":
            values = values.astype("Float64")
        elif kind in ("string", "categorical"):
            values = values.astype(object)
        elif not pd.api.types.is_numeric_dtype(values):
            raise DataError(
                where,
                f"the column holds {kind} values",
                "A static feature is a number or a category; make a number of a date (age, days before the index).",
            )
        series.append(values)
        numeric = pd.api.types.is_numeric_dtype(values)
        columns.append(
            Column(
                name=name,
                modality="ehr",
                kind="numeric" if numeric else "categorical",
                description=f"Column {name} of the subject table",
            )
        )
    return [pd.concat(series, axis=1)] if series else [], columns


def _load_history(
    connection: duckdb.DuckDBPyConnection, table: pd.DataFrame, events: Path, blocks: list[EventFeatures]
) -> pd.Series:
    """Load the events at or before the index time of all codes that the blocks ask for.

    Returns
    -------
    pandas.Series
        The codes (all that the study's subjects have at or before the index time) by their number in the table
        `history` (subject_row, code, days, value).
    """
    who = pd.DataFrame({"subject_row": np.arange(len(table)), "subject_id": table["subject_id"]})
    who["index_time"] = table["index_time"]
    connection.register("subjects", who)
    connection.execute("CREATE TEMP VIEW events AS FROM read_parquet('{}')".format(str(events).replace("'", "''")))
    found = connection.execute(
        f"SELECT code, count(*) FILTER ({IN_HISTORY}) AS history "
        "FROM events JOIN subjects USING (subject_id) WHERE code IS NOT NULL GROUP BY code ORDER BY code"
    ).df()
    codes = found.loc[found["history"] > 0, "code"].reset_index(drop=True)
    prefixes = [prefix for block in blocks for prefix in block.codes]
    for prefix in dict.fromkeys(prefixes):
        _check_prefix(prefix, codes, later=found.loc[found["history"] == 0, "code"], events=events)
    wanted = codes[codes.str.startswith(tuple(prefixes))]
    connection.register("wanted", pd.DataFrame({"number": wanted.index, "code": wanted}))
    connection.execute(
        "CREATE TEMP TABLE history AS SELECT subject_row, wanted.number AS code, "
        "(epoch_us(index_time) - epoch_us(time)) / 86400e6 AS days, "
        "CASE WHEN isfinite(numeric_value) THEN numeric_value::DOUBLE END AS value "
        "FROM events JOIN subjects USING (subject_id) JOIN wanted USING (code) "
        f"WHERE {IN_HISTORY}"
    )
    connection.execute("SET threads = 1")
    return codes


def _check_prefix(prefix: str, codes: pd.Series, *, later: pd.Series, events: Path) -> None:
    if codes.str.startswith(prefix).any():
        return
    where = f"{events.name}, column code"
    if later.str.startswith(prefix).any():
        raise DataError(
            where,
            f"all events whose code starts with {prefix!r} come after the index time, or on its day without an hour",
            "Features come from events at or before the index time: take the code out of the feature set.",
        )
    # Nearest by the first characters: a prefix is shorter than the codes that it is meant to find.
    heads = sorted({code[: len(prefix) + 1] for code in codes} | {code[: len(prefix)] for code in codes})
    raise DataError(
        where,
        f"no event at or before the index time has a code that starts with {prefix!r}.{nearest(prefix, heads)}",
        f"The {len(codes)} codes there begin with: {_shown(code.split('//')[0] for code in codes)}.",
    )


def _shown(names: Iterable[str], limit: int = 8) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:limit]) + (", ..." if len(distinct) > limit else "")


def _aggregate(
    connection: duckdb.DuckDBPyConnection, block: EventFeatures, codes: pd.Series, subjects: int, events: Path
) -> tuple[pd.DataFrame, list[Column]]:
    """Aggregate the events of one block: its columns for all subjects, in the order of codes and then of aggregates."""
    numbers = codes.index[codes.str.startswith(tuple(block.codes))]
    connection.register("selected", pd.DataFrame({"code": numbers}))
    group = "code" if block.by_code else "0"
    window = "" if block.window is None else f"WHERE days < {block.window}"
    selects = ", ".join(f'{SQL[name].sql} AS "{name}"' for name in block.aggregates)
    found = connection.execute(
        f"SELECT subject_row, {group} AS stem, {selects} FROM history JOIN selected USING (code) {window} "
        "GROUP BY ALL ORDER BY stem, subject_row"
    ).df()
    connection.unregister("selected")
    stems, starts, counts = np.unique(found["stem"], return_index=True, return_counts=True)
    kept = np.flatnonzero(counts >= (block.minimum_subjects if block.by_code else 1))
    if not kept.size:
        asked = " or ".join(repr(prefix) for prefix in block.codes[:5])
        when = "at or before" if block.window is None else f"in the {block.window} days up to"
        fewest = f"{block.minimum_subjects} subjects have" if block.by_code else "any subject has"
        raise DataError(
            f"{events.name}, column code",
            f"no code that starts with {asked} is one that {fewest} {when} the index time",
            "Take the codes out of the feature set, lengthen its `window` or lower its `minimum_subjects`.",
        )
    suffix = "" if block.window is None else f"@{block.window}d"
    lookback = "" if block.window is None else f" in the {block.window} days up to the index time"
    values, columns = {}, []
    for position in kept:
        name = codes[stems[position]] if block.by_code else (block.name or block.codes[0])
        meaning = f"code {name}" if block.by_code else f"codes {_shown(f'{prefix}*' for prefix in block.codes)}"
        rows = found.iloc[starts[position] : starts[position] + counts[position]]
        for aggregate in block.aggregates:
            made = SQL[aggregate]
            filled = np.full(subjects, made.absent)
            filled[rows["subject_row"]] = rows[aggregate].to_numpy(dtype=float, na_value=np.nan)
            description = f"{made.description}, {meaning}{lookback}"
            columns.append(
                Column(name=f"{name}:{aggregate}{suffix}", modality="ehr", unit=made.unit, description=description)
            )
            values[columns[-1].name] = filled
    frame = pd.DataFrame(values)
    if block.by_code:
        # Nobody asked for these columns one by one: some codes have no values, or never at two times.
        empty = [name for name in frame if frame[name].isna().all()]
        if 0 < len(empty) < frame.shape[1]:
            logger.info("left out %d column(s) that are missing for all subjects: %s", len(empty), _shown(empty))
            return frame.drop(columns=empty), [column for column in columns if column.name not in set(empty)]
    return frame, columns


def _refuse_repeated(columns: list[Column]) -> None:
    names = [column.name for column in columns]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise StudyError(
            f"{len(repeated)} column(s) of the ehr feature set would have the same name, first {repeated[0]!r}: list "
            "an aggregate once, and give blocks that share codes and window a `name` of their own"
        )


def _refuse_empty(frame: pd.DataFrame, columns: list[Column], events: Path) -> None:
    empty = [column.name for column in columns if frame[column.name].isna().all()]
    if empty:
        raise DataError(
            f"{events.name}, column numeric_value",
            f"{len(empty)} feature column(s) would be missing for all {len(frame)} subjects: {_shown(empty)}",
            "`last`, `mean`, `min`, `max` need numeric values, `slope` values at two times, `time_since` dated events. "
            "For codes without values ask for `ever`, `count` or `time_since`.",
        )

"""What the cohort report reads: the subjects, and who of them is at risk for each endpoint and leaves how."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, read_arrow
from riskweave.errors import DataError, nearest
from riskweave.parquet import read_frame
from riskweave.report.curves import CENSORED, FREE
from riskweave.report.disclosure import is_small
from riskweave.study.cohort import CodesEndpoint, CohortReport, Endpoint

__all__ = ["EndpointData", "cause_names", "describable", "grouped", "positions", "read_endpoint", "read_ids"]

MOST_GROUPS = 5
OTHER, MISSING = "other", "missing"
EVENT, NO_EVENT, LOST = "event", "no event", "censored"


@dataclass(frozen=True)
class EndpointData:
    """Who is at risk for an endpoint, and how they leave by its last horizon.

    Attributes
    ----------
    name, description : str
    horizon : int
        The last horizon, in days.
    rows : (n,) int64 array
        Rows of the subject table.
    time, event : (n,) arrays
        As the outcome table has them.
    causes : dict of int to str
        Names of the target (1) and of the competing events (2 and up) that are common enough to be told apart.
    group : (n,) int64 array
        Number of each one's group in Table 1.
    groups : tuple of str
        Names of the groups; empty when nothing is compared.
    by : str
        What the groups are.
    rare : tuple of str
        Names of competing events that too few have by the last horizon: those people count as censored.
    """

    name: str
    description: str
    horizon: int
    rows: np.ndarray
    time: np.ndarray
    event: np.ndarray
    causes: dict[int, str]
    group: np.ndarray
    groups: tuple[str, ...] = ()
    by: str = ""
    rare: tuple[str, ...] = ()

    @property
    def kind(self) -> np.ndarray:
        """How each leaves by the last horizon: 1 target, 2 and up competing, 0 censored before, -1 followed to it."""
        censored = np.where(self.time < self.horizon, CENSORED, FREE)
        named = np.isin(self.event, list(self.causes)) & (self.time <= self.horizon)
        return np.where(named, self.event, censored)

    @property
    def leaving(self) -> np.ndarray:
        """Days to leaving, at most the last horizon."""
        return np.minimum(self.time, self.horizon)


def read_ids(subjects: Path) -> np.ndarray:
    """Return the identifiers of the subject table, sorted, as (n,) array of str."""
    return np.asarray(read_arrow(subjects, SUBJECTS).column("subject_id").to_numpy(zero_copy_only=False), dtype=str)


def positions(ids: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return the row of each of some subjects in the sorted identifiers, -1 where it has none."""
    some = np.asarray(some, dtype=str)
    place = np.searchsorted(ids, some)
    place[place == len(ids)] = 0
    return np.where(ids[place] == some, place, -1) if len(ids) else np.full(len(some), -1)


def cause_names(endpoint: Endpoint, causes: list[int]) -> dict[int, str]:
    """Name the causes of an endpoint: the target, and each competing event by its codes where the study gives them."""
    names = {1: "target event"}
    competing = endpoint.competing if isinstance(endpoint, CodesEndpoint) else []
    for cause in causes:
        if cause < 2:
            continue
        codes = competing[cause - 2] if cause - 2 < len(competing) else f"event {cause}"
        text = codes if isinstance(codes, str) else codes[0] + (", ..." if len(codes) > 1 else "")
        names[cause] = "death" if text == "MEDS_DEATH" else f"competing: {text}"
    return names


def read_endpoint(name: str, endpoint: Endpoint, outcomes: Path, ids: np.ndarray, *, threshold: int) -> EndpointData:
    """Read the outcomes of an endpoint; competing events of fewer than the threshold are taken for censorings.

    Raises
    ------
    DataError
        When the table breaks its contract, or is of subjects that the subject table lacks.
    """
    table = read_arrow(outcomes, OUTCOMES)
    rows = positions(ids, table.column("subject_id").to_numpy(zero_copy_only=False))
    if (unknown := int((rows < 0).sum())) > 0:
        problem = f"{unknown} of {table.num_rows} subjects are not in the subject table"
        raise DataError(f"{outcomes}, column subject_id", problem, "Run snakemake again: the tables are of two cohorts")
    event = table.column("event").to_numpy().astype(np.int64)
    competing = endpoint.competing if isinstance(endpoint, CodesEndpoint) else []
    causes = sorted(set(range(2, 2 + len(competing))) | set(np.unique(event[event > 1]).tolist()))
    horizon, time = max(endpoint.horizons), table.column("time").to_numpy()
    names = cause_names(endpoint, causes)
    early = event[time <= horizon]
    rare = [cause for cause in causes if cause > 1 and is_small(int((early == cause).sum()), threshold)]
    return EndpointData(
        name=name,
        description=endpoint.description,
        horizon=horizon,
        rows=rows,
        time=time,
        event=event,
        causes={cause: text for cause, text in names.items() if cause not in rare},
        group=np.zeros(len(rows), dtype=np.int64),
        rare=tuple(names[cause] for cause in rare),
    )


def describable(subjects: Path, wanted: list[str]) -> list[str]:
    """Return the columns of the subject table that the report describes: those wanted, else all that hold values.

    Raises
    ------
    DataError
        When a column that is wanted does not exist.
    """
    schema = pq.read_schema(subjects)
    plain = [
        field.name
        for field in schema
        if field.name not in SUBJECTS.columns.names and not str(field.type).startswith(("timestamp", "date", "null"))
    ]
    for column in wanted:
        if column not in schema.names:
            remedy = f"Allowed: {', '.join(plain)}.{nearest(column, plain)}"
            raise DataError(f"{subjects}, report.columns", f"there is no column {column!r}", remedy)
    return wanted or plain


def _by_outcome(kind: np.ndarray, threshold: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Group by the target event by the last horizon; small groups are merged, too few events are not compared."""
    group = np.where(kind == 1, 0, np.where(kind == CENSORED, 2, 1))
    sizes = np.bincount(group, minlength=3)
    if sizes[0] < threshold or len(kind) - sizes[0] < threshold:
        return np.zeros(len(kind), dtype=np.int64), ()
    if sizes[2] == 0:
        return group, (EVENT, NO_EVENT)
    if min(sizes[1], sizes[2]) < threshold:
        return np.minimum(group, 1), (EVENT, f"{NO_EVENT} or censored")
    return group, (EVENT, NO_EVENT, LOST)


def _by_column(subjects: Path, column: str) -> np.ndarray:
    """Return the groups that a column of the subject table names, as text."""
    if column not in pq.read_schema(subjects).names:
        present = describable(subjects, [])
        remedy = f"Allowed: {', '.join(present)}.{nearest(column, present)}"
        raise DataError(f"{subjects}, report.by", f"there is no column {column!r}", remedy)
    values = read_frame(subjects, columns=["subject_id", column]).sort_values("subject_id")[column]
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 2 * MOST_GROUPS:
        problem = f"the column {column!r} is a number with {values.nunique()} different values"
        raise DataError(f"{subjects}, report.by", problem, "Name a column whose values are groups")
    return values.astype("string").fillna(MISSING).to_numpy(dtype=str)


def _merge_small(labels: np.ndarray, members: list[np.ndarray], threshold: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give each group of a column a number; in each population every group has at least the threshold of people."""
    names, codes = np.unique(labels, return_inverse=True)
    sizes = np.array([np.bincount(codes[rows], minlength=len(names)) for rows in members]).min(axis=0)
    order = [g for g in np.lexsort((np.arange(len(names)), -sizes)) if sizes[g] >= threshold][:MOST_GROUPS]
    kept = sorted(order, key=lambda g: (names[g] == MISSING, names[g]))
    number = np.full(len(names), len(kept), dtype=np.int64)
    number[kept] = np.arange(len(kept))
    groups, merged = [str(names[g]) for g in kept], number[codes]
    rest = min((np.count_nonzero(merged[rows] == len(kept)) for rows in members), default=0)
    anywhere = max((np.count_nonzero(merged[rows] == len(kept)) for rows in members), default=0)
    if anywhere and rest >= threshold:
        groups.append(OTHER)
    elif anywhere and groups:
        # too few for a group of their own, and the others' sum would give them away
        smallest = min(range(len(kept)), key=lambda k: (sizes[kept[k]], k))
        merged[merged == len(kept)] = smallest
        groups[smallest] = f"{groups[smallest]} or {OTHER}"
    return (merged, tuple(groups)) if len(groups) > 1 else (np.zeros(len(labels), dtype=np.int64), ())


def grouped(endpoints: Mapping[str, EndpointData], subjects: Path, report: CohortReport) -> dict[str, EndpointData]:
    """Divide the subjects at risk for each endpoint into the groups that Table 1 compares.

    By the column that the study names, else by the target event at the last horizon. Groups of fewer than the
    threshold are merged with others; where only one is left, nothing is compared.

    Raises
    ------
    DataError
        When the column does not exist or does not hold groups.
    """
    threshold = report.suppress_below
    if report.by is None:
        found = {}
        for name, data in endpoints.items():
            group, groups = _by_outcome(data.kind, threshold)
            found[name] = replace(data, group=group, groups=groups, by=f"target event by day {data.horizon}")
        return found
    labels = _by_column(subjects, report.by)
    merged, groups = _merge_small(labels, [data.rows for data in endpoints.values()], threshold)
    return {
        name: replace(data, group=merged[data.rows], groups=groups, by=report.by) for name, data in endpoints.items()
    }

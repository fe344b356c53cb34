"""Gates of time: predictors dated after the index time, and index times that follow from the event."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from riskweave.leaks.evidence import AtRisk, Evidence, FeatureColumn, SetRows, static_columns
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.statistics import Ranked, auc, spearman
from riskweave.parquet import read_frame

__all__ = ["check_companions", "check_files", "check_index", "check_since"]

_COMPANIONS = (
    "{}_date", "{}_time", "{}_datetime", "{}_day", "{}_dt", "{}_at", "{}_measured", "{}_taken",
    "date_of_{}", "time_of_{}", "date_{}", "time_{}", "{}date", "{}time",
)  # fmt: skip
_SINCE = re.compile(r"(^|[^a-z])since([^a-z]|$)", re.IGNORECASE)
_AGE_AT = re.compile(r"^age_?(at|of)_", re.IGNORECASE)
_RELATIVES = re.compile(r"father|mother|parent|matern|patern|sibling|brother|sister|child|menarche_of", re.IGNORECASE)
_MOSTLY = 0.9  # of the values of a column of text are dates when it is a date
_FEWEST = 20
_SAME_DISTANCE = 0.9
_SEPARATED = 0.95
_DAY = 86_400

_LATER = "Take the column out of the feature set, or keep only values measured by the index time"


def _dates(column: pd.Series) -> pd.Series | None:
    """Return a column as times, None where it holds something else."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    given = column.dropna()
    if given.empty or pd.api.types.infer_dtype(given) != "string":
        return None
    times = pd.to_datetime(column, errors="coerce", format="ISO8601")
    return times if times.notna().sum() >= _MOSTLY * len(given) else None


def _later(times: pd.Series, index_time: pd.Series) -> pd.Series:
    """Tell which times are after the index time; a midnight index time covers its whole day."""
    end = index_time.where(index_time != index_time.dt.normalize(), index_time + pd.Timedelta(days=1, microseconds=-1))
    return times > end


def check_companions(evidence: Evidence) -> list[Finding]:
    """Find static columns whose own date, or age, is later than the index time."""
    table = evidence.subjects
    lower = {name.lower(): name for name in table.columns}
    findings = []
    for name in evidence.tables:
        for column in sorted(static_columns(evidence, name) & set(table.columns)):
            given = table[column].notna()
            for pattern in _COMPANIONS if evidence.dated else ():
                companion = lower.get(pattern.format(column.lower()))
                times = None if companion is None else _dates(table[companion])
                if times is None:
                    continue
                late = int((_later(times, table["index_time"]) & given).sum())
                if late:
                    problem = f"column {companion} dates it after the index time of {count(late)} subjects"
                    findings.append(Finding("predictor_after_index", f"{name}.{column}", problem, late, _LATER))
                    break
            findings += _check_age(table, name, column)
    return findings


def _check_age(table: pd.DataFrame, name: str, column: str) -> list[Finding]:
    """Compare an ``age_at_...`` with the age at the index time."""
    if not _AGE_AT.match(column) or _RELATIVES.search(column) or "age" not in table.columns or column == "age":
        return []
    if not all(pd.api.types.is_numeric_dtype(table[one]) for one in (column, "age")):
        return []
    late = int((table[column] > table["age"] + 1).sum())
    if not late:
        return []
    problem = f"it lies more than a year above `age`, the age at the index time, in {count(late)} subjects"
    return [Finding("predictor_after_index", f"{name}.{column}", problem, late, _LATER)]


def check_since(column: FeatureColumn) -> list[Finding]:
    """Find times since something that are negative: it happens after the index time."""
    if column.levels is not None or not (column.aggregate == "time_since" or _SINCE.search(column.name)):
        return []
    late = int((column.numbers < 0).sum())
    if not late:
        return []
    problem = f"it counts the time since something that lies after the index time in {count(late)} subjects"
    return [Finding("predictor_after_index", column.place, problem, late, _LATER)]


def check_files(evidence: Evidence, sets: dict[str, SetRows]) -> list[Finding]:
    """Find feature sets with rows of subjects who have no recording, image or sound at or before their index time."""
    findings = []
    for name, rows in sets.items():
        kind = getattr(evidence.features[name], "raw", "events")
        if kind not in evidence.manifests:
            continue
        ids = set(rows.ids)
        if name in evidence.indices:
            ids |= set(pq.read_table(evidence.indices[name], columns=["subject_id"]).column(0).to_pylist())
        manifest = read_frame(evidence.manifests[kind], columns=["subject_id", "time"])
        manifest = manifest.rename(columns={"subject_id": "person_id"})
        files = evidence.subjects[["subject_id", "person_id", "index_time"]].merge(manifest, on="person_id")
        by_then = set(files.loc[files["time"] <= files["index_time"], "subject_id"])
        late = len(ids - by_then)
        if late:
            problem = (
                f"{count(late)} subjects have a row, and none of their {kind} is dated at or before the index time"
            )
            remedy = "Features come from files of the time before: make the feature set again from the manifest"
            findings.append(Finding("predictor_after_index", name, problem, late, remedy))
    return findings


def check_index(evidence: Evidence) -> list[Finding]:
    """Find index times that follow from the event."""
    findings = []
    times = evidence.subjects["index_time"]
    seconds = times.to_numpy().astype("datetime64[s]").astype(np.int64)
    for endpoint in evidence.outcomes:
        at_risk = evidence.at_risk(endpoint, evidence.subjects["subject_id"])
        for problem, n in _index_problems(at_risk, seconds[at_risk.rows], evidence.dated):
            remedy = (
                "Choose index times that nobody needs the outcome for (an admission, a visit, an age), the same way "
                "for subjects with and without the event"
            )
            findings.append(Finding("index_encodes_outcome", endpoint, problem, n, remedy))
            break
    return findings


def _index_problems(at_risk: AtRisk, seconds: np.ndarray, dated: bool) -> Iterator[tuple[str, int]]:
    target = at_risk.event == 1
    events, others = int(target.sum()), int((~target).sum())
    if events < _FEWEST:
        return
    time = at_risk.time
    bins, counts = np.unique(np.round(time[target]), return_counts=True)
    most = int(counts.max())
    longest = time.max()
    near = np.abs(np.round(time[~target]) - bins[counts.argmax()]) < 1
    # Where all times are few whole numbers (years, visits), or the others end there too, a common time is no surprise.
    if most >= _SAME_DISTANCE * events and longest > 10 and (others == 0 or near.mean() < 0.5):
        if bins[counts.argmax()] > 1:
            yield f"the event comes the same number of days after the index time in {most} of {events} subjects", most
        elif longest > 30:
            yield f"the index time is the time of the event, or the day before it, in {most} of {events} subjects", most
    if not dated:
        return
    if others >= _FEWEST:
        for what, values in (("date", seconds), ("hour", seconds % _DAY)):
            ranked = Ranked.of(values.astype(float))
            value = auc(ranked.counts(np.flatnonzero(~target)), ranked.counts(np.flatnonzero(target)))
            if max(value, 1 - value) >= _SEPARATED:
                yield (
                    f"the {what} of the index time tells {events} subjects with the event from {others} without (area "
                    f"under the ROC curve {max(value, 1 - value):.3f})",
                    events,
                )
    if len(np.unique(time[target])) >= 10:
        value = abs(spearman(seconds[target], time[target]))
        if value >= _SEPARATED:
            problem = (
                f"the index time goes with the time to the event of {events} subjects (rank correlation {value:.3f})"
            )
            yield problem, events

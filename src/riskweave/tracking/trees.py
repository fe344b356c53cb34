"""What is stored for a record: a run, a run below it for each fold, and below that one for each trial of a search."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from riskweave.tracking.contents import Contents, of_fold, of_run, of_trial, read_curves, times_of
from riskweave.tracking.record import FoldRecord, RunRecord, fingerprint

__all__ = [
    "CURRENT",
    "EVALUATION",
    "FINGERPRINT",
    "PARENT",
    "RECORD",
    "REMOVED",
    "STATUS",
    "SUPERSEDED",
    "DataSet",
    "Node",
    "StoredRun",
    "key_of",
    "tree_of",
]

RECORD = "riskweave.record"
FINGERPRINT = "riskweave.fingerprint"
EVALUATION = "riskweave.evaluation"
PARENT = "mlflow.parentRunId"
STATUS = "status"
CURRENT, SUPERSEDED, REMOVED = "current", "superseded", "removed"


class DataSet(NamedTuple):
    """The data set that a run was trained on, as MLflow shows it."""

    name: str
    digest: str
    source: str
    profile: str


@dataclass
class Node:
    """A run to be stored, with those below it.

    Attributes
    ----------
    contents : Contents
        Name, parameters, tags and metrics.
    start, end : int
        Milliseconds since 1970.
    children : list of Node
    files : list of (Path, str)
        Files to keep, each with the folder below the run's artifacts that takes it (empty: none).
    data : DataSet, optional
    timed : list of (str, float, int, int)
        Further metrics: key, value, milliseconds since 1970, step.
    run_id : str
        Where the store lets us choose it; a server chooses its own.
    """

    contents: Contents
    start: int
    end: int
    children: list["Node"] = field(default_factory=list)
    files: list[tuple[Path, str]] = field(default_factory=list)
    data: DataSet | None = None
    timed: list[tuple[str, float, int, int]] = field(default_factory=list)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def points(self) -> list[tuple[str, float, int, int]]:
        """Return all metrics: key, value, milliseconds since 1970, step."""
        # A later epoch has a later time, so that the interface draws curves by either.
        return [(key, value, self.start + step, step) for key, value, step in self.contents.metrics] + self.timed

    def walk(self) -> Iterator["Node"]:
        """Yield the run and all below it, each with its parent's id among its tags."""
        yield self
        for child in self.children:
            child.contents.tags[PARENT] = self.run_id
            yield from child.walk()


class StoredRun(NamedTuple):
    """What is known of a run that is in a store."""

    run_id: str
    finished: bool
    tags: dict[str, str]


def key_of(run: RunRecord) -> str:
    """Return the key of a training step within its study."""
    return f"{run.kind}/{run.endpoint}/{run.name}"


def tree_of(path: Path, run: RunRecord) -> Node:
    """Return what is stored of a record and of the curves next to it."""
    start, end = times_of(run)
    curves = read_curves(path)
    own = {RECORD: key_of(run), STATUS: CURRENT}

    def node(contents: Contents, end: int, **more: object) -> Node:
        return Node(replace(contents, tags={**contents.tags, **own}), start, end, **more)

    known = {fold.fold for fold in run.folds}
    folds = [*run.folds, *(FoldRecord(fold) for fold in sorted(set(curves) - known))]
    children = [
        node(
            of_fold(run, fold, curves),
            end,
            children=[node(of_trial(run, fold, one), start + round(1000 * one.seconds)) for one in fold.trials],
        )
        for fold in folds
    ]
    files = [(file, "") for file in (path, path.with_name("curves.csv")) if file.is_file()]
    top = node(of_run(run), end, children=children, files=files, data=_data_set(run))
    top.contents.tags[FINGERPRINT] = fingerprint(path)
    return top


def _data_set(run: RunRecord) -> DataSet | None:
    """Return the data set of a run under our own digest; None where the record names none."""
    digest = run.data.get("fingerprint")
    if not digest:
        return None
    return DataSet(
        name=str(run.data.get("source", "cohort")),
        digest=digest[:32],  # MLflow takes at most 36 characters; the tag `data` has all 64
        source=json.dumps({"uri": ", ".join(map(str, run.data.get("files") or []))}),
        profile=json.dumps({"fingerprint": digest, "tables": run.data.get("tables", {})}),
    )

"""Under which ids MLflow holds the runs of a study: new ones in a new store, where the fingerprints stay."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from riskweave.files import replacing
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.trees import PARENT as ABOVE

__all__ = ["COLUMNS", "PARENT", "StepRun", "write_ids"]

COLUMNS = ("kind", "endpoint", "name", "fold", "fingerprint", "mlflow_experiment", "mlflow_run")
PARENT = "parent"
"""Stands in the column `fold` for the run of the whole step."""


class StepRun(NamedTuple):
    """The parent run of a training step."""

    kind: str
    endpoint: str
    name: str
    fingerprint: str
    run_id: str


def _folds(store: SqlStore, experiment: str, parents: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Return fold and id of the child runs of each parent; trials are below a fold and not among them."""
    found: dict[str, list[tuple[int, str]]] = {parent: [] for parent in parents}
    for run in store.runs(experiment, ["fold"]):
        parent = run.tags.get(ABOVE)
        if parent in found:
            found[parent].append((int(run.tags["fold"]), run.run_id))
    return found


def write_ids(*, store: SqlStore, experiment: str, runs: Iterable[StepRun], path: Path) -> None:
    """Write the ids of runs, each step followed by its folds.

    Parameters
    ----------
    store : SqlStore
    experiment : str
        MLflow's id of the study.
    runs : iterable of StepRun
        The parent run of each step.
    path : Path
        CSV file with the columns :data:`COLUMNS`, sorted by step. `fold` is a number, or :data:`PARENT`; a fold has the
        fingerprint of its step. In the interface a run is at ``#/experiments/<mlflow_experiment>/runs/<mlflow_run>``.
    """
    runs = sorted(runs)
    folds = _folds(store, experiment, [run.run_id for run in runs])
    rows = [
        (*run[:3], fold, run.fingerprint, experiment, run_id)
        for run in runs
        for fold, run_id in ((PARENT, run.run_id), *sorted(folds[run.run_id]))
    ]
    with replacing(path) as (partial,):
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial, index=False, lineterminator="\n")

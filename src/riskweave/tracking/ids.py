"""Under which ids MLflow holds the runs of a study: new ones in a new store, where the fingerprints stay."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from riskweave.tracking.database import DATABASE

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


_FOLDS = """
    SELECT parent.value, fold.value, run.run_uuid
    FROM runs AS run
    JOIN tags AS parent ON parent.run_uuid = run.run_uuid AND parent.key = 'mlflow.parentRunId'
    JOIN tags AS fold ON fold.run_uuid = run.run_uuid AND fold.key = 'fold'
    WHERE run.experiment_id = ? AND run.lifecycle_stage = 'active'
"""


def _folds(database: Path, experiment: str, parents: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Return fold and id of the child runs of each parent; trials are below a fold and not among them."""
    found: dict[str, list[tuple[int, str]]] = {parent: [] for parent in parents}
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
        for parent, fold, run_id in connection.execute(_FOLDS, (int(experiment),)):
            if parent in found:
                found[parent].append((int(fold), run_id))
    return found


def write_ids(*, directory: Path, experiment: str, runs: Iterable[StepRun], path: Path) -> None:
    """Write the ids of runs, each step followed by its folds.

    Parameters
    ----------
    directory : Path
        Folder of the store.
    experiment : str
        MLflow's id of the study.
    runs : iterable of StepRun
        The parent run of each step.
    path : Path
        CSV file with the columns :data:`COLUMNS`, sorted by step. `fold` is a number, or :data:`PARENT`; a fold has the
        fingerprint of its step. In the interface a run is at ``#/experiments/<mlflow_experiment>/runs/<mlflow_run>``.
    """
    runs = sorted(runs)
    folds = _folds(Path(directory) / DATABASE, experiment, [run.run_id for run in runs])
    rows = [
        (*run[:3], fold, run.fingerprint, experiment, run_id)
        for run in runs
        for fold, run_id in ((PARENT, run.run_id), *sorted(folds[run.run_id]))
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False, lineterminator="\n")

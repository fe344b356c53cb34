"""From the subjects of the table to the subjects at risk: how many are left at each step, and why."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

__all__ = ["ATTRITION_COLUMNS", "Step", "attrition_table", "write_attrition"]

ATTRITION_COLUMNS = ("step", "description", "excluded", "remaining")


@dataclass(frozen=True)
class Step:
    """A step of the selection: its name, what it asks for, and how many subjects it removes."""

    step: str
    description: str
    excluded: int


def attrition_table(*, total: int, steps: Sequence[Step]) -> pd.DataFrame:
    """Count the subjects that remain after each step.

    Parameters
    ----------
    total : int
        Subjects before the first step.
    steps : sequence of Step
        In the order in which they are applied.

    Returns
    -------
    pandas.DataFrame, shape (n_steps, 4)
        Columns step, description, excluded, remaining (numbers of subjects).
    """
    table = pd.DataFrame([vars(step) for step in steps], columns=list(ATTRITION_COLUMNS[:3]))
    return table.assign(remaining=total - table["excluded"].cumsum())


def write_attrition(table: pd.DataFrame, path: Path) -> None:
    """Write the attrition table as CSV, all at once or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    table.to_csv(partial, index=False, columns=list(ATTRITION_COLUMNS), lineterminator="\n")
    os.replace(partial, path)

"""From the people of the source to the subjects at risk: how many are left at each step, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from riskweave.errors import DataError
from riskweave.files import replacing

__all__ = ["ATTRITION_COLUMNS", "Step", "attrition_table", "next_step", "read_attrition", "write_attrition"]

ATTRITION_COLUMNS = ("step", "description", "excluded", "remaining", "people")


@dataclass(frozen=True)
class Step:
    """A step of the selection.

    Attributes
    ----------
    step : str
        Its name.
    description : str
        What it asks for, in words.
    excluded : int
        How many it removes: people before they have index times, subjects of the study after.
    remaining : int
        How many are left. More than before in the one step that gives people several index times.
    people : int
        Of how many people they are.
    """

    step: str
    description: str
    excluded: int
    remaining: int
    people: int


def next_step(step: str, description: str, people: pd.Series, keep: pd.Series) -> Step:
    """Return the step that keeps some of the subjects.

    Parameters
    ----------
    step, description : str
        Name of the step, and what it asks for.
    people : pandas.Series of str
        The person of each subject that was left before.
    keep : pandas.Series of bool
        Which of them stay.
    """
    return Step(step, description, int((~keep).sum()), int(keep.sum()), int(people[keep].nunique()))


def attrition_table(steps: Sequence[Step]) -> pd.DataFrame:
    """Return the steps as a table of shape (n_steps, 5): step, description, excluded, remaining, people."""
    return pd.DataFrame([vars(step) for step in steps], columns=list(ATTRITION_COLUMNS))


def write_attrition(steps: Sequence[Step], path: Path) -> None:
    """Write the attrition table as CSV, all at once or not at all."""
    path = Path(path)
    with replacing(path) as (partial,):
        attrition_table(steps).to_csv(partial, index=False, lineterminator="\n")


def read_attrition(path: Path) -> list[Step]:
    """Read an attrition table.

    Raises
    ------
    DataError
        When the file is missing or has other columns.
    """
    remedy = "The file is made by the pipeline: run snakemake again"
    if not Path(path).is_file():
        raise DataError(str(path), "there is no such file (attrition table)", remedy)
    table = pd.read_csv(path, keep_default_na=False)
    if tuple(table.columns) != ATTRITION_COLUMNS:
        raise DataError(str(path), f"the columns are {', '.join(table.columns)}", remedy)
    return [Step(*row) for row in table.itertuples(index=False)]

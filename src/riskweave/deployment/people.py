"""What may be told of a study's people: numbers that at least ten of them stand behind, however many rows each has."""

import numpy as np
import pandas as pd

__all__ = ["FEWEST", "owners", "rounded", "rows_of_people", "typical_value", "usual_range", "usual_share"]

FEWEST = 10
"""People behind whatever is told: fewer would be about single ones."""


def owners(table: pd.DataFrame, people: pd.Series | None) -> np.ndarray:
    """Return whose row each row of a table is, as numbers.

    Parameters
    ----------
    table : DataFrame
        Indexed by subject_id.
    people : Series indexed by subject_id, or None
        Whose index time each subject is; without it each row is a person's own.
    """
    return np.arange(len(table)) if people is None else pd.factorize(people.loc[table.index].to_numpy())[0]


def usual_range(values: pd.Series, people: np.ndarray | None = None) -> tuple[float, float]:
    """Return what all but 1 % of the people stayed above, and all but 1 % below.

    Where 1 % are fewer than ten, ten people are beyond each end; below a hundred people both are infinite.

    Parameters
    ----------
    values : Series of n numbers
    people : int array (n,), optional
        Whose they are (`owners`); without it each is a person's own.
    """
    each = _of_people(values, people)
    beyond = _beyond(each.ngroups)
    if beyond is None:
        return -np.inf, np.inf
    return rounded(np.quantile(each.min(), beyond)), rounded(np.quantile(each.max(), 1.0 - beyond))


def usual_share(values: pd.Series, people: np.ndarray | None = None) -> float:
    """Return the share of the people between the ends of `usual_range`, of each of which it is said; at most 0.98."""
    beyond = _beyond(_of_people(values, people).ngroups)
    return 0.98 if beyond is None else 1.0 - 2.0 * beyond


def typical_value(values: pd.Series, people: np.ndarray | None = None) -> float:
    """Return the median of the people's medians; NaN below twenty people."""
    each = _of_people(values, people)
    return rounded(each.median().median()) if each.ngroups >= 2 * FEWEST else np.nan


def rows_of_people(people: pd.Series | None, *, fewest: int = FEWEST) -> int:
    """Return how many rows are never those of fewer than `fewest` people: one more than fewer can have together.

    Parameters
    ----------
    people : Series or None
        Whose row each row is; None: each is a person's own.
    """
    return fewest if people is None else int(people.value_counts().nlargest(fewest - 1).sum()) + 1


def rounded(value: float) -> float:
    """Return a number with four digits: what is told of a distribution needs no more."""
    return float(f"{value:.4g}")


def _of_people(values: pd.Series, people: np.ndarray | None) -> "pd.core.groupby.SeriesGroupBy":
    """Return the known values, person by person."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    whose, known = np.arange(len(numbers)) if people is None else people, ~np.isnan(numbers)
    return pd.Series(numbers[known]).groupby(whose[known])


def _beyond(people: int) -> float | None:
    """Return the share of the people beyond each end of a usual range: 1 %, or ten people; None where there are few."""
    share = max(0.01, FEWEST / max(people, 1))
    return None if share > 0.1 else share

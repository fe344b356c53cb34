"""The design of an experiment: one matrix of numbers that knows which columns belong to which modality."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

__all__ = ["Design", "Group"]


@dataclass(frozen=True)
class Group:
    """The columns of one modality in a design.

    Attributes
    ----------
    modality : str
    columns : tuple of int
        Positions of its columns, the mask left out; none where no column of the modality varies.
    mask : int or None
        Position of the column ``has_<modality>``: 1 for those who have the modality, 0 for the others. None where
        (nearly) all training subjects have it, or none.
    """

    modality: str
    columns: tuple[int, ...]
    mask: int | None


@dataclass(frozen=True)
class Design:
    """Numbers of some subjects, as a model or a fusion takes them.

    Attributes
    ----------
    values : float64 ndarray of shape (n, p)
        Finite; 0 in the columns of a modality that a subject lacks.
    columns : list of str
        Names of the p columns.
    groups : tuple of Group
        The modalities, in the order of the experiment's feature sets.
    present : bool ndarray of shape (n, groups)
        Which subjects have which modality.
    subjects : Index of subject_id, shape (n,)
    people : ndarray of shape (n,)
        Whose subjects they are: subjects (index times) of one person share a value.
    """

    values: np.ndarray
    columns: list[str]
    groups: tuple[Group, ...]
    present: np.ndarray
    subjects: pd.Index
    people: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> "Design":
        """Return the design of some rows, given by position or as a mask."""
        return replace(
            self,
            values=self.values[rows],
            present=self.present[rows],
            subjects=self.subjects[rows],
            people=self.people[rows],
        )

    def of_person(self, people: pd.Series | None) -> "Design":
        """Return the design with other people: a Series indexed by subject_id; itself without one."""
        return self if people is None else replace(self, people=people.loc[self.subjects].to_numpy())

    def of_group(self, position: int) -> np.ndarray:
        """Return the columns of one modality, without its mask, of shape (n, columns of the group)."""
        return self.values[:, list(self.groups[position].columns)]

    def names_of_group(self, position: int) -> list[str]:
        """Return the names of the columns that `of_group` gives."""
        return [self.columns[column] for column in self.groups[position].columns]

    def used(self) -> np.ndarray:
        """Tell which modalities a prediction rests on: those that a subject has and of which a column varies.

        Returns
        -------
        bool ndarray of shape (n, groups)
        """
        return self.present & np.array([bool(group.columns) for group in self.groups], dtype=bool)

    def patterns(self) -> list[str]:
        """Return for each row the modalities that its prediction rests on, such as ``ehr+ecg``; empty for none."""
        names = [group.modality for group in self.groups]
        return ["+".join(name for name, used in zip(names, row, strict=True) if used) for row in self.used()]

    def frame(self) -> pd.DataFrame:
        """Return the values as a table, indexed by subject."""
        return pd.DataFrame(self.values, index=self.subjects, columns=self.columns)

"""Who trains, validates and tests an encoder in each fold, and where their inputs are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from riskweave.cohort.tables import ROLES

__all__ = ["Rows", "rows_of_folds"]


@dataclass(frozen=True)
class Rows:
    """Subjects of one role in one fold who are at risk and have the modality.

    Attributes
    ----------
    subject : object array (n,)
        Their identifiers.
    position : int64 array (n,)
        Their places among the subjects of the stored inputs.
    person : object array (n,)
        Who they are: several index times of one person are several subjects.
    time, event : arrays (n,)
        Days from the index time; 0 censored, 1 target, 2.. competing.
    """

    subject: np.ndarray
    position: np.ndarray
    person: np.ndarray
    time: np.ndarray
    event: np.ndarray

    def __len__(self) -> int:
        return len(self.subject)


def rows_of_folds(
    subjects: pd.Index, *, outcomes: pd.DataFrame, folds: pd.DataFrame, persons: pd.Series
) -> dict[int, dict[str, Rows]]:
    """Return for each fold the rows of each role.

    Parameters
    ----------
    subjects : Index of str
        Who has the modality, in the order of the stored inputs.
    outcomes : DataFrame
        subject_id, time, event of those at risk.
    folds : DataFrame
        subject_id, fold, role.
    persons : Series indexed by subject_id
        The person of each subject.
    """
    place = pd.DataFrame({"subject_id": subjects, "position": np.arange(len(subjects))})
    place["person"] = persons.reindex(subjects).to_numpy()
    at_risk = folds.merge(place, on="subject_id").merge(outcomes, on="subject_id")
    plan = {}
    for fold, members in at_risk.groupby("fold", sort=True):
        parts = {role: members[members["role"] == role] for role in ROLES}
        plan[int(fold)] = {
            role: Rows(
                part["subject_id"].to_numpy(dtype=object),
                part["position"].to_numpy(dtype=np.int64),
                part["person"].to_numpy(dtype=object),
                part["time"].to_numpy(dtype=float),
                part["event"].to_numpy(dtype=int),
            )
            for role, part in parts.items()
        }
    return plan

"""Prediction tables and outcomes of one endpoint, checked to be of the same subjects."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, read_table
from riskweave.errors import DataError
from riskweave.evaluation.curves import Hazards, piecewise_hazards
from riskweave.parquet import read_frame
from riskweave.study.cohort import Endpoint
from riskweave.survival.predictions import read_predictions, risk_columns

__all__ = ["FEWEST_SHOWN", "Comparison", "availability_patterns", "read_comparison"]

logger = logging.getLogger(__name__)

# Smaller groups and counts are not shown: they say little, and too much about single people.
FEWEST_SHOWN = 10
# A warning, not an error: intervals tell the rest.
FEW_AT_RISK = 10


@dataclass(frozen=True)
class Comparison:
    """What all experiments of an endpoint predicted for the same subjects.

    Attributes
    ----------
    endpoint : str
        Name of the endpoint.
    experiments : list of str
        Names, in the order of the files.
    subject_id : (n,) array of str
        Sorted.
    people : (n,) int64 array
        The person of each subject, numbered in order of appearance.
    time, event : (n,) arrays
        Days, and 0 censored, 1 target, 2 and up competing.
    times : (k,) int64 array
        Days at which risks are predicted, increasing; the last is the last horizon.
    horizons : list of int
        Days, increasing, among `times`.
    risks : (experiments, n, k) float64 array
        Cumulative incidence of the target event.
    fold : (n,) int64 array
        In whose test rows each subject is.
    hazards : list of Hazards or None
        Of each experiment: predicted hazards of all causes up to the subject's own time; None where the predictions
        lack a cause that occurs.
    """

    endpoint: str
    experiments: list[str]
    subject_id: np.ndarray
    people: np.ndarray
    time: np.ndarray
    event: np.ndarray
    times: np.ndarray
    horizons: list[int]
    risks: np.ndarray
    fold: np.ndarray
    hazards: list[Hazards | None]


@dataclass(frozen=True)
class _Predicted:
    """What one prediction table says, in the order of the subjects."""

    experiment: str
    fold: np.ndarray
    risks: np.ndarray
    hazards: Hazards | None


def _read_outcomes(path: Path, horizons: list[int]) -> pd.DataFrame:
    outcomes = read_table(path, OUTCOMES).sort_values("subject_id", ignore_index=True)
    time, event = outcomes["time"].to_numpy(), outcomes["event"].to_numpy()
    targets = time[event == 1]
    if len(targets) == 0:
        raise DataError(
            f"{path}, column event",
            f"none of {len(outcomes)} subjects at risk has the target event",
            "Without events nothing can be evaluated: check the endpoint's target and the attrition table",
        )
    for horizon in horizons:
        at_risk = int((time >= horizon).sum())
        if at_risk == 0:
            raise DataError(
                f"{path}, column time",
                f"the horizon of {horizon} days is beyond the last follow-up of {time.max():g} days "
                f"(last target event: {targets.max():g} days)",
                "Choose `horizons` within the follow-up",
            )
        if at_risk < FEW_AT_RISK:
            logger.warning(
                "only %d of %d subjects are followed to the horizon of %d days: expect wide intervals",
                at_risk,
                len(time),
                horizon,
            )
    return outcomes


def _hazards(table: pd.DataFrame, times: list[int], outcomes: pd.DataFrame, path: Path) -> Hazards | None:
    """Predicted hazards of all causes; the tables' tolerances (falls and sums off by 1e-6) are taken out."""
    days, event = np.array(times), outcomes["event"].to_numpy()
    causes = [[columns[day] for day in times] for columns in risk_columns(table).values()]
    if event.max() > len(causes):
        logger.warning(
            "%s: events of cause %d occur, only causes up to %d are predicted: no likelihood, no D- or A-calibration",
            path,
            event.max(),
            len(causes),
        )
        return None
    incidence = np.stack([np.maximum.accumulate(table[columns].to_numpy(float), axis=1) for columns in causes])
    incidence /= np.maximum(incidence[:, :, -1:].sum(axis=0, keepdims=True), 1)
    return piecewise_hazards(time=outcomes["time"].to_numpy(float), event=event, incidence=incidence, times=days)


def _read_predicted(path: Path, endpoint: str, times: list[int], outcomes: pd.DataFrame) -> _Predicted:
    subject_id = outcomes["subject_id"].to_numpy(str)
    table = read_predictions(path)
    if set(table["endpoint"]) != {endpoint} or len(set(table["experiment"])) != 1:
        raise DataError(
            f"{path}, columns experiment and endpoint",
            f"the table is not of one experiment of endpoint {endpoint!r}",
            "A prediction table holds one experiment of one endpoint",
        )
    columns = [f"risk_{day}" for day in times]
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            str(path),
            f"{len(missing)} of {len(columns)} days of the endpoint's grid are missing: {', '.join(missing[:5])}",
            "Train the experiment again with the current study file",
        )
    found = table["subject_id"].to_numpy(str)
    lacking, extra = len(np.setdiff1d(subject_id, found)), len(np.setdiff1d(found, subject_id))
    if lacking or extra:
        raise DataError(
            f"{path}, column subject_id",
            f"predictions lack {lacking} of the {len(subject_id)} subjects at risk and hold {extra} others",
            "Experiments are compared on the same subjects: train the experiment again on the current cohort",
        )
    table = table.iloc[np.argsort(found)]
    return _Predicted(
        experiment=str(table["experiment"].iloc[0]),
        fold=table["fold"].to_numpy(np.int64),
        risks=table[columns].to_numpy(float),
        hazards=_hazards(table, times, outcomes, path),
    )


def _people(subjects: Path, subject_id: np.ndarray, outcomes: Path) -> np.ndarray:
    """Return the person of each subject as a number."""
    table = read_table(subjects, SUBJECTS).set_index("subject_id")["person_id"]
    unknown = int((~np.isin(subject_id, table.index.to_numpy(str))).sum())
    if unknown:
        raise DataError(
            f"{outcomes}, column subject_id", f"{unknown} subjects are not in {subjects}", "Run the cohort stage again"
        )
    return pd.factorize(table.loc[subject_id])[0].astype(np.int64)


def read_comparison(
    *, predictions: list[Path], outcomes: Path, subjects: Path, name: str, endpoint: Endpoint
) -> Comparison:
    """Read the outcomes of an endpoint and the predictions of its experiments.

    Parameters
    ----------
    predictions : list of Path
        Prediction tables, one experiment each.
    outcomes : Path
        Outcome table of the endpoint: the subjects at risk.
    subjects : Path
        Subject table of the cohort, which knows the person of each subject.
    name : str
        Name of the endpoint.
    endpoint : Endpoint
        Its block of the study: horizons and time grid.

    Raises
    ------
    DataError
        When a table breaks its contract, an experiment is given twice, predicts other subjects than those at risk or
        has other folds than the others, subjects are not in the subject table, nobody has the target event, or a
        horizon is beyond the follow-up.
    """
    times = endpoint.time_grid()
    horizons = sorted(set(endpoint.horizons))
    table = _read_outcomes(Path(outcomes), horizons)
    # the order of the subjects decides what a seed draws: by identifier, whatever the files' order
    subject_id = table["subject_id"].to_numpy(str)
    people = _people(Path(subjects), subject_id, Path(outcomes))
    found: dict[str, _Predicted] = {}
    for path in predictions:
        one = _read_predicted(Path(path), name, times, table)
        if one.experiment in found:
            raise DataError(str(path), f"experiment {one.experiment!r} is given twice", "Give each experiment once")
        if found and not np.array_equal(one.fold, next(iter(found.values())).fold):
            first = next(iter(found))
            raise DataError(
                f"{path}, column fold",
                f"subjects are in other folds than those of {first}",
                "All experiments share the study's folds: train the experiment again",
            )
        found[one.experiment] = one
    return Comparison(
        endpoint=name,
        experiments=list(found),
        subject_id=subject_id,
        people=people,
        time=table["time"].to_numpy(float),
        event=table["event"].to_numpy(np.int64),
        times=np.array(times, dtype=np.int64),
        horizons=horizons,
        risks=np.stack([one.risks for one in found.values()]),
        fold=next(iter(found.values())).fold,
        hazards=[one.hazards for one in found.values()],
    )


def availability_patterns(subject_id: np.ndarray, availability: dict[str, list[Path]]) -> np.ndarray:
    """Name the modalities that each subject has: ``"ehr+ecg"``, or ``"none"``.

    Parameters
    ----------
    subject_id : (n,) array of str
    availability : dict of modality to list of Path
        Parquet tables: who has a row in some of them has the modality.

    Returns
    -------
    (n,) array of str
    """
    has = {modality: np.zeros(len(subject_id), dtype=bool) for modality in availability}
    for modality, paths in availability.items():
        for path in paths:
            members = read_frame(path, columns=["subject_id"])["subject_id"].astype(str).to_numpy()
            has[modality] |= np.isin(subject_id, members)
    return np.array(
        ["+".join(m for m, members in has.items() if members[i]) or "none" for i in range(len(subject_id))], dtype=str
    )

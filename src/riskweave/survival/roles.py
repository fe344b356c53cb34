"""Who trains, validates and tests in each fold of an endpoint, and whether that suffices: known before any training."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FINAL, FOLDS, OUTCOMES, ROLES, read_table
from riskweave.errors import DataError
from riskweave.parquet import read_frame

__all__ = [
    "Roles",
    "association",
    "check_encoder_rows",
    "check_events",
    "check_training",
    "concordance",
    "roles_at_risk",
]

logger = logging.getLogger(__name__)

Roles = Mapping[int, Mapping[str, pd.Index]]
"""Fold to role (train, validation, test) to the subjects at risk."""


def roles_at_risk(*, folds: pd.DataFrame, outcomes: pd.DataFrame, where: str) -> dict[int, dict[str, pd.Index]]:
    """Return for each fold the subjects at risk of each role.

    Parameters
    ----------
    folds : DataFrame
        The table of the division.
    outcomes : DataFrame indexed by subject_id
        Outcomes of the endpoint: only subjects at risk have a row.
    where : str
        What messages call the division.

    Raises
    ------
    DataError
        When a subject at risk is not tested exactly once; in a final fit (`riskweave.cohort.tables.FINAL`) nobody is.
    """
    folds = folds[folds["subject_id"].isin(outcomes.index)]
    tested = folds.loc[(folds["role"] == "test") | (folds["fold"] == FINAL), "subject_id"]
    wrong = len(outcomes) - int((tested.value_counts() == 1).sum())
    if wrong:
        raise DataError(
            where,
            f"{wrong} of {len(outcomes)} subjects at risk are not in the test rows of exactly one fold",
            "Every subject at risk needs one row of role test: remove the file and let the pipeline make it again",
        )
    roles = {
        int(fold): {role: pd.Index(rows.loc[rows["role"] == role, "subject_id"], dtype=object) for role in ROLES}
        for fold, rows in folds.groupby("fold", sort=True)
    }
    for fold in [fold for fold, subjects in roles.items() if not len(subjects["test"]) and fold != FINAL]:
        logger.warning("fold %d is not trained: no subject at risk is in its test rows", fold)
        del roles[fold]
    return roles


def check_events(*, roles: Roles, outcomes: pd.DataFrame, endpoint: str) -> None:
    """Refuse folds without target events in the training rows, or with fewer than 2 validation rows (DataError).

    Validation rows without a target event are warned of: they choose penalties and epochs of a model.
    """
    for fold, subjects in roles.items():
        train = outcomes.loc[subjects["train"], "event"]
        where = f"endpoint {endpoint}, fold {fold}"
        if not (train == 1).any():
            raise DataError(
                where,
                f"none of the {len(train)} training subjects has the target event",
                "A model needs target events in every fold: take fewer folds, stratify them by this endpoint "
                "(folds.stratify), or widen the endpoint's codes",
            )
        if len(subjects["validation"]) < 2:
            raise DataError(
                where,
                f"{len(subjects['validation'])} validation subjects are at risk, beside {len(train)} training subjects",
                "At least 2 are needed: raise folds.validation, or take fewer folds",
            )
        validation = outcomes.loc[subjects["validation"], "event"]
        if not (validation == 1).any():
            logger.warning(
                "%s: none of the %d validation subjects has the target event: they say little or nothing about which "
                "penalty, hyper-parameters or epoch are best (deep_surv and cox_time keep their last epoch). Raise "
                "folds.validation, take fewer folds, or stratify them by this endpoint (folds.stratify)",
                where,
                len(validation),
            )


def check_encoder_rows(
    *, roles: Roles, outcomes: pd.DataFrame, present: pd.Index, endpoint: str, feature_set: str
) -> None:
    """Refuse to train an encoder where too few subjects at risk have the modality.

    Parameters
    ----------
    roles, outcomes
        As in `roles_at_risk`.
    present : Index of subject_id
        Subjects who have the modality.
    endpoint, feature_set : str
        Names in the study.

    Raises
    ------
    DataError
        When a fold has fewer than 2 training or validation rows, or no target event among its training rows.
    """
    for fold, subjects in roles.items():
        for role in ("train", "validation"):
            found = outcomes.loc[subjects[role].intersection(present), "event"]
            events = int((found == 1).sum())
            if len(found) < 2 or (role == "train" and not events):
                raise DataError(
                    f"endpoint {endpoint}, fold {fold}, feature set {feature_set}",
                    f"{len(found)} {role} subjects at risk have the modality, {events} of them with the target event",
                    "An encoder needs at least 2 rows of each role and a target event among the training rows: take "
                    "fewer folds, raise folds.validation, or leave the encoder out",
                )


def check_training(
    *, outcomes: Mapping[str, Path], folds: Path, encoders: Iterable[tuple[str, str]], present: Mapping[str, Path]
) -> None:
    """Check for all endpoints, before anything is trained, that every fold can be.

    Parameters
    ----------
    outcomes : mapping of endpoint to path
        Tables of outcomes.
    folds : path
        Table of the division.
    encoders : iterable of (feature set, endpoint)
        Encoders that will be trained.
    present : mapping of feature set to path
        For each of their feature sets a table with the subjects who have the modality.

    Raises
    ------
    DataError
        See `roles_at_risk`, `check_events` and `check_encoder_rows`.
    """
    division = read_table(folds, FOLDS)
    rows = {endpoint: read_table(path, OUTCOMES).set_index("subject_id") for endpoint, path in outcomes.items()}
    roles = {
        endpoint: roles_at_risk(folds=division, outcomes=table, where=str(folds)) for endpoint, table in rows.items()
    }
    for endpoint, table in rows.items():
        check_events(roles=roles[endpoint], outcomes=table, endpoint=endpoint)
    for feature_set, endpoint in encoders:
        check_encoder_rows(
            roles=roles[endpoint],
            outcomes=rows[endpoint],
            present=pd.Index(read_frame(present[feature_set], columns=["subject_id"])["subject_id"]),
            endpoint=endpoint,
            feature_set=feature_set,
        )


def concordance(*, time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Return Harrell's concordance with the target, for run records; NaN when no pair is comparable.

    Subjects with a competing event never have the target: they stay in the comparison for good (Wolbers et al. 2009,
    Epidemiology 20:555-561). The evaluation computes its own from the prediction table.
    """
    if not len(time):
        return float("nan")
    # lifelines takes more than a second to import: the gates before each training need only the roles.
    from lifelines.utils import concordance_index

    time = np.where(event > 1, time.max() + 1.0, time)
    try:
        return float(concordance_index(time, -risk, event == 1))
    except ZeroDivisionError:
        return float("nan")


def association(*, time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Return the Wald z of a risk in a Cox model of its own: how surely a higher risk goes with earlier events.

    Parameters
    ----------
    time, event : array (n,)
        Days, and whether the target event happened.
    risk : array (n,)
        Any score; higher means earlier.

    Returns
    -------
    float
        0 where the risk or the outcome does not vary, or the model does not converge.
    """
    spread = float(np.std(risk))
    if not event.any() or spread < 1e-12:
        return 0.0
    from lifelines import CoxPHFitter

    from riskweave.survival.penalised import quietly

    frame = pd.DataFrame({"time": time, "event": event.astype(int), "risk": (risk - np.mean(risk)) / spread})
    fitted = quietly(lambda: CoxPHFitter().fit(frame, duration_col="time", event_col="event"))
    return 0.0 if fitted is None else float(fitted.summary.loc["risk", "z"])

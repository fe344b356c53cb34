"""What a deployed model's risks are recalibrated by: learnt from the predictions for everybody, each out of fold."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from riskweave.cohort.tables import OUTCOMES, read_table
from riskweave.errors import DataError
from riskweave.evaluation.recalibration import Recalibration, apply_recalibrations, learn_recalibration
from riskweave.survival.predictions import read_predictions, risk_columns

__all__ = ["learn_from_predictions", "recalibrated"]

logger = logging.getLogger(__name__)

FEWEST = 10
"""Events of a cause that something is learnt from: what fewer teach is about single people."""


def learn_from_predictions(predictions: Path, outcomes: Path, times: Sequence[float]) -> list[Recalibration]:
    """Learn how each cause is recalibrated, as the evaluation does it for each fold from the others.

    Nobody was predicted by a model that was fitted on them, so that the error of new people's predictions is learnt.
    It is that of the folds' models, and is taken for that of the deployed one, whose test rows nobody is left to be.

    Parameters
    ----------
    predictions : Path
        ``predictions.parquet`` of the experiment.
    outcomes : Path
        Of the endpoint.
    times : sequence of float
        Days at which the deployed model predicts.

    Returns
    -------
    list of Recalibration
        One for each cause that is predicted, the target first. A competing cause of fewer than ten events stays as it
        is.

    Raises
    ------
    DataError
        When the predictions are of other subjects or times, or fewer than ten have the target event.
    """
    table = read_predictions(predictions).sort_values("subject_id", ignore_index=True)
    happened = read_table(outcomes, OUTCOMES).sort_values("subject_id", ignore_index=True)
    found = risk_columns(table)
    if list(table["subject_id"]) != list(happened["subject_id"]) or list(found[1]) != list(times):
        problem = "it is of other subjects or times than the models and outcomes"
        raise DataError(str(predictions), problem, "Train the experiment again on the current cohort")
    days, event = happened["time"].to_numpy(float), happened["event"].to_numpy(np.int64)
    learnt = []
    for cause, columns in found.items():
        # The cause in question is 1, and what competes with it 2.
        own = np.select([event == 0, event == cause], [0, 1], 2)
        events = int(((own == 1) & (days <= times[-1])).sum())
        if events >= FEWEST:
            risks = table[list(columns.values())].to_numpy(float)
            made = learn_recalibration(time=days, event=own, incidence=risks, times=np.array(times, float))
        elif cause == 1:
            problem = f"fewer than {FEWEST} subjects have the target event, too few to learn a recalibration from"
            raise DataError("deployment.recalibrate", problem, "Set `recalibrate: false`")
        else:
            logger.warning("cause %d happens to fewer than %d subjects: its risk stays as it is", cause, FEWEST)
            made = Recalibration(np.zeros(len(times)), 0.0, 1.0)
        logger.info("cause %d is recalibrated: intercept %.3f, slope %.3f", cause, made.intercept, made.slope)
        learnt.append(made)
    return learnt


def recalibrated(learnt: Sequence[Recalibration], risks: np.ndarray) -> np.ndarray:
    """Recalibrate the risks (n, causes, times) of subjects, in the arithmetic of the evaluation."""
    return np.moveaxis(apply_recalibrations(learnt, np.moveaxis(risks, 1, 0)), 0, 1)

"""What recalibration would change: learnt on the predictions of the other folds, applied to each fold."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from riskweave.evaluation.calibration_scores import CALIBRATION_METRICS
from riskweave.evaluation.draws import draw
from riskweave.evaluation.inputs import Comparison
from riskweave.evaluation.recalibration import apply_recalibration, learn_recalibration
from riskweave.evaluation.scores import make_panel, score, score_columns
from riskweave.study.evaluation import Evaluation

__all__ = ["RECALIBRATED_METRICS", "cross_fitted_risks", "recalibration_table"]

logger = logging.getLogger(__name__)

# Those that recalibration is for; the order of the subjects hardly changes.
RECALIBRATED_METRICS = ("brier", "observed_expected", *CALIBRATION_METRICS, "ibs", "ipa")


def cross_fitted_risks(comparison: Comparison) -> np.ndarray:
    """Recalibrate the risks of each fold by what the out-of-fold predictions of the other folds teach.

    Nobody's own outcome is in what is learnt for their fold. But it is learnt on predictions of other models than the
    one it is applied to, and these were trained on the fold in question: a small dependence, and an average over the
    models of a study in place of what one of them needs. Predictions of each fold's validation rows would be without
    both, and training does not store them.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    (experiments, n, k) float64 array
        Cumulative incidence of the target; as it was in a fold for which nothing can be learnt (a single fold, no
        events in the others), with a warning.
    """
    risks = comparison.risks.copy()
    for fold in np.unique(comparison.fold):
        tested = comparison.fold == fold
        time, event = comparison.time[~tested], comparison.event[~tested]
        if not np.any((event == 1) & (time <= comparison.times[-1])):
            logger.warning("fold %d: no target events in the other folds, its risks are not recalibrated", fold)
            continue
        for e, risk in enumerate(comparison.risks):
            learnt = learn_recalibration(time=time, event=event, incidence=risk[~tested], times=comparison.times)
            risks[e, tested] = apply_recalibration(learnt, risk[tested])
    return risks


def recalibration_table(comparison: Comparison, evaluation: Evaluation, threads: int = 1) -> pd.DataFrame:
    """Lay out the metrics of calibration and accuracy as they are and after recalibration, with paired differences.

    Parameters
    ----------
    comparison : Comparison
    evaluation : Evaluation
        Resamples, seed, kind and coverage of intervals. Resamples keep what was learnt.
    threads : int, default 1
        Any number gives the same digits.

    Returns
    -------
    DataFrame
        experiment, endpoint, metric (of `RECALIBRATED_METRICS`), horizon, before, before_lower, before_upper, after,
        after_lower, after_upper, difference (after minus before), difference_lower, difference_upper.
    """
    count = len(comparison.experiments)
    both = replace(
        comparison,
        experiments=[*comparison.experiments] * 2,
        risks=np.concatenate([comparison.risks, cross_fitted_risks(comparison)]),
        hazards=[None] * (2 * count),
    )
    panel = make_panel(both, wanted=frozenset(RECALIBRATED_METRICS))

    def measure(weights: np.ndarray) -> np.ndarray:
        found = score(panel, weights)
        before, after = found[:, :count], found[:, count:]
        return np.stack([before, after, after - before], axis=1)

    what = f"endpoint {comparison.endpoint}, recalibration"
    drawn = draw(measure, people=comparison.people, evaluation=evaluation, threads=threads, what=what)
    numbers = np.stack([drawn.estimate, *drawn.interval(evaluation.confidence)], axis=1)
    rows = [
        (experiment, comparison.endpoint, metric, horizon, *numbers[:, :, e, c].ravel())
        for e, experiment in enumerate(comparison.experiments)
        for c, (metric, horizon) in enumerate(score_columns(comparison.horizons))
        if metric in RECALIBRATED_METRICS
    ]
    columns = ["experiment", "endpoint", "metric", "horizon"]
    for name in ("before", "after", "difference"):
        columns += [name, f"{name}_lower", f"{name}_upper"]
    return pd.DataFrame(rows, columns=columns).astype({"horizon": "int64"})

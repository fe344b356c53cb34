"""Verdicts on the expectations that the study wrote down before it ran."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.evaluation.draws import Drawn, draw
from riskweave.evaluation.inputs import Comparison, read_comparison
from riskweave.evaluation.scores import make_panel, score, score_columns
from riskweave.files import replacing
from riskweave.study.cohort import Endpoint
from riskweave.study.study import Evaluation, Objective

__all__ = ["judge", "verdict"]

METRIC_WORDS = {
    "harrell_c": "Harrell's concordance",
    "uno_c": "Uno's concordance",
    "auc": "area under the ROC curve",
    "brier": "Brier score",
    "ibs": "integrated Brier score",
    "ipa": "index of prediction accuracy",
    "observed_expected": "observed over expected incidence",
    "calibration_intercept": "calibration intercept",
    "calibration_slope": "calibration slope",
    "ici": "integrated calibration index",
}
COLUMNS = ("objective", "description", "endpoint", "experiment", "compared_with", "metric", "horizon", "criterion", "n")
COLUMNS += ("events", "estimate", "lower", "upper", "verdict", "sentence")


def verdict(*, lower: float, upper: float, above: float | None, below: float | None) -> str:
    """Judge an interval: the whole of it must lie on one side of the threshold.

    Parameters
    ----------
    lower, upper : float
        Confidence interval; NaN where there is none.
    above, below : float or None
        Exactly one is given: the interval is expected above or below it.

    Returns
    -------
    str
        ``"met"``, ``"not met"`` (the whole interval lies on the other side) or ``"inconclusive"``.
    """
    if above is None:
        lower, upper, above = -upper, -lower, -below
    if lower > above:
        return "met"
    return "not met" if upper <= above else "inconclusive"


def _sentence(objective: Objective, row: dict, confidence: float) -> str:
    against = f" minus {objective.compared_with}" if objective.compared_with else ""
    what = f"{METRIC_WORDS[objective.metric]} of {objective.experiment}{against} at {row['horizon']} days"
    if not np.isfinite(row["lower"]):
        return f"Inconclusive: {what} has no interval."
    found = f"{row['estimate']:.3f} ({confidence * 100:g} % interval {row['lower']:.3f} to {row['upper']:.3f})"
    return f"{row['verdict'].capitalize()}: {what} is {found}; expected {row['criterion']}."


def _bootstrap_scores(comparison: Comparison, evaluation: Evaluation, metrics: frozenset[str]) -> Drawn:
    """Scores (experiments, columns) with their resamples; the metrics that no objective names are not computed."""
    panel = make_panel(comparison, wanted=metrics)
    what = f"objectives of {comparison.endpoint}"
    return draw(lambda rows: score(panel, rows), people=comparison.people, evaluation=evaluation, what=what)


def _judge_endpoint(
    objectives: dict[str, Objective], comparison: Comparison, evaluation: Evaluation
) -> dict[str, dict[str, object]]:
    """Rows of the verdict table for the objectives of one endpoint."""
    horizon = comparison.horizons[-1]
    comparison = replace(comparison, horizons=[horizon])
    columns = score_columns(comparison.horizons)
    metrics = frozenset(objective.metric for objective in objectives.values())
    scores = _bootstrap_scores(comparison, evaluation, metrics)
    rows = {}
    for name, objective in objectives.items():
        column = columns.index((objective.metric, horizon))
        e = comparison.experiments.index(objective.experiment)
        found = scores
        if objective.compared_with is not None:
            found = scores.minus(comparison.experiments.index(objective.compared_with))
        lower, upper = (float(bound[e, column]) for bound in found.interval(evaluation.confidence))
        row = {
            **_stated(name, objective, horizon),
            "n": len(comparison.time),
            "events": int((comparison.event == 1).sum()),
            "estimate": float(found.estimate[e, column]),
            "lower": lower,
            "upper": upper,
            "verdict": verdict(lower=lower, upper=upper, above=objective.above, below=objective.below),
        }
        rows[name] = {**row, "sentence": _sentence(objective, row, evaluation.confidence)}
    return rows


def _lacking(objective: Objective, predictions: dict[str, dict[str, Path]]) -> list[str]:
    """Return the experiments of an objective that have no predictions."""
    named = [name for name in (objective.experiment, objective.compared_with) if name is not None]
    return [name for name in named if name not in predictions.get(objective.endpoint, {})]


def _not_judged(
    name: str, objective: Objective, endpoints: dict[str, Endpoint], lacking: list[str]
) -> dict[str, object]:
    """Row of the verdict table for an objective whose experiments failed."""
    return {
        **_stated(name, objective, max(endpoints[objective.endpoint].horizons)),
        "n": None, "events": None, "estimate": None, "lower": None, "upper": None,
        "verdict": "not judged",
        "sentence": f"Not judged: the training of {' and '.join(lacking)} failed.",
    }  # fmt: skip


def _stated(name: str, objective: Objective, horizon: int) -> dict[str, object]:
    """Return what a row of the verdict table says of the objective itself."""
    above = objective.above is not None
    return {
        "objective": name,
        "description": objective.description,
        "endpoint": objective.endpoint,
        "experiment": objective.experiment,
        "compared_with": objective.compared_with,
        "metric": objective.metric,
        "horizon": horizon,
        "criterion": f"above {objective.above:g}" if above else f"below {objective.below:g}",
    }


def judge(
    *,
    objectives: dict[str, Objective],
    endpoints: dict[str, Endpoint],
    predictions: dict[str, dict[str, Path]],
    outcomes: dict[str, Path],
    subjects: Path,
    evaluation: Evaluation,
    output: Path,
) -> pd.DataFrame:
    """Judge each objective of a study and write the verdicts.

    Any two experiments can be compared, on the same subjects and on the resamples that the leaderboard uses: numbers
    equal those of the metrics and differences tables to the last digit.

    Parameters
    ----------
    objectives : dict of str to Objective
        By name.
    endpoints : dict of str to Endpoint
        The study's endpoints.
    predictions : dict of endpoint to dict of experiment to Path
        Prediction tables; those that objectives name are read. An objective one of whose experiments is not among them
        is not judged.
    outcomes : dict of endpoint to Path
        Outcome tables.
    subjects : Path
        Subject table of the cohort.
    evaluation : Evaluation
        Resamples, coverage and seed.
    output : Path
        CSV written: objective, description, endpoint, experiment, compared_with, metric, horizon (days), criterion, n,
        events, estimate, lower, upper, verdict, sentence. Only the header where the study has no objective.

    Returns
    -------
    DataFrame
        What was written, in the order of `objectives`.

    Raises
    ------
    DataError
        As :func:`riskweave.evaluation.evaluate.evaluate_endpoint`.
    """
    lacking = {name: lack for name, one in objectives.items() if (lack := _lacking(one, predictions))}
    rows = {name: _not_judged(name, objectives[name], endpoints, lack) for name, lack in lacking.items()}
    whole = {name: objective for name, objective in objectives.items() if name not in lacking}
    for endpoint in dict.fromkeys(objective.endpoint for objective in whole.values()):
        own = {name: objective for name, objective in whole.items() if objective.endpoint == endpoint}
        named = [n for o in own.values() for n in (o.experiment, o.compared_with) if n is not None]
        comparison = read_comparison(
            predictions=[predictions[endpoint][name] for name in dict.fromkeys(named)],
            outcomes=outcomes[endpoint],
            subjects=subjects,
            name=endpoint,
            endpoint=endpoints[endpoint],
        )
        rows |= _judge_endpoint(own, comparison, evaluation)
    table = pd.DataFrame([rows[name] for name in objectives], columns=list(COLUMNS))
    if lacking:
        table = table.astype({"n": "Int64", "events": "Int64"})
    output = Path(output)
    with replacing(output) as (partial,):
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    return table

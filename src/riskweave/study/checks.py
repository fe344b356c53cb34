"""The checks across the blocks of a study file: names that nothing defines, settings impossible together, plain leaks.

Each returns a line for each problem: key, value, what is allowed and the nearest name.
"""

from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING

from riskweave.errors import nearest
from riskweave.study.codes import within
from riskweave.study.cohort import CodesEndpoint, ColumnsEndpoint, DaysEndpoint
from riskweave.study.combinations import check_combinations
from riskweave.study.deployment import check_deployment
from riskweave.study.ensembles import check_extras, check_members
from riskweave.study.fusions import BUILT_IN
from riskweave.study.meeting import check_fusions
from riskweave.study.scoring import check_scores
from riskweave.study.subsets import check_shapley
from riskweave.study.tuning import check_all_endpoints, check_searches

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = ["check_study"]


def check_study(study: "Study") -> list[str]:
    """Return a line for each problem of a study whose blocks are each valid; an empty list when it can be used."""
    problems = [*_check_names(study), *check_members(study)]
    if not problems:
        checks = (
            _check_experiments,
            check_fusions,
            check_searches,
            check_all_endpoints,
            check_combinations,
            check_extras,
            check_scores,
            check_deployment,
            _check_leaks,
            _check_contradictions,
        )
        problems = [problem for check in checks for problem in check(study)]
    return problems


def _known(key: str, value: str, allowed: Iterable[str], what: str) -> list[str]:
    allowed = list(allowed)
    if value in allowed:
        return []
    return [f"{key}: there is no {what} {value!r}.{nearest(value, allowed)} Allowed: {', '.join(allowed)}"]


def _check_names(study: "Study") -> list[str]:
    """Find names that no block defines."""
    problems = []
    for name, block in study.experiments.items():
        key = f"experiments.{name}"
        for field in ("feature_sets", "all_subsets_of", "always"):
            for used in getattr(block, field):
                problems += _known(f"{key}.{field}", used, study.feature_sets, "feature set")
        for used in block.models:
            problems += _known(f"{key}.models", used, study.models, "model")
        for used in block.fusions():
            problems += _known(f"{key}.fusion", used, {**BUILT_IN, **study.fusions}, "fusion")
        for used in block.endpoints or []:
            problems += _known(f"{key}.endpoints", used, study.endpoints, "endpoint")
    if study.folds.stratify is None and len(study.endpoints) > 1:
        problems.append(
            "folds.stratify: this key is required where there are several endpoints. "
            f"Allowed: {', '.join(study.endpoints)}"
        )
    elif study.folds.stratify is not None:
        problems += _known("folds.stratify", study.folds.stratify, study.endpoints, "endpoint")
    return problems


def _check_experiments(study: "Study") -> list[str]:
    """Find experiments that objectives or the evaluation name and the matrix lacks."""
    try:
        study.matrix()
    except ValueError as error:
        return [str(error)]
    problems = []
    for endpoint in study.endpoints:
        names = [experiment.name for experiment in study.of_endpoint(endpoint)]
        if not names:
            problems.append(
                f"endpoints.{endpoint}: no experiment predicts it. Name it in `experiments`, or remove the endpoint"
            )
        else:
            problems += _known(
                "evaluation.reference", study.evaluation.reference, names, f"experiment of endpoint {endpoint!r} named"
            )
    for name, objective in study.objectives.items():
        key = f"objectives.{name}"
        problems += _known(f"{key}.endpoint", objective.endpoint, study.endpoints, "endpoint")
        if objective.endpoint in study.endpoints:
            names = [experiment.name for experiment in study.of_endpoint(objective.endpoint)]
            what = f"experiment of endpoint {objective.endpoint!r} named"
            problems += _known(f"{key}.experiment", objective.experiment, names, what)
            if objective.compared_with is not None:
                problems += _known(f"{key}.compared_with", objective.compared_with, names, what)
        if (objective.above is None) == (objective.below is None):
            problems.append(f"{key}: give one of `above` and `below`")
    return [*problems, *_check_explained(study), *_check_divided(study)]


def _check_explained(study: "Study") -> list[str]:
    """Find experiments to be explained that the matrix lacks, or whose models read more than feature tables."""
    fusions = {experiment.name: study.fusion(experiment.fusion).kind for experiment in study.matrix()}
    problems = _twice("evaluation.explain", study.evaluation.explain)
    for name in study.evaluation.explain:
        problems += _known("evaluation.explain", name, fusions, "experiment named")
        if fusions.get(name) == "joint":
            problems.append(
                f"evaluation.explain: {name!r} is fused jointly: its networks read recordings, not feature tables. "
                "Explain the same experiment with the fusion `attention`"
            )
        if name in study.shared_experiments():
            problems.append(
                f"evaluation.explain: {name!r} is one network of all endpoints, which cannot be explained yet. Name an "
                "experiment of another model"
            )
    return problems


def _check_divided(study: "Study") -> list[str]:
    """Find experiments whose concordance cannot be divided among their feature sets."""
    key, names = "evaluation.shapley", {experiment.name for experiment in study.matrix()}
    problems = _twice(key, study.evaluation.shapley)
    for name in study.evaluation.shapley:
        problems += _known(key, name, sorted(names), "experiment named")
    return [*problems, *check_shapley(study)]


def _twice(key: str, values: Iterable[object]) -> list[str]:
    values = list(values)
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    return [f"{key}: names {', '.join(repeated)} twice. Name it once"] if repeated else []


def _check_leaks(study: "Study") -> list[str]:
    """Find static features that are no features: identifiers, dates, and above all outcomes."""
    reserved = {}
    if study.cohort.source == "tables":
        columns = study.cohort.columns
        reserved = {
            getattr(columns, key): f"cohort.columns.{key}"
            for key in ("subject_id", "index_time", "followup_end", "birth_time")
            if getattr(columns, key) is not None
        }
    if getattr(study.population.index, "column", None) is not None:
        reserved[study.population.index.column] = "population.index.column"
    for name, endpoint in study.endpoints.items():
        if isinstance(endpoint, ColumnsEndpoint):
            reserved |= {getattr(endpoint, key): f"endpoints.{name}.{key}" for key in ("time", "event")}
        elif isinstance(endpoint, DaysEndpoint):
            reserved[endpoint.time] = f"endpoints.{name}.time"
    return [
        f"feature_sets.{name}.static: {column!r} is {reserved[column]}, which cannot be a feature. Remove it"
        for name, block in study.feature_sets.items()
        if block.modality == "ehr"
        for column in block.static
        if column in reserved
    ]


def _check_contradictions(study: "Study") -> list[str]:
    """Find settings that contradict each other within a block."""
    problems = []
    for name, block in study.feature_sets.items():
        if block.modality == "ehr":
            problems += _twice(f"feature_sets.{name}.static", block.static)
    for name, endpoint in study.endpoints.items():
        problems += _twice(f"endpoints.{name}.horizons", endpoint.horizons)
        if isinstance(endpoint, CodesEndpoint):
            competing = [
                code for cause in endpoint.competing for code in ([cause] if isinstance(cause, str) else cause)
            ]
            if "" in (*endpoint.target, *competing):
                problems.append(f"endpoints.{name}: an empty code is the prefix of every code. Give a code")
            problems += [
                f"endpoints.{name}.competing: {code!r} is an event of the target too. Remove it from one"
                for code in competing
                if code and any(within(code, target) for target in endpoint.target if target)
            ]
    for name, block in study.experiments.items():
        both = [used for used in block.always if used in block.all_subsets_of]
        if both:
            problems.append(
                f"experiments.{name}: `always` and `all_subsets_of` both name {', '.join(both)}. Name it once"
            )
    for name, objective in study.objectives.items():
        if objective.compared_with == objective.experiment:
            problems.append(f"objectives.{name}.compared_with: {objective.experiment!r} is compared with itself")
        if not all(isfinite(value) for value in (objective.above, objective.below) if value is not None):
            problems.append(f"objectives.{name}: `above` and `below` need a finite number")
    return problems

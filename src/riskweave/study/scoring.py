"""Whether the clinical scores of a study can be computed and compared: columns, units, horizons and fusions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from riskweave.errors import nearest
from riskweave.study.clinical_scores import ClinicalScoreModel
from riskweave.study.ehr import EhrFeatures

if TYPE_CHECKING:
    from riskweave.study.experiments import Experiment
    from riskweave.study.study import Study

__all__ = ["HORIZON_TOLERANCE", "check_scores"]

HORIZON_TOLERANCE = 5
"""Days by which an endpoint's horizon may differ from the score's: ten years are 3650, 3652 or 3653 days."""

_LIPIDS = ("total_cholesterol", "hdl")

_UNITS = {
    "age": ("years", "year", "a"),
    "sbp": ("mmHg", "mm[Hg]"),
    "bmi": ("kg/m2", "kg/m^2", "kg/m²"),
    "hba1c": ("%",),
    "uacr": ("mg/g",),
}


def check_scores(study: "Study") -> list[str]:
    """Return a line for each problem: key, what is missing or wrong, and what is allowed."""
    scores = {name: block for name, block in study.models.items() if isinstance(block, ClinicalScoreModel)}
    found = [*_check_members(study, scores)]
    try:
        experiments = study.matrix()
    except ValueError:  # two of one name, which is told elsewhere
        experiments = []
    for experiment in experiments:
        if experiment.model in scores:
            found += _check_fusion(study, experiment)
            found += _check_horizons(study, experiment, scores[experiment.model])
            found += _check_columns(study, experiment, scores[experiment.model])
    return list(dict.fromkeys(found))


def _check_members(study: "Study", scores: dict[str, ClinicalScoreModel]) -> Iterator[str]:
    for name, block in study.models.items():
        for member in getattr(block, "members", []):
            if member in scores:
                yield (
                    f"models.{name}.members: {member} (kind clinical_score) is not fitted, and takes raw columns that "
                    "the others do not have. Remove it, and compare the ensemble with an experiment of its own"
                )


def _check_fusion(study: "Study", experiment: "Experiment") -> Iterator[str]:
    fusion = study.fusion(experiment.fusion)
    if fusion.kind == "late" or getattr(fusion, "products", 0):
        yield (
            f"experiments: {experiment.name} has fusion {experiment.fusion!r}, and {experiment.model} (kind "
            "clinical_score) takes its columns as they are. Allowed fusion: early, without products"
        )


def _check_horizons(study: "Study", experiment: "Experiment", model: ClinicalScoreModel) -> Iterator[str]:
    """Find endpoints whose last horizon is not the score's: at no other time does the score say anything."""
    last = max(study.endpoints[experiment.endpoint].horizons)
    if abs(last - model.days) > HORIZON_TOLERANCE:
        yield (
            f"experiments: {experiment.name} predicts endpoint {experiment.endpoint!r}, whose last horizon is day "
            f"{last}, and {model.score} gives the risk of {model.years} years. Make {round(model.days)} the last of "
            f"endpoints.{experiment.endpoint}.horizons, or give the experiment other `endpoints`"
        )


def _known_columns(block: object) -> dict[str, str] | None:
    """Return the columns of a feature set with their units, or None where the data decide which there are."""
    if not isinstance(block, EhrFeatures) or any(events.by_code for events in block.events):
        return None
    columns = dict.fromkeys(block.static, "")
    for events in block.events:
        stem = events.name or events.codes[0].removesuffix("$")
        for window in events.windows or [events.window]:
            suffix = "" if window is None else f"@{window}d"
            for aggregate in events.aggregates:
                unit = events.unit or "" if aggregate in ("last", "mean", "min", "max") else ""
                columns[f"{stem}:{aggregate}{suffix}"] = unit
    return columns


def _check_columns(study: "Study", experiment: "Experiment", model: ClinicalScoreModel) -> Iterator[str]:
    known = {name: _known_columns(study.feature_sets[name]) for name in experiment.feature_sets}
    columns = {name: unit for some in known.values() if some is not None for name, unit in some.items()}
    columns |= {f"{name}.{column}": unit for name, some in known.items() for column, unit in (some or {}).items()}
    for name in (*model.needs(), *model.inputs):
        held = next((column for column in model.candidates(name) if column in columns), None)
        key = f"models.{experiment.model}.inputs.{name}"
        if held is not None:
            yield from _check_unit(key, name, held, columns[held], model)
        elif None not in known.values():
            wanted = model.candidates(name)
            yield (
                f"{key}: experiment {experiment.name} has no column {' or '.join(map(repr, wanted))}."
                f"{nearest(wanted[0], columns)} Columns of its feature sets: "
                f"{', '.join(column for some in known.values() for column in some)}"
            )


def _check_unit(key: str, name: str, column: str, unit: str, model: ClinicalScoreModel) -> Iterator[str]:
    """Find columns whose feature set declares another unit than the score is told."""
    allowed = _UNITS.get(name, ())
    if name in _LIPIDS:
        allowed = (model.units.cholesterol,)
    if unit and allowed and unit not in allowed:
        yield (
            f"{key}: column {column!r} is in {unit!r}, and the score takes it to be in {allowed[0]!r}. Change the "
            "feature set's `unit` with a factor in `convert`"
            + (f", or give models.{key.split('.')[1]}.units.cholesterol" if name in _LIPIDS else "")
        )

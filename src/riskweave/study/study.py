"""The study file as a whole: its model, the checks across blocks, and the errors that answer a wrong one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from riskweave.errors import StudyError
from riskweave.study.base import Block, Name
from riskweave.study.checks import check_study
from riskweave.study.codes import resolve_lists
from riskweave.study.cohort import Allowed, CohortReport, Endpoint, Folds
from riskweave.study.deployment import Deployment
from riskweave.study.evaluation import Evaluation, Objective
from riskweave.study.experiments import Experiment, ExperimentBlock, expand
from riskweave.study.explain import explain
from riskweave.study.features import FeatureSet
from riskweave.study.files import read_mapping
from riskweave.study.fusions import BUILT_IN, Fusion
from riskweave.study.models import Model
from riskweave.study.population import Population
from riskweave.study.sources import Cohort

__all__ = ["ENCODED", "Study", "load_study", "parse_study"]

ENCODED = ("ecg", "image", "audio", "text", "event_sequence")
"""Modalities that are read one recording, note or event at a time, and may have an encoder."""


class Study(Block):
    """One question, and everything that is needed to answer it."""

    study: Name = Field(description="Name of the study, and of its folder under `results/`.")
    question: str = Field(description="The question in a sentence.")
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of all training.")
    reuse: bool = Field(
        default=False,
        description="Whether a finished training of another study under `results/` is restored instead of repeated, "
        "where data, inputs, settings, code, packages and seed are the same.",
    )
    objectives: dict[Name, Objective] = Field(default={}, description="Expected results, by name.")
    cohort: Cohort = Field(description="Where the data come from.")
    code_lists: dict[Name, str] = Field(
        default={},
        description="Files of code lists (YAML with source, version and codes), by name; `@name` stands for its codes.",
    )
    population: Population = Field(
        default=Population(), description="Who is in the study, and when their risk is predicted."
    )
    endpoints: Annotated[dict[Name, Endpoint], Field(min_length=1)] = Field(description="What is predicted, by name.")
    folds: Folds = Field(default=Folds(), description="How the subjects are divided.")
    feature_sets: Annotated[dict[Name, FeatureSet], Field(min_length=1)] = Field(
        description="Named groups of columns of one modality."
    )
    models: Annotated[dict[Name, Model], Field(min_length=1)] = Field(description="Time-to-event models, by name.")
    fusions: dict[Name, Fusion] = Field(
        default={},
        description="How feature sets meet, by name: `early`, `attention`, `late` and `joint` exist with defaults.",
    )
    experiments: Annotated[dict[Name, ExperimentBlock], Field(min_length=1)] = Field(
        description="What is trained and compared, by name."
    )
    evaluation: Evaluation = Field(description="How experiments are compared.")
    deployment: Deployment = Field(default=Deployment(), description="Which experiments become bundles.")
    allow: list[Allowed] = Field(default=[], description="Findings of the leak gates that may pass, with reasons.")
    report: CohortReport = Field(default=CohortReport(), description="What is reported about the cohort.")

    def matrix(self) -> list[Experiment]:
        """All experiments of the study, in the order of the file."""
        return expand(self.experiments, list(self.endpoints))

    def of_endpoint(self, endpoint: str) -> list[Experiment]:
        """Experiments of one endpoint."""
        return [experiment for experiment in self.matrix() if experiment.endpoint == endpoint]

    def experiment(self, endpoint: str, name: str) -> Experiment:
        """Return the experiment of that endpoint and name."""
        return next(e for e in self.of_endpoint(endpoint) if e.name == name)

    def fusion(self, name: str) -> Fusion:
        """Return the fusion of that name, the study's own or a built-in one."""
        return self.fusions.get(name) or BUILT_IN[name]

    def members(self, model: str) -> dict[str, Model]:
        """Return the models that a stacked one combines, by name; none for other models."""
        return {name: self.models[name] for name in getattr(self.models[model], "members", [])}

    def sets_of(self, modality: str) -> list[str]:
        """Names of the feature sets of one modality that some experiment uses."""
        used = {name for experiment in self.matrix() for name in experiment.feature_sets}
        return [name for name, block in self.feature_sets.items() if block.modality == modality and name in used]

    def encoders(self) -> list[str]:
        """Names of the used feature sets that hold an encoder."""
        return [
            name
            for modality in ENCODED
            for name in self.sets_of(modality)
            if getattr(self.feature_sets[name], "encoder", None) is not None
        ]

    def pretrainings(self) -> list[str]:
        """Return the feature sets, used by some experiment, whose encoder is first trained without labels, sorted."""
        used = {name for name, _ in self.encoder_trainings()}
        return sorted(name for name in used if getattr(self.feature_sets[name].encoder, "pretraining", None))

    def shared_experiments(self) -> list[str]:
        """Return the names of the experiments that train one network for all endpoints, sorted."""
        return sorted({e.name for e in self.matrix() if self.models[e.model].kind == "multi_endpoint"})

    def encoder_trainings(self) -> list[tuple[str, str]]:
        """Return the (feature set, endpoint) of each encoder that some experiment needs, sorted.

        A network of all endpoints takes the encoders that were trained against the endpoint of `stratify`.
        """
        encoders, shared = set(self.encoders()), set(self.shared_experiments())
        against = {e: self.stratify() if e.name in shared else e.endpoint for e in self.matrix()}
        return sorted({(s, endpoint) for e, endpoint in against.items() for s in e.feature_sets if s in encoders})

    def subject_columns(self) -> dict[str, str]:
        """Return the columns of the subject table that the study names as features or groups: config key to column."""
        columns = {
            f"feature_sets.{name}.static[{place}]": column
            for name in self.sets_of("ehr")
            for place, column in enumerate(self.feature_sets[name].static)
        }
        return columns | ({} if self.folds.group is None else {"folds.group": self.folds.group})

    def judged(self) -> list[tuple[str, str]]:
        """Return the (endpoint, experiment) of each experiment that an objective names, sorted."""
        return sorted(
            {
                (objective.endpoint, name)
                for objective in self.objectives.values()
                for name in (objective.experiment, objective.compared_with)
                if name is not None
            }
        )

    def explained(self) -> list[tuple[str, str]]:
        """Return the (endpoint, experiment) of each experiment that is explained, sorted."""
        return sorted({(e.endpoint, e.name) for e in self.matrix() if e.name in self.evaluation.explain})

    def deployed(self) -> list[tuple[str, str]]:
        """Return the (endpoint, experiment) of each experiment that becomes a bundle, sorted."""
        return sorted({(e.endpoint, e.name) for e in self.matrix() if e.name in self.deployment.experiments})

    def concerns(self, entry: Allowed, endpoint: str, feature_set: str) -> bool:
        """Tell whether an allowed finding may be one about this feature set and endpoint, or about the whole cohort."""
        place = entry.finding.partition(":")[2]
        head, slash, rest = place.partition("/")
        if slash and head in self.endpoints:
            if head != endpoint:
                return False
            place = rest
        owner, dot, _ = place.partition(".")
        return owner == feature_set if dot and owner in self.feature_sets else True

    def stratify(self) -> str:
        """Name of the endpoint whose events are balanced over the folds."""
        return self.folds.stratify or next(iter(self.endpoints))


def parse_study(config: Mapping[str, Any], origin: str = "study") -> Study:
    """Check a study given as nested dictionaries.

    Parameters
    ----------
    config : mapping
        The content of a study file.
    origin : str
        What error messages call it: the file's path.

    Raises
    ------
    StudyError
        With a line for each problem: key, value, what is allowed and the nearest name.
    """
    try:
        study = Study.model_validate(resolve_lists(config))
    except ValidationError as error:
        raise StudyError(_message(origin, explain(error, Study))) from None
    problems = check_study(study)
    if problems:
        raise StudyError(_message(origin, problems))
    return study


def _message(origin: str, problems: list[str]) -> str:
    return "\n  ".join([f"{origin} cannot be used:", *dict.fromkeys(problems)])


def load_study(path: str | Path) -> Study:
    """Read and check a study file (YAML).

    Raises
    ------
    StudyError
        When the file is missing, is not YAML, gives a key twice, or is not a valid study.
    """
    return parse_study(read_mapping(path), str(path))

"""Study block of the deployment: which experiments become bundles, and what a user of one is asked."""

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from riskweave.errors import nearest
from riskweave.study.base import Block

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = [
    "DEPLOYED_FUSIONS",
    "DEPLOYED_MODALITIES",
    "DEPLOYED_MODELS",
    "FEWEST_IN_LEAF",
    "DeployedInput",
    "Deployment",
    "check_deployment",
]

DEPLOYED_MODELS = (
    "cox",
    "weibull_aft",
    "gradient_boosting",
    "deep_surv",
    "logistic_hazard",
    "pc_hazard",
    "pmf",
    "mtlr",
    "deep_hit",
)
DEPLOYED_FUSIONS = ("early",)
DEPLOYED_MODALITIES = ("ehr", "ecg", "image")

FEWEST_IN_LEAF = 10
"""Training rows in a leaf of a tree that may be told: a threshold lies halfway between two people's values."""

LONGEST = 120
"""Seconds of an ECG that a module takes at any sampling rate up to 1,000 Hz."""

Texts = dict[Literal["en", "de"], str]


class DeployedInput(Block):
    """What a user of the bundle is told about one input, and what is accepted."""

    unit: str | None = Field(default=None, description="Unit of the values, where the data tell none.")
    label: Texts = Field(default={}, description="Name in English (`en`) and German (`de`).")
    description: Texts = Field(default={}, description="A sentence on what is meant, or how it is measured.")
    ucum: str | None = Field(default=None, description="Code of the unit in UCUM, such as `mm[Hg]`.")
    units: dict[str, float] = Field(
        default={}, description="Other unit to the factor that turns a value in it into the model's own unit."
    )
    limits: tuple[float, float] | None = Field(
        default=None, description="Lowest and highest value that can be, in the model's unit: others are refused."
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError("`limits` needs lowest < highest")
        if not all(isfinite(factor) and factor for factor in self.units.values()):
            raise ValueError("the factors of `units` are finite numbers other than 0")
        return self


class Deployment(Block):
    """Which experiments become bundles with `snakemake deploy`."""

    experiments: list[str] = Field(
        default=[],
        description="Experiments, by their full names, for every endpoint that has them. Models of kind "
        f"{', '.join(f'`{kind}`' for kind in DEPLOYED_MODELS)} can be deployed; docs/deployment.md says on which data.",
    )
    model: Literal["refit", "ensemble"] = Field(
        default="refit",
        description="`refit`: trained once more on everybody, with a share held out for early stopping and penalties; "
        "`ensemble`: the mean of the models of all folds.",
    )
    validation: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.15, description="With `refit`: the share of the people held out."
    )
    title: Texts = Field(default={}, description="Name of the model on the page.")
    target: Texts = Field(default={}, description="What is predicted, as in `the risk of ...`.")
    intended_use: Texts = Field(default={}, description="Who may use it, for whom, and for what.")
    not_for: Texts = Field(default={}, description="What it must not be used for.")
    inputs: dict[str, DeployedInput] = Field(
        default={}, description="Texts, units and limits of inputs, by static column, code or name of a group of codes."
    )


def check_deployment(study: "Study") -> list[str]:
    """Return a line for each problem of the block `deployment`: unknown names, and parts that cannot be deployed."""
    try:
        names = {experiment.name: experiment for experiment in study.matrix()}
    except ValueError:
        return []  # an experiment given twice is told elsewhere
    problems = []
    for name in study.deployment.experiments:
        if name not in names:
            problems.append(
                f"deployment.experiments: there is no experiment {name!r}.{nearest(name, names)} "
                f"Allowed: {', '.join(names)}"
            )
            continue
        problems += [f"deployment.experiments: {name!r} {what}" for what in _cannot(study, names[name])]
    return problems


def _cannot(study: "Study", experiment) -> list[str]:
    """Return why an experiment cannot become a bundle."""
    model, fusion = study.models[experiment.model], study.fusion(experiment.fusion)
    found = []
    if model.kind not in DEPLOYED_MODELS:
        found.append(f"has a model of kind {model.kind!r}. Those that can be deployed: {', '.join(DEPLOYED_MODELS)}")
    if fusion.kind not in DEPLOYED_FUSIONS or getattr(fusion, "products", 0):
        told = "early with products" if fusion.kind == "early" else fusion.kind
        found.append(f"is fused by {told!r}. Early fusion without products can be deployed")
    used = {name: study.feature_sets[name] for name in experiment.feature_sets}
    found += _cannot_trees(model, used)
    for name, block in used.items():
        if block.modality not in DEPLOYED_MODALITIES:
            allowed = ", ".join(DEPLOYED_MODALITIES)
            found.append(f"uses {name!r} of modality {block.modality!r}. Those that can be deployed: {allowed}")
        elif block.modality == "ehr":
            if block.history:
                found.append(f"uses {name!r} with a sparse history of codes. Deploy one with `events`")
            if any("category" in events.aggregates for events in block.events):
                found.append(f"uses {name!r} with the aggregate `category`. Deploy one without it")
        elif block.encoder is not None and block.encoder.pretraining and study.deployment.model == "refit":
            found.append(f"has an encoder trained without labels first ({name!r}). Deploy it as `model: ensemble`")
        elif block.modality == "ecg" and block.seconds > LONGEST:
            found.append(f"reads {block.seconds:g} s of ECG ({name!r}). Up to {LONGEST} s can be deployed")
        elif block.most > 1:
            found.append(f"reads several recordings ({name!r}, `most: {block.most}`). One can be deployed")
    for modality in ("ecg", "image"):
        several = [name for name, block in used.items() if block.modality == modality]
        if len(several) > 1:
            found.append(f"has several feature sets of modality {modality!r}: {', '.join(several)}. Deploy one of them")
    return found


def _cannot_trees(model, used: dict) -> list[str]:
    """Return why boosted trees on these feature sets cannot become a bundle; nothing of other models."""
    if model.kind != "gradient_boosting":
        return []
    found = [
        f"has trees on the encoder of {name!r}: a tree jumps where an embedding, in single precision, is rounded "
        "across a threshold. Deploy trees on measurements"
        for name, block in used.items()
        if getattr(block, "encoder", None) is not None
    ]
    if model.min_samples_leaf < FEWEST_IN_LEAF:
        found.append(
            f"has trees with `min_samples_leaf: {model.min_samples_leaf}`, whose leaves tell about single people. From "
            f"{FEWEST_IN_LEAF} on they can be deployed"
        )
    return found

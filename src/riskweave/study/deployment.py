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

FEWEST = 10
"""People who have a code that a bundle names."""

_VALUED = frozenset({"last", "mean", "min", "max", "sd", "slope"})
"""Aggregates of the values of events."""

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
        description="`refit`: trained once more on the people of all folds, but for a share that stops the training "
        "and chooses penalties; "
        "`ensemble`: the mean of the models of all folds.",
    )
    validation: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.15,
        description="With `refit`: the share of the people held out, by group where `folds.strategy` is `group`. They "
        "choose penalties and epochs, and are never trained on.",
    )
    recalibrate: bool = Field(
        default=False,
        description="Whether the module recalibrates its risks, by what the predictions of all people, each by a model "
        "that had not seen them, teach. Needs `evaluation.recalibration`: its figures speak for the bundle then.",
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
    problems = _unknown_inputs(study, [names[name] for name in study.deployment.experiments if name in names])
    if study.deployment.recalibrate and not study.evaluation.recalibration:
        problems.append(
            "deployment.recalibrate: needs `evaluation.recalibration: true`, or no figure speaks for what is deployed"
        )
    for name in study.deployment.experiments:
        if name not in names:
            problems.append(
                f"deployment.experiments: there is no experiment {name!r}.{nearest(name, names)} "
                f"Allowed: {', '.join(names)}"
            )
            continue
        problems += [f"deployment.experiments: {name!r} {what}" for what in _cannot(study, names[name])]
    return problems


def _unknown_inputs(study: "Study", deployed: list) -> list[str]:
    """Return a line for each name under `inputs` that no deployed experiment can ask for.

    What is asked by code is known with the data: `riskweave.deployment.told` looks there.
    """
    sets = {name: study.feature_sets[name] for experiment in deployed for name in experiment.feature_sets}
    record = [block for block in sets.values() if block.modality == "ehr"]
    known = list(dict.fromkeys(name for block in record for name in _names(block)))
    found = [events for block in record for events in block.events if events.by_code]
    starts = tuple(code for events in found for code in events.codes if not code.endswith("$"))
    further = f", and the codes that begin with {', '.join(dict.fromkeys(starts))}" if starts else ""
    return [
        f"deployment.inputs: no deployed experiment asks for {name!r}.{nearest(name, known)} "
        f"Allowed: {', '.join(known)}{further}"
        for name in study.deployment.inputs
        if deployed and name not in known and not name.startswith(starts)
    ]


def _names(block) -> list[str]:
    """Return what a feature set of the record asks for, as far as the study names it."""
    found = list(block.static)
    for events in block.events:
        codes = [code.removesuffix("$") for code in events.codes]
        if events.by_code:
            found += [code for code, told in zip(codes, events.codes, strict=True) if told != code]
        else:
            found.append(events.name or codes[0])
    return found


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
    found += _cannot_ask(used)
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


def _cannot_ask(used: dict) -> list[str]:
    """Return why a bundle cannot ask for the events of these feature sets."""
    record = [(name, block) for name, block in used.items() if block.modality == "ehr"]
    events = [(name, each) for name, block in record for each in block.events]
    found = [
        f"would name codes of single people ({name!r}, `minimum_subjects: {each.minimum_subjects}`). From {FEWEST} on "
        "they can be deployed"
        for name, each in events
        if each.by_code and each.minimum_subjects < FEWEST
    ]
    valued = [(name, each) for name, each in events if _VALUED.intersection(each.aggregates)]
    for place, (name, one) in enumerate(valued):
        for other, another in valued[:place]:
            codes = [code for code in one.codes if any(_overlap(code, each) for each in another.codes)]
            if codes and _differently(one, another):
                sets = repr(name) if name == other else f"{other!r} and {name!r}"
                found.append(
                    f"reads the values of {codes[0]!r} in two ways ({sets}). A bundle asks for a reading once: give "
                    "both blocks of `events` the same `unit`, `convert` and `range`"
                )
    return list(dict.fromkeys(found))


def _overlap(one: str, other: str) -> bool:
    """Tell whether an event can count for both of two codes; one that ends in ``$`` is whole."""
    bare, another = one.removesuffix("$"), other.removesuffix("$")
    if bare == another:
        return True
    longer, shorter = (one, other) if len(bare) > len(another) else (other, one)
    return not shorter.endswith("$") and longer.startswith(shorter)


def _differently(one, other) -> bool:
    """Tell whether two blocks make different numbers of one value."""
    units = {"", *(one.convert.keys() & other.convert.keys())}
    return (
        one.range != other.range
        or any(one.convert.get(unit, 1.0) != other.convert.get(unit, 1.0) for unit in units)
        or len({one.unit, other.unit} - {None}) > 1
    )


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

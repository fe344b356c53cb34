"""Whether the fusion, the model and the feature sets of an experiment go together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from riskweave.study.experiments import expand
from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import NetworkModel

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = ["check_fusions"]

_NETWORK = ("attention", "joint")
_OF_ALL_ENDPOINTS = ("early", "attention")


def check_fusions(study: "Study") -> list[str]:
    """Return a line for each problem: key, what does not go together, and what does."""
    return [*_check_names(study), *_check_models(study), *_check_encoders(study), *_check_products(study)]


def _check_names(study: "Study") -> Iterator[str]:
    """Find fusions that take a built-in name and are something else."""
    for name, block in study.fusions.items():
        if name in BUILT_IN and block.kind != name:
            yield f"fusions.{name}: the name belongs to kind {name}, and this is {block.kind}. Give it another name"


def _check_models(study: "Study") -> Iterator[str]:
    """Find models that a fusion cannot use."""
    networks = [
        name
        for name, block in study.models.items()
        if isinstance(block, NetworkModel) and block.kind != "multi_endpoint"
    ]
    for name, block in study.experiments.items():
        for fusion in block.fusions():
            block_of_fusion = study.fusion(fusion)
            kind = block_of_fusion.kind
            for model in block.models:
                used = study.models[model].kind
                key = f"experiments.{name}.models"
                if used == "multi_endpoint" and kind not in _OF_ALL_ENDPOINTS:
                    allowed = ", ".join(_OF_ALL_ENDPOINTS)
                    yield f"{key}: {model} (kind {used}) does not go with fusion {fusion!r}. Allowed fusions: {allowed}"
                elif used == "multi_endpoint" and getattr(block_of_fusion, "products", 0):
                    yield f"{key}: {model} (kind {used}) learns products by itself. Take fusion 'early' without them"
                elif kind in _NETWORK and not isinstance(study.models[model], NetworkModel):
                    found = ", ".join(networks) or "none of the study's; add one, such as kind: logistic_hazard"
                    yield f"{key}: fusion {fusion!r} needs a network, and {model} is kind {used}. Allowed: {found}"


def _check_encoders(study: "Study") -> Iterator[str]:
    """Find joint fusions without an encoder to train."""
    encoders = [name for name, block in study.feature_sets.items() if getattr(block, "encoder", None) is not None]
    for name, block in study.experiments.items():
        for experiment in expand({name: block}, list(study.endpoints)):
            if study.fusion(experiment.fusion).kind == "joint" and not set(encoders) & set(experiment.feature_sets):
                yield (
                    f"experiments.{name}.fusion: {experiment.fusion!r} trains encoders, and {experiment.name} has none "
                    f"among its feature sets. Sets with an encoder: {', '.join(encoders) or 'none'}. Take 'attention'"
                )


def _check_products(study: "Study") -> Iterator[str]:
    """Find products between modalities where there is one; a family of subsets may have such among others."""
    for name, block in study.experiments.items():
        together = (*block.feature_sets, *block.all_subsets_of, *block.always)
        modalities = sorted({study.feature_sets[used].modality for used in together})
        for fusion in block.fusions():
            products = getattr(study.fusion(fusion), "products", 0)
            if products and len(modalities) == 1:
                yield (
                    f"experiments.{name}.fusion: {fusion!r} has products: {products}, of columns of two modalities, "
                    f"and all of {', '.join(together)} are of one, {modalities[0]}. Take 'early', or add a feature set "
                    "of another modality"
                )

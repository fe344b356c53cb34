"""Whether searches of hyper-parameters, and models of all endpoints at once, fit what they are used for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from riskweave.study.search import check_space

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = ["check_all_endpoints", "check_searches"]


def check_searches(study: "Study") -> list[str]:
    """Find keys to search that a model does not have, and values that they do not take."""
    return [problem for name, block in study.models.items() for problem in check_space(name, block)]


def check_all_endpoints(study: "Study") -> list[str]:
    """Find models of all endpoints at once that are used for some, or where others belong."""
    shared = {name for name, block in study.models.items() if block.kind == "multi_endpoint"}
    return [*_check_left_out(study, shared), *_check_members(study, shared)]


def _check_left_out(study: "Study", shared: set[str]) -> Iterator[str]:
    for name, block in study.experiments.items():
        used = [model for model in block.models if model in shared]
        left = sorted(set(study.endpoints) - set(block.endpoints or study.endpoints))
        if used and left:
            yield (
                f"experiments.{name}.endpoints: {used[0]} (kind multi_endpoint) is one network for all endpoints of "
                f"the study, and {', '.join(left)} {'is' if len(left) == 1 else 'are'} left out. Remove the key, or "
                "take another model"
            )


def _check_members(study: "Study", shared: set[str]) -> Iterator[str]:
    for name, block in study.models.items():
        for member in shared.intersection(getattr(block, "members", [])):
            yield (
                f"models.{name}.members: {member} (kind multi_endpoint) predicts all endpoints at once and is no "
                "member. Take a model of one endpoint, such as kind: logistic_hazard"
            )

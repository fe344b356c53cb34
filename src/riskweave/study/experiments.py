"""From the blocks of `experiments:` to the matrix of experiments that are trained and compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Annotated

from pydantic import Field, model_validator

from riskweave.study.base import Block, Name

__all__ = ["Experiment", "ExperimentBlock", "expand"]


class ExperimentBlock(Block):
    """One experiment, or a family of them: endpoints x feature sets x models x fusions."""

    feature_sets: list[Name] = Field(default=[], description="Feature sets that the experiment uses together.")
    all_subsets_of: list[Name] = Field(
        default=[], description="Instead of `feature_sets`: one experiment for each non-empty subset of these."
    )
    always: list[Name] = Field(default=[], description="With `all_subsets_of`: feature sets added to every subset.")
    fusion: Name | Annotated[list[Name], Field(min_length=1)] = Field(
        default="early",
        description="How the feature sets meet: `early`, `attention`, `late`, `joint` or a name under `fusions`. "
        "Several make an experiment each. Other than early ones end the name: `ehr+ecg.cox.late`.",
    )
    models: Annotated[list[Name], Field(min_length=1)] = Field(description="Models, by their names under `models`.")
    endpoints: list[Name] | None = Field(default=None, description="Endpoints; all of the study's when not given.")

    @model_validator(mode="after")
    def _one_way_to_name_sets(self):
        if bool(self.feature_sets) == bool(self.all_subsets_of):
            raise ValueError("give either `feature_sets` (one experiment) or `all_subsets_of` (a family)")
        if self.always and not self.all_subsets_of:
            raise ValueError("`always` goes with `all_subsets_of`")
        for key in ("feature_sets", "all_subsets_of", "always", "models", "fusion"):
            names = self.fusions() if key == "fusion" else getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"`{key}` names something twice: {', '.join(names)}")
        return self

    def fusions(self) -> list[str]:
        """Return the names of the fusions."""
        return [self.fusion] if isinstance(self.fusion, str) else self.fusion


@dataclass(frozen=True)
class Experiment:
    """The unit that is trained, tracked and compared.

    Attributes
    ----------
    name : str
        ``<block or feature sets joined by +>.<model>``, and ``.<fusion>`` where that is not `early`: unique within an
        endpoint, and the name of its folder.
    endpoint, model : str
        Names of study blocks.
    feature_sets : tuple of str
        Names of study blocks, in the order of the study file.
    fusion : str
        Name of how the feature sets meet.
    """

    name: str
    endpoint: str
    feature_sets: tuple[str, ...]
    fusion: str
    model: str


def _families(name: str, block: ExperimentBlock) -> list[tuple[str, tuple[str, ...]]]:
    """Return the (stem of the name, feature sets) of each experiment of a block."""
    if block.feature_sets:
        return [(name, tuple(block.feature_sets))]
    subsets = [
        subset
        for size in range(1, len(block.all_subsets_of) + 1)
        for subset in combinations(block.all_subsets_of, size)
    ]
    return [("+".join(subset), (*block.always, *(s for s in subset if s not in block.always))) for subset in subsets]


def expand(blocks: Mapping[str, ExperimentBlock], endpoints: list[str]) -> list[Experiment]:
    """Expand the experiment blocks of a study into its experiments.

    Raises
    ------
    ValueError
        When two blocks give experiments of the same name for the same endpoint.
    """
    found: dict[tuple[str, str], str] = {}
    experiments = []
    for block_name, block in blocks.items():
        for stem, sets in _families(block_name, block):
            for model, fusion in product(block.models, block.fusions()):
                for endpoint in block.endpoints if block.endpoints is not None else endpoints:
                    name = f"{stem}.{model}" if fusion == "early" else f"{stem}.{model}.{fusion}"
                    if (endpoint, name) in found:
                        raise ValueError(
                            f"experiments.{block_name} gives the experiment {name!r} for endpoint {endpoint!r}, which "
                            f"experiments.{found[endpoint, name]} gives too. Remove it from one, or rename the block"
                        )
                    found[endpoint, name] = block_name
                    experiments.append(Experiment(name, endpoint, sets, fusion, model))
    return experiments

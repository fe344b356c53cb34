"""The whole of a deployed model as one ONNX graph: for those who rather run it with ONNX Runtime.

The graph begins where values are known: columns of the feature tables, recordings as encoders read them. Design, risks
and their mean are computed in double precision, networks in single precision, as everywhere.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.deployment.generate import network_modules
from riskweave.deployment.networks import network_graph, to_onnx
from riskweave.deployment.onnx_models import Constants, RecalibratedRisks, estimator
from riskweave.deployment.recipe import Encoder, Recipe

if TYPE_CHECKING:
    import onnx

__all__ = ["encoder_graphs", "export_onnx", "onnx_inputs"]

_RECORDINGS = ("ecg", "image")

_WITHOUT_EVENTS = {"count": 0.0, "ever": 0.0}
"""Values of columns that tell nothing of a person: nothing was counted. Of all others, a missing one."""


def encoder_graphs(recipe: Recipe) -> "dict[str, onnx.ModelProto]":
    """Return the encoders as ONNX graphs, by their names in `network_modules`: to be exported once for all uses."""
    networks = network_modules(recipe)
    return {name: network_graph(*network) for name, network in networks.items() if name.startswith("encoder_")}


def export_onnx(recipe: Recipe, graphs: "Mapping[str, onnx.ModelProto] | None" = None) -> bytes:
    """Return a model as an ONNX file; the same recipe gives the same bytes.

    Inputs are ``columns`` (double, the recipe's columns in their order, NaN where one is missing), and where encoders
    read recordings ``ecg`` (float, (1, 12, samples) in mV) with ``has_ecg`` and ``image`` (float, (1, size, size)) with
    ``has_image`` (double, (1,), 1 where there is a recording; else 0, and the recording is not looked at). A study that
    measures recordings without encoding them has ``has_ecg`` or ``has_image`` alone. The output is ``risks`` (double,
    (causes, times)).

    Parameters
    ----------
    recipe : Recipe
    graphs : mapping of str to onnx.ModelProto, optional
        From `encoder_graphs`, where they are exported already.

    Returns
    -------
    bytes
    """
    graphs = encoder_graphs(recipe) if graphs is None else graphs
    model = to_onnx(_Deployed(recipe).eval(), _inner_inputs(recipe), result="risks")
    return _joined(model, recipe, graphs).SerializeToString(deterministic=True)


def onnx_inputs(recipe: Recipe) -> dict[str, Tensor]:
    """Return inputs of the graph by name, of right sizes and types: nothing is known of this person."""
    made = {"columns": torch.full((len(recipe.columns),), torch.nan, dtype=torch.float64)}
    read = {encoder.recording for member in recipe.members for encoder in member.encoders}
    if recipe.ecg is not None:
        samples = round(recipe.ecg.seconds * recipe.ecg.sampling_rate)
        made |= {"ecg": torch.zeros(1, 12, samples)} if "ecg" in read else {}
        made["has_ecg"] = torch.zeros(1, dtype=torch.float64)
    if recipe.image is not None:
        size = recipe.image.size
        made |= {"image": torch.zeros(1, size, size)} if "image" in read else {}
        made["has_image"] = torch.zeros(1, dtype=torch.float64)
    return made


def _encoders(recipe: Recipe) -> dict[str, Encoder]:
    """Return the encoders of all members by their names in `network_modules`."""
    return {
        f"encoder_{place}_{number}": encoder
        for place, member in enumerate(recipe.members)
        for number, encoder in enumerate(member.encoders)
    }


def _inner_inputs(recipe: Recipe) -> dict[str, Tensor]:
    """Return the inputs of what follows the encoders: each one's embedding (1, width) in place of the recordings."""
    made = {name: value for name, value in onnx_inputs(recipe).items() if name not in _RECORDINGS}
    return made | {name: torch.zeros(1, encoder.count) for name, encoder in _encoders(recipe).items()}


def _joined(model: "onnx.ModelProto", recipe: Recipe, graphs: "Mapping[str, onnx.ModelProto]") -> "onnx.ModelProto":
    """Put the encoders' graphs before what follows them, in place."""
    nodes, given = [], {each.name: each for each in model.graph.input}
    for name, encoder in _encoders(recipe).items():
        own = {"input": encoder.recording, "output": name, "": ""}
        graph = type(model.graph).FromString(graphs[name].graph.SerializeToString())
        if graphs[name].functions or model.functions:
            raise ValueError("a graph with functions of its own cannot be joined to another")
        for node in graph.node:
            node.name = f"{name}/{node.name}"
            node.input[:] = [own.get(each, f"{name}/{each}") for each in node.input]
            node.output[:] = [own.get(each, f"{name}/{each}") for each in node.output]
        for initializer in graph.initializer:
            initializer.name = f"{name}/{initializer.name}"
        nodes += graph.node
        model.graph.initializer.extend(graph.initializer)
        (recording,) = graph.input
        recording.name = encoder.recording
        given[encoder.recording] = recording
    nodes += model.graph.node
    inputs = [given[name] for name in onnx_inputs(recipe)]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    return model


class _Deployed(Constants):
    """A recipe behind its encoders: from the inputs of `_inner_inputs`, in their order, to risks (causes, times)."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.names = tuple(_inner_inputs(recipe))
        sets, columns = recipe.feature_sets, recipe.columns
        self.keep(
            nothing=[_WITHOUT_EVENTS.get(column.made, np.nan) for column in columns],
            always=[float(each.presence == "always") for each in sets],
            of_ecg=[float(each.presence == "ecg") for each in sets],
            of_image=[float(each.presence == "image") for each in sets],
            measured=[
                [float(each.presence == "measured" and column.feature_set == place) for column in columns]
                for place, each in enumerate(sets)
            ],
            modality=[[float(each.modality == modality) for each in sets] for modality in recipe.modalities],
        )
        self.members = nn.ModuleList(_Member(recipe, place) for place in range(len(recipe.members)))
        self.recalibrated = RecalibratedRisks(recipe.recalibration) if recipe.recalibration else nn.Identity()

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        columns = given["columns"]
        tells = torch.logical_not(torch.isnan(columns) | (columns == self.nothing)).double()
        rows = self.always + self.measured @ tells
        for name in ("ecg", "image"):
            if f"has_{name}" in given:
                rows = rows + getattr(self, f"of_{name}") * given[f"has_{name}"]
        present = self.modality @ rows > 0
        return self.recalibrated(torch.stack([member(given, present) for member in self.members]).mean(dim=0))


class _Member(Constants):
    """One fitted model: design and risks, from columns and embeddings."""

    def __init__(self, recipe: Recipe, place: int):
        super().__init__()
        member = recipe.members[place]
        terms = member.terms
        width = max((len(term.categories) for term in terms), default=0)
        self.keep(
            places=np.array(
                [t.column if t.column >= 0 else len(recipe.columns) - 1 - t.column for t in terms], dtype=np.int64
            ),
            # -2 is no place: it fills the rows.
            categories=np.array([[*t.categories, *[-2] * (1 + width - len(t.categories))] for t in terms], dtype=float),
            is_missing=[term.kind == "missing" for term in terms],
            is_category=[term.kind == "category" for term in terms],
            lower=[term.lower for term in terms],
            upper=[term.upper for term in terms],
            fill=[term.fill for term in terms],
            mean=[term.mean for term in terms],
            scale=[term.scale for term in terms],
            modality=np.array([term.modality for term in terms], dtype=np.int64),
            masks=np.array(member.masks, dtype=np.int64),
        )
        self.embeddings = member.embeddings
        self.encoded = [
            (f"encoder_{place}_{number}", each.recording, each.first, each.count)
            for number, each in enumerate(member.encoders)
        ]
        self.model = estimator(member.model, recipe.times)

    def _embedded(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Return the embeddings in parts: missing where the recording is, 0 where no encoder has signal."""
        parts, end = [], 0
        for name, recording, first, count in sorted(self.encoded, key=lambda each: each[2]):
            found = given[name][0].double()
            found = torch.where(given[f"has_{recording}"] > 0, found, torch.full_like(found, torch.nan))
            parts += [torch.zeros(first - end, dtype=torch.float64), found]
            end = first + count
        parts.append(torch.zeros(self.embeddings - end, dtype=torch.float64))
        return [part for part in parts if len(part)]

    def forward(self, given: dict[str, Tensor], present: Tensor) -> Tensor:
        values = torch.cat([given["columns"], *self._embedded(given)])[self.places]
        missing = torch.isnan(values)
        numbers = torch.where(missing, self.fill, torch.minimum(torch.maximum(values, self.lower), self.upper))
        place = torch.where(missing, -1.0, values)
        within = (place.unsqueeze(1) == self.categories).double().amax(dim=1)
        made = torch.where(self.is_missing, missing.double(), torch.where(self.is_category, within, numbers))
        made = torch.where(present[self.modality], (made - self.mean) / self.scale, 0.0)
        return self.model(torch.cat([made, present[self.masks].double()]))

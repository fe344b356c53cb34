"""Trained networks as C: torch to ONNX to C, with what several networks have in common written once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from riskweave.deployment.generated import generate
from riskweave.deployment.linking import link
from riskweave.errors import StudyError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

__all__ = ["network_graph", "networks_source", "to_onnx"]

OPSET = 18
"""Version of ONNX's operators."""

LARGEST = 25_000_000
"""Most weights of all networks of a module: 100 MB, and some minutes of translation."""


def networks_source(
    networks: Mapping[str, tuple["nn.Module", Sequence[int]]],
    *,
    prefix: str = "rw_networks",
    plain: bool = False,
    graphs: "Mapping[str, onnx.ModelProto] | None" = None,
) -> str:
    """Return a C file with several networks that share code, constants and working memory.

    Parameters
    ----------
    networks : mapping of str to (nn.Module, sequence of int)
        By the name of the entry point: the network in evaluation mode and the shape (1, ...) of its input.
    prefix : str
        Start of the names of all that other files do not see.
    plain : bool
        Leave convolutions as emx-onnx-cgen wrote them, see `riskweave.deployment.loops`.
    graphs : mapping of str to onnx.ModelProto, optional
        Those that `network_graph` exported already.

    Raises
    ------
    StudyError
        When they have more than `LARGEST` weights.
    ValueError
        When a weight is not finite.
    """
    weights = sum(each.numel() for module, _ in networks.values() for each in module.parameters())
    if weights > LARGEST:
        raise StudyError(
            f"the networks of this experiment have {weights / 1e6:.1f} million weights; up to {LARGEST / 1e6:.0f} "
            "million can be deployed as one file. Choose a smaller `architecture` or fewer networks of an encoder "
            "(`cross_fit`), or deploy with `model: refit`"
        )
    known = graphs or {}
    programs = generate(known.get(name) or network_graph(*network) for name, network in networks.items())
    return link(dict(zip(networks, programs, strict=True)), prefix=prefix, plain=plain)


def network_graph(module: "nn.Module", shape: Sequence[int]) -> "onnx.ModelProto":
    """Return a network of one input (1, ...), in float32, as an ONNX graph from ``input`` to ``output``."""
    import torch

    return to_onnx(module, {"input": torch.zeros(tuple(shape))})


def to_onnx(module: "nn.Module", inputs: Mapping[str, "Tensor"], *, result: str = "output") -> "onnx.ModelProto":
    """Return a network as an ONNX graph of fixed sizes: the same module gives the same graph.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    inputs : mapping of str to Tensor
        Inputs by the names that they get, in the order of the module's arguments; their values do not matter.
    result : str
        Name of the output.

    Raises
    ------
    ValueError
        When a weight is not finite.
    """
    import torch

    if not all(bool(torch.isfinite(each).all()) for each in module.parameters()):
        raise ValueError(
            "the network has a weight that is not finite: its training diverged, and it cannot be deployed"
        )
    with torch.no_grad():
        found = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            optimize=True,
            external_data=False,
            input_names=list(inputs),
            output_names=[result],
        )
    return _anonymous(found.model_proto)


def _anonymous(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Take out what tells of the machine and the source code, in place: paths, line numbers, versions of builds."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    model.producer_name, model.producer_version = "riskweave", ""
    return model

"""Trained networks as C: torch to ONNX to C, with what several networks have in common written once."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from riskweave.deployment.generated import Array, Call, Function, Program, generate

if TYPE_CHECKING:
    import onnx
    from torch import nn

__all__ = ["network_source", "networks_source", "to_onnx"]

OPSET = 18
"""Version of ONNX's operators."""

_HEAD = """\
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifndef idx_t
#define idx_t int32_t
#endif
"""


def network_source(module: "nn.Module", shape: Sequence[int], name: str) -> str:
    """Return a C file with one network.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, from float32 (1, ...) to float32.
    shape : sequence of int
        Of its input, with the axis of the batch: (1, 12, 1000).
    name : str
        Of its entry point ``void name(const float *input, float *output)``, the only name that other files see.

    See Also
    --------
    networks_source : For several networks, which share code and memory then.
    """
    return networks_source({name: (module, shape)}, prefix=name)


def networks_source(networks: Mapping[str, tuple["nn.Module", Sequence[int]]], *, prefix: str = "rw_networks") -> str:
    """Return a C file with several networks that share code, constants and working memory.

    Parameters
    ----------
    networks : mapping of str to (nn.Module, sequence of int)
        By the name of the entry point: the network in evaluation mode and the shape (1, ...) of its input.
    prefix : str
        Start of the names of all that other files do not see.
    """
    programs = {name: generate(to_onnx(module, [shape])) for name, (module, shape) in networks.items()}
    return _Source(programs, prefix).text()


class _Source:
    """A C file in the making.

    Functions and constants are known by what they are, not by name: layers of equal sizes become one function, and the
    members of an ensemble one set of functions with different weights.
    """

    def __init__(self, programs: Mapping[str, Program], prefix: str):
        self.programs, self.prefix = programs, prefix
        self.constants: dict[object, str] = {}
        self.functions: dict[object, str] = {}
        self.helpers: dict[str, str] = {}
        self.rooms: dict[str, int] = {}

    def text(self) -> str:
        """Return the file."""
        entries = [self._entry(name, program) for name, program in self.programs.items()]
        constants = [
            f"static const {each.kind} {name}[{len(each.literals)}] = {{{', '.join(each.literals)}}};"
            for each, name in self.constants.items()
        ]
        rooms = [f"static _Alignas(16) {kind} {self._room(kind)}[{size}];" for kind, size in self.rooms.items()]
        functions = [_definition(each, name) for each, name in self.functions.items()]
        parts = [_HEAD, *constants, *rooms, *self.helpers.values(), *functions, *entries]
        return "\n".join(parts) + "\n"

    def _room(self, kind: str) -> str:
        return f"{self.prefix}_{kind}"

    def _entry(self, name: str, program: Program) -> str:
        """Return the entry point of a network, after taking in what it calls."""
        entry, result = program.parameters
        calls = _without_repeats(program, result.name)
        places = _places(calls, program)
        arguments = {entry.name: "(const void *)input", result.name: "(void *)output"}
        for each, place in places.items():
            kind = program.temporaries[each].kind
            arguments[each] = f"(void *)({self._room(kind)} + {place})"
            end = place + _rounded(program.temporaries[each])
            self.rooms[kind] = max(self.rooms.get(kind, 0), end)
        lines = []
        for call in calls:
            given = [arguments.get(each) or self._constant(program, each) for each in call.arguments]
            lines.append(f"  {self._function(program, call.function)}({', '.join(given)});")
        return "\n".join([f"void {name}(const float *input, float *output) {{", *lines, "}"])

    def _constant(self, program: Program, name: str) -> str:
        constant = program.constants[name]
        known = self.constants.setdefault(constant, f"{self.prefix}_c{len(self.constants)}")
        return f"(const void *){known}"

    def _function(self, program: Program, name: str) -> str:
        function = program.functions[name]
        body = function.body
        for helper, text in program.helpers.items():
            own = f"{self.prefix}_{helper}"
            if re.search(rf"\b{helper}\b", body):
                body = re.sub(rf"\b{helper}\b", own, body)
                self.helpers[helper] = re.sub(rf"\b{helper}\b", own, text).rstrip()
        known = Function(function.parameters, body)
        return self.functions.setdefault(known, f"{self.prefix}_f{len(self.functions)}")


def _definition(function: Function, name: str) -> str:
    """Return the text of a function. Not inlined: several calls are to share its code."""
    parameters = ", ".join(
        f"{'' if each.written else 'const '}{each.kind} {each.name}"
        f"[restrict {each.shape[0]}]{''.join(f'[{size}]' for size in each.shape[1:])}"
        for each in function.parameters
    )
    return f"__attribute__((noinline)) static void {name}({parameters}) {function.body}"


def _without_repeats(program: Program, result: str) -> list[Call]:
    """Return the calls of a network without those that compute again what is known, such as the scaled input."""
    known: dict[object, tuple[str, ...]] = {}
    same: dict[str, str] = {}
    calls = []
    for call in program.calls:
        parameters = program.functions[call.function].parameters
        given = tuple(same.get(name, name) for name in call.arguments)
        written = tuple(name for name, each in zip(given, parameters, strict=True) if each.written)
        read = tuple(
            program.constants.get(name, name) for name, each in zip(given, parameters, strict=True) if not each.written
        )
        key = (program.functions[call.function], read)
        if key in known and result not in written:
            same.update(zip(written, known[key], strict=True))
        else:
            known.setdefault(key, written)
            calls.append(Call(call.function, given))
    return calls


def _places(calls: Sequence[Call], program: Program) -> dict[str, int]:
    """Return where in the room of its kind each temporary value lies; values share it that are not alive together."""
    last = {name: step for step, call in enumerate(calls) for name in call.arguments if name in program.temporaries}
    places: dict[str, int] = {}
    for step, call in enumerate(calls):
        for name in call.arguments:
            if name not in last or name in places:
                continue
            array = program.temporaries[name]
            alive = sorted(
                (places[other], places[other] + _rounded(program.temporaries[other]))
                for other in places
                if last[other] >= step and program.temporaries[other].kind == array.kind
            )
            place = 0
            for start, end in alive:
                if place + _rounded(array) <= start:
                    break
                place = max(place, end)
            places[name] = place
    return places


def _rounded(array: Array) -> int:
    """Return the elements that an array takes: a multiple of 16, for vectors of any type to be aligned."""
    return -(-array.size // 16) * 16


def to_onnx(
    module: "nn.Module", shapes: Sequence[Sequence[int]], *, names: Sequence[str] = ("input",), result: str = "output"
) -> "onnx.ModelProto":
    """Return a network as an ONNX graph of fixed sizes: the same module gives the same bytes.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    shapes : sequence of shapes
        Of its inputs, float32.
    names : sequence of str
        Of the inputs.
    result : str
        Name of the output.
    """
    import torch

    module = module.eval()
    inputs = tuple(torch.zeros(tuple(shape)) for shape in shapes)
    with torch.no_grad():
        found = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            optimize=True,
            external_data=False,
            input_names=list(names),
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

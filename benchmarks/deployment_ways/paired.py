"""PyTorch and WebAssembly in one process, turn by turn: the machine's other work then slows both alike.

    python -m deployment_ways.paired BUNDLE FOLDER REPEATS

Times, in milliseconds: the networks alone on the same inputs (by PyTorch, by wasmtime as the runtime configures it, and
without counting instructions), the whole raw patient (Python pipeline, module), and the module's phases.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wasmtime

from deployment_ways.pipeline import Pipeline
from riskweave.deployment.compile import compile_wasm, library
from riskweave.deployment.networks import networks_source
from riskweave.deployment.runtime.golden import hexes_of
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.readers import parse_image, read_ecg

WARM = 5


class Networks:
    """The networks alone, from the same sources and by the same compiler as in the module.

    Parameters
    ----------
    wasm : bytes
    counting : bool
        Whether instructions are counted, as the runtime does.
    """

    def __init__(self, wasm: bytes, *, counting: bool):
        config = wasmtime.Config()
        config.consume_fuel = counting
        engine = wasmtime.Engine(config)
        self.store = wasmtime.Store(engine)
        if counting:
            self.store.set_fuel(10**15)
        self.exports: Any = wasmtime.Instance(self.store, wasmtime.Module(engine, wasm), []).exports(self.store)
        self.exports["_initialize"](self.store)

    def give(self, name: str, values: np.ndarray) -> Callable[[], Any]:
        """Write the input of a network and return what runs it."""
        place = self.exports[f"{name}_in"](self.store)
        self.exports["memory"].write(self.store, bytearray(np.ascontiguousarray(values).data.cast("B")), place)
        run = self.exports[f"{name}_run"]
        return lambda: run(self.store)

    def result(self, name: str, count: int) -> np.ndarray:
        """Return the output of the last run."""
        place = self.exports[f"{name}_out"](self.store)
        return np.frombuffer(bytes(self.exports["memory"].read(self.store, place, place + 4 * count)), np.float32)


def compiled(networks: dict[str, Any], sizes: dict[str, int]) -> bytes:
    """Compile networks, each with a place for its input and its output."""
    lines = ['#include "riskweave.h"']
    for name, (_, shape) in networks.items():
        lines += [
            f"void {name}(const float *, float *);",
            f"static float in_{name}[{int(np.prod(shape))}], out_{name}[{sizes[name]}];",
            f"RW_EXPORT({name}_in) float *{name}_in(void) {{ return in_{name}; }}",
            f"RW_EXPORT({name}_out) float *{name}_out(void) {{ return out_{name}; }}",
            f"RW_EXPORT({name}_run) void {name}_run(void) {{ {name}(in_{name}, out_{name}); }}",
        ]
    needed = {name: text for name, text in library().items() if name.endswith(".h") or name == "convolution.c"}
    with tempfile.TemporaryDirectory() as folder:
        sources = {**needed, "networks.c": networks_source(networks), "bench.c": "\n".join(lines) + "\n"}
        return compile_wasm(sources, Path(folder))


def in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return the times of several functions that are called one after the other."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + WARM):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: times[WARM:] for name, times in taken.items()}


def networks_alone(pipeline: Pipeline, repeats: int) -> dict[str, Any]:
    """Time each network on random inputs, and compare the outputs."""
    networks = pipeline.networks()
    generator = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(shape, generator=generator) for name, (_, shape) in networks.items()}
    with torch.no_grad():
        wanted = {name: module(inputs[name]).numpy() for name, (module, _) in networks.items()}
        wasm = compiled(networks, {name: values.size for name, values in wanted.items()})
        counting, plain = Networks(wasm, counting=True), Networks(wasm, counting=False)
        found = {}
        for name, (module, _) in networks.items():
            values = inputs[name].numpy()
            ways = {
                "torch": lambda module=module, name=name: module(inputs[name]),
                "counting": counting.give(name, values),
                "plain": plain.give(name, values),
            }
            times = in_turn(ways, repeats)
            apart = np.abs(counting.result(name, wanted[name].size) - wanted[name].ravel()).max()
            found[name] = {**times, "apart": float(apart), "shape": list(networks[name][1])}
    return found


def phases(module: Module, folder: Path, repeats: int) -> dict[str, list[float]]:
    """Time the parts of a prediction by the module."""
    patient = json.loads((folder / "patient.json").read_text(encoding="utf-8"))
    ecg, picture = read_ecg(folder / "rec.hea"), parse_image((folder / "image.png").read_bytes())
    taken: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[[], Any]) -> None:
        began = time.perf_counter()
        function()
        taken.setdefault(name, []).append(1e3 * (time.perf_counter() - began))

    for _ in range(repeats + WARM):
        timed("read the record's files", lambda: read_ecg(folder / "rec.hea"))
        timed("read the image's file", lambda: parse_image((folder / "image.png").read_bytes()))
        timed("take the values", lambda: module.set_patient(patient))
        timed("take the ECG", lambda: module.set_ecg(*ecg))
        timed("rw_encode: the ECG", lambda: module.host.call("rw_encode"))
        timed("take the image", lambda: module.set_image(picture))
        timed("rw_encode: the image", lambda: module.host.call("rw_encode"))
        timed("rw_predict: the rest", lambda: module.host.call("rw_predict"))
    return {name: times[WARM:] for name, times in taken.items()}


def main() -> None:
    """Print all times as one line of JSON."""
    bundle, folder, repeats = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    pipeline, module = Pipeline.open(bundle), Module.open(bundle)

    def by_pipeline() -> np.ndarray:
        patient = json.loads((folder / "patient.json").read_text(encoding="utf-8"))
        return pipeline.predict(patient, folder / "rec.hea", folder / "image.png")

    def by_module() -> np.ndarray:
        module.set_patient(json.loads((folder / "patient.json").read_text(encoding="utf-8")))
        module.set_ecg(*read_ecg(folder / "rec.hea"))
        module.set_image(parse_image((folder / "image.png").read_bytes()))
        return np.array(module.predict(contributions=False).risks)

    told = {
        "networks": networks_alone(pipeline, repeats),
        "whole": in_turn({"pipeline": by_pipeline, "module": by_module}, repeats),
        "phases": phases(module, folder, repeats),
        "apart": float(np.abs(by_pipeline() - by_module()).max()),
        "risks": hexes_of(by_module()),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()

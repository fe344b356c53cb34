"""Is ``model.onnx`` the module? The golden patients through both."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from riskweave.deployment.parity import ParityError
from riskweave.deployment.runtime.golden import give_recordings
from riskweave.deployment.runtime.module import Module

__all__ = ["check_onnx", "onnx_difference"]


def onnx_difference(graph: bytes, module: Module, golden: Mapping[str, Any]) -> float:
    """Return the largest difference of a risk between the graph and the module.

    ONNX's own reference evaluator runs the graph, on the columns and recordings that the module made of each patient.

    Parameters
    ----------
    graph : bytes
        Content of ``model.onnx``.
    module : Module
        Without a patient afterwards.
    golden : mapping
        Content of ``golden.json``.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_from_string(graph)
    shapes = {each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim] for each in model.graph.input}
    evaluator, apart = ReferenceEvaluator(model), [0.0]
    for patient in golden["patients"]:
        module.set_patient(patient["patient"])
        give_recordings(module, patient)
        found = module.predict(contributions=False)
        given = {"columns": np.array(found.columns)}
        for name in ("ecg", "image"):
            there = patient[name] is not None
            if f"has_{name}" in shapes:
                given[f"has_{name}"] = np.array([float(there)])
            if name in shapes:
                given[name] = _prepared(module, name, shapes[name], there=there)
        # Of absent recordings logarithms of zero and the like are computed, and then not looked at.
        with np.errstate(all="ignore"):
            (risks,) = evaluator.run(["risks"], given)
        # A risk that is no number is as far off as can be.
        apart.append(float(np.nan_to_num(np.abs(risks - found.risks), nan=np.inf, posinf=np.inf).max()))
    module.reset()
    return max(apart)


def _prepared(module: Module, name: str, shape: list[int], *, there: bool) -> np.ndarray:
    """Return a recording as encoders read it; zeros where there is none."""
    if not there:
        return np.zeros(shape, dtype=np.float32)
    pointer = module.host.call(f"rw_{name}_prepared")
    return np.array(module.host.read(pointer, int(np.prod(shape)), "f")).reshape(shape)


def check_onnx(graph: bytes, module: Module, golden: Mapping[str, Any], *, allowed: float) -> float:
    """Return how far the graph is from the module at most.

    Parameters
    ----------
    graph, module, golden
        See `onnx_difference`.
    allowed : float
        Difference of a risk up to which it is the model.

    Raises
    ------
    ParityError
        When it is farther off.
    """
    apart = onnx_difference(graph, module, golden)
    if not apart <= allowed:
        raise ParityError(
            f"model.onnx is not the model: a risk of an invented patient is {apart:.1e} off the module's, and "
            f"{allowed:.1e} is allowed. This is a fault of riskweave: report it"
        )
    return apart

"""From a fitted experiment to a module, and from a module that is the model to a bundle."""

import hashlib
import json
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from riskweave.deployment.built import built
from riskweave.deployment.generate import build_module
from riskweave.deployment.golden import golden_patients, with_outputs
from riskweave.deployment.order import Fitted, Order
from riskweave.deployment.patients import Source
from riskweave.deployment.read import read_recipe
from riskweave.deployment.recipe import Recalibrated
from riskweave.deployment.runtime.golden import give_recordings
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.schema import schema_of
from riskweave.modalities.base import replacing
from riskweave.survival.sets import read_people, read_set

__all__ = ["check_model", "compile_model", "digest", "write_json"]

logger = logging.getLogger(__name__)

SAMPLED = 10
"""Every so many subjects are predicted in double precision too."""


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def write_json(content: Any, path: Path) -> None:
    """Write plain values as JSON: one form, in the order given, so that the same values are the same bytes."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def compile_model(
    order: Order,
    fitted: Fitted,
    *,
    wasm: Path,
    onnx: Path,
    schema: Path,
    golden: Path,
    record: Path,
) -> None:
    """Make the module of an experiment, with its schema, its networks as ONNX and its golden patients.

    Parameters
    ----------
    order : Order
    fitted : Fitted
    wasm, onnx, schema, golden, record : Path
        Files to write; the schema is without the study's texts, the record is ``built.json``. Nothing is written when
        anything fails.

    Raises
    ------
    DataError
        When the models cannot be deployed.
    CompileError
        When the compiler refuses what was generated.
    """
    from riskweave.deployment.onnx_file import encoder_graphs, export_onnx

    recipe = read_recipe(
        order,
        models=fitted.models,
        sets=[read_set(name, path, None) for name, path in fitted.tables.items()],
        encoders={name: files.weights for name, files in fitted.recorded.items()},
        subjects=fitted.subjects(),
        people=read_people(fitted.people),
    )
    learnt = [Recalibrated(each.reference, each.intercept, each.slope) for each in fitted.recalibrations(recipe.times)]
    recipe = replace(recipe, recalibration=tuple(learnt))
    told, graphs = schema_of(recipe, order, same_day=fitted.same_day()), encoder_graphs(recipe)
    with tempfile.TemporaryDirectory() as folder, replacing(wasm, onnx, schema, golden, record) as partial:
        code = build_module(recipe, Path(folder) / "c", graphs)
        logger.info("%s: a module of %.2f MB", order.experiment, len(code) / 1e6)
        partial[0].write_bytes(code)
        partial[1].write_bytes(export_onnx(recipe, graphs))
        write_json(told, partial[2])
        module, patients = Module(code, told), golden_patients(told)
        risks = []
        for patient in patients:
            module.set_patient(patient["patient"])
            give_recordings(module, patient)
            risks.append(module.predict(contributions=False).risks)
        partial[3].write_text(json.dumps(with_outputs(patients, risks), separators=(",", ":")) + "\n")
        write_json(built(), partial[4])


def check_model(
    fitted: Fitted, source: Source, *, wasm: Path, onnx: Path, schema: Path, golden: Path, report: Path
) -> None:
    """Compare a module with the pipeline on every subject at risk, and with its ONNX file; write what came of it.

    Parameters
    ----------
    fitted : Fitted
    source : Source
        Raw data of the subjects.
    wasm, onnx, schema, golden : Path
        From `compile_model`.
    report : Path
        JSON to write; see `riskweave.deployment.parity.describe`.

    Raises
    ------
    ParityError
        When the module or the ONNX file is not the model; nothing is written then.
    """
    from riskweave.deployment.onnx_check import check_onnx
    from riskweave.deployment.parity import check_parity, describe, module_risks
    from riskweave.deployment.reference import reference_risks

    module = Module(wasm.read_bytes(), json.loads(schema.read_text(encoding="utf-8")))
    subjects, began = fitted.subjects(), time.monotonic()
    found = module_risks(module, source, subjects)
    sets = [read_set(name, path, None) for name, path in fitted.tables.items()]
    # Learnt anew, and applied by the evaluation's own code: what the module holds of it is not looked at.
    learnt = fitted.recalibrations(module.schema["times"])
    shared = {"sets": sets, "recorded": fitted.recorded, "times": module.schema["times"], "recalibration": learnt}
    wanted = reference_risks(fitted.models, subjects=subjects, **shared)
    some = range(0, len(subjects), SAMPLED)
    double = reference_risks(fitted.models, subjects=subjects[list(some)], double=True, **shared)
    parity = check_parity(found, wanted, double=double, some=some)
    seconds = time.monotonic() - began
    logger.info("%d subjects in %.0f s, the largest difference is %.1e", len(subjects), seconds, parity.largest)
    invented = json.loads(golden.read_text(encoding="utf-8"))
    of_onnx = check_onnx(onnx.read_bytes(), module, invented, allowed=parity.allowed)
    files = {"wasm_sha256": digest(wasm.read_bytes()), "onnx_sha256": digest(onnx.read_bytes())}
    with replacing(report) as (partial,):
        write_json({**describe(parity), "largest_difference_of_onnx": of_onnx, **files}, partial)

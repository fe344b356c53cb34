"""Compile a fitted experiment into a module of WebAssembly."""

from pathlib import Path

from riskweave.deployment.deploy import compile_model
from riskweave.deployment.order import Fitted, Order
from riskweave.devices import leased_device
from riskweave.jobs import job_log

# No device is leased for it: none is used.
with job_log(Path(snakemake.log[0])), leased_device(0):
    order = Order.of(snakemake.params.order)
    compile_model(
        order,
        Fitted.of(
            order,
            models=snakemake.input.models,
            tables=snakemake.input.tables,
            recorded=snakemake.input.recorded,
            outcomes=snakemake.input.outcomes,
            people=snakemake.input.subjects,
            predictions=snakemake.input.predictions,
        ),
        wasm=Path(snakemake.output.wasm),
        onnx=Path(snakemake.output.onnx),
        schema=Path(snakemake.output.schema),
        golden=Path(snakemake.output.golden),
        record=Path(snakemake.output.built),
    )

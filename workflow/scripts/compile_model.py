"""Compile a fitted experiment into a module of WebAssembly."""

from pathlib import Path

from riskweave.deployment.deploy import compile_model
from riskweave.deployment.order import Fitted, Order
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    order = Order.of(snakemake.params.order)
    compile_model(
        order,
        Fitted.of(
            order,
            models=snakemake.input.models,
            tables=snakemake.input.tables,
            recorded=snakemake.input.recorded,
            outcomes=snakemake.input.outcomes,
        ),
        wasm=Path(snakemake.output.wasm),
        onnx=Path(snakemake.output.onnx),
        schema=Path(snakemake.output.schema),
        golden=Path(snakemake.output.golden),
    )

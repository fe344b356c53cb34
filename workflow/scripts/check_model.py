"""Compare a module with the pipeline on every subject at risk, from raw files to risks."""

from pathlib import Path

from riskweave.deployment.deploy import check_model
from riskweave.deployment.order import Fitted, Order
from riskweave.deployment.patients import Source
from riskweave.devices import leased_device
from riskweave.jobs import job_log

# No device is leased for it: none is used.
with job_log(Path(snakemake.log[0])), leased_device(0):
    order = Order.of(snakemake.params.order)
    check_model(
        Fitted.of(
            order,
            models=snakemake.input.models,
            tables=snakemake.input.tables,
            recorded=snakemake.input.recorded,
            outcomes=snakemake.input.outcomes,
            people=snakemake.input.subjects,
            predictions=snakemake.input.predictions,
        ),
        Source.of(
            order,
            subjects=snakemake.input.subjects,
            events=snakemake.input.events,
            recordings=snakemake.input.recordings,
            images=snakemake.input.images,
        ),
        wasm=Path(snakemake.input.wasm),
        onnx=Path(snakemake.input.onnx),
        schema=Path(snakemake.input.schema),
        golden=Path(snakemake.input.golden),
        report=Path(snakemake.output.parity),
    )

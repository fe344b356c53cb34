"""Compare a module with the pipeline on every subject at risk, from raw files to risks."""

from pathlib import Path

from riskweave.deployment.deploy import check_model
from riskweave.deployment.order import Fitted, Order
from riskweave.deployment.patients import Source
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    order = Order.of(snakemake.params.order)
    check_model(
        Fitted.of(
            order,
            models=snakemake.input.models,
            tables=snakemake.input.tables,
            recorded=snakemake.input.recorded,
            outcomes=snakemake.input.outcomes,
        ),
        Source.of(
            order,
            subjects=snakemake.input.subjects,
            events=snakemake.input.events,
            recordings=snakemake.input.recordings,
            images=snakemake.input.images,
        ),
        wasm=Path(snakemake.input.wasm),
        schema=Path(snakemake.input.schema),
        report=Path(snakemake.output.parity),
    )

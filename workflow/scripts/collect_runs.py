"""Store the run of every training step in MLflow."""

import json
from pathlib import Path

from riskweave.jobs import job_log
from riskweave.tracking.store import collect

with job_log(Path(snakemake.log[0])):
    summary = collect(
        records=[Path(record) for record in snakemake.input.records],
        directory=Path(snakemake.params.directory),
        study=snakemake.params.study,
        metrics={
            e: Path(p) for e, p in zip(snakemake.params.endpoints, snakemake.input.get("metrics", []), strict=True)
        },
        artifacts=[Path(artifact) for artifact in snakemake.input.get("artifacts", [])],
        ids=Path(snakemake.output.ids),
    )
    Path(snakemake.output.collected).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

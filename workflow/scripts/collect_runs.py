"""Store the run of every training step in MLflow."""

import json
from pathlib import Path

from riskweave.files import write_text
from riskweave.jobs import job_log
from riskweave.tracking.compare import compare_or_warn
from riskweave.tracking.sending import send_or_keep
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
        complete=snakemake.params.complete,
        steps=snakemake.params.steps,
        report=Path(snakemake.params.report),
        ids=Path(snakemake.output.ids),
    )
    # The page of all studies lies beside them, and is no output of this one: each study writes it anew, as the store.
    directory = Path(snakemake.params.directory)
    compare_or_warn(directory=directory, page=directory.parent / "index.html")
    summary |= send_or_keep(directory=directory, study=snakemake.params.study)
    write_text(json.dumps(summary, indent=1) + "\n", Path(snakemake.output.collected))

"""Make the MLflow store, unless it is there."""

import json
from pathlib import Path

from riskweave.files import write_text
from riskweave.jobs import job_log
from riskweave.tracking.store import init_store

with job_log(Path(snakemake.log[0])):
    init_store(directory=Path(snakemake.params.directory))
    write_text(json.dumps({"store": snakemake.params.directory}) + "\n", Path(snakemake.output.store))

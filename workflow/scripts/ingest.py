"""Read the source's tables, check them, and write them in the canonical form."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.cohort.ingest import ingest
from riskweave.jobs import job_log
from riskweave.study.sources import Cohort

with job_log(Path(snakemake.log[0])):
    synthetic = snakemake.input.get("synthetic")
    ingest(
        cohort=TypeAdapter(Cohort).validate_python(snakemake.params.cohort),
        output=Path(snakemake.output.data).parent,
        synthetic=Path(synthetic) if synthetic else None,
        threads=snakemake.threads,
    )

"""Define an endpoint's outcomes and count who is left out."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.cohort.outcomes import define_outcomes
from riskweave.jobs import job_log
from riskweave.study.cohort import Endpoint

with job_log(Path(snakemake.log[0])):
    define_outcomes(
        subjects=Path(snakemake.input.subjects),
        events=Path(snakemake.input.events),
        selected=Path(snakemake.input.selected),
        name=snakemake.wildcards.endpoint,
        endpoint=TypeAdapter(Endpoint).validate_python(snakemake.params.endpoint),
        outcomes=Path(snakemake.output.outcomes),
        attrition=Path(snakemake.output.attrition),
        threads=snakemake.threads,
    )

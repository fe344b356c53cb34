"""Select the subjects of the study and count who is left out."""

from pathlib import Path

from riskweave.cohort.selection import select_cohort
from riskweave.jobs import job_log
from riskweave.study.population import Population

with job_log(Path(snakemake.log[0])):
    select_cohort(
        subjects=Path(snakemake.input.subjects),
        events=Path(snakemake.input.events),
        population=Population.model_validate(snakemake.params.population),
        output=Path(snakemake.output.subjects),
        attrition=Path(snakemake.output.attrition),
        threads=snakemake.threads,
    )

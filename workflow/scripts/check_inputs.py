"""Check the columns that the study names. All else that training reads was checked by the rules that made it."""

from pathlib import Path

from riskweave.cohort.checks import check_columns
from riskweave.jobs import job_log

with job_log(Path(snakemake.log[0])):
    check_columns(subjects=Path(snakemake.input.subjects), study_columns=snakemake.params.columns)

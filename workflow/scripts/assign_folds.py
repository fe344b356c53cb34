"""Divide the subjects into folds."""

from pathlib import Path

from riskweave.cohort.folds import assign_folds
from riskweave.jobs import job_log
from riskweave.study.cohort import Folds

with job_log(Path(snakemake.log[0])):
    assign_folds(
        subjects=Path(snakemake.input.subjects),
        outcomes=Path(snakemake.input.outcomes),
        folds=Folds.model_validate(snakemake.params.folds),
        output=Path(snakemake.output.folds),
    )

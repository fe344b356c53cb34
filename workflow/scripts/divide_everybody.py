"""Divide all subjects for the final fits of an endpoint: most train, a share validates, nobody is tested."""

from pathlib import Path

from riskweave.cohort.folds import divide_everybody
from riskweave.jobs import job_log
from riskweave.study.cohort import Folds

with job_log(Path(snakemake.log[0])):
    divide_everybody(
        subjects=Path(snakemake.input.subjects),
        outcomes=Path(snakemake.input.outcomes),
        folds=Folds.model_validate(snakemake.params.folds),
        validation=snakemake.params.validation,
        output=Path(snakemake.output.folds),
    )

"""Check what training will need of columns, endpoints and folds; what rules read, they checked themselves."""

from pathlib import Path

from riskweave.cohort.checks import check_columns
from riskweave.jobs import job_log
from riskweave.leaks.allowed import check_findings
from riskweave.survival.roles import check_training

with job_log(Path(snakemake.log[0])):
    check_columns(subjects=Path(snakemake.input.subjects), study_columns=snakemake.params.columns)
    check_training(
        outcomes=dict(zip(snakemake.params.endpoints, map(Path, snakemake.input.outcomes), strict=True)),
        folds=Path(snakemake.input.folds),
        encoders=snakemake.params.trainings,
        present=dict(zip(snakemake.params.encoders, map(Path, snakemake.input.indices), strict=True)),
    )
    check_findings(Path(snakemake.input.findings))

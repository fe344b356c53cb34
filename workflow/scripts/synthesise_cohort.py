"""Generate the demo cohort."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.study.cohort import SyntheticSource
from riskweave.synthetic.generate import generate

with job_log(Path(snakemake.log[0])):
    generate(directory=Path(snakemake.output.directory), source=SyntheticSource.model_validate(snakemake.params.cohort))

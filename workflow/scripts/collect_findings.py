"""Collect what the leak gates found, with what the study allows."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.leaks.allowed import collect_findings
from riskweave.study.cohort import Allowed

with job_log(Path(snakemake.log[0])):
    collect_findings(
        paths=[Path(path) for path in snakemake.input.findings],
        allow=[Allowed.model_validate(entry) for entry in snakemake.params.allow],
        output=Path(snakemake.output.findings),
    )

"""Report the cohort: one page, its tables and its figures."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.jobs import job_log
from riskweave.report.report import report_cohort
from riskweave.study.cohort import CohortReport, Endpoint

with job_log(Path(snakemake.log[0])):
    blocks = snakemake.params.endpoints
    report_cohort(
        study=snakemake.params.study,
        question=snakemake.params.question,
        subjects=Path(snakemake.input.subjects),
        data=Path(snakemake.input.data),
        endpoints={name: TypeAdapter(Endpoint).validate_python(block) for name, block in blocks.items()},
        outcomes=dict(zip(blocks, map(Path, snakemake.input.outcomes), strict=True)),
        attrition=dict(zip(blocks, map(Path, snakemake.input.attrition), strict=True)),
        main=snakemake.params.main,
        features=dict(zip(snakemake.params.modalities, map(Path, snakemake.input.features), strict=True)),
        modalities=snakemake.params.modalities,
        report=CohortReport.model_validate(snakemake.params.report),
        columns=snakemake.params.columns,
        findings=Path(snakemake.input.findings),
        folder=Path(snakemake.output.page).parent,
    )

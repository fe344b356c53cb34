"""Report the study: one page, its tables and its figures."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.study_report.report import report_study

with job_log(Path(snakemake.log[0])):
    named = ("study", "cohort", "evaluation", "figures", "records", "ids", "searches", "explanations")
    report_study(
        root=Path(snakemake.input.study[0]).parent,
        inputs=[Path(path) for name in named for path in snakemake.input.get(name, [])],
        folder=Path(snakemake.output.page).parent,
        missing=snakemake.params.missing,
    )

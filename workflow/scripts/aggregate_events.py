"""Aggregate dated events and static columns into a feature table."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.features import EhrFeatures

with job_log(Path(snakemake.log[0])):
    aggregate_events(
        subjects=Path(snakemake.input.subjects),
        events=Path(snakemake.input.events),
        features=EhrFeatures.model_validate(snakemake.params.features),
        output=Path(snakemake.output.features),
        threads=snakemake.threads,
    )

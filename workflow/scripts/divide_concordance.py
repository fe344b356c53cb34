"""Divide the concordance of experiments among their feature sets."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.explain.shapley import divide_concordance
from riskweave.jobs import job_log
from riskweave.study.cohort import Endpoint

with job_log(Path(snakemake.log[0])):
    divide_concordance(
        families=snakemake.params.families,
        modalities=snakemake.params.modalities,
        predictions=[Path(path) for path in snakemake.input.predictions],
        outcomes=Path(snakemake.input.outcomes),
        subjects=Path(snakemake.input.subjects),
        endpoint_name=snakemake.wildcards.endpoint,
        endpoint=TypeAdapter(Endpoint).validate_python(snakemake.params.endpoint),
        shapley=Path(snakemake.output.shapley),
        count=snakemake.params.resamples,
        seed=snakemake.params.seed,
        confidence=snakemake.params.confidence,
        threads=snakemake.threads,
    )

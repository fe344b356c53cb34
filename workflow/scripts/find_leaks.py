"""Look for leaks in a study, and write what was found with what the study allows."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.jobs import job_log
from riskweave.leaks.allowed import write_findings
from riskweave.leaks.find import find_leaks
from riskweave.study.cohort import Allowed, Endpoint, Folds
from riskweave.study.features import FeatureSet
from riskweave.study.population import Population

with job_log(Path(snakemake.log[0])):
    endpoints = TypeAdapter(dict[str, Endpoint]).validate_python(snakemake.params.endpoints)
    features = TypeAdapter(dict[str, FeatureSet]).validate_python(snakemake.params.features)
    findings = find_leaks(
        subjects=Path(snakemake.input.subjects),
        outcomes=dict(zip(sorted(endpoints), map(Path, snakemake.input.outcomes), strict=True)),
        folds=Path(snakemake.input.folds),
        tables=dict(zip(sorted(features), map(Path, snakemake.input.tables), strict=True)),
        used=snakemake.params.used,
        features=features,
        endpoints=endpoints,
        population=Population.model_validate(snakemake.params.population),
        division=Folds.model_validate(snakemake.params.division),
        recordings=Path(snakemake.input.recordings),
        images=Path(snakemake.input.images),
        indices=dict(zip(snakemake.params.encoders, map(Path, snakemake.input.indices), strict=True)),
        attrition=Path(snakemake.input.attrition),
    )
    allow = [Allowed.model_validate(entry) for entry in snakemake.params.allow]
    write_findings(findings, allow, Path(snakemake.output.findings))

"""Look for leaks of an endpoint into a feature set, and write what was found."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.jobs import job_log
from riskweave.leaks.allowed import write_findings
from riskweave.leaks.find import find_leaks
from riskweave.study.cohort import Endpoint, Folds
from riskweave.study.features import FeatureSet
from riskweave.study.population import Population

with job_log(Path(snakemake.log[0])):
    endpoint, name = snakemake.wildcards.endpoint, snakemake.wildcards.used_set
    index = snakemake.input.get("index")
    findings = find_leaks(
        subjects=Path(snakemake.input.subjects),
        outcomes={endpoint: Path(snakemake.input.outcomes)},
        folds=Path(snakemake.input.folds),
        tables={name: Path(snakemake.input.table)},
        used={endpoint: [name]},
        features={name: TypeAdapter(FeatureSet).validate_python(snakemake.params.features)},
        endpoints={endpoint: TypeAdapter(Endpoint).validate_python(snakemake.params.endpoint)},
        population=Population.model_validate(snakemake.params.population),
        division=Folds.model_validate(snakemake.params.division),
        recordings=Path(snakemake.input.recordings),
        images=Path(snakemake.input.images),
        sounds=Path(snakemake.input.sounds),
        indices={name: Path(index)} if index else {},
        attrition=Path(snakemake.input.attrition),
    )
    write_findings(findings, Path(snakemake.output.findings))

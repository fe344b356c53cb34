"""Judge the study's objectives."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.evaluation.objectives import judge
from riskweave.jobs import job_log
from riskweave.study.cohort import Endpoint
from riskweave.study.evaluation import Evaluation, Objective

with job_log(Path(snakemake.log[0])):
    predictions = {}
    for (endpoint, experiment), path in zip(snakemake.params.judged, snakemake.input.predictions, strict=True):
        predictions.setdefault(endpoint, {})[experiment] = Path(path)
    endpoints = snakemake.params.endpoints
    judge(
        objectives={name: Objective.model_validate(block) for name, block in snakemake.params.objectives.items()},
        endpoints={name: TypeAdapter(Endpoint).validate_python(block) for name, block in endpoints.items()},
        predictions=predictions,
        outcomes=dict(zip(sorted(endpoints), map(Path, snakemake.input.outcomes), strict=True)),
        subjects=Path(snakemake.input.subjects),
        evaluation=Evaluation.model_validate(snakemake.params.evaluation),
        output=Path(snakemake.output.verdicts),
    )

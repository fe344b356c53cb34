"""Train all folds of an experiment for all endpoints at once, and predict each endpoint's own subjects at risk."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.study.fusions import Fusion
from riskweave.study.models import Model
from riskweave.tracking.job import training_job

with training_job(snakemake) as training:
    if training is not None:
        # What trains is loaded where something trains: a job that restores starts in a fraction of a second.
        from riskweave.survival.endpoints import EndpointFiles, train_endpoints

        experiment, output = snakemake.params.experiment, snakemake.output
        columns = (
            map(Path, files)
            for files in (
                snakemake.input.outcomes,
                output.predictions,
                output.models,
                output.record,
                output.curves,
                output.trials,
            )
        )
        endpoints = {
            endpoint: EndpointFiles(outcomes, times, *files)
            for (endpoint, times), outcomes, *files in zip(snakemake.params.times.items(), *columns, strict=True)
        }
        train_endpoints(
            experiment=experiment,
            model=TypeAdapter(Model).validate_python(snakemake.params.model),
            fusion=TypeAdapter(Fusion).validate_python(snakemake.params.fusion),
            endpoints=endpoints,
            tables=dict(zip(experiment["feature_sets"], map(Path, snakemake.input.tables), strict=True)),
            embeddings=dict(zip(snakemake.params.encoders, map(Path, snakemake.input.embeddings), strict=True)),
            encoder_endpoint=experiment["endpoint"],
            folds=Path(snakemake.input.folds),
            people=Path(snakemake.input.people),
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            context=training.context,
        )

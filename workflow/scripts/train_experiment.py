"""Train all folds of an experiment and predict each subject from the fold in which it was tested."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.study.fusions import Fusion
from riskweave.study.models import Model
from riskweave.tracking.job import training_job

with training_job(snakemake) as training:
    if training is not None:
        # What trains is loaded where something trains: a job that restores starts in a fraction of a second.
        from riskweave.survival.experiment import train_experiment
        from riskweave.survival.sets import RecordedFiles

        experiment = snakemake.params.experiment
        train_experiment(
            experiment=experiment,
            model=TypeAdapter(Model).validate_python(snakemake.params.model),
            fusion=TypeAdapter(Fusion).validate_python(snakemake.params.fusion),
            members=TypeAdapter(dict[str, Model]).validate_python(snakemake.params.members),
            people=Path(snakemake.input.people),
            tables=dict(zip(experiment["feature_sets"], map(Path, snakemake.input.tables), strict=True)),
            embeddings=dict(zip(snakemake.params.encoders, map(Path, snakemake.input.embeddings), strict=True)),
            recorded=RecordedFiles.of(snakemake.params.encoders, list(map(Path, snakemake.input.recorded))),
            outcomes=Path(snakemake.input.outcomes),
            folds=Path(snakemake.input.folds),
            times=snakemake.params.times,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            predictions=Path(predictions) if (predictions := snakemake.output.get("predictions")) else None,
            models=Path(snakemake.output.models),
            record=Path(snakemake.output.record),
            curves=Path(snakemake.output.curves),
            trials=Path(snakemake.output.trials),
            context=training.context,
        )

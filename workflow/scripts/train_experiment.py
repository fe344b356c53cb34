"""Train all folds of an experiment and predict each subject from the fold in which it was tested."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.devices import leased_device
from riskweave.jobs import job_log
from riskweave.study.fusions import Fusion
from riskweave.study.models import Model
from riskweave.tracking.record import context_of
from riskweave.tracking.reuse import beginning

with job_log(Path(snakemake.log[0])):
    context = context_of(
        study=snakemake.params.study,
        rule=snakemake.rule,
        wildcards=dict(snakemake.wildcards),
        data=Path(snakemake.input.data),
    )
    training = beginning(
        rule=snakemake.rule,
        inputs=dict(snakemake.input),
        params=dict(snakemake.params),
        outputs=dict(snakemake.output),
    )
    if not training.restored(context):
        # What trains is loaded where something trains: a job that restores starts in a fraction of a second.
        from riskweave.survival.experiment import train_experiment
        from riskweave.survival.sets import RecordedFiles

        with leased_device(snakemake.resources.gpu, snakemake.resources.get("jobs_per_gpu", 1)):
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
                context=context | training.context(),
            )

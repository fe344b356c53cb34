"""Train the network of an encoder without labels, on the training rows of each fold."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.study.features import FeatureSet
from riskweave.tracking.job import training_job

with training_job(snakemake) as training:
    if training is not None:
        # What trains is loaded where something trains: a job that restores starts in a fraction of a second.
        from riskweave.survival.encoding.pretraining import PretrainingFiles, pretrain_encoder

        pretrain_encoder(
            feature_set=snakemake.wildcards.pretrained_set,
            features=TypeAdapter(FeatureSet).validate_python(snakemake.params.features),
            files=PretrainingFiles(
                inputs=Path(snakemake.input.inputs),
                index=Path(snakemake.input.index),
                folds=Path(snakemake.input.folds),
                weights=Path(snakemake.output.weights),
                record=Path(snakemake.output.record),
                curves=Path(snakemake.output.curves),
            ),
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            gpus=snakemake.resources.gpu,
            context=training.context,
        )

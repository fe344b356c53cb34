"""Train an encoder on the training rows of each fold, and embed everybody who has the modality."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.study.features import FeatureSet
from riskweave.tracking.job import training_job

with training_job(snakemake) as training:
    if training is not None:
        # What trains is loaded where something trains: a job that restores starts in a fraction of a second.
        from riskweave.survival.encoding.train import EncoderFiles, train_encoder

        pretrained = snakemake.input.get("pretrained")
        train_encoder(
            feature_set=snakemake.wildcards.encoder_set,
            features=TypeAdapter(FeatureSet).validate_python(snakemake.params.features),
            endpoint=snakemake.wildcards.endpoint,
            files=EncoderFiles(
                inputs=Path(snakemake.input.inputs),
                index=Path(snakemake.input.index),
                outcomes=Path(snakemake.input.outcomes),
                folds=Path(snakemake.input.folds),
                subjects=Path(snakemake.input.subjects),
                pretrained=None if pretrained is None else Path(pretrained),
                embeddings=Path(snakemake.output.embeddings),
                weights=Path(snakemake.output.weights),
                record=Path(snakemake.output.record),
                curves=Path(snakemake.output.curves),
            ),
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            gpus=snakemake.resources.gpu,
            context=training.context,
        )

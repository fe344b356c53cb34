"""Train an encoder on the training rows of each fold, and embed everybody who has the modality."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.devices import leased_device
from riskweave.jobs import job_log
from riskweave.study.features import FeatureSet
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
        from riskweave.survival.encoding.train import EncoderFiles, train_encoder

        with leased_device(snakemake.resources.gpu, snakemake.resources.get("jobs_per_gpu", 1)):
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
                context=context | training.context(),
            )

"""Read, check and resize images."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.modalities.image import read_images
from riskweave.study.features import ImageFeatures

with job_log(Path(snakemake.log[0])):
    read_images(
        subjects=Path(snakemake.input.subjects),
        images=Path(snakemake.input.images),
        features=ImageFeatures.model_validate(snakemake.params.features),
        table=Path(snakemake.output.features),
        pixels=Path(snakemake.output.pixels),
        index=Path(snakemake.output.index),
        threads=snakemake.threads,
    )

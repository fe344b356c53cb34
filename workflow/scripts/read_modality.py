"""Read, check and measure the raw data of a feature set, and make them an encoder's inputs."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.jobs import job_log
from riskweave.modalities.registry import find_modality
from riskweave.study.features import FeatureSet

with job_log(Path(snakemake.log[0])):
    # Reading does not depend on the encoder: the default stands for whichever the study has.
    features = TypeAdapter(FeatureSet).validate_python({**snakemake.params.features, "encoder": {}})
    find_modality(features.modality).read(
        subjects=Path(snakemake.input.subjects),
        raw=Path(snakemake.input.raw),
        features=features,
        table=Path(snakemake.output.features),
        inputs=Path(snakemake.output.inputs),
        index=Path(snakemake.output.index),
        threads=snakemake.threads,
    )

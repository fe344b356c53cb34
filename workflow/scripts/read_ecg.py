"""Read, check, resample and measure ECG recordings."""

from pathlib import Path

from riskweave.jobs import job_log
from riskweave.modalities.ecg import read_recordings
from riskweave.study.features import EcgFeatures

with job_log(Path(snakemake.log[0])):
    read_recordings(
        subjects=Path(snakemake.input.subjects),
        recordings=Path(snakemake.input.recordings),
        # Reading does not depend on the encoder: the default stands for whichever the study has.
        features=EcgFeatures.model_validate({**snakemake.params.features, "encoder": {}}),
        table=Path(snakemake.output.features),
        signals=Path(snakemake.output.signals),
        index=Path(snakemake.output.index),
        threads=snakemake.threads,
    )

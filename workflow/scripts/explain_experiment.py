"""Explain an experiment's stored models: importance of what they read, and effects of its values."""

from pathlib import Path

from riskweave.devices import leased_device
from riskweave.explain.experiment import explain_experiment
from riskweave.jobs import job_log

# No device is leased for it: none is used.
with job_log(Path(snakemake.log[0])), leased_device(0):
    experiment = snakemake.params.experiment
    explain_experiment(
        experiment=experiment,
        models=Path(snakemake.input.models),
        predictions=Path(snakemake.input.predictions),
        tables=dict(zip(experiment["feature_sets"], map(Path, snakemake.input.tables), strict=True)),
        embeddings=dict(zip(snakemake.params.encoders, map(Path, snakemake.input.embeddings), strict=True)),
        outcomes=Path(snakemake.input.outcomes),
        folds=Path(snakemake.input.folds),
        people=Path(snakemake.input.people),
        horizons=list(snakemake.params.horizons),
        seed=snakemake.params.seed,
        confidence=snakemake.params.confidence,
        threads=snakemake.threads,
        importance=Path(snakemake.output.importance),
        effects=Path(snakemake.output.effects),
    )

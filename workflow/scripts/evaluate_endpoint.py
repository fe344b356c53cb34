"""Evaluate and compare all experiments of an endpoint on the same subjects."""

from pathlib import Path

from pydantic import TypeAdapter

from riskweave.evaluation.evaluate import evaluate_endpoint
from riskweave.jobs import job_log
from riskweave.study.cohort import Endpoint
from riskweave.study.evaluation import Evaluation

with job_log(Path(snakemake.log[0])):
    evaluation = Evaluation.model_validate(snakemake.params.evaluation)
    availability = {modality: [] for modality in snakemake.params.modalities}
    for modality, path in zip(snakemake.params.modalities, snakemake.input.availability, strict=True):
        availability[modality].append(Path(path))
    evaluate_endpoint(
        predictions=[Path(path) for path in snakemake.input.predictions],
        subjects=Path(snakemake.input.subjects),
        availability=availability,
        endpoint_name=snakemake.wildcards.endpoint,
        endpoint=TypeAdapter(Endpoint).validate_python(snakemake.params.endpoint),
        outcomes=Path(snakemake.input.outcomes),
        reference=evaluation.reference,
        evaluation=evaluation,
        metrics=Path(snakemake.output.metrics),
        differences=Path(snakemake.output.differences),
        calibration=Path(snakemake.output.calibration),
        leaderboard=Path(snakemake.output.leaderboard),
        leaderboard_csv=Path(snakemake.output.leaderboard_csv),
        fold_metrics=Path(snakemake.output.fold_metrics),
        decision_curve=Path(snakemake.output.decision_curve),
        calibration_curve=Path(snakemake.output.calibration_curve),
        reclassification=Path(snakemake.output.reclassification) if evaluation.reclassification else None,
        recalibration=Path(snakemake.output.recalibration) if evaluation.recalibration else None,
        folds=Path(snakemake.input.folds),
        missing=snakemake.params.missing,
        threads=snakemake.threads,
    )

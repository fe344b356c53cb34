"""Train the encoder of a feature set against an endpoint: all folds in one job, embeddings of everybody."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from riskweave.cohort.tables import FINAL, FOLDS, OUTCOMES, read_table
from riskweave.files import replacing
from riskweave.modalities.base import Column, write_features
from riskweave.modalities.registry import find_modality
from riskweave.networks.pooling import Pooled
from riskweave.parquet import read_frame
from riskweave.study.features import FeatureSet
from riskweave.survival.encoding.fold import EncodedFold, train_fold
from riskweave.survival.encoding.members import Job, Kept
from riskweave.survival.encoding.network import Ensemble, read_weights, save_encoder
from riskweave.survival.encoding.pretraining import read_pretrained
from riskweave.survival.encoding.rows import Rows, rows_of_folds
from riskweave.survival.fits import stamp_fits
from riskweave.survival.roles import check_encoder_rows, roles_at_risk
from riskweave.survival.training.several import devices_for
from riskweave.tracking.record import recording

__all__ = ["EncoderFiles", "embedding_columns", "train_encoder"]

logger = logging.getLogger(__name__)


def embedding_columns(features: FeatureSet, *, endpoint: str, causes: int) -> list[Column]:
    """Return what the columns of an encoder's embeddings are: a score for each cause, then the coordinates."""
    encoder = features.encoder
    what = getattr(encoder, "architecture", type(encoder).__name__.removesuffix("Encoder").upper())
    named = [("target" if k == 1 else f"competing event {k - 1}") for k in range(1, causes + 1)]
    scores = [(f"risk_{k}", f"Log hazard ratio of the {name}") for k, name in enumerate(named, start=1)]
    coordinates = [(f"emb_{i}", f"Coordinate {i} of the embedding") for i in range(encoder.embedding)]
    return [
        Column(
            name=name,
            modality=features.modality,
            unit="",
            kind="numeric",
            description=f"{text}, by the {what} encoder trained on {endpoint} in the fold's training rows",
        )
        for name, text in scores + coordinates
    ]


def _architecture(ensemble: Ensemble, features: FeatureSet) -> str:
    """Return a summary of a fold's networks: parts with their parameters, receptive field."""
    member = ensemble.members[0]
    net = member.net.net if isinstance(member.net, Pooled) else member.net
    total = sum(parameter.numel() for parameter in member.parameters())
    lines = [f"{len(ensemble.members)} x {type(net).__name__}, {total} parameters each"]
    if hasattr(net, "receptive_field"):
        seconds = net.receptive_field / features.sampling_rate
        kind = "causal" if features.encoder.causal else "on both sides"
        lines.append(f"receptive field: {net.receptive_field} samples ({seconds:g} s), {kind}")
    parts: list[tuple[str, nn.Module]] = [(f"net.{name}", part) for name, part in member.net.named_children()]
    for name, part in [*parts, ("head", member.head)]:
        lines.append(f"{name}: {type(part).__name__}, {sum(p.numel() for p in part.parameters())} parameters")
    text = "\n".join([*lines, "", str(member.net)])
    return text if len(text) <= 8000 else text[:8000] + "\n..."


def _frame(embeddings: np.ndarray, subjects: pd.Index, fold: int, columns: list[Column]) -> pd.DataFrame:
    """Return the embeddings of a fold with whose they are."""
    frame = pd.DataFrame(embeddings, columns=[column.name for column in columns])
    frame.insert(0, "subject_id", np.asarray(subjects, dtype=object))
    frame.insert(1, "fold", np.int16(fold))
    return frame


@dataclass(frozen=True)
class EncoderFiles:
    """What the training of an encoder reads and writes.

    Attributes
    ----------
    inputs, index : Path
        What reading the feature set wrote (`riskweave.modalities.contract`).
    outcomes, folds, subjects : Path
        Tables of the endpoint's outcomes, of the division, and of the subjects with their persons.
    pretrained : Path or None
        Weights that the networks of each fold start from (`pretrain_encoder`).
    embeddings, weights, record, curves : Path
        Files to write: embeddings (subject_id, fold, risk_1.., emb_0.., and in the metadata a digest of the subjects
        that each fold's encoder was fitted on); networks of all folds (see `load_encoder`); run record; training curves
        (CSV: fold, epoch, metric, value). Nothing is written when a fold fails.
    """

    inputs: Path
    index: Path
    outcomes: Path
    folds: Path
    subjects: Path
    pretrained: Path | None
    embeddings: Path
    weights: Path
    record: Path
    curves: Path


def train_encoder(
    *,
    feature_set: str,
    features: FeatureSet,
    endpoint: str,
    files: EncoderFiles,
    seed: int,
    threads: int,
    gpus: int = 1,
    context: Mapping[str, Any],
) -> None:
    """Train one encoder in each fold and embed everybody who has the modality.

    Training rows are those at risk for the endpoint that have the modality; validation rows stop the training; outcomes
    of test rows are used for nothing but a concordance in the record. Folds without a test row at risk are left out, as
    no experiment asks for them. See `train_fold` for what a fold does. Finished networks and the checkpoint of the
    running one are kept beside the weights, in a folder that goes at the end: the same call after a kill goes on from
    there and gives the same bits.

    Parameters
    ----------
    feature_set, endpoint : str
        Names in the study.
    features : FeatureSet
        Block of the study, with an encoder.
    files : EncoderFiles
        What is read and written.
    seed : int
        Fold k uses ``seed + k``.
    threads : int
        CPU threads.
    gpus : int
        Devices that each network is trained on together, where the machine has them.
    context : mapping
        What the record tells about the study and the rule.

    Raises
    ------
    StudyError
        When the weights to start from cannot be read or are another network's.
    DataError
        When a fold has too few rows or no event to train on, or inputs are broken.
    """
    job, plan = _job(files, feature_set=feature_set, features=features, endpoint=endpoint, seed=seed, threads=threads)
    job = replace(job, devices=devices_for(gpus))
    kept = Kept(files.weights.with_name(f".{files.weights.name}.training"))
    columns = embedding_columns(features, endpoint=endpoint, causes=job.causes)
    with recording(
        files.record,
        kind="final_encoder" if FINAL in plan else "encoder",
        name=feature_set,
        endpoint=endpoint,
        feature_sets={feature_set: [column.name for column in columns]},
        params=features.model_dump(mode="json"),
        seed=seed,
        context=context,
    ) as run:
        done: dict[int, EncodedFold] = {}
        for fold, rows in plan.items():
            done[fold] = encoded = train_fold(job, rows, fold=fold, kept=kept)
            run.add_fold(fold, **encoded.summary)
            run.architecture = _architecture(encoded.ensemble, features)
            logger.info(
                "%s: fold %d done (%d of %d), validation concordance %.3f%s",
                job.name, fold, len(done), len(plan), encoded.summary["metrics"]["validation_harrell_c"],
                "" if encoded.ensemble.signal else ": no signal, not used",
            )  # fmt: skip
        run.average_folds()
        _write(files, job, done, columns)
    kept.discard()


def _job(
    files: EncoderFiles, *, feature_set: str, features: FeatureSet, endpoint: str, seed: int, threads: int
) -> tuple[Job, dict[int, dict[str, Rows]]]:
    """Return what all folds share, and the rows of each role in the folds that are trained."""
    stored = find_modality(features.modality).open_inputs(files.inputs, files.index)
    outcomes, division = read_table(files.outcomes, OUTCOMES), read_table(files.folds, FOLDS)
    indexed = outcomes.set_index("subject_id")
    roles = roles_at_risk(folds=division, outcomes=indexed, where=str(files.folds))
    present = pd.Index(stored.subjects)
    check_encoder_rows(roles=roles, outcomes=indexed, present=present, endpoint=endpoint, feature_set=feature_set)
    persons = read_frame(files.subjects, columns=["subject_id", "person_id"]).set_index("subject_id")["person_id"]
    plan = rows_of_folds(
        stored.subjects,
        outcomes=outcomes[["subject_id", "time", "event"]],
        folds=division[division["fold"].isin(list(roles))],
        persons=persons,
    )
    source = getattr(features.encoder, "weights", "none")
    job = Job(
        name=f"{endpoint}, {feature_set}",
        features=features,
        stored=stored,
        causes=max(1, int(outcomes["event"].max())),
        state=None if source == "none" else read_weights(source),
        pretrained={} if files.pretrained is None else read_pretrained(files.pretrained),
        seed=seed,
        threads=threads,
    )
    return job, plan


def _write(files: EncoderFiles, job: Job, done: Mapping[int, EncodedFold], columns: list[Column]) -> None:
    """Write embeddings, networks and curves of all folds, or nothing."""
    frames = [_frame(each.embeddings, job.stored.subjects, fold, columns) for fold, each in done.items()]
    with replacing(files.embeddings, files.weights, files.curves) as (embeddings, weights, curves):
        write_features(pd.concat(frames, ignore_index=True), embeddings, columns, keys=("subject_id", "fold"))
        stamp_fits(embeddings, {fold: each.state["fitted_on"] for fold, each in done.items()})
        content = {"features": job.features.model_dump(mode="json"), "causes": job.causes}
        states = {fold: each.state for fold, each in done.items()}
        save_encoder({**content, "columns": [column.name for column in columns], "folds": states}, weights)
        pd.concat([each.curves for each in done.values()], ignore_index=True).to_csv(curves, index=False)

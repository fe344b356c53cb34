"""Encoders: in each fold a network is trained on the training rows and embeds everybody who has the modality."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from riskweave.cohort.tables import FOLDS, OUTCOMES, ROLES, read_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, replacing, write_features
from riskweave.networks.augment import jitter_images, jitter_recordings
from riskweave.networks.layers import forget
from riskweave.study.features import EcgFeatures, ImageFeatures, TcnEncoder
from riskweave.survival.discrete import cumulative_incidence, cut_points
from riskweave.survival.encoder_networks import build_network, read_weights, save_encoder
from riskweave.survival.fits import digest_of, stamp_fits
from riskweave.survival.roles import association, check_encoder_rows, concordance, roles_at_risk
from riskweave.survival.task import DiscreteTimeTask, fit, outputs
from riskweave.tracking.record import recording

__all__ = ["train_encoder"]

logger = logging.getLogger(__name__)

EVIDENCE = 1.645
"""Smallest z of an encoder's risk in its validation rows with which it is used: one-sided 5 % of the normal."""

AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {"ecg": jitter_recordings, "image": jitter_images}


@dataclass(frozen=True)
class _Rows:
    """Rows of one role in one fold: whose they are, where their inputs are, and what happened to them."""

    subject: np.ndarray
    row: np.ndarray
    time: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class _Job:
    """What all folds share."""

    features: EcgFeatures | ImageFeatures
    inputs: np.ndarray
    folds: dict[int, dict[str, _Rows]]
    cuts: dict[int, np.ndarray]
    causes: int
    state: Mapping[str, Tensor] | None
    seed: int
    threads: int

    @property
    def channels(self) -> int:
        """Leads of recordings (n, leads, samples); images (n, size, size) are grey."""
        return self.inputs.shape[1] if self.features.modality == "ecg" else 1


def _read_inputs(signals: Path, index: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the array, memory-mapped, and the table of which subject is in which row; refuse what does not fit."""
    inputs = np.load(signals, mmap_mode="r", allow_pickle=False)
    rows = pd.read_parquet(index, columns=["subject_id", "row"])
    outside = int(((rows["row"] < 0) | (rows["row"] >= len(inputs))).sum())
    remedy = "Both files are made by the pipeline: remove them and run snakemake again."
    if outside or rows["subject_id"].duplicated().any():
        raise DataError(
            f"{index}, column row",
            f"{outside} of {len(rows)} rows are not in {signals.name}, or subjects repeat",
            remedy,
        )
    bad = sum(
        int((~np.isfinite(inputs[start : start + 256]).reshape(len(inputs[start : start + 256]), -1).all(axis=1)).sum())
        for start in range(0, len(inputs), 256)
    )
    if bad:
        raise DataError(str(signals), f"{bad} of {len(inputs)} rows hold values that are not finite", remedy)
    return inputs, rows


def _plan(rows: pd.DataFrame, *, outcomes: pd.DataFrame, folds: pd.DataFrame) -> dict[int, dict[str, _Rows]]:
    """Return for each fold the rows of each role that are at risk and have the modality."""
    at_risk = folds.merge(rows, on="subject_id").merge(outcomes, on="subject_id")
    plan = {}
    for fold, members in at_risk.groupby("fold", sort=True):
        plan[int(fold)] = {
            role: _Rows(
                part["subject_id"].to_numpy(dtype=object),
                part["row"].to_numpy(),
                part["time"].to_numpy(dtype=float),
                part["event"].to_numpy(dtype=int),
            )
            for role in ROLES
            for part in [members[members["role"] == role]]
        }
    return plan


@dataclass(frozen=True)
class _Trained:
    """What one fold gives: embeddings of all rows of the inputs, and how they came about."""

    task: DiscreteTimeTask
    curves: pd.DataFrame
    embeddings: np.ndarray
    signal: bool
    summary: dict[str, Any]
    fitted_on: str

    def state(self, cuts: np.ndarray) -> dict[str, Any]:
        """Return what is stored of the fold."""
        return {
            "net": self.task.net.state_dict(),
            "head": self.task.head.state_dict(),
            "cuts": cuts.tolist(),
            "fitted_on": self.fitted_on,
        }


def _train_fold(job: _Job, fold: int) -> _Trained:
    """Train one fold's network, keep it if its validation rows speak for it, and embed everybody.

    An encoder without signal still fits its training rows, and a model on top of it would believe what it sees there.
    So unless its risk is associated with the outcome of the validation rows, it is reset to embeddings of zeros.
    """
    encoder = job.features.encoder
    train, validation = job.folds[fold]["train"], job.folds[fold]["validation"]
    task, curves = fit(
        lambda: build_network(encoder, channels=job.channels, state=job.state),
        x=job.inputs[train.row],
        time=train.time,
        event=train.event,
        x_val=job.inputs[validation.row],
        time_val=validation.time,
        event_val=validation.event,
        cuts=job.cuts[fold],
        causes=job.causes,
        training=encoder.training,
        seed=job.seed + fold,
        threads=job.threads,
        fold=fold,
        augment=AUGMENTATIONS[job.features.modality],
    )
    embeddings = outputs(task.net, job.inputs, threads=job.threads)
    summary = _summary(job, fold, embeddings, task, curves)
    evidence = association(
        time=validation.time,
        event=validation.event == 1,
        risk=_risk(job, fold, embeddings[validation.row], task),
    )
    signal = evidence >= EVIDENCE
    summary["metrics"]["validation_z"] = evidence
    summary["params"]["signal"] = signal
    if not signal:
        forget(task.net)
        embeddings = np.zeros_like(embeddings)
    return _Trained(task, curves, embeddings, signal, summary, digest_of(train.subject))


def _risk(job: _Job, fold: int, embeddings: np.ndarray, task: DiscreteTimeTask) -> np.ndarray:
    """Return the target's cumulative incidence at the last cut, of shape (n,)."""
    hazards = torch.sigmoid(torch.from_numpy(outputs(task.head, embeddings, threads=job.threads)))
    return cumulative_incidence(hazards.numpy(), cuts=job.cuts[fold], times=job.cuts[fold][-1:])[:, 0, 0]


def _summary(job: _Job, fold: int, embeddings: np.ndarray, task: DiscreteTimeTask, curves: pd.DataFrame) -> dict:
    """Return the metrics, parameters and counts of a fold for the record."""
    loss = curves[curves["metric"] == "val_loss"].set_index("epoch")["value"]
    metrics = {"validation_loss": loss[task.best_epoch], "validation_loss_null": loss[0]}
    counts = {"embedded_subjects": len(embeddings), "epochs": int(loss.index.max())}
    for role in ROLES:
        rows = job.folds[fold][role]
        counts[f"{role}_subjects"] = len(rows.row)
        counts |= {f"{role}_events_cause_{k}": int((rows.event == k).sum()) for k in range(1, job.causes + 1)}
        if role != "train" and len(rows.row):
            risk = _risk(job, fold, embeddings[rows.row], task)
            metrics[f"{role}_harrell_c"] = concordance(time=rows.time, event=rows.event, risk=risk)
    return {"metrics": metrics, "params": {"best_epoch": task.best_epoch}, "counts": counts}


def _columns(features: EcgFeatures | ImageFeatures, endpoint: str) -> list[Column]:
    what = "dilated TCN" if isinstance(features.encoder, TcnEncoder) else features.encoder.architecture
    return [
        Column(
            name=f"emb_{i}",
            modality=features.modality,
            unit="",
            kind="numeric",
            description=f"Embedding {i} of the {what} trained on {endpoint} in the fold's training rows",
        )
        for i in range(features.encoder.embedding)
    ]


def _architecture(task: DiscreteTimeTask, shape: tuple[int, ...]) -> str:
    """Return a summary of the network: input, parts with their parameters, receptive field."""
    net = task.net
    total = sum(parameter.numel() for parameter in task.parameters())
    lines = [f"{type(net).__name__}, input {' x '.join(map(str, shape))}, {total} parameters"]
    if hasattr(net, "receptive_field"):
        lines.append(f"receptive field: {net.receptive_field} samples")
    parts = [(f"net.{name}", part) for name, part in net.named_children()] + [("head", task.head)]
    for name, part in parts:
        lines.append(f"{name}: {type(part).__name__}, {sum(p.numel() for p in part.parameters())} parameters")
    text = "\n".join([*lines, "", str(net)])
    return text if len(text) <= 8000 else text[:8000] + "\n..."


def _frame(trained: _Trained, rows: pd.DataFrame, fold: int, columns: list[Column]) -> pd.DataFrame:
    """Return the embeddings of a fold with whose they are."""
    frame = pd.DataFrame(trained.embeddings[rows["row"].to_numpy()], columns=[column.name for column in columns])
    frame.insert(0, "subject_id", rows["subject_id"].to_numpy())
    frame.insert(1, "fold", np.int16(fold))
    return frame


def train_encoder(
    *,
    feature_set: str,
    features: EcgFeatures | ImageFeatures,
    endpoint: str,
    signals: Path,
    index: Path,
    outcomes: Path,
    folds: Path,
    seed: int,
    threads: int,
    embeddings: Path,
    weights: Path,
    record: Path,
    curves: Path,
    context: Mapping[str, Any],
) -> None:
    """Train one encoder in each fold and embed everybody who has the modality.

    Training rows are those at risk for the endpoint that have the modality; validation rows stop the training; outcomes
    of test rows are used for nothing but a concordance in the record. An encoder whose risk is not associated with the
    outcome of its validation rows (z below 1.645 in a Cox model) gives embeddings of zeros.

    Parameters
    ----------
    feature_set, endpoint : str
        Names in the study.
    features : EcgFeatures or ImageFeatures
        Block of the study, with an encoder.
    signals : Path
        Array (.npy) of float32: (n, leads, samples) in mV or (n, size, size) in [0, 1].
    index : Path
        Table with subject_id and row of the array.
    outcomes, folds : Path
        Tables of the endpoint's outcomes and of the division.
    seed : int
        Fold k uses ``seed + k``.
    threads : int
        CPU threads.
    embeddings, weights, record, curves : Path
        Files to write: embeddings (subject_id, fold, emb_0..., and in the metadata a digest of the subjects that each
        fold's encoder was fitted on); weights of all folds (see `load_encoder`); run record; training curves (CSV:
        fold, epoch, metric, value). Nothing is written when a fold fails.
    context : mapping
        What the record tells about the study and the rule.

    Raises
    ------
    StudyError
        When the weights to start from cannot be read or are another network's.
    DataError
        When a fold has too few rows or no event to train on, or inputs are not finite.
    """
    inputs, rows = _read_inputs(Path(signals), Path(index))
    outcome_rows, division = read_table(outcomes, OUTCOMES), read_table(folds, FOLDS)
    indexed = outcome_rows.set_index("subject_id")
    check_encoder_rows(
        roles=roles_at_risk(folds=division, outcomes=indexed, where=str(folds)),
        outcomes=indexed,
        present=pd.Index(rows["subject_id"]),
        endpoint=endpoint,
        feature_set=feature_set,
    )
    plan = _plan(rows, outcomes=outcome_rows[["subject_id", "time", "event"]], folds=division)
    source = getattr(features.encoder, "weights", "none")
    job = _Job(
        features=features,
        inputs=inputs,
        folds=plan,
        cuts={
            fold: cut_points(parts["train"].time, parts["train"].event, intervals=features.encoder.intervals)
            for fold, parts in plan.items()
        },
        causes=max(1, int(outcome_rows["event"].max())),
        state=None if source == "none" else read_weights(source),
        seed=seed,
        threads=threads,
    )
    columns = _columns(features, endpoint)
    with recording(
        record,
        kind="encoder",
        name=feature_set,
        endpoint=endpoint,
        feature_sets={feature_set: [column.name for column in columns]},
        params=features.model_dump(mode="json"),
        seed=seed,
        context=context,
    ) as run:
        frames, histories, states = [], [], {}
        for fold in plan:
            trained = _train_fold(job, fold)
            run.add_fold(fold, **trained.summary)
            run.architecture = _architecture(trained.task, inputs.shape[1:])
            logger.info(
                "%s, %s: fold %d (%d of %d): %d training subjects, best epoch %d of %d, validation concordance %.3f%s",
                endpoint, feature_set, fold, len(states) + 1, len(plan), trained.summary["counts"]["train_subjects"],
                trained.task.best_epoch, trained.summary["counts"]["epochs"],
                trained.summary["metrics"]["validation_harrell_c"], "" if trained.signal else ": no signal, not used",
            )  # fmt: skip
            frames.append(_frame(trained, rows, fold, columns))
            histories.append(trained.curves)
            states[fold] = trained.state(job.cuts[fold])
        for name in run.folds[0].metrics:
            run.metrics[name] = float(np.mean([fold.metrics[name] for fold in run.folds]))
        with replacing(Path(embeddings), Path(weights), Path(curves)) as (embeddings_part, weights_part, curves_part):
            write_features(pd.concat(frames, ignore_index=True), embeddings_part, columns, keys=("subject_id", "fold"))
            stamp_fits(embeddings_part, {fold: state["fitted_on"] for fold, state in states.items()})
            content = {"features": features.model_dump(mode="json"), "channels": job.channels, "causes": job.causes}
            save_encoder({**content, "folds": states}, weights_part)
            pd.concat(histories, ignore_index=True).to_csv(curves_part, index=False)

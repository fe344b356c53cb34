"""One fold of an encoder: cross-fitted networks, their common coordinates, and everybody's embeddings."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from riskweave.cohort.tables import ROLES
from riskweave.survival.encoding.coordinates import common_coordinates, common_scale, stretch
from riskweave.survival.encoding.members import Job, Kept, Trained, train_member
from riskweave.survival.encoding.network import Ensemble, Member
from riskweave.survival.encoding.rows import Rows
from riskweave.survival.fits import digest_of
from riskweave.survival.parts import parts_of
from riskweave.survival.roles import association, concordance
from riskweave.survival.training.fit import outputs

__all__ = ["EVIDENCE", "EVIDENCE_OF_ONE", "EncodedFold", "evidence", "train_fold"]

logger = logging.getLogger(__name__)

EVIDENCE = 1.645
"""Smallest z of a cross-fitted encoder's risk in the rows that it did not see with which it is used: 5 %, one-sided."""

EVIDENCE_OF_ONE = 2.05
"""The same of a single network, in the rows that stopped its training.

The epoch was chosen for what it says of these rows, and one that says the wrong thing of them is not kept: of 220
networks trained on noise (300 training and 120 validation rows, 8 epochs) 10 % had a z of 1.645 or more, 4 % of 2.05.
"""


@dataclass(frozen=True)
class EncodedFold:
    """What one fold gives.

    Attributes
    ----------
    ensemble : Ensemble
        The encoder for new subjects.
    embeddings : float32 array (N, features)
        Of all subjects of the stored inputs.
    curves : DataFrame
        fold, epoch, metric, value; with several networks the metric tells which.
    summary : dict
        Metrics, params and counts for the record.
    state : dict
        What is stored of the fold.
    """

    ensemble: Ensemble
    embeddings: np.ndarray
    curves: pd.DataFrame
    summary: dict[str, Any]
    state: dict[str, Any]


def train_fold(job: Job, rows: Mapping[str, Rows], *, fold: int, kept: Kept) -> EncodedFold:
    """Train the networks of one fold, embed everybody, and use them if unseen rows speak for it.

    Each of the `cross_fit` networks is trained without one part of the training rows, and embeds that part: a network
    knows its own training rows too well, and a model that learns from such embeddings believes in more than new
    subjects will show. Everybody else gets the mean of the networks, stretched so that a step in it is worth as much as
    in one network. All are in one system of coordinates, found on the validation rows, which no network was fitted to.

    An encoder without signal is not used: unless its risk is associated with the outcome of rows that it did not learn
    from (`evidence`), all embeddings are zero.

    Parameters
    ----------
    job : Job
    rows : mapping of role to Rows
        Training, validation and test rows; the outcomes of the last are used for a concordance in the record only.
    fold : int
        Number of the fold.
    kept : Kept
        Where finished networks are.
    """
    train, validation = rows["train"], rows["validation"]
    prepared = job.stored.fit(train.position, job.features.encoder, people=train.person)
    count = _parts_possible(train, asked=job.features.encoder.cross_fit, name=f"{job.name}, fold {fold}")
    parts = parts_of(train.person, train.event, parts=count, seed=job.seed + fold)
    crossed = count > 1
    trained = [
        train_member(
            job,
            train,
            validation,
            held_out=(parts == part) & crossed,
            fold=fold,
            part=part,
            prepared=prepared,
            kept=kept,
        )
        for part in range(count)
    ]
    members, agreement = _aligned(job, trained, validation, prepared)
    unseen = prepared.inputs(validation.position)
    centre, factor = stretch([outputs(member, unseen, threads=job.threads) for member in members])
    embeddings = _embed(job, members, train, parts, prepared, centre=centre, factor=factor)
    z, signal = evidence(rows, embeddings[:, 0], crossed=crossed)
    summary = _summary(job, rows, embeddings, trained)
    summary["metrics"]["unseen_z"] = z
    summary["metrics"] |= {"agreement": float(agreement[0]), "stretch": float(factor[0])}
    summary["params"] |= {"signal": signal, "networks": count, "devices": job.devices}
    mean = {"centre": torch.from_numpy(centre), "factor": torch.from_numpy(factor)}
    ensemble = Ensemble(members, signal=signal, prepared=prepared.state(), **mean).eval()
    state = {
        **mean,
        "members": [member.state() for member in members],
        "signal": signal,
        "prepared": ensemble.prepared,
        "sizes": prepared.sizes(),
        "several": prepared.several,
        "fitted_on": digest_of(train.subject),
    }
    embeddings = embeddings if signal else np.zeros_like(embeddings)
    return EncodedFold(ensemble, embeddings, _curves(trained), summary, state)


def _parts_possible(train: Rows, *, asked: int, name: str) -> int:
    """Return how many parts there can be: without each of them there has to be a target event to learn from."""
    cases = len(np.unique(train.person[train.event == 1].astype(str)))
    if cases < asked:
        logger.warning("%s: %d parts instead of %d, as many as people with the target event", name, cases, asked)
    return max(1, min(asked, cases))


def _aligned(job: Job, trained: list[Trained], validation: Rows, prepared: Any) -> tuple[list[Member], np.ndarray]:
    """Return the members in common coordinates, and how much they agree on each."""
    members = [each.member for each in trained]
    inputs = prepared.inputs(validation.position)
    raw = [outputs(member, inputs, threads=job.threads).astype(np.float64) for member in members]
    maps, agreement = common_coordinates([columns[:, job.causes :] for columns in raw])
    scales = common_scale([columns[:, : job.causes] for columns in raw])
    return [
        Member(
            member.net,
            member.head,
            null=member.null + torch.from_numpy(shift),
            scale=torch.from_numpy(factor),
            coordinates=coordinates,
        ).eval()
        for member, coordinates, (shift, factor) in zip(members, maps, scales, strict=True)
    ], agreement


def _embed(
    job: Job,
    members: list[Member],
    train: Rows,
    parts: np.ndarray,
    prepared: Any,
    *,
    centre: np.ndarray,
    factor: np.ndarray,
) -> np.ndarray:
    """Return the embeddings (N, features) of everybody: training rows by the network that did not see them."""
    everybody = np.arange(len(job.stored.subjects))
    others = np.setdiff1d(everybody, train.position)
    total = np.zeros((len(everybody), members[0].features), dtype=np.float64)
    for part, member in enumerate(members):
        # A single network embeds its own training rows.
        own = train.position[parts == part]
        positions = np.concatenate([others, own])
        found = outputs(member, prepared.inputs(positions), threads=job.threads)
        total[others] += found[: len(others)] / len(members)
        total[own] = found[len(others) :]
    total[others] = centre + factor * (total[others] - centre)
    return total.astype(np.float32)


def evidence(rows: Mapping[str, Rows], score: np.ndarray, *, crossed: bool) -> tuple[float, bool]:
    """Tell how surely the target's score goes with the outcome of unseen rows, and whether that is enough to use it.

    With cross-fitting these are the training rows alone, each with the score of the network that was trained without
    it. Validation rows stopped every network and made their common scale: a score of noise looks good in them. They
    judge a single network, which has no others, against a higher bar.

    Parameters
    ----------
    rows : mapping of role to Rows
        Of the fold.
    score : array (N,)
        Of all subjects of the stored inputs; of a training row by the network that did not see it, if `crossed`.
    crossed : bool
        Whether the networks were cross-fitted.

    Returns
    -------
    z : float
        See `riskweave.survival.roles.association`.
    signal : bool
        Whether it is at least `EVIDENCE`, or `EVIDENCE_OF_ONE` without cross-fitting.
    """
    unseen = rows["train" if crossed else "validation"]
    z = association(time=unseen.time, event=unseen.event == 1, risk=score[unseen.position])
    return z, z >= (EVIDENCE if crossed else EVIDENCE_OF_ONE)


def _summary(job: Job, rows: Mapping[str, Rows], embeddings: np.ndarray, trained: list[Trained]) -> dict[str, Any]:
    """Return the metrics, parameters and counts of a fold for the record."""
    losses = [each.curves[each.curves["metric"] == "val_loss"].set_index("epoch")["value"] for each in trained]
    metrics = {
        "validation_loss": np.mean([loss[each.best_epoch] for loss, each in zip(losses, trained, strict=True)]),
        "validation_loss_null": np.mean([loss[0] for loss in losses]),
    }
    counts = {"embedded_subjects": len(embeddings), "epochs": sum(int(loss.index.max()) for loss in losses)}
    for role in ROLES:
        part = rows[role]
        counts[f"{role}_subjects"] = len(part)
        counts |= {f"{role}_events_cause_{k}": int((part.event == k).sum()) for k in range(1, job.causes + 1)}
        if (role != "train" or len(trained) > 1) and len(part):
            metrics[f"{role}_harrell_c"] = concordance(
                time=part.time, event=part.event, risk=embeddings[part.position, 0].astype(float)
            )
    return {
        "metrics": {name: float(value) for name, value in metrics.items()},
        "params": {"best_epochs": [each.best_epoch for each in trained]},
        "counts": counts,
    }


def _curves(trained: list[Trained]) -> pd.DataFrame:
    """Return the curves of all networks; the metric tells which, where there are several."""
    if len(trained) == 1:
        return trained[0].curves
    return pd.concat(
        [each.curves.assign(metric=f"network_{k}." + each.curves["metric"]) for k, each in enumerate(trained, start=1)],
        ignore_index=True,
    )

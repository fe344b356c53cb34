"""Training of encoders without labels: once per feature set, for all endpoints, on the training rows of each fold."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from riskweave.cohort.tables import FOLDS, read_table
from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.modalities.contract import Prepared
from riskweave.modalities.registry import find_modality
from riskweave.networks.pooling import Pooled
from riskweave.networks.pretraining import Contrastive, MaskedRebuild, nt_xent, views_of_images, views_of_recordings
from riskweave.study.features import FeatureSet
from riskweave.study.training import Pretraining, Training
from riskweave.survival.encoding.members import Kept
from riskweave.survival.encoding.network import build_network, read_encoder, read_weights, save_encoder
from riskweave.survival.fits import digest_of
from riskweave.survival.heads.base import Head
from riskweave.survival.training.checkpoint import fingerprint
from riskweave.survival.training.fit import Fitted, fit
from riskweave.survival.training.inputs import digest_of_inputs
from riskweave.survival.training.several import devices_for
from riskweave.tracking.record import recording

__all__ = ["PretrainingFiles", "pretrain_encoder", "read_pretrained"]

logger = logging.getLogger(__name__)

PATCH = {"ecg": 0.4, "image": 1 / 8}
"""Size of a hidden patch: seconds of a recording (half a beat), share of an image's edge."""

VIEWS = {"ecg": views_of_recordings, "image": views_of_images}
"""Random change that makes the views of the contrastive training."""


class _Objective(Head):
    """What training takes as the head of a pretraining: the loss alone, no outcomes.

    Parameters
    ----------
    temperature : float or None
        Of the contrastive loss; None: the net's output is the loss of each row.
    """

    kind = "pretraining"

    def __init__(self, *, temperature: float | None):
        super().__init__(causes=1, temperature=temperature)

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:
        """Learn nothing: there are no outcomes."""

    def layers(self, features: int, *, zero: bool) -> None:
        """Make no layers."""

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:  # noqa: ARG002
        """Return one label per row, which the loss does not look at."""
        return (np.zeros(len(time), dtype=np.int8),)

    def forward(self, z: Tensor) -> Tensor:
        """Return what the objective's network gave."""
        return z

    def loss(self, output: Tensor, *labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the mean loss of a batch."""
        temperature = self.options["temperature"]
        return output.mean() if temperature is None else nt_xent(output, temperature=temperature)


class _Trainable(nn.Module):
    """An objective with what training asks of a net; of several recordings each counts on its own."""

    def __init__(self, objective: nn.Module):
        super().__init__()
        self.objective, self.features = objective, 1

    @property
    def scale(self) -> nn.Module:
        return self.objective.net.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.objective(x)


def _objective(features: FeatureSet, net: nn.Module, prepared: Prepared) -> nn.Module:
    """Return the objective of a feature set's pretraining block."""
    block: Pretraining = features.encoder.pretraining
    if block.method == "contrastive":
        return Contrastive(net, change=VIEWS[features.modality])
    shape = prepared.sizes()["shape"]
    unit = features.sampling_rate if features.modality == "ecg" else shape[-1]
    return MaskedRebuild(net, shape=shape, patch=max(2, round(PATCH[features.modality] * unit)), hidden=block.hidden)


def _single(net: nn.Module) -> nn.Module:
    """Return the network for one recording inside one that pools several."""
    return net.net if isinstance(net, Pooled) else net


def _pretrain_fold(
    features: FeatureSet, prepared: Prepared, rows: tuple[np.ndarray, np.ndarray], **settings: Any
) -> Fitted:
    """Train one fold's network without labels; `rows` are the positions of training and validation subjects."""
    block: Pretraining = features.encoder.pretraining
    state = settings.pop("state")

    def build() -> nn.Module:
        return _Trainable(_objective(features, _single(build_network(features, prepared, state=state)), prepared))

    inputs, inputs_val = (_Recordings(prepared.inputs(positions)) for positions in rows)
    nobody = [np.zeros(len(part)) for part in (inputs, inputs_val)]
    return fit(
        build,
        _Objective(temperature=block.temperature if block.method == "contrastive" else None),
        inputs=inputs,
        time=nobody[0],
        event=nobody[0],
        inputs_val=inputs_val,
        time_val=nobody[1],
        event_val=nobody[1],
        training=Training(
            epochs=block.epochs,
            patience=block.epochs,
            batch_size=block.batch_size,
            learning_rate=block.learning_rate,
            precision=block.precision,
        ),
        **settings,
    )


class _Recordings:
    """The latest recording of each subject alone."""

    def __init__(self, inputs: Any):
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: np.ndarray) -> tuple[Tensor]:
        """Return one recording for each row."""
        recordings, *owner = self.inputs.batch(rows)
        if not owner:
            return (recordings,)
        # The latest of a subject comes last.
        last = torch.searchsorted(owner[0].contiguous(), torch.arange(len(rows)), right=True) - 1
        return (recordings[last],)

    def fingerprint(self) -> bytes:
        """Return a digest of the inputs."""
        return digest_of_inputs(self.inputs)


@dataclass(frozen=True)
class PretrainingFiles:
    """What training without labels reads and writes.

    Attributes
    ----------
    inputs, index : Path
        What reading the feature set wrote.
    folds : Path
        Table of the division.
    weights, record, curves : Path
        Files to write: the networks' weights (see `read_pretrained`), run record, training curves.
    """

    inputs: Path
    index: Path
    folds: Path
    weights: Path
    record: Path
    curves: Path


def pretrain_encoder(
    *,
    feature_set: str,
    features: FeatureSet,
    files: PretrainingFiles,
    seed: int,
    threads: int,
    gpus: int = 1,
    context: Mapping[str, Any],
) -> None:
    """Train an encoder's network without labels in each fold, to start from in the training against any endpoint.

    No outcome is read. Training rows of the fold that have the modality are learnt from, at risk for an endpoint or
    not; validation rows choose the epoch. Subjects with several recordings give their latest one.

    Parameters
    ----------
    feature_set : str
        Name in the study.
    features : FeatureSet
        Block of the study, whose encoder has a ``pretraining``.
    files : PretrainingFiles
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
        When a fold has fewer than 2 training or validation rows, or inputs are broken.
    """
    stored = find_modality(features.modality).open_inputs(files.inputs, files.index)
    plan = _plan(stored.subjects, read_table(files.folds, FOLDS), feature_set=feature_set)
    source = getattr(features.encoder, "weights", "none")
    state = None if source == "none" else read_weights(source)
    kept = Kept(files.weights.with_name(f".{files.weights.name}.training"))
    with recording(
        files.record,
        kind="pretraining",
        name=feature_set,
        endpoint="",
        feature_sets={feature_set: []},
        params=features.model_dump(mode="json"),
        seed=seed,
        context=context,
    ) as run:
        states, histories = {}, []
        for fold, rows in plan.items():
            how = {"threads": threads, "devices": devices_for(gpus)}
            fitted = _fold(features, stored, rows, fold=fold, state=state, seed=seed, kept=kept, how=how)
            run.add_fold(fold, **_summary(fitted, rows, how["devices"]))
            histories.append(fitted["curves"])
            states[fold] = {"net": fitted["net"], "fitted_on": digest_of(stored.subjects[rows[0]])}
        run.average_folds()
        with replacing(files.weights, files.curves) as (weights_part, curves_part):
            save_encoder({"features": features.model_dump(mode="json"), "folds": states}, weights_part)
            pd.concat(histories, ignore_index=True).to_csv(curves_part, index=False)
    kept.discard()


def _plan(subjects: pd.Index, division: pd.DataFrame, *, feature_set: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return for each fold the positions of its training and validation rows that have the modality."""
    plan = {}
    for fold, members in division.groupby("fold", sort=True):
        train, validation = (
            subjects.get_indexer(members.loc[members["role"] == role, "subject_id"]) for role in ("train", "validation")
        )
        rows = np.sort(train[train >= 0]), np.sort(validation[validation >= 0])
        _check(rows, fold, feature_set)
        plan[int(fold)] = rows
    return plan


def _summary(fitted: Mapping[str, Any], rows: tuple[np.ndarray, np.ndarray], devices: int) -> dict[str, Any]:
    """Return the metrics, parameters and counts of a fold for the record."""
    loss = fitted["curves"][fitted["curves"]["metric"] == "val_loss"].set_index("epoch")["value"]
    return {
        "metrics": {"validation_loss": loss[fitted["best_epoch"]], "validation_loss_untrained": loss[0]},
        "params": {"best_epoch": fitted["best_epoch"], "devices": devices},
        "counts": {"train_subjects": len(rows[0]), "validation_subjects": len(rows[1])},
    }


def _check(rows: tuple[np.ndarray, np.ndarray], fold: int, feature_set: str) -> None:
    if min(map(len, rows)) < 2:
        raise DataError(
            f"fold {fold}, feature set {feature_set}",
            f"{len(rows[0])} training and {len(rows[1])} validation subjects have the modality",
            "Pretraining needs at least 2 of each: take fewer folds, raise folds.validation, or leave it out",
        )


def _fold(
    features: FeatureSet,
    stored: Any,
    rows: tuple[np.ndarray, np.ndarray],
    *,
    fold: int,
    state: Mapping[str, Tensor] | None,
    seed: int,
    kept: Kept,
    how: Mapping[str, int],
) -> dict[str, Any]:
    """Return net, curves and best epoch of a fold, trained now or found finished; `how` are threads and devices."""
    prepared, name, began = stored.fit(rows[0]), f"fold_{fold}", time.monotonic()
    settings = {"features": features.model_dump(mode="json"), "seed": seed + fold, **how}
    settings |= {"cuda": torch.cuda.is_available(), "prepared": repr(prepared.state())}
    inputs = [digest_of_inputs(prepared.inputs(positions)) for positions in rows]
    mark = fingerprint(
        settings, *rows, *inputs, *[np.ascontiguousarray(each.numpy()) for each in (state or {}).values()]
    )
    found = kept.find(name, mark)
    if found is None:
        fitted = _pretrain_fold(
            features,
            prepared,
            rows,
            state=state,
            seed=seed + fold,
            **how,
            fold=fold,
            checkpoint=kept.checkpoint(name),
        )
        found = {
            "net": fitted.net.objective.net.state_dict(),
            "curves": fitted.curves.to_numpy().tolist(),
            "best_epoch": fitted.best_epoch,
        }
        kept.keep(name, mark, found)
        logger.info(
            "%s: pretraining of fold %d: %d subjects, best epoch %d of %d, %.0f s",
            *(features.modality, fold, len(rows[0]), fitted.best_epoch, fitted.curves["epoch"].max()),
            time.monotonic() - began,
        )
    curves = pd.DataFrame(found["curves"], columns=["fold", "epoch", "metric", "value"])
    return {**found, "curves": curves}


def read_pretrained(path: Path) -> dict[int, dict[str, Tensor]]:
    """Return the weights that the networks of each fold start from.

    They are those of the network for one recording: the layer that pools several, and the last linear layer with its
    scaling, are not trained without labels.
    """
    return {fold: state["net"] for fold, state in read_encoder(path)["folds"].items()}

"""The networks of one fold: trained without a part of the training rows each, kept as soon as they are finished."""

import logging
import pickle
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from riskweave.files import replacing
from riskweave.modalities.contract import Prepared, Stored
from riskweave.modalities.registry import find_modality
from riskweave.networks.pooling import Pooled
from riskweave.study.features import FeatureSet
from riskweave.survival.discrete import null_hazards
from riskweave.survival.encoding.network import Member, build_network
from riskweave.survival.encoding.rows import Rows
from riskweave.survival.heads import make_head
from riskweave.survival.training.checkpoint import fingerprint
from riskweave.survival.training.fit import fit
from riskweave.survival.training.inputs import digest_of_inputs

__all__ = ["Job", "Kept", "Trained", "train_member"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What all networks of a feature set and endpoint share.

    Attributes
    ----------
    name : str
        What the log calls them.
    features : FeatureSet
        Block of the study.
    stored : Stored
        Inputs of all subjects who have the modality.
    causes : int
        Causes of the endpoint.
    state : mapping, optional
        Weights of a torchvision network to start from.
    pretrained : mapping of fold to state dict
        Weights to start from, of each fold; empty where there is no pretraining.
    seed, threads, devices : int
        Seed of the study; CPU threads; devices on which each network is trained.
    """

    name: str
    features: FeatureSet
    stored: Stored
    causes: int
    state: Mapping[str, Tensor] | None
    pretrained: Mapping[int, Mapping[str, Tensor]]
    seed: int
    threads: int
    devices: int = 1

    def change(self) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return the random change of training inputs, if the modality has one."""
        augment = find_modality(self.features.modality).augmentation()
        if augment is None:
            return None

        # A function of its own: its name, unlike an object's, is the same in every process (checkpoints compare it).
        def changed(*inputs: Tensor) -> tuple[Tensor, ...]:
            return augment(*inputs)

        return changed

    def build(self, fold: int, prepared: Prepared) -> nn.Module:
        """Return the network that training starts from."""
        net = build_network(self.features, prepared, state=self.state)
        if fold in self.pretrained:
            (net.net if isinstance(net, Pooled) else net).load_state_dict(self.pretrained[fold])
        return net


@dataclass(frozen=True)
class Trained:
    """A trained network with the rows it learnt from.

    Attributes
    ----------
    member : Member
        With its own coordinates still.
    curves : DataFrame
        fold, epoch, metric, value.
    best_epoch : int
        Epoch whose weights it has.
    """

    member: Member
    curves: pd.DataFrame
    best_epoch: int


class Kept:
    """Finished networks beside the outputs of a job, so that a killed job goes on where it was.

    Parameters
    ----------
    folder : Path
        Made when the first network is finished; `discard` removes it.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def checkpoint(self, name: str) -> Path:
        """Return the folder for the state of a running training."""
        return self.folder / f"{name}.running"

    def find(self, name: str, mark: str) -> dict[str, Any] | None:
        """Return what was kept under a name with this fingerprint; a file of other settings or data is removed."""
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError):
            content = {}
        if content.get("fingerprint") == mark:
            return content
        path.unlink()
        return None

    def keep(self, name: str, mark: str, content: Mapping[str, Any]) -> None:
        """Keep a finished network."""
        with replacing(self.folder / f"{name}.pt") as (partial,):
            torch.save({"fingerprint": mark, **content}, partial)

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _mark(job: Job, rows: Sequence[Rows], prepared: Prepared, *, fold: int, part: int) -> str:
    """Return the fingerprint of all that a network depends on."""
    settings = {
        "features": job.features.model_dump(mode="json"),
        "prepared": repr(prepared.state()),
        "causes": job.causes,
        "seed": job.seed,
        "threads": job.threads,
        "devices": job.devices,
        "cuda": torch.cuda.is_available(),
        "fold": fold,
        "part": part,
    }
    contents = [np.ascontiguousarray(each) for role in rows for each in (role.position, role.time, role.event)]
    contents += [digest_of_inputs(prepared.inputs(role.position)) for role in rows]
    states = [job.state or {}, job.pretrained.get(fold, {})]
    weights = [np.ascontiguousarray(tensor.numpy()) for state in states for tensor in state.values()]
    return fingerprint(settings, *contents, *weights)


def _null(head: Any, rows: Rows) -> Tensor:
    """Return the log cumulative hazards (causes,) of all training rows of a fold together, on a head's intervals."""
    index, observed = head.prepare(rows.time, rows.event)
    hazards = null_hazards(index, observed, intervals=len(head.cuts) - 1)
    return torch.from_numpy(np.log(-np.log1p(-hazards).sum(axis=1)))


def train_member(
    job: Job,
    train: Rows,
    validation: Rows,
    *,
    held_out: np.ndarray,
    fold: int,
    part: int,
    prepared: Prepared,
    kept: Kept,
) -> Trained:
    """Train one network of a fold without a part of the training rows, or find it finished.

    Parameters
    ----------
    job : Job
    train, validation : Rows
        Of the fold.
    held_out : bool array (n,)
        The training rows that the network does not see.
    fold, part : int
        Numbers of the fold and of the part.
    prepared : Prepared
        Inputs of the fold.
    kept : Kept
        Where finished networks are.

    Returns
    -------
    Trained
    """
    name, began = f"fold_{fold}_network_{part + 1}", time.monotonic()
    seen = Rows(*(getattr(train, key)[~held_out] for key in ("subject", "position", "person", "time", "event")))
    mark = _mark(job, (seen, validation), prepared, fold=fold, part=part)
    found = kept.find(name, mark)
    if found is not None:
        logger.info("%s: network %d of fold %d was finished before", job.name, part + 1, fold)
        net = build_network(job.features, prepared)
        return Trained(Member.from_state(found["member"], net), _curves(found["curves"]), found["best_epoch"])
    head = make_head("logistic_hazard", causes=job.causes, intervals=job.features.encoder.intervals)
    fitted = fit(
        lambda: job.build(fold, prepared),
        head,
        inputs=prepared.inputs(seen.position),
        time=seen.time,
        event=seen.event,
        inputs_val=prepared.inputs(validation.position),
        time_val=validation.time,
        event_val=validation.event,
        training=job.features.encoder.training,
        # Networks of a fold start alike: what they learn then lies closer together.
        seed=job.seed + fold,
        threads=job.threads,
        devices=job.devices,
        fold=fold,
        augment=job.change(),
        checkpoint=kept.checkpoint(name),
    )
    member = Member(fitted.net, fitted.head, null=_null(fitted.head, train))
    kept.keep(
        name,
        mark,
        {"member": member.state(), "curves": fitted.curves.to_numpy().tolist(), "best_epoch": fitted.best_epoch},
    )
    logger.info(
        "%s: fold %d, network %d: %d subjects, best epoch %d of %d, %.0f s",
        job.name, fold, part + 1, len(seen), fitted.best_epoch, fitted.curves["epoch"].max(), time.monotonic() - began,
    )  # fmt: skip
    return Trained(member.eval(), fitted.curves, fitted.best_epoch)


def _curves(rows: list[list]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["fold", "epoch", "metric", "value"])

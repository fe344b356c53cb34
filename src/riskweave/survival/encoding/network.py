"""The encoder of a fold as one module, and the file that holds those of all folds."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional

from riskweave.errors import StudyError
from riskweave.modalities.contract import Prepared
from riskweave.modalities.registry import find_modality
from riskweave.networks.pooling import Pooled
from riskweave.study.features import FeatureSet
from riskweave.survival.encoding.coordinates import Coordinates
from riskweave.survival.heads import Head, restore_head
from riskweave.survival.stored_models import load_models, store_models

__all__ = [
    "ENCODER_FORMAT",
    "Ensemble",
    "Member",
    "build_network",
    "load_encoder",
    "read_encoder",
    "read_weights",
    "save_encoder",
]

ENCODER_FORMAT = 3
"""Version of encoder.zip."""

REMEDY = "Remove the file, and run snakemake again: it trains the encoder once more"


class Member(nn.Module):
    """A trained network whose output means the same as that of the fold's other networks.

    Parameters
    ----------
    net : nn.Module
        Maps inputs to (n, d).
    head : Head
        Its discrete-time hazards.
    null, scale : Tensor (causes,)
        Log cumulative hazards that become the zero of the scores, and what the scores are then multiplied by.
    coordinates : Coordinates, optional
        From the network's embedding to the common one; the network's own when not given.

    Attributes
    ----------
    features : int
        Width of the output: one score for each cause and d coordinates.
    """

    def __init__(
        self,
        net: nn.Module,
        head: Head,
        *,
        null: Tensor,
        scale: Tensor | None = None,
        coordinates: Coordinates | None = None,
    ):
        super().__init__()
        self.net, self.head = net, head
        size = net.features
        matrix = torch.eye(size) if coordinates is None else torch.from_numpy(coordinates.matrix).float()
        offset = torch.zeros(size) if coordinates is None else torch.from_numpy(coordinates.offset).float()
        self.register_buffer("null", null.float())
        self.register_buffer("scale", torch.ones(len(null)) if scale is None else scale.float())
        self.register_buffer("matrix", matrix)
        self.register_buffer("offset", offset)
        self.features = len(null) + size

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return scores and coordinates (n, features).

        The score of a cause is ``log H(x) - log H``: its cumulative hazard at the end of the follow-up over that of the
        null model, a log hazard ratio where hazards are proportional; with several networks all have the same mean and
        spread on rows that none of them saw.
        """
        z = self.net(*inputs)
        # 1 - h is a logistic function: -log(1 - h) is the softplus of the logit.
        hazard = functional.softplus(self.head(z)).sum(dim=-1)
        score = (torch.log(hazard.clamp(min=1e-12)) - self.null) * self.scale
        return torch.cat([score, z @ self.matrix + self.offset], dim=1)

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs: plain values and tensors."""
        buffers = {name: getattr(self, name) for name in ("null", "scale", "matrix", "offset")}
        return {"net": self.net.state_dict(), "head": self.head.state(), **buffers}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], net: nn.Module) -> "Member":
        """Return a trained member; `net` is an untrained network of the same block."""
        net.load_state_dict(state["net"])
        member = cls(net, restore_head(state["head"]), null=state["null"], scale=state["scale"])
        member.matrix.copy_(state["matrix"])
        member.offset.copy_(state["offset"])
        return member.eval()


class Ensemble(nn.Module):
    """The encoder of a fold: the mean of its networks, as wide as one of them, or zeros where they have no signal.

    A mean of several networks holds less of their errors than one network, which embedded the training rows: a model
    that learnt what a step in one network's score is worth would make too little of a step in the mean. The mean is
    therefore stretched about its centre, see `riskweave.survival.encoding.coordinates.stretch`.

    Parameters
    ----------
    centre, factor : Tensor (features,)
        Mean of each column, and by how much its differences from it are multiplied.

    Attributes
    ----------
    members : nn.ModuleList of Member
        Any of them alone embeds in the same coordinates.
    signal : bool
        Whether the networks are used.
    features : int
        Width of the output.
    prepared : dict
        State of the inputs, for `riskweave.modalities.contract.Modality.prepared_from`.
    """

    def __init__(
        self, members: list[Member], *, centre: Tensor, factor: Tensor, signal: bool, prepared: Mapping[str, Any]
    ):
        super().__init__()
        self.register_buffer("centre", centre.float())
        self.register_buffer("factor", factor.float())
        self.members, self.signal, self.prepared = nn.ModuleList(members), signal, dict(prepared)
        self.features = members[0].features

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the embeddings (n, features) of new subjects: the score of each cause, then the coordinates."""
        mean = torch.stack([member(*inputs) for member in self.members]).mean(dim=0)
        mean = self.centre + self.factor * (mean - self.centre)
        return mean if self.signal else torch.zeros_like(mean)


def build_network(features: FeatureSet, prepared: Prepared, *, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Return the untrained network of a feature set's encoder, for one or several recordings of a subject.

    Parameters
    ----------
    features : FeatureSet
        Block of the study, with an encoder.
    prepared : Prepared
        Inputs that it will read.
    state : mapping of str to Tensor, optional
        Weights to start from (images only).

    Raises
    ------
    StudyError
        When the weights are not those of the block's network.
    """
    further = {} if state is None else {"state": state}
    try:
        net = find_modality(features.modality).build(features.encoder, prepared, **further)
    except ValueError as error:
        raise StudyError(
            f"encoder.weights: {error}. Give the weights of {features.encoder.architecture}, name the architecture "
            "they belong to, or give `none`."
        ) from error
    return Pooled(net, features.pooling) if prepared.several else net


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read a local file with the state dict of a torchvision network.

    Only tensors are read: a file that holds code is refused, not run.

    Parameters
    ----------
    path : Path
        File written by ``torch.save(network.state_dict(), path)``, or a checkpoint that torchvision publishes.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    StudyError
        When there is no such file, or it is not a state dict.
    """
    remedy = "Give `none`, or the path of a local file made by torch.save(network.state_dict(), path)."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise StudyError(f"encoder.weights: there is no readable file {str(path)!r}. {remedy}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise StudyError(f"encoder.weights: {str(path)!r} is not a file of tensors. {remedy}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StudyError(f"encoder.weights: {str(path)!r} holds something else than a state dict. {remedy}")
    return dict(state)


def save_encoder(content: Mapping[str, Any], path: Path) -> None:
    """Write the encoders of all folds; `content` as in `read_encoder`, less the format.

    The same content gives the same bytes.
    """
    store_models({"format": ENCODER_FORMAT, **content}, path)


def read_encoder(path: Path) -> dict[str, Any]:
    """Return the content of ``encoder.zip``.

    Returns
    -------
    dict
        ``format``, ``features`` (the block of the study), ``causes``, ``columns`` (names of the embedding's columns)
        and ``folds``: for each fold the states of its ``members``, ``centre`` and ``factor`` of
        their mean, whether they have ``signal``, the state of the
        ``prepared`` inputs, and as ``fitted_on`` the digest of the subjects it was fitted on
        (`riskweave.survival.fits`).

    Raises
    ------
    DataError
        When the file is damaged or no encoder's (`riskweave.survival.stored_models`).
    """
    return load_models(path, remedy=REMEDY)


class _Sizes:
    """What `build_network` asks of prepared inputs, from their state."""

    def __init__(self, state: Mapping[str, Any], *, several: bool):
        self._sizes, self.several = state, several

    def sizes(self) -> dict[str, Any]:
        return dict(self._sizes)


def load_encoder(path: Path, *, fold: int) -> Ensemble:
    """Return the encoder of one fold in evaluation mode.

    Parameters
    ----------
    path : Path
        ``encoder.zip``, as `riskweave.survival.encoding.train.train_encoder` writes it.
    fold : int
        Number of the fold.

    Returns
    -------
    Ensemble
        Maps the tensors of a batch of inputs to embeddings (n, ``features``): what `train_encoder` gives a subject who
        was not among the training rows.
    """
    content = read_encoder(path)
    features = TypeAdapter(FeatureSet).validate_python(content["features"])
    state = content["folds"][fold]
    members = [
        Member.from_state(each, build_network(features, _Sizes(state["sizes"], several=state["several"])))
        for each in state["members"]
    ]
    centre, factor = state["centre"], state["factor"]
    return Ensemble(members, centre=centre, factor=factor, signal=state["signal"], prepared=state["prepared"]).eval()

"""From an encoder block of the study to a network, and from a file of weights to a network."""

import importlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from riskweave.errors import StudyError
from riskweave.study.features import CnnEncoder, EcgFeatures, ImageFeatures, TcnEncoder
from riskweave.survival.implementations import NETWORKS

__all__ = ["ENCODER_FORMAT", "build_network", "load_encoder", "read_weights", "save_encoder"]

ENCODER_FORMAT = 1
"""Version of encoder.pt."""


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
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise StudyError(f"encoder.weights: {str(path)!r} is not a file of tensors. {remedy}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StudyError(f"encoder.weights: {str(path)!r} holds something else than a state dict. {remedy}")
    return dict(state)


def build_network(
    encoder: TcnEncoder | CnnEncoder, *, channels: int, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return the untrained network of an encoder block.

    Parameters
    ----------
    encoder : TcnEncoder or CnnEncoder
        Block of the study.
    channels : int
        Leads of the recordings, or channels of the images.
    state : mapping of str to Tensor, optional
        Weights to start from (images only).

    Raises
    ------
    StudyError
        When the weights are not those of the block's network.
    """
    if isinstance(encoder, TcnEncoder):
        return importlib.import_module(NETWORKS["ecg"]).TCN(
            channels,
            channels=encoder.channels,
            blocks=encoder.blocks,
            kernel_size=encoder.kernel_size,
            embedding=encoder.embedding,
            dropout=encoder.dropout,
        )
    try:
        return importlib.import_module(NETWORKS["image"]).CNN(
            encoder.architecture,
            embedding=encoder.embedding,
            dropout=encoder.dropout,
            channels=channels,
            state=state,
        )
    except ValueError as error:
        raise StudyError(
            f"encoder.weights: {error}. Give the weights of {encoder.architecture}, name the architecture they belong "
            "to, or give `none`."
        ) from error


def save_encoder(content: Mapping[str, Any], path: Path) -> None:
    """Write the encoders of all folds; `content` as in `load_encoder`, less the format.

    The same content gives the same bytes.
    """
    # Through a buffer: torch.save names the archive after a file, which would make the bytes depend on its name.
    buffer = io.BytesIO()
    torch.save({"format": ENCODER_FORMAT, **content}, buffer)
    path.write_bytes(buffer.getvalue())


def load_encoder(path: Path, *, fold: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of one fold in evaluation mode, and the content of the file.

    Parameters
    ----------
    path : Path
        ``encoder.pt``, as `train_encoder` writes it.
    fold : int
        Number of the fold.

    Returns
    -------
    net : nn.Module
        Maps float32 inputs (n, leads, samples) or (n, size, size) to embeddings (n, d).
    content : dict
        ``format``, ``features`` (the block of the study), ``channels``, ``causes`` and ``folds``: for each fold the
        state dict of the ``net`` and of the hazards' ``head``, the ``cuts`` in days, and as ``fitted_on``
        the digest of the subjects it was fitted on (`riskweave.survival.fits`).
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    block = {"ecg": EcgFeatures, "image": ImageFeatures}[content["features"]["modality"]]
    encoder = block.model_validate(content["features"]).encoder
    net = build_network(encoder, channels=content["channels"])
    net.load_state_dict(content["folds"][fold]["net"])
    return net.eval(), content

"""Encoders of images: a small network of our own, and torchvision's classification networks."""

from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from riskweave.networks.layers import ChannelScale, Embedding

SMALL = ((16, 7, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1))
"""Channels, taps and stride of each convolution of the small network; the first is followed by a pooling by 2."""

__all__ = ["CNN", "SmallCNN", "from_block"]


def _without_classifier(network: nn.Module, architecture: str) -> str:
    """Cut the last layer off, in place, and return the name of the part that held it."""
    if hasattr(network, "fc"):  # ResNet, ShuffleNet
        network.fc = nn.Identity()
        return "fc"
    if architecture.startswith("squeezenet"):  # its classifier is a convolution followed by the pooling
        network.classifier = nn.AdaptiveAvgPool2d(1)
    elif architecture.startswith("convnext"):  # normalisation, flattening, linear layer
        network.classifier = network.classifier[:-1]
    else:  # MobileNet, EfficientNet
        network.classifier = nn.Identity()
    return "classifier"


def _first_convolution(network: nn.Module) -> str:
    return next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


def _with_channels(network: nn.Module, name: str, channels: int) -> None:
    """Replace the first convolution by one for another number of input channels, in place."""
    old = network.get_submodule(name)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    parent, _, leaf = name.rpartition(".")
    network.get_submodule(parent).register_module(leaf, new)


def _load(network: nn.Module, state: Mapping[str, Tensor], *, first: str, head: str, architecture: str) -> None:
    """Load trained weights into a network without classifier, in place; ValueError when they are another network's."""
    weight = f"{first}.weight"
    state = dict(state)
    own = network.state_dict()
    if weight in state and state[weight].ndim == 4 and state[weight].shape[1] != own[weight].shape[1] == 1:
        # A grey image shown as three equal channels gives what the summed kernel gives on one channel.
        state[weight] = state[weight].sum(dim=1, keepdim=True)
    state = {key: value for key, value in state.items() if key in own or not key.startswith(f"{head}.")}
    missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
    reshaped = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or unknown or reshaped:
        raise ValueError(
            f"the weights are not those of {architecture}: of its {len(own)} tensors {len(missing)} are missing and "
            f"{len(reshaped)} have another shape, and {len(unknown)} tensors do not belong to it"
        )
    network.load_state_dict(state)


class SmallCNN(nn.Module):
    """Four convolutions for small grey images and few of them: an epoch costs a fifth of SqueezeNet's on a CPU.

    Each convolution is followed by batch normalisation and ReLU; the edge of the last map is an eighth of the image's.
    Mean and maximum over the positions go to the embedding: how much of a pattern there is, and how strong it is where
    it is strongest.

    Parameters
    ----------
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout before the embedding (0 to 1).
    channels : int
        Channels of the images: 1 for grey.

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    width : int
        Width of what `pooled` returns.
    """

    def __init__(self, *, embedding: int, dropout: float, channels: int = 1):
        super().__init__()
        self.scale = ChannelScale(channels)
        layers, inputs = [], channels
        for i, (width, taps, stride) in enumerate(SMALL):
            layers += [
                nn.Conv2d(inputs, width, taps, stride=stride, padding=taps // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            # A stride alone would skip positions of a fine pattern.
            layers += [nn.MaxPool2d(2)] if i == 0 else []
            inputs = width
        # Values of a position side by side in memory: a sixth faster on a CPU.
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.embedding = Embedding(2 * inputs, embedding, dropout)
        self.features, self.width = embedding, 2 * inputs

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the output (n, 64, height / 8, width / 8) of the last convolution."""
        return self.layers(self.scale(_with_channel_axis(x)).contiguous(memory_format=torch.channels_last))

    def pooled(self, x: Tensor) -> Tensor:
        """Return mean and maximum over the positions, of shape (n, width)."""
        x = self.feature_map(x)
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of images `x` (n, channels, height, width) or (n, height, width)."""
        return self.embedding(self.pooled(x))


class CNN(nn.Module):
    """A torchvision network with its classifier replaced by an embedding.

    Parameters
    ----------
    architecture : str
        Name of the network in ``torchvision.models`` (ResNet, ShuffleNet, SqueezeNet, MobileNet, EfficientNet or
        ConvNeXt).
    embedding : int
        Columns of the embedding.
    dropout : float
        Dropout before the embedding (0 to 1).
    channels : int
        Channels of the images: 1 for grey.
    state : mapping of str to Tensor, optional
        State dict of that network trained on whatever; its classifier is left out, and for grey images the kernels of
        its first convolution are summed over the colours. Without it the network starts from random weights.

    Attributes
    ----------
    features : int
        Width of the output (the embedding).
    width : int
        Width of what `pooled` returns.

    Raises
    ------
    ValueError
        When `state` is not a state dict of `architecture`.
    """

    def __init__(
        self,
        architecture: str,
        *,
        embedding: int,
        dropout: float,
        channels: int = 1,
        state: Mapping[str, Tensor] | None = None,
    ):
        super().__init__()
        network = torchvision.models.get_model(architecture, weights=None)
        head = _without_classifier(network, architecture)
        first = _first_convolution(network)
        _with_channels(network, first, channels)
        if state is not None:
            _load(network, state, first=first, head=head, architecture=architecture)
        self.scale = ChannelScale(channels)
        self.network = network
        self.width = self._width(channels)
        self.embedding = Embedding(self.width, embedding, dropout)
        self.features = embedding

    @torch.no_grad()
    def _width(self, channels: int) -> int:
        self.network.eval()
        width = self.network(torch.zeros(1, channels, 64, 64)).flatten(1).shape[1]
        self.network.train()
        return width

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the output (n, maps, rows, columns) of the last layer that knows positions."""
        parts = self.network.features if hasattr(self.network, "features") else self._before_pooling()
        return parts(self.scale(_with_channel_axis(x)))

    def _before_pooling(self) -> nn.Sequential:
        """Return the layers of a network without a part for them: ResNet's and ShuffleNet's, in their order."""
        last = [name for name, _ in self.network.named_children()]
        return nn.Sequential(*(self.network.get_submodule(name) for name in last if name not in ("avgpool", "fc")))

    def pooled(self, x: Tensor) -> Tensor:
        """Return what the embedding is made of, of shape (n, width)."""
        return self.network(self.scale(_with_channel_axis(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embedding) of images `x` (n, channels, height, width) or (n, height, width)."""
        return self.embedding(self.pooled(x))


def _with_channel_axis(x: Tensor) -> Tensor:
    return x.unsqueeze(1) if x.ndim == 3 else x


def from_block(encoder: Any, *, shape: tuple[int, ...], state: Mapping[str, Tensor] | None = None) -> "CNN | SmallCNN":
    """Return the network of a `CnnEncoder` block for images of a shape (height, width) or (channels, height, width).

    Raises
    ------
    ValueError
        When `state` is not a state dict of the block's architecture.
    """
    channels = 1 if len(shape) == 2 else shape[0]
    further = {"embedding": encoder.embedding, "dropout": encoder.dropout, "channels": channels}
    if encoder.architecture != "small":
        return CNN(encoder.architecture, state=state, **further)
    if state is not None:
        raise ValueError("small is no network of torchvision, and has no published weights")
    return SmallCNN(**further)

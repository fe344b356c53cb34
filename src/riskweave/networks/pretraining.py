"""Objectives that train an encoder without labels: rebuild what is hidden, tell recordings apart.

An encoder that can be pretrained has ``scale``, ``feature_map`` (positions of the input on the last axes), ``pooled``
and ``width``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from riskweave.networks.augment import jitter_images, jitter_recordings

__all__ = ["Contrastive", "MaskedRebuild", "nt_xent", "views_of_images", "views_of_recordings"]


class MaskedRebuild(nn.Module):
    """Hide patches of the input and rebuild them from the rest.

    As SimMIM (Xie et al. 2022, arXiv:2111.09886): random patches of the standardised input are set to zero, a linear
    layer on the encoder's map predicts them, and the loss is the mean square error of the hidden values alone.

    Parameters
    ----------
    net : nn.Module
        The encoder.
    shape : tuple of int
        Of one input: (leads, samples) or (height, width) or (channels, height, width).
    patch : int
        Samples, or pixels of an edge, of a patch; an input that no whole number of patches fills is cut at the end.
    hidden : float
        Share of the patches that are hidden (0 to 1).
    """

    def __init__(self, net: nn.Module, *, shape: tuple[int, ...], patch: int, hidden: float):
        super().__init__()
        self.net, self.hidden = net, hidden
        self.images = hasattr(net, "layers") or hasattr(net, "network")
        self.channels = 1 if self.images and len(shape) == 2 else shape[0]
        sizes = shape[-2:] if self.images else shape[-1:]
        self.patch = min(patch, *sizes)
        self.grid = tuple(size // self.patch for size in sizes)
        with torch.no_grad():
            maps = net.eval().feature_map(torch.zeros(1, *shape)).shape[1]
            net.train()
        self.rebuild = nn.Linear(maps, self.channels * self.patch ** len(sizes))

    def _mask(self, n: int, device: torch.device) -> Tensor:
        """Return which patches (n, *grid) are hidden; in evaluation the same ones each time."""
        generator = None if self.training else torch.Generator().manual_seed(0)
        return (torch.rand(n, *self.grid, generator=generator) < self.hidden).to(device)

    def _patches(self, x: Tensor) -> Tensor:
        """Return the values of each patch: (n, *grid, channels * patch ** axes)."""
        for axis, count in enumerate(self.grid, start=2):
            x = x.narrow(axis, 0, count * self.patch).unfold(axis, self.patch, self.patch)
        axes = len(self.grid)
        return x.movedim(1, 1 + axes).flatten(1 + axes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean square error (n,) of the hidden values of inputs `x`, in squared standard deviations."""
        if self.images and x.ndim == 3:
            x = x.unsqueeze(1)
        mask = self._mask(len(x), x.device)
        fine = mask
        for axis in range(1, mask.ndim):
            fine = fine.repeat_interleave(self.patch, dim=axis)
        missing = [size - known for size, known in zip(x.shape[2:], fine.shape[1:], strict=True)]
        fine = functional.pad(fine, [n for size in reversed(missing) for n in (0, size)]).unsqueeze(1)
        flat = self.net.scale.mean.view(1, -1, *[1] * (x.ndim - 2))
        seen = self.net.feature_map(torch.where(fine, flat, x))
        pool = functional.adaptive_avg_pool2d if len(self.grid) == 2 else functional.adaptive_avg_pool1d
        found = self.rebuild(pool(seen, self.grid if len(self.grid) == 2 else self.grid[0]).movedim(1, -1))
        error = (found - self._patches(self.net.scale(x))).square().mean(dim=-1)
        axes = tuple(range(1, mask.ndim))
        return (error * mask).sum(dim=axes) / mask.sum(dim=axes).clamp(min=1)


class Contrastive(nn.Module):
    """Two random changes of each input, projected: views of one recording shall be closer than those of two.

    SimCLR (Chen et al. 2020, arXiv:2002.05709): a small network projects what the encoder pooled, and is thrown away
    after the training.

    Parameters
    ----------
    net : nn.Module
        The encoder.
    change : callable
        Random change of inputs (n, ...) that leaves what matters.
    size : int
        Width of the projection.
    """

    def __init__(self, net: nn.Module, *, change: Callable[[Tensor], Tensor], size: int = 32):
        super().__init__()
        self.net, self.change = net, change
        self.project = nn.Sequential(nn.Linear(net.width, net.width), nn.ReLU(), nn.Linear(net.width, size))

    def forward(self, x: Tensor) -> Tensor:
        """Return the projections (n, 2, size) of two views of inputs `x` (n, ...)."""
        views = self.net.pooled(torch.cat([self.change(x), self.change(x)]))
        return torch.stack(self.project(views).chunk(2), dim=1)


def nt_xent(z: Tensor, *, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross entropy of pairs of views (Chen et al. 2020, equation 1).

    Parameters
    ----------
    z : Tensor (n, 2, size)
        Projections of two views of each of n recordings.
    temperature : float
        Temperature of the cosine similarities.

    Returns
    -------
    Tensor ()
        Mean over the 2 n views; log(2 n - 1) where the views tell nothing.
    """
    n = len(z)
    flat = functional.normalize(z.transpose(0, 1).reshape(2 * n, -1).float(), dim=1)
    similarity = flat @ flat.T / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    partner = (torch.arange(2 * n, device=z.device) + n) % (2 * n)
    return functional.cross_entropy(similarity.masked_fill(itself, float("-inf")), partner)


def views_of_recordings(x: Tensor) -> Tensor:
    """Change recordings (n, leads, samples) more than in training: rotated, scaled, noisy, a fifth of the leads silent.

    The noise has a tenth of each lead's standard deviation (Gopal et al. 2021, arXiv:2106.04452, compare such changes).
    """
    x = jitter_recordings(x)
    kept = torch.rand(*x.shape[:2], 1, device=x.device) >= 0.2
    return (x + 0.1 * x.std(dim=-1, keepdim=True) * torch.randn_like(x)) * kept


def views_of_images(x: Tensor) -> Tensor:
    """Change images (n, ..., height, width) more than in training: moved by up to a tenth, brightness, noise."""
    x = jitter_images(x, shift=0.1)
    offset = torch.empty([len(x)] + [1] * (x.ndim - 1), device=x.device).uniform_(-0.05, 0.05)
    return x + offset + 0.02 * torch.randn_like(x)

"""Integrated gradients: which parts of a recording or picture a network's output rests on."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["integrated_gradients"]


def integrated_gradients(
    function: Callable[[Tensor], Tensor], inputs: Tensor, baseline: Tensor, *, steps: int = 64
) -> tuple[Tensor, Tensor]:
    """Attribute the difference between a network's output for inputs and for a baseline to the parts of the inputs.

    Gradients are integrated on the straight line from the baseline (Sundararajan et al., ICML 2017) by Gauss and
    Legendre's rule. Attributions sum to the difference of the outputs (completeness), but for the error of the
    integration, which is returned: where it is more than a few per cent, take more steps.

    Parameters
    ----------
    function : callable
        From inputs (m, ...) to outputs (m,), each of its own row: a risk score, for example. A network has to be in
        evaluation mode.
    inputs : Tensor of shape (n, ...)
        ECG traces (n, leads, samples), pictures (n, channels, height, width), ...
    baseline : Tensor
        What carries no information, of a shape that can be broadcast to the inputs': silence, a mean picture.
    steps : int
        Points on the line, from 1.

    Returns
    -------
    attributions : Tensor of shape (n, ...)
        In units of the output.
    gap : Tensor of shape (n,)
        Sum of the attributions minus difference of the outputs.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    inputs = inputs.detach()
    baseline = baseline.detach().expand_as(inputs)
    total = torch.zeros_like(inputs)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        between = (baseline + float(point) * (inputs - baseline)).requires_grad_()
        (slope,) = torch.autograd.grad(function(between).sum(), between)
        total += float(weight) * slope
    attributions = (inputs - baseline) * total
    with torch.no_grad():
        difference = function(inputs) - function(baseline)
    return attributions, attributions.flatten(1).sum(dim=1) - difference

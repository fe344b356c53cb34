"""DeepHit: probabilities of all causes and intervals, trained on the likelihood and on a ranking."""

import torch
from torch import Tensor

from riskweave.study.models import DeepHitModel
from riskweave.survival.heads.losses import DeepHitLoss, DeepHitSingleLoss
from riskweave.survival.heads.pmf import PmfHead

__all__ = ["HEAD", "DeepHitHead"]

CHUNK = 1024
"""Validation rows that are ranked among each other at once: the ranking takes memory of their square."""


class DeepHitHead(PmfHead):
    """PMF with a ranking loss: whoever has an event should have had a higher incidence by then than who is still free.

    Lee et al. 2018 (AAAI 32) with pycox's losses, in which `alpha` weighs the likelihood and ``1 - alpha`` the ranking.

    Parameters
    ----------
    causes, intervals : int
        As in `PmfHead`.
    alpha : float
        Weight of the likelihood (0 to 1).
    sigma : float
        Scale of the ranking.
    """

    kind = "deep_hit"

    def __init__(self, *, causes: int, intervals: int, alpha: float, sigma: float):
        super().__init__(causes=causes, intervals=intervals, alpha=alpha, sigma=sigma)
        kind = DeepHitSingleLoss if causes == 1 else DeepHitLoss
        self.criterion = kind(alpha, sigma)

    @classmethod
    def options_of(cls, model: DeepHitModel) -> dict:
        """Return the options that a model block of the study gives."""
        return {"intervals": model.intervals, "alpha": model.alpha, "sigma": model.sigma}

    def loss(self, output: Tensor, index: Tensor, event: Tensor) -> Tensor:
        """Return the mean loss of rows with intervals `index` and causes `event`, both (n,)."""
        tells = index >= 0
        if not tells.any():
            return output.sum() * 0.0
        output, index, event = output[tells], index[tells], event[tells]
        # Pairs (i, j) with an event of i before the time of j, or in its interval while j was seen free.
        after = (index[:, None] < index) | ((index[:, None] == index) & (event == 0))
        rank = ((event > 0)[:, None] & after).float()
        if self.causes == 1:
            return self.criterion(output[:, 0], index, event.float(), rank)
        return self.criterion(output, index, event, rank)

    def validation_loss(self, output: Tensor, index: Tensor, event: Tensor) -> Tensor:
        """Return the mean loss, with rows ranked among the `CHUNK` next to each other."""
        parts = -(-len(output) // CHUNK)
        each = zip(output.tensor_split(parts), index.tensor_split(parts), event.tensor_split(parts), strict=True)
        return torch.stack([self.loss(*part) * len(part[0]) for part in each]).sum() / len(output)


HEAD = DeepHitHead

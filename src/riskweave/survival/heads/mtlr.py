"""N-MTLR: multi-task logistic regression, a softmax over the intervals of each cause."""

import numpy as np
from torch import Tensor

from riskweave.survival.heads.intervals import IntervalHead, hazards_of_incidence
from riskweave.survival.heads.losses import NLLMTLRLoss
from riskweave.survival.heads.pmf import probabilities

__all__ = ["HEAD", "MtlrHead"]

_LOSS = NLLMTLRLoss(reduction="none")


class MtlrHead(IntervalHead):
    """Scores of the intervals that are sums of the outputs of all later ones, cause by cause.

    Multi-task logistic regression (Yu et al. 2011, NeurIPS 24) with a network (Fotso 2018, arXiv 1801.05512) and
    pycox's loss. Events of other causes are censorings of a cause: its distribution is that of a world without them,
    whose hazards are put together to incidences like those of any cause-specific model.
    """

    kind = "mtlr"

    @property
    def scale(self) -> float:
        """The shared effect counts once from the first interval to the last, however many there are."""
        return 1.0 / (len(self.learnt["cuts"]) - 1)

    def outputs_of(self, hazards: np.ndarray) -> np.ndarray:
        """Return the differences of neighbouring scores; that of no event is 0."""
        survival = np.cumprod(1.0 - hazards, axis=1)
        before = np.concatenate([np.ones_like(survival[:, :1]), survival[:, :-1]], axis=1)
        score = np.log(before * hazards) - np.log(survival[:, -1:])
        return score - np.concatenate([score[:, 1:], np.zeros_like(score[:, :1])], axis=1)

    def loss(self, output: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the mean loss of rows with intervals `index` and `observed` events, both (n, K)."""
        total = output.new_zeros(())
        for cause in range(self.causes):
            each = _LOSS(output[:, cause], index[:, cause].clamp(min=0), observed[:, cause])
            total = total + (each * (index[:, cause] >= 0)).sum()
        return total / len(output)

    def hazards(self, output: np.ndarray) -> np.ndarray:
        """Return the hazards of each cause's own distribution."""
        score = np.cumsum(np.asarray(output, dtype=np.float64)[:, :, ::-1], axis=2)[:, :, ::-1]
        found = []
        for cause in range(self.causes):
            probability, after = probabilities(score[:, [cause]])
            found.append(hazards_of_incidence(probability, after))
        return np.concatenate(found, axis=1)


HEAD = MtlrHead

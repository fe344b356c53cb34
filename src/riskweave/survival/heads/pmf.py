"""PMF: probabilities of all causes and intervals at once."""

import numpy as np
import torch
from torch import Tensor

from riskweave.survival.discrete import cumulative_incidence, discretise, null_hazards
from riskweave.survival.heads.intervals import IntervalHead, hazards_of_incidence, joint_labels
from riskweave.survival.heads.losses import NLLPMFLoss, nll_pmf_cr

__all__ = ["HEAD", "PmfHead", "probabilities"]

SMALLEST = 1e-8
"""Probability that an interval or the time after the last one has at least, at the start."""


def probabilities(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the softmax over all causes and intervals (n, K, J), and no event at all with score 0, (n,)."""
    score = np.asarray(output, dtype=np.float64).reshape(len(output), -1)
    highest = np.maximum(score.max(axis=1, keepdims=True), 0.0)
    weight, rest = np.exp(score - highest), np.exp(-highest[:, 0])
    total = weight.sum(axis=1) + rest
    return (weight / total[:, None]).reshape(output.shape), rest / total


class PmfHead(IntervalHead):
    """Scores of a softmax over all causes and intervals, and no event in any of them.

    Kvamme and Borgan 2021 (Lifetime Data Analysis 27:710) with pycox's loss: the likelihood of the discrete event time,
    for several causes that of DeepHit (Lee et al. 2018, AAAI 32) without its ranking.
    """

    kind = "pmf"

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the interval (n,), -1 for a row that tells nothing, and the event's cause (n,), 0 censored."""
        return joint_labels(*discretise(time, event, cuts=self.cuts, causes=self.causes))

    @torch.no_grad()
    def null_start(self, index: np.ndarray, event: np.ndarray) -> None:
        """Start from the incidences of all training rows together."""
        observed = event[:, None] == np.arange(1, self.causes + 1)
        hazards = null_hazards(np.repeat(index[:, None], self.causes, axis=1), observed, intervals=self.layer.intervals)
        incidence = cumulative_incidence(hazards[None], cuts=self.cuts, times=self.cuts[1:])[0]
        probability = np.maximum(np.diff(incidence, axis=1, prepend=0.0), SMALLEST)
        after = max(1.0 - incidence[:, -1].sum(), SMALLEST)
        self.layer.baseline.copy_(torch.from_numpy(np.log(probability) - np.log(after)))

    def loss(self, output: Tensor, index: Tensor, event: Tensor) -> Tensor:
        """Return the mean loss of rows with intervals `index` and causes `event`, both (n,)."""
        return (self.likelihood(output, index.clamp(min=0), event) * (index >= 0)).mean()

    def likelihood(self, output: Tensor, index: Tensor, event: Tensor) -> Tensor:
        """Return the negative log-likelihood of each row (n,)."""
        if self.causes == 1:
            return NLLPMFLoss("none")(output[:, 0], index, event.float())
        return nll_pmf_cr(output, index, event, "none")

    def hazards(self, output: np.ndarray) -> np.ndarray:
        """Return the hazards that give the incidences of the probabilities at the cut points."""
        return hazards_of_incidence(*probabilities(output))


HEAD = PmfHead

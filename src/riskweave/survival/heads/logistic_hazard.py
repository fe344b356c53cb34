"""LogisticHazard: discrete-time hazards of each cause."""

import numpy as np
from scipy.special import expit, logit
from torch import Tensor

from riskweave.survival.discrete import null_hazards
from riskweave.survival.heads.hazards import HazardHead
from riskweave.survival.heads.losses import NLLLogistiHazardLoss

__all__ = ["HEAD", "LogisticHazardHead"]

_LOSS = NLLLogistiHazardLoss(reduction="none")


class LogisticHazardHead(HazardHead):
    """Logits of the discrete-time hazards of each cause.

    The method is that of Gensheimer and Narasimhan 2019 (PeerJ 7:e6257) with pycox's loss (Kvamme and Borgan 2021,
    Lifetime Data Analysis 27:710, equation 6), summed over the causes and averaged over the rows.
    """

    kind = "logistic_hazard"

    def outputs_of(self, hazards: np.ndarray) -> np.ndarray:
        """Return the logits."""
        return logit(hazards)

    def loss(self, output: Tensor, index: Tensor, observed: Tensor) -> Tensor:
        """Return the mean loss of rows with intervals `index` and `observed` events, both (n, K)."""
        total = output.new_zeros(())
        for cause in range(self.causes):
            each = _LOSS(output[:, cause], index[:, cause].clamp(min=0), observed[:, cause])
            total = total + (each * (index[:, cause] >= 0)).sum()
        return total / len(output)

    def lived(self, index: np.ndarray, observed: np.ndarray) -> np.ndarray:  # noqa: ARG002 - the other of the labels
        """Return 1 where a row counts in an interval and 0 where it does not, (n, K, J)."""
        return (index[:, :, None] >= np.arange(self.layer.intervals)).astype(np.float32)

    def null(self, index: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Return the hazards (K, J) of rows with these labels together."""
        return null_hazards(index, observed, intervals=self.layer.intervals)

    def expected(self, output: np.ndarray) -> np.ndarray:
        """Return the hazards, which are the expected events of an interval."""
        return self.hazards(output)

    def hazards(self, output: np.ndarray) -> np.ndarray:
        """Return the hazards."""
        return expit(np.asarray(output, dtype=np.float64))


HEAD = LogisticHazardHead

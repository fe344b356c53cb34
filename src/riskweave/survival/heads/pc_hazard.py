"""PC-Hazard: hazards of each cause in continuous time that are constant inside intervals."""

import numpy as np
from torch import Tensor

from riskweave.survival.heads.hazards import HazardHead
from riskweave.survival.heads.losses import NLLPCHazardLoss

__all__ = ["HEAD", "PcHazardHead"]

_LOSS = NLLPCHazardLoss(reduction="mean")


class PcHazardHead(HazardHead):
    """Cumulative hazard of each interval and cause, as the softplus of the output.

    Kvamme and Borgan 2021 (Lifetime Data Analysis 27:710, section 3.3) with pycox's loss, summed over the causes:
    events of others are censorings. The exact time inside an interval counts.
    """

    kind = "pc_hazard"

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the interval (n,), the share of it that was lived (n,) and the events of each cause (n, K)."""
        time, event, cuts = np.asarray(time, dtype=float), np.asarray(event), self.cuts
        index = np.minimum(np.searchsorted(cuts[1:], time, side="left"), len(cuts) - 2)
        share = np.minimum((time - cuts[index]) / np.diff(cuts)[index], 1.0)
        observed = (event[:, None] == np.arange(1, self.causes + 1)) & (time <= cuts[-1])[:, None]
        return index.astype(np.int64), share.astype(np.float32), observed.astype(np.float32)

    def lived(self, index: np.ndarray, share: np.ndarray, observed: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the share of each interval that was lived, the same for all causes, (n, K, J)."""
        intervals = np.arange(self.layer.intervals)
        lived = np.where(intervals == index[:, None], share[:, None], intervals < index[:, None])
        return np.broadcast_to(lived[:, None], (len(index), self.causes, len(intervals)))

    def null(self, index: np.ndarray, share: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Return events over time at risk of rows with these labels, plus one row's worth of the mean rate."""
        intervals = self.layer.intervals
        lived = np.bincount(index, weights=share, minlength=intervals)
        lived += len(index) - np.cumsum(np.bincount(index, minlength=intervals))
        events = np.stack([np.bincount(index, weights=each, minlength=intervals) for each in observed.T])
        mean = (events.sum(axis=1, keepdims=True) + 0.5) / (lived.sum() + 1)
        return -np.expm1(-(events + mean) / (lived + 1))

    def outputs_of(self, hazards: np.ndarray) -> np.ndarray:
        """Return the outputs whose softplus are the cumulative hazards of these probabilities."""
        return np.log(hazards) - np.log1p(-hazards)

    def expected(self, output: np.ndarray) -> np.ndarray:
        """Return the cumulative hazards of an interval."""
        return np.logaddexp(0.0, np.asarray(output, dtype=np.float64))

    def loss(self, output: Tensor, index: Tensor, share: Tensor, observed: Tensor) -> Tensor:
        """Return the mean loss of rows; labels as `prepare` makes them."""
        causes = range(self.causes)
        return sum((_LOSS(output[:, k], index, observed[:, k], share) for k in causes), output.new_zeros(()))

    def hazards(self, output: np.ndarray) -> np.ndarray:
        """Return the probability of an event in an interval for who lived to its start, in a world of one cause."""
        return -np.expm1(-self.expected(output))


HEAD = PcHazardHead

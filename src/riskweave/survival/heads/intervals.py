"""What the heads on a discrete time axis share: cut points over the whole follow-up, one output for each interval."""

import numpy as np
import torch
from torch import Tensor, nn

from riskweave.study.models import NetworkModel
from riskweave.survival.discrete import cumulative_incidence, cut_points, discretise, null_hazards
from riskweave.survival.heads.base import Head

__all__ = ["IntervalHead", "IntervalLayer", "hazards_of_incidence", "joint_labels"]


class IntervalLayer(nn.Module):
    """One output for each cause and interval of the time axis.

    ``b_kj + scale w_k z + v_kj z``: a baseline, an effect that all intervals share and deviations of each interval. The
    shared effect lets a small cohort learn a risk from all its events at once.

    Parameters
    ----------
    inputs : int
        Width of the input z.
    causes, intervals : int
        Causes K and intervals J.
    zero : bool
        Start with effects of zero: for an input that is not zero itself at the start.
    scale : float
        Of the shared effect.
    """

    def __init__(self, inputs: int, *, causes: int, intervals: int, zero: bool, scale: float = 1.0):
        super().__init__()
        self.causes, self.intervals, self.scale = causes, intervals, scale
        self.baseline = nn.Parameter(torch.zeros(causes, intervals))
        self.shared = nn.Linear(inputs, causes, bias=False)
        self.varying = nn.Linear(inputs, causes * intervals, bias=False)
        if zero:
            nn.init.zeros_(self.shared.weight)
        nn.init.zeros_(self.varying.weight)

    def forward(self, z: Tensor) -> Tensor:
        """Return the outputs (n, causes, intervals) for `z` (n, inputs)."""
        varying = self.varying(z).view(-1, self.causes, self.intervals)
        return self.baseline + self.scale * self.shared(z).unsqueeze(-1) + varying


class IntervalHead(Head):
    """A head with one output for each cause and interval; the last interval ends with the follow-up.

    Parameters
    ----------
    causes : int
        Causes K.
    intervals : int
        Intervals of the time axis asked for; see `riskweave.survival.discrete.cut_points`.
    """

    def __init__(self, *, causes: int, intervals: int, **options: float):
        super().__init__(causes=causes, intervals=intervals, **options)

    @classmethod
    def options_of(cls, model: NetworkModel) -> dict:
        """Return the options that a model block of the study gives."""
        return {"intervals": model.intervals}

    @property
    def cuts(self) -> np.ndarray:
        """Cut points (J + 1,) in days."""
        return np.array(self.learnt["cuts"])

    @property
    def scale(self) -> float:
        """Scale of the effect that the intervals share."""
        return 1.0

    def learn(self, time: np.ndarray, event: np.ndarray) -> None:
        """Take the cut points from the training rows.

        Raises
        ------
        DataError
            When no row has an event.
        """
        self.learnt["cuts"] = cut_points(time, event, intervals=self.options["intervals"]).tolist()

    def layers(self, features: int, *, zero: bool) -> None:
        """Make the layer."""
        intervals = len(self.learnt["cuts"]) - 1
        self.layer = IntervalLayer(features, causes=self.causes, intervals=intervals, zero=zero, scale=self.scale)

    def prepare(self, time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the last interval that a row counts in and whether its event is in it, (n, K) each."""
        return discretise(time, event, cuts=self.cuts, causes=self.causes)

    @torch.no_grad()
    def null_start(self, index: np.ndarray, observed: np.ndarray) -> None:
        """Start from the hazards of all training rows together."""
        hazards = null_hazards(index, observed, intervals=self.layer.intervals)
        self.layer.baseline.copy_(torch.from_numpy(self.outputs_of(hazards)))

    def forward(self, z: Tensor) -> Tensor:
        """Return the raw outputs (n, causes, intervals) for `z` (n, features)."""
        return self.layer(z)

    def outputs_of(self, hazards: np.ndarray) -> np.ndarray:
        """Return the outputs (K, J) that mean these discrete hazards (K, J), strictly between 0 and 1."""
        raise NotImplementedError

    def hazards(self, output: np.ndarray) -> np.ndarray:
        """Return the discrete hazards (n, K, J) of each cause that outputs mean, in double precision."""
        raise NotImplementedError

    def incidence(self, output: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative incidences (n, causes, times), with constant rates between the cut points."""
        return cumulative_incidence(self.hazards(output), cuts=self.cuts, times=np.asarray(times, dtype=float))


def joint_labels(index: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one interval and one event code for each row, from the labels of each cause.

    Parameters
    ----------
    index, observed : arrays (n, K)
        From `riskweave.survival.discrete.discretise`.

    Returns
    -------
    index : int64 array (n,)
        Interval of the event, or the last interval passed without any; -1 for none.
    event : int64 array (n,)
        0 censored, 1.. the cause.
    """
    happened = observed.any(axis=1)
    cause = observed.argmax(axis=1)
    return index[np.arange(len(index)), cause], np.where(happened, cause + 1, 0)


def hazards_of_incidence(probability: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the discrete hazards (n, K, J) that give these probabilities of each cause in each interval.

    With the rates constant inside an interval, as `riskweave.survival.discrete.cumulative_incidence` has them, the
    incidences at the cut points are the sums of the probabilities.

    Parameters
    ----------
    probability : float64 array (n, K, J)
        Of an event of cause k in interval j.
    after : float64 array (n,)
        Of no event in any interval; all sum to 1.
    """
    total = probability.sum(axis=1)
    # Summed from the end: 1 minus a sum from the start would lose the digits of a small survival.
    left = np.cumsum(np.concatenate([after[:, None], total[:, ::-1]], axis=1), axis=1)[:, ::-1]
    with np.errstate(divide="ignore"):
        rate = np.log(left[:, :-1]) - np.log(left[:, 1:])
    share = np.divide(probability, total[:, None], out=np.zeros_like(probability), where=total[:, None] > 0)
    return -np.expm1(-rate[:, None] * share)

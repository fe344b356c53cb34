"""What the heads share whose outputs are hazards of intervals: baselines that give as many events as were seen."""

import numpy as np
import torch
from scipy.optimize import brentq

from riskweave.survival.heads.intervals import IntervalHead

__all__ = ["HazardHead"]

FARTHEST = 30.0
"""Largest shift of a baseline: a factor of e^30 of the hazard."""


class HazardHead(IntervalHead):
    """A head with a hazard for each cause and interval, whose baselines are estimated again after training.

    Training shapes the differences between subjects, but ends before the baselines have followed them: with the early
    stopping that suits the rest, mean risks were 2 to 3 points off the incidence of the very training rows. So the last
    step is that of a Cox model (Breslow 1974, Biometrics 30:89): given everybody's effects, each cause and interval
    gets the baseline with which the expected events of the training rows are those observed.

    Parameters
    ----------
    causes, intervals : int
        As in `IntervalHead`.
    """

    needs_outputs = True

    def lived(self, *labels: np.ndarray) -> np.ndarray:
        """Return the share of each interval that rows with these labels were at risk in, (n, K, J), 0 to 1."""
        raise NotImplementedError

    def null(self, *labels: np.ndarray) -> np.ndarray:
        """Return the discrete hazards (K, J), strictly between 0 and 1, of all rows with these labels together."""
        raise NotImplementedError

    def expected(self, output: np.ndarray) -> np.ndarray:
        """Return the expected events of rows that are at risk through an interval, of any shape, from their outputs."""
        raise NotImplementedError

    def shifts(self, output: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        """Return what to add to the baselines (K, J), for outputs (n, K, J) of rows with these labels; 0 where none is.

        The events are those of the null model, so that intervals without any stay finite.
        """
        lived = self.lived(*labels)
        wanted = lived.sum(axis=0) * self.expected(self.outputs_of(self.null(*labels)))
        found = np.zeros(wanted.shape)
        for place in np.ndindex(wanted.shape):
            weights = lived[(slice(None), *place)]
            rows = weights > 0
            if rows.any():
                weights, values = weights[rows], output[(rows, *place)].astype(np.float64)
                found[place] = _root(
                    lambda shift, w=weights, v=values: w @ self.expected(v + shift), wanted=wanted[place]
                )
        return found

    @torch.no_grad()
    def null_start(self, *labels: np.ndarray) -> None:
        """Start from the hazards of all training rows together."""
        self.layer.baseline.copy_(torch.from_numpy(self.outputs_of(self.null(*labels))))

    @torch.no_grad()
    def finish(self, output: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        """Estimate the baselines from the outputs (n, K, J) of the training rows."""
        self.layer.baseline.add_(torch.from_numpy(self.shifts(output, *self.prepare(time, event))))


def _root(function, *, wanted: float) -> float:
    """Return where a growing function of one number reaches a value, within `FARTHEST` of 0."""
    if function(-FARTHEST) >= wanted:
        return -FARTHEST
    if function(FARTHEST) <= wanted:
        return FARTHEST
    return brentq(lambda shift: function(shift) - wanted, -FARTHEST, FARTHEST, xtol=1e-9)

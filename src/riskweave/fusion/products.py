"""Products between modalities: what one means depends on another, for models whose effects only add up."""

from itertools import combinations

import numpy as np

from riskweave.survival.design import Design

__all__ = ["Products", "leading_columns", "martingale_residuals"]

EVIDENCE = 1.645
"""Smallest z with which a column leads: one-sided 5 % of the normal."""


def martingale_residuals(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return event minus expected events of each row, in the model where all have the same hazard.

    Parameters
    ----------
    time : ndarray of shape (n,)
        Days, > 0.
    event : bool ndarray of shape (n,)
        Whether the target event happened.

    Returns
    -------
    ndarray of shape (n,)
        Sum 0 (Therneau, Grambsch and Fleming 1990, Biometrika 77:147-160); the expected events are the Nelson-Aalen
        cumulative hazard at the row's time.
    """
    grid, which = np.unique(time, return_inverse=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), grid, side="left")
    events = np.bincount(which, weights=event.astype(float))
    return event.astype(float) - np.cumsum(events / at_risk)[which]


def leading_columns(x: np.ndarray, residuals: np.ndarray, *, most: int) -> list[int]:
    """Choose the columns that together tell most of the residuals, one after the other.

    Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993): the column that goes best with what is left of
    the residuals is taken, and taken out of all others, so that a second copy of the same information is not chosen.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Columns of one modality, of the rows that have it.
    residuals : ndarray of shape (n,)
        From `martingale_residuals`.
    most : int
        Most columns to choose.

    Returns
    -------
    list of int
        Positions, the first choice first; fewer than `most` where the others say nothing (z below 1.645).
    """
    left = x - x.mean(axis=0)
    whole = np.sqrt(np.square(left).sum(axis=0))
    target = residuals - residuals.mean()
    chosen: list[int] = []
    while len(chosen) < min(most, x.shape[1]):
        length = np.sqrt(np.square(left).sum(axis=0))
        # What rounding leaves of a column that the chosen ones explain is no direction.
        usable = length > 1e-6 * np.maximum(whole, 1e-12)
        z = np.abs(left.T @ target) / np.where(usable, length, np.inf) / max(target.std(), 1e-12)
        best = int(np.argmax(z))
        if z[best] < EVIDENCE:
            break
        chosen.append(best)
        direction = left[:, best] / length[best]
        left = left - np.outer(direction, direction @ left)
        target = target - direction * (direction @ target)
    return chosen


class Products:
    """Products of each modality's leading columns with those of the other modalities, standardised.

    A subject who lacks one of two modalities has 0 in their products, the mean of those who have both.

    Parameters
    ----------
    most : int
        Most leading columns of a modality.

    Attributes
    ----------
    pairs_ : list of (int, int)
        Positions of the multiplied columns in the design.
    names_ : list of str
        ``<column> x <column>`` of each product.
    """

    def __init__(self, most: int):
        self.most = most

    def fit(self, design: Design, time: np.ndarray, event: np.ndarray) -> "Products":
        """Choose the columns and learn the scale on the training rows; `event` is 1 for the target."""
        residuals = martingale_residuals(time, event == 1)
        leading = []
        for place, group in enumerate(design.groups):
            rows = design.present[:, place]
            found = leading_columns(design.of_group(place)[rows], residuals[rows], most=self.most) if rows.any() else []
            leading.append([(place, group.columns[position]) for position in found])
        pairs = [(one, other) for ones, others in combinations(leading, 2) for one in ones for other in others]
        self.groups_ = [(one[0], other[0]) for one, other in pairs]
        self.pairs_ = [(one[1], other[1]) for one, other in pairs]
        raw, both = self._raw(design)
        count = np.maximum(both.sum(axis=0), 1)
        self.mean_ = np.where(both, raw, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(both, np.square(raw - self.mean_), 0.0).sum(axis=0) / count)
        varies = spread > 1e-9
        self.groups_ = [pair for pair, keep in zip(self.groups_, varies, strict=True) if keep]
        self.pairs_ = [pair for pair, keep in zip(self.pairs_, varies, strict=True) if keep]
        self.mean_, self.spread_ = self.mean_[varies], spread[varies]
        self.names_ = [f"{design.columns[a]} x {design.columns[b]}" for a, b in self.pairs_]
        return self

    def transform(self, design: Design) -> np.ndarray:
        """Return the products, of shape (n, pairs)."""
        raw, both = self._raw(design)
        return np.where(both, (raw - self.mean_) / self.spread_, 0.0)

    def _raw(self, design: Design) -> tuple[np.ndarray, np.ndarray]:
        """Return the products as they are, and which rows have both modalities, both of shape (n, pairs)."""
        if not self.pairs_:
            return np.zeros((len(design), 0)), np.zeros((len(design), 0), dtype=bool)
        first, second = (list(column) for column in zip(*self.pairs_, strict=True))
        one, other = (list(place) for place in zip(*self.groups_, strict=True))
        return design.values[:, first] * design.values[:, second], design.present[:, one] & design.present[:, other]

"""One system of coordinates for the embeddings of several networks that were trained apart.

Two networks that learnt the same from the same recordings put it in different places: their embeddings are rotated,
scaled and mixed with what only one of them knows. A model can only use rows embedded by different networks side by side
once they mean the same.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["AGREEMENT", "Coordinates", "chance_agreement", "common_coordinates", "common_scale", "stretch"]

AGREEMENT = 0.5
"""Smallest mean correlation between the networks with which a common coordinate is kept; with few rows it is larger."""

RIDGE = 1e-3
"""Share of a network's largest variance that is added to all of its directions before they are scaled to one."""


@dataclass(frozen=True)
class Coordinates:
    """Map of one network's embeddings to the common coordinates: ``z @ matrix + offset``.

    Attributes
    ----------
    matrix : float64 array (d, d)
    offset : float64 array (d,)
    """

    matrix: np.ndarray
    offset: np.ndarray


def common_coordinates(embeddings: list[np.ndarray]) -> tuple[list[Coordinates], np.ndarray]:
    """Find what several networks say of the same rows, and how to read it off the embeddings of each.

    Generalised canonical correlation with the largest-variance criterion (Kettenring 1971, Biometrika 58:433): each
    network's embeddings are centred and scaled to unit variance in all directions, with a ridge for directions of next
    to no variance, and the principal components of all of them side by side are the common coordinates, ordered by how
    much the networks agree on them. Each network's map is the least-squares projection on its own directions. What
    they do not agree on is left out: its coordinate is 0 for everybody. That is a mean correlation below `AGREEMENT`,
    or below what networks of noise reach on so few rows (`chance_agreement`): the rows that judge the coordinates are
    those that they were chosen on.

    The rows must be unseen by all networks: on its own training rows a network agrees with the outcomes instead.

    Parameters
    ----------
    embeddings : list of arrays (n, d)
        Of the same n rows, one array for each network.

    Returns
    -------
    maps : list of Coordinates
        One for each network. A single network keeps its own coordinates.
    agreement : float64 array (d,)
        Mean correlation between the networks on each common coordinate, largest first; 1 for a single network.
    """
    d = embeddings[0].shape[1]
    if len(embeddings) == 1:
        return [Coordinates(np.eye(d), np.zeros(d))], np.ones(d)
    means = [z.mean(axis=0, dtype=np.float64) for z in embeddings]
    scalings = [_whitening(z - mean) for z, mean in zip(embeddings, means, strict=True)]
    white = [(z - mean) @ scaling for z, mean, scaling in zip(embeddings, means, scalings, strict=True)]
    left, values, right = np.linalg.svd(np.hstack(white), full_matrices=False)
    networks, kept = len(embeddings), min(d, len(values))
    agreement = np.zeros(d)
    # The squared singular value over n is 1 + (networks - 1) times the mean correlation.
    agreement[:kept] = (values[:kept] ** 2 / len(left) - 1.0) / (networks - 1)
    used = agreement >= max(AGREEMENT, chance_agreement(networks, d, len(left)))
    weights = np.zeros((networks * d, d))
    weights[:, :kept] = right[:kept].T
    # The sign is arbitrary in the decomposition: the largest weight is positive.
    signs = np.sign(weights[np.abs(weights).argmax(axis=0), np.arange(d)])
    weights *= np.where(used, signs * np.sqrt(networks), 0.0)
    maps = []
    for mean, scaling, own in zip(means, scalings, np.split(weights, networks), strict=True):
        matrix = scaling @ own
        maps.append(Coordinates(matrix, -mean @ matrix))
    return maps, agreement


def chance_agreement(networks: int, dimensions: int, rows: int) -> float:
    """Return how far networks that share nothing agree on the best common coordinate that few rows offer.

    Each network spans d of the n - 1 directions that centred rows have. The largest eigenvalue of the sum of M
    projections on random subspaces of a share c = d / (n - 1) tends to ``1 + (M - 2) c + 2 sqrt((M - 1) c (1 - c))``
    (free convolution of Bernoulli laws: Voiculescu, Dykema and Nica 1992, Free Random Variables), and the mean
    correlation is that less 1, over M - 1. For two networks it is the largest canonical correlation of noise (Wachter
    1980, Annals of Statistics 8:937).

    Parameters
    ----------
    networks : int
        M, at least 2.
    dimensions : int
        d, of the embeddings.
    rows : int
        n.

    Returns
    -------
    float
        Between 0 and 1; 1 where the rows are so few that all networks share a direction in any case.
    """
    share = min(dimensions / max(rows - 1, 1), 1.0 - 1.0 / networks)
    spread = 2.0 * np.sqrt((networks - 1) * share * (1.0 - share))
    return float(((networks - 2) * share + spread) / (networks - 1))


def common_scale(scores: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return how the scores of several networks get the same mean and spread on the same rows.

    Networks of one fold stop at different epochs: one is bolder than the other about the same recordings. Rows embedded
    by different networks would then differ by whose they are.

    Parameters
    ----------
    scores : list of arrays (n, causes)
        Of the same n rows, unseen by all networks, one array for each network.

    Returns
    -------
    list of (shift, factor), float64 arrays (causes,)
        For each network: ``(score - shift) * factor`` has the networks' mean, and their spread up to a factor of 2.
    """
    spread = [np.std(score, axis=0, dtype=np.float64) for score in scores]
    means = [np.mean(score, axis=0, dtype=np.float64) for score in scores]
    wanted, centre = np.mean(spread, axis=0), np.mean(means, axis=0)
    made = []
    for own, mean in zip(spread, means, strict=True):
        factor = np.clip(np.divide(wanted, own, out=np.ones_like(own), where=own > 1e-6), 0.5, 2.0)
        # (mean - shift) * factor is the networks' mean.
        made.append((mean - centre / factor, factor))
    return made


def stretch(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what makes the mean of several networks worth as much, step for step, as a single one.

    Each network is the same signal with an error of its own. A regression on one network has a slope attenuated by its
    error (Fuller 1987, Measurement Error Models, section 1.1); the mean of several has less error, the same covariance
    with any outcome on average, and so a steeper slope, by the ratio of the variances. Stretching the mean by that
    ratio makes both slopes the same. No outcome is needed.

    Parameters
    ----------
    columns : list of arrays (n, p)
        Of the same n rows, unseen by all networks, one array for each network.

    Returns
    -------
    centre, factor : float64 arrays (p,)
        Mean of each column, and the mean variance of one network over the variance of the mean: 1 where they agree in
        everything, up to the number of networks.
    """
    stacked = np.stack(columns).astype(np.float64)
    mean = stacked.mean(axis=0)
    single, joint = stacked.var(axis=1).mean(axis=0), mean.var(axis=0)
    ratio = np.divide(single, joint, out=np.ones_like(joint), where=joint > 1e-12)
    return mean.mean(axis=0), np.clip(ratio, 1.0, len(columns))


def _whitening(z: np.ndarray) -> np.ndarray:
    """Return the matrix (d, d) that scales centred embeddings (n, d) to unit variance; 0 for constant ones."""
    variance, directions = np.linalg.eigh(z.T @ z / len(z))
    largest = variance.max(initial=0.0)
    if largest < 1e-12:
        return np.zeros_like(directions)
    return directions / np.sqrt(np.maximum(variance, 0.0) + RIDGE * largest)

"""Parts of the training rows: what is fitted without a part can be judged on it."""

import numpy as np

__all__ = ["parts_of"]


def parts_of(people: np.ndarray, event: np.ndarray, *, parts: int, seed: int) -> np.ndarray:
    """Divide rows into parts of about equal size and equal share of each event, all rows of a person in one part.

    People are sorted by their smallest event code above 0 (0 where they have none), in random order within a code, and
    dealt out in turns, so that even rare events are spread over the parts.

    Parameters
    ----------
    people : ndarray of shape (n,)
        Whose rows they are.
    event : ndarray of shape (n,)
        0 censored, 1 target, 2.. competing.
    parts : int
        At least 2.
    seed : int
        Same seed, same parts.

    Returns
    -------
    int ndarray of shape (n,)
        From 0 to ``parts - 1``.
    """
    _, owner = np.unique(people, return_inverse=True)
    none = int(event.max(initial=0)) + 1
    stratum = np.full(owner.max(initial=-1) + 1, none)
    np.minimum.at(stratum, owner, np.where(event > 0, event, none))
    shuffled = np.random.default_rng(seed).permutation(len(stratum))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    part = np.empty(len(stratum), dtype=np.int64)
    part[order] = np.arange(len(stratum)) % parts
    return part[owner]

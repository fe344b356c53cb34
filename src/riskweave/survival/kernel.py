"""Compiled walk over the event times of proportional cause-specific hazards."""

import math

import numpy as np

from riskweave.compiled import compiled

__all__ = ["walk"]

BLOCK = 128
"""Subjects that walk together: their states stay in the nearest cache, and vector instructions take several at once."""

SMALL = 1 / 64
"""Up to this hazard a polynomial has all digits of (1 - exp(-x)) / x: its next term is below 1e-18."""

TAYLOR = tuple((-1) ** power / math.factorial(power + 1) for power in range(8))


@compiled(error_model="numpy")
def _polynomial(x):
    """Mean of exp(-u) over u from 0 to x, that is (1 - exp(-x)) / x, for x from 0 to `SMALL`."""
    c = TAYLOR
    return c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * (c[5] + x * (c[6] + x * c[7]))))))


@compiled(error_model="numpy")
def _survive(hazard, survival, spent):
    """Take one step: multiply the survival, and keep per unit of hazard what is lost of it.

    All three are arrays of one block; `spent` times a cause's share of the hazard is its gain. The digits of a subject
    do not depend on the others: where one hazard is large, the others still go through the polynomial.
    """
    small = True
    for i in range(BLOCK):
        small &= hazard[i] < SMALL
    if small:
        for i in range(BLOCK):
            mean = _polynomial(hazard[i])
            spent[i] = survival[i] * mean
            survival[i] *= 1.0 - hazard[i] * mean
        return
    for i in range(BLOCK):
        if hazard[i] < SMALL:
            mean = _polynomial(hazard[i])
            happens = hazard[i] * mean
        else:
            happens = -math.expm1(-hazard[i])
            mean = happens / hazard[i]
        spent[i] = survival[i] * mean
        survival[i] *= 1.0 - happens


@compiled(error_model="numpy")
def walk(ratios, increments, until, place):
    """Cumulative incidences of cause-specific hazards that are proportional to baselines of all subjects.

    The product-integral of `riskweave.survival.competing.cumulative_incidence` with ``within="exponential"``, step by
    step: nothing of the size subjects x causes x event times is held, and the digits of a subject depend on that
    subject alone.

    Parameters
    ----------
    ratios : (n, causes) float64 array
        Hazard ratio of each subject and cause.
    increments : (steps, causes) float64 array
        What the cumulative baseline hazards gain at each time at which one of them jumps, in order of time.
    until : (times,) int64 array
        Steps that have happened by each wanted time, non-decreasing.
    place : (times,) int64 array
        Where in the result each of these times goes.

    Returns
    -------
    (n, causes, times) float64 array
        At most 1; NaN for a ratio that is NaN.
    """
    n, causes = ratios.shape
    found = np.empty((n, causes, len(until)))
    own, reached = np.empty((causes, BLOCK)), np.empty((causes, BLOCK))
    hazard, survival, spent = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    # loops in place of slices throughout, which take numba many seconds to compile
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        for i in range(BLOCK):
            survival[i] = 1.0
            for k in range(causes):
                own[k, i] = ratios[first + i, k] if i < size else 0.0
                reached[k, i] = 0.0
        step = 0
        for t in range(len(until)):
            while step < until[t]:
                for i in range(BLOCK):
                    hazard[i] = own[0, i] * increments[step, 0]
                for k in range(1, causes):
                    for i in range(BLOCK):
                        hazard[i] += own[k, i] * increments[step, k]
                _survive(hazard, survival, spent)
                for k in range(causes):
                    for i in range(BLOCK):
                        reached[k, i] += spent[i] * (own[k, i] * increments[step, k])
                step += 1
            for i in range(size):
                for k in range(causes):
                    # rounding may take certainty past 1 in its last digit
                    found[first + i, k, place[t]] = 1.0 if reached[k, i] > 1.0 else reached[k, i]
    return found

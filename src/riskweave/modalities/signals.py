"""What recordings over time have in common: another sampling rate."""

from fractions import Fraction

import numpy as np
import scipy.signal

__all__ = ["resample"]


def resample(signal: np.ndarray, *, rate: float, target: float) -> np.ndarray:
    """Resample along the last axis from `rate` to `target` (both in Hz) by a polyphase filter.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape (..., samples).
    rate, target : float
        Sampling rates in Hz.

    Returns
    -------
    numpy.ndarray
        Shape (..., ceil(samples * target / rate)).
    """
    ratio = Fraction(target).limit_denominator(1000) / Fraction(rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    # The median as padding: an offset of the electrodes would ring at the edges against zeros.
    return scipy.signal.resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="median")

"""Estimates of each fold beside the pooled one, and what the folds say about a difference.

A pooled concordance compares risks of different trainings, and answers for the predictions as they stand; the mean over
folds compares within a training only, and answers for the recipe that made them. The two are different figures and are
not mixed: resamples of people belong to the first, the spread over folds to the second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

__all__ = ["FoldDifference", "FoldEstimates", "fold_difference", "fold_estimates"]


@dataclass(frozen=True)
class FoldEstimates:
    """A metric in each fold; made by :func:`fold_estimates`.

    Attributes
    ----------
    folds : (folds,) array of int
        Numbers of the folds, increasing.
    tested : (folds,) int64 array
        Subjects in the test rows of each.
    values : (folds, ...) float64 array
        NaN where the metric has no value in a fold.
    """

    folds: np.ndarray
    tested: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class FoldDifference:
    """Difference of two experiments over the folds; made by :func:`fold_difference`.

    Attributes
    ----------
    used : int array of shape (...)
        Number of folds with a value in both experiments.
    mean, error, lower, upper : float64 arrays of shape (...)
        Mean over those folds, its corrected standard error, and the interval. Error and interval are NaN with fewer
        than two folds.
    """

    used: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def fold_estimates(
    *, fold: np.ndarray, people: np.ndarray, metric: Callable[[np.ndarray], float | np.ndarray]
) -> FoldEstimates:
    """Compute a metric within the test rows of each fold.

    Only subjects of the fold enter: its own censoring distribution and its own null model. Folds of few events have
    noisy values; the more so, the smaller the folds.

    Parameters
    ----------
    fold : (n,) array of int
        In whose test rows each subject is.
    people : (n,) int64 array
        The person of each subject; a person's subjects are in one fold.
    metric : callable
        From the members of a fold, an (n,) bool array, to a number or an array of numbers.

    Returns
    -------
    FoldEstimates

    Raises
    ------
    ValueError
        When a person is in several folds.
    """
    fold, people = np.asarray(fold), np.asarray(people)
    if len(np.unique(np.stack([people, fold]), axis=1).T) != len(np.unique(people)):
        raise ValueError("a person's subjects are in the test rows of one fold; found a person in several")
    numbers, tested = np.unique(fold, return_counts=True)
    values = np.array([metric(fold == number) for number in numbers], dtype=float)
    return FoldEstimates(numbers, tested, values)


def fold_difference(
    first: FoldEstimates, second: FoldEstimates, *, confidence: float, trained: np.ndarray | None = None
) -> FoldDifference:
    """Mean difference of two experiments over the same folds, with the standard error of Nadeau and Bengio.

    Folds share most of their training rows, so their differences are not independent and the usual error of their mean
    is too small. The corrected variance is (1 / J + tested / trained) S^2, of J folds with sample variance S^2, with
    Student's quantile for J - 1 degrees of freedom. Each fold counts alike.

    The correction was derived for repeated random splits, and takes their correlation to be tested over tested plus
    trained; for folds it is a rule of thumb, since no unbiased estimate of the variance of one cross-validation exists
    (Bengio and Grandvalet, J Mach Learn Res 2004;5:1089). With five folds only large differences are resolved. Unlike
    resamples of people it takes in, in part, that another training set gives another model. Folds of whole centres
    differ by more than chance: their spread is then of centres.

    Parameters
    ----------
    first, second : FoldEstimates
        Of the same folds; the difference is first minus second.
    confidence : float
        Coverage, such as 0.95.
    trained : (folds,) array, optional
        Subjects that each fold's models were fitted on. All that the fold does not test, when not given; give the
        training rows where validation rows only stop or tune.

    Returns
    -------
    FoldDifference

    References
    ----------
    Nadeau and Bengio, Mach Learn 2003;52:239.
    """
    if not np.array_equal(first.folds, second.folds) or not np.array_equal(first.tested, second.tested):
        raise ValueError("experiments are compared over the same folds of the same subjects")
    differences = first.values - second.values
    defined = np.isfinite(differences)
    used = defined.sum(axis=0)
    trained = first.tested.sum() - first.tested if trained is None else np.asarray(trained)
    ratio = np.mean(first.tested / trained)
    clean = np.where(defined, differences, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = clean.sum(axis=0) / used
        variance = (np.where(defined, differences - mean, 0.0) ** 2).sum(axis=0) / (used - 1)
        error = np.where(used > 1, np.sqrt((1 / used + ratio) * variance), np.nan)
        width = student.ppf((1 + confidence) / 2, np.maximum(used - 1, 1)) * error
    return FoldDifference(used, mean, error, mean - width, mean + width)

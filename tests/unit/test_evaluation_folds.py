"""Estimates of folds beside pooled ones, and the corrected error of a difference over folds."""

import numpy as np
import pytest

from riskweave.evaluation import metrics
from riskweave.evaluation.folds import FoldEstimates, fold_difference, fold_estimates


def test_folds_are_evaluated_on_their_own_rows():
    rng = np.random.default_rng(1)
    risk = rng.normal(size=90)
    values = {"time": rng.exponential(np.exp(-risk)), "event": rng.integers(0, 2, 90), "risk": risk}
    people = np.repeat(np.arange(45), 2)
    fold = (people % 3) + 4

    def metric(members):
        part = {key: value[members] for key, value in values.items()}
        return [metrics.harrell_c(**part), members.sum()]

    found = fold_estimates(fold=fold, people=people, metric=metric)
    assert found.folds.tolist() == [4, 5, 6]
    assert found.tested.tolist() == [30, 30, 30]
    for k, number in enumerate((4, 5, 6)):
        part = {key: value[fold == number] for key, value in values.items()}
        assert found.values[k, 0] == metrics.harrell_c(**part)
    with pytest.raises(ValueError, match="found a person in several"):
        fold_estimates(fold=np.arange(90) % 3, people=people, metric=metric)


def folds(values, tested=(20, 20, 20, 20, 20)):
    return FoldEstimates(np.arange(len(values)), np.array(tested), np.asarray(values, float))


def test_corrected_error_by_hand():
    # Differences .01 .03 .02 .04 .00: mean .02, variance .00025; 1/5 + 20/80 = .45; Student's 97.5 % point of 4 degrees
    # of freedom is 2.776445.
    first, second = folds([0.71, 0.73, 0.72, 0.74, 0.70]), folds([0.70] * 5)
    found = fold_difference(first, second, confidence=0.95)
    assert (found.used, found.mean) == (5, pytest.approx(0.02, abs=1e-12))
    assert found.error == pytest.approx(np.sqrt(0.45 * 0.00025), abs=1e-12)
    assert found.upper == pytest.approx(0.02 + 2.7764451052 * np.sqrt(0.45 * 0.00025), abs=1e-9)
    assert found.lower < 0, "the usual error, of 1/5 alone, would have called this difference a finding"
    fewer = fold_difference(first, second, confidence=0.95, trained=np.full(5, 60))
    assert fewer.error == pytest.approx(np.sqrt((1 / 5 + 1 / 3) * 0.00025), abs=1e-12)


def test_folds_without_a_value_are_left_out_and_counted():
    first = folds([[0.7, np.nan], [0.8, 0.6], [0.9, np.nan]], tested=(10, 10, 10))
    second = folds(np.full((3, 2), 0.5), tested=(10, 10, 10))
    found = fold_difference(first, second, confidence=0.9)
    assert found.used.tolist() == [3, 1]
    assert found.mean == pytest.approx([0.3, 0.1])
    assert np.isfinite(found.error[0])
    assert np.isnan([found.error[1], found.lower[1], found.upper[1]]).all()


def test_other_folds_are_refused():
    with pytest.raises(ValueError, match="same folds"):
        fold_difference(folds([0.7] * 5), folds([0.7] * 5, tested=(20, 20, 20, 19, 21)), confidence=0.95)

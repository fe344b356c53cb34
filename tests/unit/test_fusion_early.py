import numpy as np
import pytest
from planted_design import DAYS, fitted, planted, score

from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import CoxModel

EARLY, COX = BUILT_IN["early"], CoxModel(kind="cox")
STATES = {"modalities": {"ehr": 4, "ecg": 5, "image": 5}, "weights": {"ehr": 0.6, "ecg": 0.6, "image": 0.4}}
N = 4000


@pytest.fixture(scope="module")
def reached() -> float:
    """Concordance where nobody lacks anything."""
    return score(EARLY, COX, planted(**STATES, n=N))


def test_a_modality_of_noise_costs_nothing(reached):
    noisy = planted(modalities={**STATES["modalities"], "noise": 8}, weights=STATES["weights"], n=N)
    assert score(EARLY, COX, noisy) > reached - 0.005


def test_subjects_who_lack_a_modality_cost_no_more_than_the_oracle_loses(reached):
    half = planted(**STATES, n=N, lacking={"ecg": 0.5})
    test = half["test"]
    lost = test.concordance(test.truth) - test.concordance(test.known)
    assert score(EARLY, COX, half) > reached - lost - 0.01


def test_the_estimator_is_that_of_the_whole_matrix():
    parts = planted(**STATES, n=600, lacking={"ecg": 0.5})
    fused, design = fitted(EARLY, COX, parts), parts["test"].design
    assert list(fused.estimator.coefficients().index) == design.columns
    matrix = design.frame().to_numpy()
    np.testing.assert_array_equal(fused.predict(design, DAYS), fused.estimator.predict(matrix, DAYS))
    np.testing.assert_array_equal(fused.linear_predictor(design), fused.estimator.linear_predictor(matrix))
    assert fused.params["penalty_cause_1"] in COX.penalty

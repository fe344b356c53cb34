"""Products between modalities: which columns lead, what products are worth, and that they do no harm."""

import numpy as np
import pytest
from lifelines import NelsonAalenFitter
from planted_design import planted, score

from riskweave.fusion.products import Products, leading_columns, martingale_residuals
from riskweave.study.fusions import BUILT_IN, EarlyFusion
from riskweave.study.models import CoxModel

COX, CROSSED = CoxModel(kind="cox"), EarlyFusion(kind="early", products=2)


def test_residuals_are_events_less_the_cumulative_hazard_of_lifelines():
    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 40, 300).astype(float), rng.random(300) < 0.4
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event).cumulative_hazard_at_times(time)
    residuals = martingale_residuals(time, event)
    assert residuals == pytest.approx(event - hazard.to_numpy(), abs=1e-12)
    assert residuals.sum() == pytest.approx(0, abs=1e-9)


def test_a_second_copy_of_a_column_does_not_lead_and_noise_does_not_either():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 4000))
    target = first + 0.5 * second + 3 * rng.normal(size=4000)
    x = np.column_stack([rng.normal(size=4000), second, first, first + 1e-9 * second, -2 * first])
    chosen = leading_columns(x, target, most=5)
    assert chosen[0] in (2, 3, 4)
    assert chosen[1] == 1
    assert not {2, 3, 4} & set(chosen[1:])


def test_products_of_a_cox_find_what_one_modality_changes_in_the_meaning_of_another():
    parts = planted(modalities={"ehr": 4, "ecg": 4}, weights={"ehr": 0.3, "ecg": 0.3}, product=0.8, noise=0.3)
    additive, oracle = score(BUILT_IN["early"], COX, parts), parts["test"].concordance(parts["test"].truth)
    assert score(CROSSED, COX, parts) > additive + 0.6 * (oracle - additive)


def test_products_cost_little_where_effects_add_up_and_half_lack_a_modality():
    modalities, weights = {"ehr": 4, "ecg": 4, "noise": 6}, {"ehr": 0.6, "ecg": 0.6}
    parts = planted(modalities=modalities, weights=weights, lacking={"ecg": 0.5})
    assert score(CROSSED, COX, parts) > score(BUILT_IN["early"], COX, parts) - 0.005


def test_who_lacks_one_of_two_modalities_has_no_product_of_them():
    parts = planted(modalities={"ehr": 3, "ecg": 3}, weights={"ehr": 1.0, "ecg": 1.0}, n=800, lacking={"ecg": 0.4})
    train, test = parts["train"], parts["test"]
    products = Products(2).fit(train.design, train.time, train.event)
    values = products.transform(test.design)
    has = test.design.present[:, 1]
    assert values.shape == (len(test.design), len(products.names_))
    assert products.names_
    assert all(" x " in name for name in products.names_)
    assert not values[~has].any()
    whole = products.transform(train.design)[train.design.present[:, 1]]
    assert whole.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert whole.std(axis=0) == pytest.approx(1, abs=1e-9)

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_design import DAYS, fitted, planted, score
from storing import stored_again

from riskweave.networks.fusion import MaskedAttention, hide_modalities
from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import CoxModel, DeepSurvModel, LogisticHazardModel
from riskweave.study.training import Training

ATTENTION, EARLY = BUILT_IN["attention"], BUILT_IN["early"]
COX = CoxModel(kind="cox", penalty=[0.03])
TRAINING = Training(epochs=15, patience=15, batch_size=128, learning_rate=3e-3)
HAZARD = LogisticHazardModel(kind="logistic_hazard", hidden=[16], intervals=10, training=TRAINING)
STATES = {"modalities": {"ehr": 4, "ecg": 5, "image": 5}, "weights": {"ehr": 0.6, "ecg": 0.6, "image": 0.4}}
N = 3000


@pytest.fixture(scope="module")
def whole():
    return planted(**STATES, n=N)


@pytest.fixture(scope="module")
def reached(whole) -> float:
    """Concordance where nobody lacks anything."""
    return score(ATTENTION, HAZARD, whole)


@pytest.fixture(scope="module")
def half():
    return planted(**STATES, n=N, lacking={"ecg": 0.5, "image": 0.3})


@pytest.fixture(scope="module")
def attention(half):
    return fitted(ATTENTION, HAZARD, half)


def network(**changes) -> MaskedAttention:
    torch.manual_seed(0)
    settings = {"width": 8, "hidden": [6], "dropout": 0.0, "modality_dropout": 0.5}
    net = MaskedAttention([2, 3, 1], **(settings | changes)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net


def test_what_is_missing_changes_nothing():
    net, x = network(), torch.randn(5, 6)
    present = torch.tensor([[1.0, 0.0, 1.0]]).repeat(5, 1)
    changed = x.clone()
    changed[:, 2:5] = 100.0
    torch.testing.assert_close(net(x, present), net(changed, present))
    assert not torch.allclose(net(x, torch.ones(5, 3)), net(changed, torch.ones(5, 3)))
    assert (net(x, torch.zeros(5, 3)) == 0).all()


def test_a_subject_does_not_depend_on_who_else_is_in_the_batch():
    net, x = network(), torch.randn(4, 6)
    present = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]])
    torch.testing.assert_close(net(x, present)[1:2], net(x[1:2], present[1:2]))


def test_the_sum_is_that_of_the_formula():
    net, x = network(hidden=[]), torch.randn(1, 6)
    vectors = [linear(part)[0] for linear, part in zip(net.linear, x.split([2, 3, 1], dim=1), strict=True)]
    used = [vectors[0], vectors[2]]
    expected = torch.zeros(8)
    for v in used:
        scores = torch.stack([(net.query.weight @ v) @ (net.key.weight @ other) / 8**0.5 for other in used])
        context = sum(weight * other for weight, other in zip(scores.softmax(0), used, strict=True))
        expected += v * (1 + torch.tanh(net.gate.weight @ context))
    torch.testing.assert_close(net(x, torch.tensor([[1.0, 0.0, 1.0]]))[0], expected)


def test_before_training_the_modalities_add_up():
    torch.manual_seed(0)
    net, x = MaskedAttention([2, 3], width=4, hidden=[5], dropout=0.0, modality_dropout=0.0).eval(), torch.randn(3, 5)
    first, second = (net(x, torch.tensor([row]).repeat(3, 1)) for row in ([1.0, 0.0], [0.0, 1.0]))
    torch.testing.assert_close(net(x, torch.ones(3, 2)), first + second)


def test_hidden_modalities_are_those_of_the_subject_and_one_always_stays():
    torch.manual_seed(0)
    present = torch.rand(4000, 3) < 0.6
    kept = hide_modalities(present, 0.5)
    assert not (kept & ~present).any()
    assert (kept.any(dim=1) == present.any(dim=1)).all()
    three = present.all(dim=1)
    # Half of each, and a third of the eighth of the subjects who would lose all.
    assert kept[three].float().mean() == pytest.approx(0.5 + 1 / 8 / 3, abs=0.03)
    assert (hide_modalities(present, 0.0) == present).all()


def test_a_modality_of_noise_costs_nothing(whole, reached):
    noisy = planted(modalities={**STATES["modalities"], "noise": 8}, weights=STATES["weights"], n=N)
    np.testing.assert_array_equal(noisy["test"].time, whole["test"].time)
    assert score(ATTENTION, HAZARD, noisy) > reached - 0.005


def test_subjects_who_lack_a_modality_cost_no_more_than_the_oracle_loses(reached, attention, half):
    test = half["test"]
    lost = test.concordance(test.truth) - test.concordance(test.known)
    assert test.concordance(attention.predict(test.design, DAYS)[:, 0, -1]) > reached - lost - 0.01


def test_what_one_modality_changes_in_the_meaning_of_another_is_found():
    """The product of two states is invisible to an additive model of columns."""
    parts = planted(
        modalities={"ehr": 4, "ecg": 4},
        weights={"ehr": 0.3, "ecg": 0.3},
        product=0.8,
        noise=0.5,
        n=5000,
    )
    additive = score(EARLY, COX, parts)
    assert score(ATTENTION, HAZARD, parts) > additive + 0.03


def test_everybody_is_predicted(attention, half):
    design = half["test"].design
    present = np.array([[i & 1, i & 2, i & 4] for i in range(8)], dtype=bool)
    some = replace(design.take(np.arange(8)), values=np.zeros((8, len(design.columns))), present=present)
    risks = attention.predict(some, DAYS)
    assert risks.shape == (8, 1, 3)
    assert ((risks > 0) & (risks < 1)).all()


def test_a_proportional_head_has_a_linear_predictor():
    parts = planted(modalities={"ehr": 3, "ecg": 3}, weights={"ehr": 0.8}, n=800)
    model = DeepSurvModel(kind="deep_surv", hidden=[], training=TRAINING)
    fused = fitted(ATTENTION, model, parts)
    linear = fused.linear_predictor(parts["test"].design)
    assert parts["test"].concordance(linear) > 0.6


def test_a_modality_of_which_no_column_varies_is_left_out_and_without_any_all_have_the_same_risk():
    parts = planted(modalities={"ehr": 3, "ecg": 3}, weights={"ehr": 0.6}, n=300, lacking={"ecg": 1.0})
    short = HAZARD.model_copy(update={"training": Training(epochs=2)})
    fused = fitted(ATTENTION, short, parts)
    assert fused.places == [0]
    nothing = {
        role: replace(
            part, design=replace(part.design, groups=tuple(replace(g, columns=()) for g in part.design.groups))
        )
        for role, part in parts.items()
    }
    same = fitted(ATTENTION, short, nothing).predict(nothing["test"].design, DAYS)
    assert np.unique(same[:, 0, 0]).size == 1


def test_a_stored_model_predicts_the_same(attention, half, tmp_path):
    again = stored_again(attention, tmp_path)
    np.testing.assert_array_equal(
        again.predict(half["test"].design, DAYS), attention.predict(half["test"].design, DAYS)
    )
    assert (tmp_path / "part.zip").stat().st_size < 60_000

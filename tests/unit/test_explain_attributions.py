from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from explained import linear, rows_from

from riskweave.explain.attributions import shapley_attributions
from riskweave.explain.gradients import integrated_gradients
from riskweave.explain.rows import units_of


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return [pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"]) for n in (4, 20)]


def additive(result) -> None:
    difference = result.risk - result.mean_risk
    assert result.shares.sum(axis=1) == pytest.approx(difference, abs=1e-12)


def test_a_sum_has_the_shares_of_its_terms(frames):
    subjects, background = (rows_from(ehr=frame) for frame in frames)

    def predict(rows):
        table = rows.tables["ehr"]
        return np.column_stack([0.3 + 0.1 * table["a"] - 0.05 * table["b"]] * 2)

    found = shapley_attributions(predict, subjects, background, units_of(subjects, ["column"]))
    expected = (frames[0] - frames[1].mean()).to_numpy() * [0.1, -0.05, 0.0]
    assert found.shares[:, :, 0] == pytest.approx(expected, abs=1e-12)
    additive(found)


def test_any_model_adds_up_and_agrees_with_all_orders(frames):
    subjects, background = (rows_from(ehr=frame) for frame in frames)

    def risk(values):
        return 1 / (1 + np.exp(-(values[..., 0] * values[..., 1] + np.maximum(values[..., 2], 0))))

    def predict(rows):
        return risk(rows.tables["ehr"].to_numpy())[:, None]

    found = shapley_attributions(predict, subjects, background, units_of(subjects, ["column"]), rounds=60)
    additive(found)
    x, others = frames[0].to_numpy()[0], frames[1].to_numpy()
    exact = np.zeros(3)
    for order in permutations(range(3)):
        current = others.copy()
        for place in order:
            before = risk(current).mean()
            current[:, place] = x[place]
            exact[place] += (risk(current).mean() - before) / 6
    assert (np.abs(found.shares[0, :, 0] - exact) < 4 * found.error[0, :, 0] + 1e-9).all()
    assert found.error.max() < 0.02


def test_modalities_that_only_some_have_are_attributed_as_well():
    rng = np.random.default_rng(1)
    parts = {"ehr": pd.DataFrame({"x": rng.normal(size=12)}), "ecg": pd.DataFrame(rng.normal(size=(12, 2)))}
    parts["ecg"].columns = ["p", "q"]
    rows = rows_from({"ecg": np.arange(0, 12, 2)}, **parts)
    asked = []

    def predict(asked_rows):
        has, values = asked_rows.present["ecg"], asked_rows.tables["ecg"]
        asked.append(bool((values.notna().any(axis=1).to_numpy() <= has).all()))
        return (
            linear({("ehr", "x"): 0.5, ("ecg", "p"): 0.4, ("ecg", "q"): -0.3})(asked_rows) * (0.6 + 0.4 * has)[:, None]
        )

    subjects, background = rows.take(np.array([0, 1])), rows.take(np.arange(2, 12))
    for level, number in (("column", 3), ("modality", 2)):
        units = units_of(rows, [level])
        assert len(units) == number
        additive(shapley_attributions(predict, subjects, background, units, rounds=3))
    assert all(asked)


def test_the_same_seed_gives_the_same_values(frames):
    subjects, background = (rows_from(ehr=frame) for frame in frames)
    predict = linear({("ehr", "a"): 1.0, ("ehr", "b"): 0.5})
    one, other = (shapley_attributions(predict, subjects, background, units_of(subjects, ["column"])) for _ in range(2))
    assert np.array_equal(one.shares, other.shares)


def test_gradients_of_a_network_are_complete():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv1d(2, 4, 5), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool1d(3), torch.nn.Flatten(),
        torch.nn.Linear(12, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1),
    ).double().eval()  # fmt: skip
    traces, silence = torch.randn(3, 2, 50, dtype=torch.double), torch.zeros(2, 50, dtype=torch.double)
    found, gap = integrated_gradients(lambda x: network(x)[:, 0], traces, silence)
    with torch.no_grad():
        difference = (network(traces) - network(silence[None]))[:, 0]
    assert found.shape == traces.shape
    assert gap.abs().max() < 1e-6
    assert found.sum(dim=(1, 2)).numpy() == pytest.approx(difference.numpy(), abs=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradients_of_a_product_by_hand():
    # f = x y from (0, 0): on the line both slopes grow evenly, so each part has half of the product.
    found, gap = integrated_gradients(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]), torch.zeros(2), steps=4)
    assert found.numpy() == pytest.approx(np.array([[6.0, 6.0]]), abs=1e-5)
    assert abs(float(gap)) < 1e-5


def test_parts_without_weight_have_no_attribution():
    found, _ = integrated_gradients(lambda x: x[:, 0] ** 2, torch.tensor([[2.0, 5.0]]), torch.zeros(2), steps=8)
    assert found[0].tolist() == pytest.approx([4.0, 0.0], abs=1e-6)

"""Discrete-time hazards: cut points, likelihood, cumulative incidences, and the tabular model on top."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from lifelines.utils import concordance_index

from riskweave.errors import DataError
from riskweave.study.features import Training
from riskweave.survival.discrete import cumulative_incidence, cut_points, discretise, null_hazards
from riskweave.survival.logistic_hazard import LogisticHazard
from riskweave.survival.task import DiscreteTimeTask

FAST = Training(epochs=12, patience=6, batch_size=128, learning_rate=2e-2)


def cohort(n: int, seed: int, *, effect: float = 1.2):
    """Two causes: x0 drives the target, x1 the competitor; x2 does nothing. Administrative censoring at 1,000 days."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    target = rng.exponential(900 * np.exp(-effect * x[:, 0]))
    competitor = rng.exponential(2500 * np.exp(-effect * x[:, 1]))
    time = np.minimum.reduce([target, competitor, rng.uniform(300, 2000, n), np.full(n, 1000.0)]) + 0.5
    event = np.where(time == target + 0.5, 1, np.where(time == competitor + 0.5, 2, 0))
    return x, time, event


@pytest.fixture(scope="module")
def fitted():
    x, time, event = cohort(700, 0)
    model = LogisticHazard(hidden=(16,), intervals=10, dropout=0.1, training=FAST, seed=3)
    return model.fit(x[:500], time[:500], event[:500], x[500:], time[500:], event[500:])


def test_cuts_hold_equal_events_and_reach_the_end_of_follow_up():
    rng = np.random.default_rng(0)
    time = np.concatenate([rng.uniform(0, 100, 200), np.full(800, 5000.0)])
    event = np.concatenate([np.ones(200, int), np.zeros(800, int)])
    cuts = cut_points(time, event, intervals=10)
    assert cuts[0] == 0
    assert cuts[-1] == 5000
    counts = np.histogram(time[event == 1], bins=cuts)[0]
    assert counts.min() >= 19
    assert counts.max() <= 21


def test_ties_merge_intervals_and_no_event_is_refused():
    assert cut_points([5.0, 5, 5, 9], [1, 1, 1, 0], intervals=20).tolist() == [0, 5, 9]
    with pytest.raises(DataError, match="none of the 3 training rows"):
        cut_points([1.0, 2, 3], [0, 0, 0], intervals=5)


def test_intervals_by_hand():
    cuts = np.array([0.0, 10.0, 20.0, 40.0])
    #        event in (0,10]  at 10  competing  early  late   at end  beyond
    time = np.array([4.0, 10.0, 26.0, 14.0, 16.0, 40.0, 45.0])
    event = np.array([1, 1, 2, 0, 0, 0, 1])
    index, observed = discretise(time, event, cuts=cuts, causes=2)
    assert index[:, 0].tolist() == [0, 0, 1, 0, 1, 2, 2]
    assert observed[:, 0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert index[:, 1].tolist() == [-1, 0, 2, 0, 1, 2, 2]
    assert observed[:, 1].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_loss_is_that_of_pycox():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*invalid escape sequence")  # on pycox's first compilation
        from pycox.models import LogisticHazard as Reference
    rng = np.random.default_rng(1)
    cuts = np.array([0.0, 100, 250, 700])
    # On the cut points both conventions for censoring agree; pycox has a hazard at time 0 besides, here none.
    time, event = rng.choice(cuts[1:], 60), rng.integers(0, 2, 60)
    logits = torch.tensor(rng.normal(size=(60, 1, 3)), dtype=torch.float32)
    index, observed = discretise(time, event, cuts=cuts, causes=1)
    task = DiscreteTimeTask(_Net(), cuts=cuts, causes=1, training=FAST)
    found = task.loss(logits, torch.from_numpy(index), torch.from_numpy(observed))
    labels = Reference.label_transform(cuts)
    theirs_index, theirs_event = labels.transform(time.astype("float32"), event.astype("float32"))
    padded = torch.cat([torch.full((60, 1), -50.0), logits[:, 0]], dim=1)
    reference = Reference(_Net()).loss(padded, torch.from_numpy(theirs_index), torch.from_numpy(theirs_event))
    assert float(found) == pytest.approx(float(reference), rel=1e-6)


class _Net(torch.nn.Linear):
    features = 2

    def __init__(self):
        super().__init__(2, 2)


def test_incidence_of_one_cause_by_hand():
    hazards = np.array([[[0.1, 0.5]]])
    found = cumulative_incidence(hazards, cuts=np.array([0.0, 10, 30]), times=np.array([0, 5, 10, 20, 30, 50]))
    survival = [1, 0.9**0.5, 0.9, 0.9 * 0.5**0.5, 0.45, 0.9 * 0.5**2]
    np.testing.assert_allclose(1 - found[0, 0], survival, rtol=1e-12)


def test_incidences_of_causes_against_numerical_integration():
    rng = np.random.default_rng(2)
    hazards = rng.uniform(0, 0.4, size=(3, 2, 4))
    hazards[0, :, 1] = 0.0  # nothing happens in this interval
    cuts = np.array([0.0, 30, 100, 150, 400])
    times = np.array([0.0, 17, 30, 99, 260, 400])
    found = cumulative_incidence(hazards, cuts=cuts, times=times)
    fine = np.linspace(0, 400, 400_001)
    middle = (fine[1:] + fine[:-1]) / 2
    rates = (-np.log1p(-hazards) / np.diff(cuts))[:, :, np.searchsorted(cuts[1:], middle)]
    survival = np.exp(-np.cumsum(rates.sum(axis=1), axis=1) * 0.001 + rates.sum(axis=1) * 0.0005)
    expected = np.cumsum(rates * survival[:, None] * 0.001, axis=2)
    np.testing.assert_allclose(found[:, :, 1:], expected[:, :, np.searchsorted(fine, times[1:]) - 1], atol=1e-6)
    assert (found[:, :, 0] == 0).all()


def test_null_model_is_close_to_kaplan_meier_and_aalen_johansen():
    _, time, event = cohort(3000, 5)
    cuts = cut_points(time, event, intervals=30)
    index, observed = discretise(time, event, cuts=cuts, causes=2)
    hazards = null_hazards(index, observed, intervals=len(cuts) - 1)
    times = np.array([100.0, 365, 700, 950])
    found = cumulative_incidence(hazards[None], cuts=cuts, times=times)[0]
    for cause in (1, 2):
        fitter = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=cause)
        expected = [float(fitter.cumulative_density_.loc[:t].iloc[-1, 0]) for t in times]
        np.testing.assert_allclose(found[cause - 1], expected, atol=0.006)
    survival = KaplanMeierFitter().fit(time, event > 0).predict(times).to_numpy()
    np.testing.assert_allclose(1 - found.sum(axis=0), survival, atol=0.006)


def test_recovers_planted_effects_of_both_causes(fitted):
    x, time, event = cohort(600, 9)
    risk = fitted.predict(x, [300, 600, 1000])
    assert risk.shape == (600, 2, 3)
    assert (np.diff(risk, axis=2) >= 0).all()
    assert (risk.sum(axis=1) <= 1).all()
    for cause in (1, 2):
        concordance = concordance_index(time, -risk[:, cause - 1, 1], event == cause)
        assert concordance > 0.7
    fitter = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=1)
    assert risk[:, 0, 1].mean() == pytest.approx(float(fitter.cumulative_density_.loc[:600].iloc[-1, 0]), abs=0.06)


def test_curves_start_before_training_and_the_best_epoch_is_kept(fitted):
    validation = fitted.curves[fitted.curves["metric"] == "val_loss"].set_index("epoch")["value"]
    assert validation.index.tolist() == list(range(len(validation)))
    assert validation.idxmin() == fitted.best_epoch > 0
    assert "HazardHead" in fitted.architecture
    assert fitted.linear_predictor(np.zeros((2, 3))) is None


def test_same_seed_same_bits_and_the_global_generators_stay_as_they_were(fitted):
    x, time, event = cohort(700, 0)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    again = LogisticHazard(hidden=(16,), intervals=10, dropout=0.1, training=FAST, seed=3)
    again.fit(x[:500], time[:500], event[:500], x[500:], time[500:], event[500:])
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()
    np.testing.assert_array_equal(again.predict(x, [100, 800]), fitted.predict(x, [100, 800]))
    pd.testing.assert_frame_equal(again.curves, fitted.curves)


def test_survives_pickling(fitted, tmp_path):
    x, _, _ = cohort(20, 1)
    joblib.dump(fitted, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib").predict(x, [500]), fitted.predict(x, [500]))


def test_harmful_training_leaves_the_null_model():
    x, time, _ = cohort(120, 4, effect=0.0)
    # The validation rows have the opposite effect: whatever is learnt is wrong there.
    rng = np.random.default_rng(0)
    flipped = rng.permutation(time[60:])
    time[:60] = np.sort(time[:60])[np.argsort(np.argsort(x[:60, 0]))]
    flipped = np.sort(flipped)[np.argsort(np.argsort(-x[60:, 0]))]
    ones = np.ones(60, int)
    training = Training(epochs=6, patience=6, batch_size=32, learning_rate=3e-2)
    model = LogisticHazard(hidden=(8,), intervals=4, training=training).fit(
        x[:60], time[:60], ones, x[60:], flipped, ones
    )
    assert model.best_epoch == 0
    risk = model.predict(x, [400])
    np.testing.assert_allclose(risk, np.broadcast_to(risk[0], risk.shape))


def test_inputs_that_are_not_finite_are_counted():
    x, time, event = cohort(50, 0)
    x[3, 1] = np.nan
    with pytest.raises(DataError, match=r"training rows: 1 of 40 rows hold values that are not finite"):
        LogisticHazard(training=FAST).fit(x[:40], time[:40], event[:40], x[40:], time[40:], event[40:])


def _brier(time, event, survival, grid):
    """Integrated Brier score with Kaplan-Meier weights of the same rows (Graf et al. 1999)."""
    censoring = KaplanMeierFitter().fit(time, 1 - event)
    weight_event = np.maximum(censoring.predict(time - 1e-9).to_numpy(), 1e-3)
    weight_grid = np.maximum(censoring.predict(grid).to_numpy(), 1e-3)
    died = (time[:, None] <= grid) & (event[:, None] == 1)
    alive = time[:, None] > grid
    score = survival**2 * died / weight_event[:, None] + (1 - survival) ** 2 * alive / weight_grid
    return np.trapezoid(score.mean(axis=0), grid) / (grid[-1] - grid[0])


def test_metabric_as_good_as_reference_runs(real_data):
    """Five folds of pycox's own LogisticHazard: Harrell 0.647 at the horizon, integrated Brier score 0.163."""
    from sklearn.model_selection import StratifiedKFold

    path = real_data / "benchmarks_tabular" / "metabric.parquet"
    if not path.is_file():
        pytest.skip(f"real data: no {path.name}")
    table = pd.read_parquet(path)
    time, event = table["time"].clip(lower=0.01).to_numpy(float), table["event"].to_numpy(int)
    x = table.filter(regex="^x").to_numpy(float)
    training = Training(epochs=40, patience=6, batch_size=256, learning_rate=1e-2)
    horizon = np.quantile(time[event == 1], 0.75)
    rows = []
    for rest, test in StratifiedKFold(5, shuffle=True, random_state=1234).split(x, event):
        validation, train = np.split(np.random.default_rng(0).permutation(rest), [len(rest) // 5])
        z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        model = LogisticHazard(hidden=(32,), training=training)
        model.fit(z[train], time[train], event[train], z[validation], time[validation], event[validation])
        grid = np.linspace(time[test].min(), time[test].max(), 100)
        null = np.tile(KaplanMeierFitter().fit(time[train], event[train]).predict(grid), (len(test), 1))
        risk = model.predict(z[test], [horizon])[:, 0, 0]
        rows.append(
            (
                concordance_index(time[test], -risk, event[test]),
                _brier(time[test], event[test], 1 - model.predict(z[test], grid)[:, 0], grid),
                _brier(time[test], event[test], null, grid),
            )
        )
    concordance, brier, brier_null = np.mean(rows, axis=0)
    assert concordance == pytest.approx(0.647, abs=0.02)
    assert brier < 0.168
    assert brier < brier_null - 0.01

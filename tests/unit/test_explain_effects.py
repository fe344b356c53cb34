import numpy as np
import pandas as pd
import pytest
from explained import HORIZONS, linear, observed_of, one_fold, rows_from, two_folds

from riskweave.explain.bins import edges_of, order_of_categories
from riskweave.explain.effects import accumulated_effects
from riskweave.explain.interactions import interaction_effects
from riskweave.explain.rows import Observed

N = 1000


def nobody(n: int) -> Observed:
    """Outcomes that effects do not look at."""
    return Observed(np.ones(n), np.ones(n, dtype=np.int64), np.arange(n))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    kind = rng.choice(["low", "middle", "high"], N).astype(object)
    return pd.DataFrame({"x": x, "near": x + 0.1 * rng.normal(size=N), "z": rng.normal(size=N), "kind": kind})


def curve(table: pd.DataFrame, scale: str = "cloglog", horizon: int = 1000) -> pd.DataFrame:
    return table[(table["scale"] == scale) & (table["horizon"] == horizon)]


def test_a_linear_effect_is_recovered_exactly_on_its_own_scale_despite_a_correlated_column(frame):
    rows = rows_from(ehr=frame)
    predict = linear({("ehr", "x"): 0.5, ("ehr", "near"): -2.0, ("ehr", "z"): 1.0}, rates=(0.01, 0.02))
    table = accumulated_effects(one_fold(predict, rows), nobody(N), ("ehr", "x"), horizons=HORIZONS, count=50)
    for horizon in HORIZONS:
        found = curve(table, horizon=horizon)
        assert np.diff(found["estimate"]) == pytest.approx(0.5 * np.diff(found["value"]), abs=1e-9)
        assert list(found["position"]) == list(range(len(found)))
    assert found["estimate"].iloc[0] < 0 < found["estimate"].iloc[-1]
    # In the centre of the subjects the effect is 0.
    assert np.interp(frame["x"].mean(), found["value"], found["estimate"]) == pytest.approx(0, abs=0.01)


def test_a_curved_effect_is_recovered(frame):
    def predict(asked):
        return np.column_stack([0.1 + 0.05 * np.clip(asked.tables["ehr"]["x"].to_numpy(), -3, 3) ** 2] * 2)

    table = accumulated_effects(
        one_fold(predict, rows_from(ehr=frame)), nobody(N), ("ehr", "x"), horizons=HORIZONS, count=20
    )
    found = curve(table, "risk")
    shape = 0.05 * found["value"].to_numpy() ** 2
    assert found["estimate"].to_numpy() - found["estimate"].iloc[0] == pytest.approx(shape - shape[0], abs=1e-12)


def test_a_step_by_hand():
    # Two values, ten people each: f(1) - f(0) is 0.3 for b=1 and 0.1 for b=0; a curve of two points, centred.
    frame = pd.DataFrame({"a": [0.0, 1.0] * 10, "b": [0.0] * 10 + [1.0] * 10})

    def predict(asked):
        a, b = (asked.tables["ehr"][name].to_numpy() for name in "ab")
        return np.column_stack([0.2 + a * (0.1 + 0.2 * b)] * 2)

    table = accumulated_effects(
        one_fold(predict, rows_from(ehr=frame)), nobody(20), ("ehr", "a"), horizons=HORIZONS, count=50
    )
    found = curve(table, "risk")
    assert list(found["value"]) == [0.0, 1.0]
    assert found["estimate"].to_numpy() == pytest.approx([-0.1, 0.1], abs=1e-12)
    assert (found["lower"] <= found["estimate"]).all()
    assert (found["estimate"] <= found["upper"]).all()
    assert found["few"].all()
    assert (found["n"] == 20).all()


def test_folds_have_their_own_curves_and_people_are_resampled(frame):
    rows = rows_from(ehr=frame)
    models = [linear({("ehr", "x"): slope, ("ehr", "z"): 0.5}, rates=(0.01, 0.02)) for slope in (0.2, 0.6)]
    table = accumulated_effects(two_folds(models, rows), nobody(N), ("ehr", "x"), horizons=HORIZONS, count=100)
    found = curve(table)
    rise = found[["estimate", "fold_lowest", "fold_highest"]].iloc[-1]
    assert rise["fold_lowest"] < rise["estimate"] < rise["fold_highest"]
    assert rise["fold_highest"] / rise["fold_lowest"] == pytest.approx(3, rel=0.1)
    risk = curve(table, "risk")
    assert (risk["lower"] < risk["estimate"]).mean() > 0.9
    assert (risk["upper"] > risk["estimate"]).mean() > 0.9


def test_categories_have_the_differences_of_the_model(frame):
    level = {"low": 0.0, "middle": 0.3, "high": 0.9}

    def predict(asked):
        score = asked.tables["ehr"]["kind"].map(level).to_numpy(float) + asked.tables["ehr"]["z"].to_numpy()
        return -np.expm1(-0.01 * np.exp(score)[:, None] * np.array([1.0, 2.0]))

    table = accumulated_effects(
        one_fold(predict, rows_from(ehr=frame)), nobody(N), ("ehr", "kind"), horizons=HORIZONS, count=50
    )
    found = curve(table).set_index("category")
    for one, other in (("low", "middle"), ("middle", "high")):
        change = found.loc[other, "estimate"] - found.loc[one, "estimate"]
        assert change == pytest.approx(level[other] - level[one], abs=1e-9)
    shares = frame["kind"].value_counts()
    assert found["n"].to_dict() == shares.to_dict()
    assert sum(found.loc[name, "estimate"] * shares[name] for name in level) == pytest.approx(0, abs=1e-6)


def test_neighbours_in_the_order_of_categories_are_alike():
    rng = np.random.default_rng(0)
    kind = rng.choice(["d", "a", "c", "b", "rare"], 500, p=[0.25, 0.25, 0.25, 0.24, 0.01]).astype(object)
    x = pd.Series(kind).map({"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0, "rare": 9.0}) + rng.normal(size=500)
    rows = rows_from(ehr=pd.DataFrame({"kind": kind, "x": x}))
    found = order_of_categories(rows, ("ehr", "kind"), np.arange(500))
    assert found in (list("abcd"), list("dcba"))


def test_nothing_is_told_of_few_people():
    rng = np.random.default_rng(0)
    people = np.arange(400)
    rare = np.where(people < 9, 2.0, (people % 2).astype(float))
    assert list(edges_of(rare, people)) == [0.0, 1.0]
    values = np.concatenate([rng.normal(size=390), [50.0] * 5, [np.nan] * 5])
    edges = edges_of(values, people)
    assert edges[-1] < 10
    assert (values >= edges[-1]).sum() >= 10
    assert (values <= edges[0]).sum() >= 10
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    assert counts.min() >= 10
    assert not set(edges) & set(values)
    # Two index times of a person are one person.
    assert len(edges_of(np.repeat([0.0, 1.0], 12), np.repeat(np.arange(12), 2))) == 0
    frame = pd.DataFrame({"x": np.where(people < 9, 1.0, 0.0)})
    table = accumulated_effects(
        one_fold(linear({("ehr", "x"): 1.0}), rows_from(ehr=frame)), nobody(400), ("ehr", "x"), horizons=HORIZONS
    )
    assert len(table) == 1
    assert table[["value", "n", "estimate"]].isna().all().all()


def test_an_interaction_is_recovered_and_a_sum_has_none(frame):
    def predict(weight):
        def of(asked):
            x, z = (asked.tables["ehr"][name].to_numpy() for name in "xz")
            return np.column_stack([0.4 + 0.02 * x + 0.03 * z + weight * x * z] * 2)

        return of

    rows = rows_from(ehr=frame)
    pair = (("ehr", "x"), ("ehr", "z"))
    flat = interaction_effects(one_fold(predict(0.0), rows), nobody(N), pair, horizons=HORIZONS, count=20)
    assert flat["estimate"].dropna().abs().max() < 1e-12
    table = interaction_effects(one_fold(predict(0.01), rows), nobody(N), pair, horizons=HORIZONS, count=20)
    found = table[(table["horizon"] == 1000)].dropna(subset="estimate")
    centred = 0.01 * (found["first_value"] - frame["x"].mean()) * (found["second_value"] - frame["z"].mean())
    assert found["estimate"].to_numpy() == pytest.approx(centred.to_numpy(), abs=0.004)
    assert len(found) > 10


def test_effects_of_a_modality_are_those_of_who_has_it(frame):
    rows = rows_from({"ecg": np.arange(0, N, 3)}, ecg=frame[["x"]], ehr=frame[["z"]])
    observed = observed_of(frame["z"].to_numpy(), np.random.default_rng(0))
    table = accumulated_effects(
        one_fold(linear({("ecg", "x"): 1.0}), rows), observed, ("ecg", "x"), horizons=HORIZONS, count=20
    )
    assert np.isfinite(curve(table)["estimate"]).all()

import numpy as np
import pandas as pd
import pytest
from explained import HORIZONS, linear, observed_of, one_fold, rows_from, two_folds
from sklearn.inspection import permutation_importance as sklearn_importance

from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.metrics import brier_score, harrell_c
from riskweave.explain.importance import permutation_importance, shuffled
from riskweave.explain.rows import Observed, Rows, Unit, units_of
from riskweave.explain.subgroups import subgroups

N = 800
TRUTH = {("ehr", "strong"): 1.0, ("ehr", "weak"): 0.4, ("ecg", "signal"): 0.7}


@pytest.fixture(scope="module")
def planted():
    """Two modalities, one lacking for every fourth; `noise` and `echo` are of no use beyond what others say."""
    rng = np.random.default_rng(5)
    ehr = pd.DataFrame(rng.normal(size=(N, 3)), columns=["strong", "weak", "noise"])
    ecg = pd.DataFrame(rng.normal(size=(N, 2)), columns=["signal", "hiss"])
    rows = rows_from({"ecg": np.arange(0, N, 4)}, ehr=ehr, ecg=ecg)
    score = sum(weight * rows.values(column).fillna(0.0).to_numpy() for column, weight in TRUTH.items())
    return rows, observed_of(score, rng)


@pytest.fixture(scope="module")
def ranked(planted):
    """Importance for two models that have learnt a little of the noise, in opposite directions."""
    rows, observed = planted
    models = [linear({**TRUTH, ("ehr", "noise"): sign * 0.05, ("ecg", "hiss"): -sign * 0.05}) for sign in (1, -1)]
    table = permutation_importance(two_folds(models, rows), observed, units_of(rows), horizons=HORIZONS)
    return table.set_index(["level", "name", "method", "metric", "horizon"])


@pytest.mark.parametrize("metric", ["harrell_c", "brier"])
@pytest.mark.parametrize("method", ["marginal", "conditional"])
def test_planted_columns_are_ranked_and_noise_is_not_told_from_nothing(ranked, metric, method):
    found = ranked.xs((method, metric, 1000), level=["method", "metric", "horizon"]).loc["column"]
    assert list(found["estimate"].sort_values(ascending=False).index[:3]) == ["strong", "signal", "weak"]
    assert (found.loc[["strong", "signal", "weak"], "lower"] > 0).all()
    assert (found.loc[["noise", "hiss"], "lower"] < 0.001).all()
    assert (found.loc[["noise", "hiss"], "upper"] > 0).all()


def test_groups_hold_what_their_columns_hold_and_count_who_has_them(ranked):
    found = ranked.xs(("marginal", "harrell_c", 500), level=["method", "metric", "horizon"])
    columns = found.loc["column"]["estimate"]
    assert found.loc[("modality", "ehr"), "estimate"] > max(columns["strong"], columns["weak"])
    assert found.loc[("feature_set", "ecg"), "estimate"] == pytest.approx(
        found.loc[("modality", "ecg"), "estimate"], abs=0.02
    )
    assert found.loc[("modality", "ecg"), "n"] == N - N // 4
    assert found.loc[("modality", "ehr"), "n"] == N


def test_the_estimate_is_the_mean_loss_by_hand(planted):
    rows, observed = planted
    unit = next(unit for unit in units_of(rows) if unit.name == "weak")
    predict = linear(TRUTH)
    base = predict(rows)
    outcome = {"time": observed.time, "event": observed.event}
    asked = []

    def watched(asked_rows):
        risks = predict(asked_rows)
        asked.append(risks)
        return risks

    found = permutation_importance(
        one_fold(watched, rows), observed, [unit], horizons=HORIZONS, repeats=3, methods=["marginal"]
    ).set_index(["metric", "horizon"])
    # The three permutations come in one call, one under the other.
    assert [len(risks) for risks in asked] == [len(rows), 3 * len(rows)]
    asked[1:] = np.split(asked[1], 3)
    lost = [harrell_c(**outcome, risk=base[:, 1]) - harrell_c(**outcome, risk=risks[:, 1]) for risks in asked[1:]]
    assert found.loc[("harrell_c", 1000), "estimate"] == pytest.approx(np.mean(lost), abs=1e-12)
    gained = [brier_score(**outcome, risk=r, times=HORIZONS) - brier_score(**outcome, risk=base, times=HORIZONS)
              for r in asked[1:]]  # fmt: skip
    assert found.loc["brier", "estimate"].to_numpy() == pytest.approx(np.mean(gained, axis=0), abs=1e-12)


def test_the_analytic_interval_is_that_of_the_bootstrap_over_people():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"x": np.repeat(rng.normal(size=200), 2)})
    rows = rows_from(ehr=frame)
    observed = observed_of(frame["x"].to_numpy(), rng, people=np.repeat(np.arange(200), 2))
    asked = []

    def predict(asked_rows):
        asked.append(linear({("ehr", "x"): 1.0})(asked_rows))
        return asked[-1]

    unit = units_of(rows, ["column"])
    found = permutation_importance(one_fold(predict, rows), observed, unit, horizons=HORIZONS, methods=["marginal"])
    row = found.set_index(["metric", "horizon"]).loc[("harrell_c", 500)]
    asked[1:] = np.split(asked[1], 5)
    outcome = {"time": observed.time, "event": observed.event}
    drawn = [
        harrell_c(**outcome, risk=asked[0][:, 0], weights=weights)
        - np.mean([harrell_c(**outcome, risk=risks[:, 0], weights=weights) for risks in asked[1:]])
        for weights in next(resamples(people=observed.people, count=400, seed=1, batch=400))
    ]
    lower, upper = percentile_interval(np.array(drawn), 0.95)
    assert row["upper"] - row["lower"] == pytest.approx(upper - lower, rel=0.15)


def test_agreement_with_scikit_learn_on_the_brier_score_without_censoring():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(1500, 3)), columns=["a", "b", "c"])
    rows = rows_from(ehr=frame)
    predict = linear({("ehr", "a"): 1.0, ("ehr", "b"): -0.5})
    time = np.ceil(rng.exponential(1000 * np.exp(-frame["a"] + 0.5 * frame["b"]).to_numpy()))
    observed = Observed(time, np.ones(1500, dtype=np.int64), np.arange(1500))
    ours = permutation_importance(
        one_fold(predict, rows), observed, units_of(rows, ["column"]), horizons=HORIZONS, repeats=20,
        methods=["marginal"],
    ).set_index(["name", "metric", "horizon"])  # fmt: skip

    class Model:
        def fit(self, *_):
            return self

    had = (time <= 1000).astype(float)
    theirs = sklearn_importance(
        Model(), frame, had, n_repeats=20, random_state=0,
        scoring=lambda _, x, y: -np.mean((predict(rows_from(ehr=x.reset_index(drop=True)))[:, 1] - y) ** 2),
    )  # fmt: skip
    for column, mean in zip(frame.columns, theirs.importances_mean, strict=True):
        assert ours.loc[(column, "brier", 1000), "estimate"] == pytest.approx(mean, abs=0.004)


def test_who_lacks_a_modality_stays_without_it_and_values_go_together(planted):
    rows, _ = planted
    unit = Unit("modality", "ecg", "", "ecg", (("ecg", "signal"), ("ecg", "hiss")))
    found = shuffled(rows, unit, np.random.default_rng(0))
    assert np.array_equal(found.present["ecg"], rows.present["ecg"])
    before, after = rows.tables["ecg"], found.tables["ecg"]
    assert after[~rows.present["ecg"]].isna().all().all()
    assert sorted(map(tuple, after[rows.present["ecg"]].to_numpy())) == sorted(
        map(tuple, before[rows.present["ecg"]].to_numpy())
    )
    # A cycle: nobody keeps its own.
    assert (after["signal"] != before["signal"]).all()
    assert found.tables["ehr"] is rows.tables["ehr"]


def test_feature_sets_of_a_modality_change_places_among_those_who_have_the_same_of_them():
    frames = {name: pd.DataFrame({"x": np.arange(9.0)}) for name in ("a", "b")}
    rows = rows_from({"a": [0, 1, 2], "b": [2, 3]}, **frames)
    rows = Rows(rows.tables, rows.present, {"a": "ecg", "b": "ecg"})
    unit = next(unit for unit in units_of(rows) if unit.level == "modality")
    found = shuffled(rows, unit, np.random.default_rng(0))
    assert all(np.array_equal(found.present[name], rows.present[name]) for name in ("a", "b"))
    assert set(found.values(("b", "x"))[[0, 1]]) == {0.0, 1.0}
    assert found.values(("a", "x"))[3] == 3.0  # alone with its pattern


def test_conditional_importance_leaves_a_column_its_own_share_alone():
    rng = np.random.default_rng(11)
    cause = rng.normal(size=2000)
    frame = pd.DataFrame({"cause": cause, "copy": cause + 0.2 * rng.normal(size=2000), "own": rng.normal(size=2000)})
    rows = rows_from(ehr=frame)
    observed = observed_of(cause + 0.5 * frame["own"].to_numpy(), rng)
    # A ridge model spreads the cause over its copy.
    predict = linear({("ehr", "cause"): 0.5, ("ehr", "copy"): 0.5, ("ehr", "own"): 0.5})
    found = permutation_importance(
        one_fold(predict, rows, background=rows), observed, units_of(rows, ["column"]), horizons=HORIZONS
    ).set_index(["name", "method", "metric", "horizon"])["estimate"]
    assert found["copy", "marginal", "harrell_c", 1000] > 0.05
    assert abs(found["copy", "conditional", "harrell_c", 1000]) < 0.2 * found["copy", "marginal", "harrell_c", 1000]
    ratio = found["own", "conditional", "harrell_c", 1000] / found["own", "marginal", "harrell_c", 1000]
    assert ratio == pytest.approx(1, abs=0.3)


def test_subgroups_follow_categories_and_missing_values():
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], 600).astype(object)
    frame = pd.DataFrame({"kind": kind, "x": np.select([kind == "a", kind == "b"], [5.0, -5.0], 0.0)})
    frame["other"] = np.where(rng.random(600) < 0.5, np.nan, rng.normal(size=600))
    rows = rows_from(ehr=frame)
    units = {unit.name: unit for unit in units_of(rows, ["column"])}
    for one, by in (("x", "kind"), ("kind", "x")):
        leaves = subgroups(rows, units[one])
        assert (frame[by].groupby(leaves).agg(set).map(len) == 1).all()
    assert len(np.unique(subgroups(rows, units["x"]))) > 1
    alone = rows_from(ehr=frame[["x"]])
    assert (subgroups(alone, units_of(alone, ["column"])[0]) == 0).all()


def test_nothing_is_told_of_few_people_and_each_set_costs_one_question():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=100), "unused": rng.normal(size=100)})
    rows = rows_from({"rare": np.arange(9, 100), "common": np.arange(5)}, ehr=frame, rare=frame[["x"]], common=frame)
    observed = observed_of(frame["x"].to_numpy(), rng)
    asked = []

    def predict(asked_rows):
        asked.append(len(asked_rows))
        return linear({("ehr", "x"): 1.0})(asked_rows)

    found = permutation_importance(
        one_fold(predict, rows), observed, units_of(rows, ["feature_set"]), horizons=HORIZONS, methods=["marginal"]
    )
    rare = found[found["name"] == "rare"]
    assert rare[["n", "estimate", "lower", "upper"]].isna().all().all()
    common = found[found["name"] == "common"]
    assert common["n"].isna().all()  # five lack it: their number would follow
    assert (common[["estimate", "lower", "upper"]] == 0).all().all()
    # Once as they are, and once with all permutations of each of the two sets that can be told of.
    assert asked == [100, 500, 500]

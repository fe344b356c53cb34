from itertools import permutations
from math import factorial

import numpy as np
import pytest
from explained import observed_of

from riskweave.errors import DataError
from riskweave.evaluation.metrics import harrell_c
from riskweave.explain.ablation import missing_subsets, shapley_shares, shapley_weights, subsets_of

PLAYERS = ["ehr", "ecg", "image"]


@pytest.fixture(scope="module")
def family():
    """Risks by all subsets of three modalities, of which the image is noise that the models have not learnt."""
    rng = np.random.default_rng(4)
    n = 600
    parts = {"ehr": rng.normal(size=n), "ecg": 0.6 * rng.normal(size=n), "image": 0.02 * rng.normal(size=n)}
    observed = observed_of(parts["ehr"] + parts["ecg"], rng)
    risks = {subset: 1 / (1 + np.exp(-sum(parts[p] for p in subset))) for subset in subsets_of(PLAYERS) if subset}
    return risks, observed


def shares(table):
    return table[table["measure"] == "share"].set_index("name")


def test_the_weights_are_those_of_all_orders():
    values = np.random.default_rng(0).normal(size=8)
    at = dict(zip(subsets_of(PLAYERS), values, strict=True))
    by_hand = [
        sum(
            at[frozenset(order[: order.index(player) + 1])] - at[frozenset(order[: order.index(player)])]
            for order in permutations(PLAYERS)
        )
        / factorial(3)
        for player in PLAYERS
    ]
    assert shapley_weights(PLAYERS) @ values == pytest.approx(by_hand, abs=1e-12)


def test_two_players_by_hand():
    # 0.5 without, 0.7 with a, 0.6 with b, 0.75 with both: a adds 0.2 first and 0.15 last.
    shares = shapley_weights(["a", "b"]) @ np.array([0.5, 0.7, 0.6, 0.75])
    assert shares == pytest.approx([0.175, 0.075], abs=1e-12)


def test_shares_sum_to_the_whole_and_noise_has_none(family):
    risks, observed = family
    found = shares(shapley_shares(risks, observed, PLAYERS, count=200))
    whole = harrell_c(time=observed.time, event=observed.event, risk=risks[frozenset(PLAYERS)]) - 0.5
    assert found.loc["all", "estimate"] == pytest.approx(whole, abs=1e-12)
    assert found.loc[PLAYERS, "estimate"].sum() == pytest.approx(whole, abs=1e-12)
    assert list(found["estimate"].loc[PLAYERS].sort_values(ascending=False).index) == PLAYERS
    assert (found.loc[["ehr", "ecg", "all"], "lower"] > 0).all()
    assert found.loc["image", "lower"] < 0 < found.loc["image", "upper"]


def test_a_base_takes_the_place_of_no_prediction(family):
    risks, observed = family
    base = risks[frozenset(["ehr"])]
    rest = {frozenset(s - {"ehr"}): risk for s, risk in risks.items() if "ehr" in s and len(s) > 1}
    found = shares(shapley_shares(rest, observed, ["ecg", "image"], base=base, count=50))
    outcome = {"time": observed.time, "event": observed.event}
    whole = harrell_c(**outcome, risk=risks[frozenset(PLAYERS)]) - harrell_c(**outcome, risk=base)
    assert found.loc["all", "estimate"] == pytest.approx(whole, abs=1e-12)


def test_what_each_adds_alone_and_last_are_differences_of_concordances(family):
    risks, observed = family
    found = shapley_shares(risks, observed, PLAYERS, count=50).set_index(["name", "measure"])["estimate"]

    def value(*players):
        return harrell_c(time=observed.time, event=observed.event, risk=risks[frozenset(players)])

    assert found["ecg", "alone"] == pytest.approx(value("ecg") - 0.5, abs=1e-12)
    assert found["ecg", "last"] == pytest.approx(value(*PLAYERS) - value("ehr", "image"), abs=1e-12)


def test_missing_subsets_are_named(family):
    risks, observed = family
    some = {subset: risk for subset, risk in risks.items() if subset not in ({"ecg"}, {"ehr", "image"})}
    assert missing_subsets(some, PLAYERS) == ["ecg", "ehr+image"]
    with pytest.raises(DataError, match=r"2 of 7 subsets have no experiment: ecg, ehr\+image"):
        shapley_shares(some, observed, PLAYERS)


def test_only_so_many_players_and_the_same_subjects(family):
    risks, observed = family
    with pytest.raises(ValueError, match="1 to 8"):
        shapley_shares(risks, observed, [str(i) for i in range(9)])
    with pytest.raises(ValueError, match="same 600 subjects"):
        shapley_shares(risks | {frozenset(["ehr"]): np.zeros(3)}, observed, PLAYERS)

"""What a bundle tells and asks: of ten people at least, however many rows each has; nothing that changes no risk."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from deployed import PROBE, deployed, recipe
from pydantic import TypeAdapter

from riskweave.deployment.card import card_page
from riskweave.deployment.order import Order
from riskweave.deployment.people import rows_of_people, typical_value, usual_range, usual_share
from riskweave.deployment.read import _columns, _terms
from riskweave.deployment.read_model import _trees
from riskweave.deployment.recipe import Cox, Member
from riskweave.errors import DataError
from riskweave.modalities.base import Column
from riskweave.study.features import EhrFeatures
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable
from riskweave.survival.sets import StoredSet


def test_the_usual_range_leaves_ten_people_out_at_each_end():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(150), rng.integers(1, 30, 150))
    values = pd.Series(rng.normal(size=len(people)) + np.where(people == 0, 100.0, 0.0))
    low, high = usual_range(values, people)
    assert len(set(people[values < low])) == len(set(people[values > high])) == 10
    assert usual_share(values, people) == pytest.approx(1 - 20 / 150)


def test_many_rows_of_few_people_tell_nothing():
    values = pd.Series(np.repeat(np.random.default_rng(0).normal(size=30), 10))
    people = np.repeat(np.arange(30), 10)
    assert usual_range(values, people) == (-np.inf, np.inf)
    assert np.isfinite(usual_range(values)).all()  # as 300 people they would
    assert np.isnan(typical_value(values[:190], people[:190]))  # 19 people


def test_one_person_with_most_rows_is_one_of_many():
    people = np.concatenate([np.zeros(10_000, dtype=int), np.arange(1, 200)])
    values = pd.Series(np.concatenate([np.full(10_000, -5.0), np.linspace(50, 60, 199)]))
    low, high = usual_range(values, people)
    assert 50 < low < high < 60
    assert typical_value(values, people) == pytest.approx(55, abs=0.1)


def test_so_many_rows_are_those_of_ten_people():
    people = pd.Series(["a"] * 7 + ["b"] * 5 + ["c"] + ["d"] * 2 + [f"p{number}" for number in range(30)])
    # The nine with the most rows have 7 + 5 + 2 + 6 * 1 together.
    assert rows_of_people(people) == 21
    assert rows_of_people(None) == rows_of_people(pd.Series(["a", "b"] + [f"p{i}" for i in range(30)])) == 10


def test_leaves_of_too_few_people_are_refused():
    leaf = SimpleNamespace(
        children_left=np.array([1, -1, -1]), children_right=np.array([2, -1, -1]), feature=np.array([0, -2, -2]),
        threshold=np.array([0.5, -2, -2]), n_node_samples=np.array([40, 20, 20]), value=np.zeros((3, 1, 1)),
    )  # fmt: skip
    assert len(_trees([leaf], rate=0.1, centre=0.0, fewest=20).leaves) == 2
    with pytest.raises(DataError, match=r"leaf of 20 training rows.*index times together(?s:.)*at least 21"):
        _trees([leaf], rate=0.1, centre=0.0, fewest=21)


def test_the_card_counts_people_and_says_how_many_index_times():
    from test_deployment_card import FACTS, PARITY, SCHEMA, metrics

    from riskweave.deployment.card import card_of

    names = [f"s{number}" for number in range(300)]
    people = pd.Series([f"p{number // 3}" for number in range(300)], index=names)
    outcomes = pd.DataFrame({"subject_id": names, "time": 700.0, "event": [1] * 27 + [2] * 30 + [0] * 243})
    calibration = pd.DataFrame(
        columns=["experiment", "horizon", "risk_group", "n", "expected", "observed", "lower", "upper"]
    )
    card = card_of(
        SCHEMA, metrics=metrics(), calibration=calibration, outcomes=outcomes, parity=PARITY, facts=FACTS, people=people
    )
    told = card["population"]
    assert (told["people_at_risk"], told["index_times"]) == (100, 300)
    assert told["target_events"] is None  # 27 rows of 9 people
    assert told["competing_events"] == 10
    assert "100 people at risk, at 300 index times, fewer than 10 with the event" in card_page(card, SCHEMA)


# What is asked


def study(n=400, seed=0):
    """Return feature sets with columns that no design keeps: a constant, a copy, and a code of two people."""
    rng = np.random.default_rng(seed)
    people = pd.Index([f"p{number}" for number in range(n)], dtype=object)
    ehr = pd.DataFrame(
        {
            "age": rng.normal(60, 8, n),
            "site": rng.choice(["a", "b", "c"], n, p=[0.5, 0.485, 0.015]),
            "country": 1.0,
            "LAB//K:last": rng.normal(4, 1, n),
            "LAB//K:max": 0.0,
            "LAB//NA:last": rng.normal(140, 3, n),
            "DX//RARE:ever": np.where(np.arange(n) < 2, 1.0, 0.0),
        },
        index=people,
    )
    ehr["LAB//K:max"] = 2 * ehr["LAB//K:last"] + 1
    ehr.loc[rng.random(n) < 0.2, "LAB//NA:last"] = np.nan
    return ehr


def block(**more):
    return {
        "modality": "ehr",
        "static": ["age", "site", "country"],
        "events": [
            {"codes": ["LAB//"], "by_code": True, "aggregates": ["last", "max"]},
            {"codes": ["DX//"], "by_code": True, "aggregates": ["ever"]},
        ],
        **more,
    }


def read(blocks, frames, designs):
    """Return inputs and columns of feature sets, as the recipe has them."""
    order = Order(
        study="s", endpoint="e", experiment="x", outcome=None,
        feature_sets={name: TypeAdapter(EhrFeatures).validate_python(each) for name, each in blocks.items()},
        deployment=SimpleNamespace(inputs={}),
    )  # fmt: skip
    sets = [
        StoredSet(
            name, frame, {},
            [Column(column, "ehr", kind="categorical" if column == "site" else "numeric") for column in frame],
            None, [],
        )
        for name, frame in frames.items()
    ]  # fmt: skip
    return _columns(order, sets, designs, frames[next(iter(frames))].index, None)


def test_what_changes_no_risk_is_not_asked_and_the_design_stays_the_pipelines(tmp_path):
    frame = study()
    table = FeatureTable("ehr", "ehr", frame, ("site",))
    design = DesignMatrix().fit([table], frame.index)
    inputs, columns = read({"ehr": block()}, {"ehr": frame}, [design])
    # Six people are at site c.
    assert [each.name for each in inputs] == ["age", "site", "LAB//K", "LAB//NA"]
    assert inputs[1].categories == ("a", "b", "other")
    assert [each.name for each in columns] == ["ehr.age", "ehr.site", "ehr.LAB//K:last", "ehr.LAB//NA:last"]
    terms = _terms(design, {each.name: place for place, each in enumerate(columns)}, columns, ("ehr",))
    nothing = Cox(np.zeros((1, len(terms))), np.zeros((1, len(terms))), [(np.zeros(0), np.zeros(0))])
    module = deployed(recipe(inputs, columns, members=[Member(terms, (), 0, (), nothing)]), tmp_path, probe=PROBE)
    for name, row in zip(frame.index[:40], design.design([table], frame.index[:40]).values, strict=True):
        own = frame.loc[name]
        values = {"age": own["age"], "site": own["site"] if own["site"] != "c" else "other"}
        labs = [f"LAB//{code}" for code in ("K", "NA") if pd.notna(own[f"LAB//{code}:last"])]
        events = [{"code": code, "days_before": 3, "value": own[f"{code}:last"]} for code in labs]
        module.set_patient({"values": values, "events": events})
        module.predict(contributions=False)
        found = module.host.read(module.host.call("test_design"), len(row))
        np.testing.assert_allclose(found, row, rtol=1e-12)


def test_all_that_decides_who_has_a_measured_set_is_asked():
    frame = study()
    frame["LAB//K:max"] = frame["LAB//K:last"]
    table = FeatureTable("ehr", "ehr", frame, ("site",))
    design = DesignMatrix().fit([table], frame.index)
    inputs, _ = read({"ehr": block(rows="measured")}, {"ehr": frame}, [design])
    assert [each.name for each in inputs] == ["age", "site", "country", "LAB//K", "LAB//NA", "DX//RARE"]
    # Another set that everybody has: who lacks the measured one has the modality all the same.
    everybody = pd.DataFrame({"bmi": np.random.default_rng(1).normal(27, 3, len(frame))}, index=frame.index)
    tables = [FeatureTable("base", "ehr", everybody), table]
    design = DesignMatrix().fit(tables, frame.index)
    both = {"base": {"modality": "ehr", "static": ["bmi"]}, "ehr": block(rows="measured")}
    inputs, _ = read(both, {"base": everybody, "ehr": frame}, [design])
    assert [each.name for each in inputs] == ["bmi", "age", "site", "LAB//K", "LAB//NA"]


def test_what_any_fold_keeps_is_asked():
    frame = study()
    table = FeatureTable("ehr", "ehr", frame, ("site",))
    without = FeatureTable("ehr", "ehr", frame.assign(age=50.0), ("site",))
    designs = [DesignMatrix().fit([each], frame.index) for each in (without, table)]
    inputs, _ = read({"ehr": block()}, {"ehr": frame}, designs)
    assert "age" in {each.name for each in inputs}
    inputs, _ = read({"ehr": block()}, {"ehr": frame}, designs[:1])
    assert "age" not in {each.name for each in inputs}

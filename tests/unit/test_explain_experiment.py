import numpy as np
import pandas as pd
import pytest
from small_experiment import COX, TIMES, N, build, train

from riskweave.cohort.tables import SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.explain.experiment import explain_experiment
from riskweave.modalities.base import Column, write_features
from riskweave.survival.stored_models import load_models, store_models

HORIZONS = TIMES[1:]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("explained"))
    ids = pd.read_parquet(folder / "outcomes.parquet")["subject_id"]
    people = pd.DataFrame({"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp("2020-01-01")})
    write_table(people.assign(followup_end=pd.NaT), folder / "subjects.parquet", SUBJECTS)
    train(folder)
    return folder


def explain(study, output="a", **changes):
    arguments = {
        "experiment": {"name": "ehr+ecg.cox", "endpoint": "mace", "feature_sets": ("ehr", "ecg")},
        "models": study / output / "models.zip",
        "predictions": study / output / "predictions.parquet",
        "tables": {name: study / f"{name}.parquet" for name in ("ehr", "ecg")},
        "embeddings": {"ecg": study / "embeddings.parquet"},
        "outcomes": study / "outcomes.parquet",
        "folds": study / "folds.parquet",
        "people": study / "subjects.parquet",
        "horizons": HORIZONS,
        "importance": study / output / "importance.parquet",
        "effects": study / output / "effects.parquet",
        "count": 50,
    }
    explain_experiment(**(arguments | changes))
    return [pd.read_parquet((arguments | changes)[name]) for name in ("importance", "effects")]


@pytest.fixture(scope="module")
def tables(study):
    return explain(study)


def test_what_was_planted_is_ranked_first(tables):
    found = tables[0]
    assert set(found["experiment"]) == {"ehr+ecg.cox"}
    assert set(found["endpoint"]) == {"mace"}
    found = found[(found["metric"] == "harrell_c") & (found["horizon"] == 1000) & (found["method"] == "marginal")]
    found = found.set_index(["level", "name"])
    columns = found.loc["column"]
    assert list(columns["estimate"].sort_values(ascending=False).index[:2]) == ["encoder", "age"]
    assert (columns.loc[["encoder", "age"], "lower"] > 0).all()
    assert (columns.loc[["smoker", "rate"], "lower"] < 0.005).all()
    assert found.loc[("modality", "ecg"), "n"] == 180
    assert found.loc[("modality", "ehr"), "n"] == N


def test_the_effect_of_age_is_a_line_and_only_columns_with_a_meaning_have_one(tables):
    found = tables[1]
    assert set(zip(found["feature_set"], found["column"], strict=True)) == {
        ("ehr", "age"), ("ehr", "smoker"), ("ecg", "rate"),
    }  # fmt: skip
    age = found[(found["column"] == "age") & (found["scale"] == "risk") & (found["horizon"] == 1000)]
    assert (age["unit"] == "years").all()
    assert (np.diff(age["estimate"]) > 0).all()
    assert (age["fold_lowest"] <= age["estimate"] + 0.02).all()
    smoker = found[(found["column"] == "smoker") & (found["scale"] == "risk") & (found["horizon"] == 1000)]
    assert set(smoker["category"]) == {"yes", "no"}
    assert found["n"].min() >= 10


def test_no_subject_is_in_the_tables(tables, study):
    ids = set(pd.read_parquet(study / "outcomes.parquet")["subject_id"])
    for table in tables:
        for name in table.columns:
            assert not ids & set(table[name].dropna().astype(str))
    ages = pd.read_parquet(study / "ehr.parquet")["age"]
    assert not set(ages) & set(tables[1]["value"].dropna())


def test_the_same_again_gives_the_same_tables(tables, study):
    again = explain(study, importance=study / "i.parquet", effects=study / "e.parquet")
    for one, other in zip(tables, again, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_other_models_features_or_rows_are_refused(study):
    content = load_models(study / "a" / "models.zip")
    content["folds"][0]["fitted_on"] = "others"
    store_models(content, study / "wrong.zip")
    with pytest.raises(DataError, match="1 of 2 folds are missing, or were fitted on other rows"):
        explain(study, models=study / "wrong.zip")
    ehr = pd.read_parquet(study / "ehr.parquet")
    columns = [Column("age", "ehr", "years"), Column("smoker", "ehr", kind="categorical")]
    write_features(ehr.assign(age=ehr["age"] + 1), study / "older.parquet", columns)
    with pytest.raises(DataError, match="predictions are not what the stored models make of the feature tables"):
        explain(study, tables={"ehr": study / "older.parquet", "ecg": study / "ecg.parquet"})
    other = {"name": "ecg.cox", "endpoint": "mace", "feature_sets": ("ehr", "ecg")}
    with pytest.raises(DataError, match=r"it holds the experiment ehr\+ecg\.cox"):
        explain(study, experiment=other)


def test_many_subjects_are_drawn(study, monkeypatch):
    monkeypatch.setattr("riskweave.explain.experiment.MOST_SUBJECTS", 100)
    found, _ = explain(study, importance=study / "i.parquet", effects=study / "e.parquet")
    assert found.loc[found["name"] == "ehr", "n"].unique().tolist() == [100]


def test_an_experiment_of_an_encoder_alone_has_no_effects(study):
    write_features(pd.read_parquet(study / "ecg.parquet")[["subject_id"]], study / "bare.parquet", [])
    tables = {"ecg": study / "bare.parquet"}
    train(study, "bare", COX, ("ecg",), tables=tables)
    experiment = {"name": "ecg.cox", "endpoint": "mace", "feature_sets": ("ecg",)}
    found, effects = explain(study, "bare", experiment=experiment, tables=tables)
    assert len(effects) == 0
    assert {"experiment", "feature_set", "column", "unit", "estimate"} <= set(effects.columns)
    assert set(found["level"]) == {"column", "feature_set", "modality"}

"""The job that trains a network of all endpoints: what it writes for each of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.tables import FOLDS, OUTCOMES, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, write_features
from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import MultiEndpointModel
from riskweave.study.search import Search
from riskweave.study.training import Training
from riskweave.survival.endpoints import EndpointFiles, train_endpoints
from riskweave.survival.predictions import read_predictions
from riskweave.survival.sets import read_set
from riskweave.survival.stored_models import load_models

N, FOLD_COUNT = 240, 2
TIMES = {"mi": [200, 500, 1000], "stroke": [365]}
BLOCK = MultiEndpointModel(
    kind="multi_endpoint", hidden=[8], intervals=5, training=Training(epochs=4, patience=4, learning_rate=1e-2)
)


@pytest.fixture
def study(tmp_path) -> Path:
    """Two endpoints that age and an ECG column drive; death competes with one; some are prevalent for each."""
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    age, rate = rng.normal(size=N), rng.normal(size=N)
    death, end = rng.exponential(5000, N), rng.uniform(300, 3000, N)
    for name, competing in (("mi", True), ("stroke", False)):
        target = rng.exponential(1500 * np.exp(-0.8 * age - 0.5 * rate))
        time = np.minimum.reduce([target, death, end])
        event = np.select([time == target, (time == death) & competing], [1, 2], 0)
        table = pd.DataFrame({"subject_id": ids, "endpoint": name, "time": np.ceil(time), "event": event})
        write_table(table[rng.random(N) > 0.15], tmp_path / f"{name}.parquet", OUTCOMES)
    roles = []
    for fold in range(FOLD_COUNT):
        role = np.where(np.arange(N) % FOLD_COUNT == fold, "test", "train").astype(object)
        role[(role == "train") & (rng.random(N) < 0.25)] = "validation"
        roles.append(pd.DataFrame({"subject_id": ids, "fold": fold, "role": role}))
    write_table(pd.concat(roles), tmp_path / "folds.parquet", FOLDS)
    write_features(pd.DataFrame({"subject_id": ids, "age": age}), tmp_path / "ehr.parquet", [Column("age", "ehr")])
    ecg = pd.DataFrame({"subject_id": ids, "rate": rate})[rng.random(N) < 0.7]
    write_features(ecg, tmp_path / "ecg.parquet", [Column("rate", "ecg")])
    return tmp_path


def train(study: Path, output: str = "a", model=BLOCK, **changes) -> Path:
    folder = study / output
    names = ("predictions.parquet", "models.zip", "run.json", "curves.csv", "trials.csv")
    arguments = {
        "experiment": {"name": "all.net", "feature_sets": ("ehr", "ecg"), "fusion": "early", "model": "net"},
        "model": model,
        "fusion": BUILT_IN["early"],
        "endpoints": {
            name: EndpointFiles(study / f"{name}.parquet", times, *(folder / name / file for file in names))
            for name, times in TIMES.items()
        },
        "tables": {name: study / f"{name}.parquet" for name in ("ehr", "ecg")},
        "embeddings": {},
        "encoder_endpoint": "mi",
        "folds": study / "folds.parquet",
        "seed": 1,
        "threads": 1,
        "context": {"study": "test", "rule": "train_endpoints", "data": {}},
    }
    train_endpoints(**(arguments | changes))
    return folder


@pytest.mark.parametrize("fusion", ["early", "attention"])
def test_each_endpoint_has_predictions_of_its_own_risk_set(study, fusion):
    folder = train(study, fusion=BUILT_IN[fusion])
    division = pd.read_parquet(study / "folds.parquet")
    tested = division[division["role"] == "test"].set_index("subject_id")["fold"]
    for name, times in TIMES.items():
        found = read_predictions(folder / name / "predictions.parquet").set_index("subject_id")
        at_risk = pd.read_parquet(study / f"{name}.parquet")["subject_id"]
        assert sorted(found.index) == sorted(at_risk)
        assert (found["fold"] == tested.loc[found.index]).all()
        assert set(found["modalities"]) == {"ehr", "ehr+ecg"}
        causes = 2 if name == "mi" else 1
        assert sum(column.startswith("risk_") for column in found) == causes * len(times)
        record = json.loads((folder / name / "run.json").read_text())
        assert (record["endpoint"], record["name"], len(record["folds"])) == (name, "all.net", FOLD_COUNT)
        assert record["folds"][0]["metrics"]["test_harrell_c"] > 0.55
        assert record["duration"] > 0
        assert (folder / name / "trials.csv").read_text().startswith("fold,model,trial")
        assert {"val_loss", "train_loss"} == set(pd.read_csv(folder / name / "curves.csv")["metric"])
    assert sorted(path.name for path in folder.iterdir()) == ["mi", "stroke"]
    assert not list((folder / "mi").glob(".*"))


def test_stored_models_give_an_endpoints_predictions_again(study):
    folder = train(study)
    found = read_predictions(folder / "stroke" / "predictions.parquet").query("fold == 1")
    stored = load_models(folder / "stroke" / "models.zip")
    assert (stored["causes"], stored["experiment"]["endpoint"]) == (1, "stroke")
    tables = [read_set(name, study / f"{name}.parquet", None).of_fold(1) for name in ("ehr", "ecg")]
    design = stored["folds"][1]["preprocessing"].design(tables, pd.Index(found["subject_id"]))
    again = stored["folds"][1]["model"].predict(design, [365])[:, 0, 0]
    np.testing.assert_allclose(again, found["risk_365"], rtol=1e-6)


def test_same_seed_same_bytes_and_a_search_is_one_for_all_endpoints(study):
    model = BLOCK.model_copy(update={"search": Search(trials=3, space={"dropout": [0.0, 0.2, 0.4]})})
    first, second = train(study, "a", model), train(study, "b", model)
    for name in TIMES:
        texts = [(folder / name / "predictions.parquet").read_bytes() for folder in (first, second)]
        assert texts[0] == texts[1]
    trials = [pd.read_csv(first / name / "trials.csv") for name in TIMES]
    pd.testing.assert_frame_equal(*trials)
    assert trials[0].groupby("fold").size().tolist() == [3, 3]
    assert (trials[0]["value"].dropna() > -0.5).all()
    records = [json.loads((first / name / "run.json").read_text()) for name in TIMES]
    assert [len(record["folds"][1]["trials"]) for record in records] == [3, 0]
    assert "search.net.dropout" in records[1]["folds"][0]["params"]


def test_test_rows_of_one_endpoint_influence_nothing_of_their_fold(study):
    before = train(study, "before")
    division = pd.read_parquet(study / "folds.parquet")
    test = division.loc[(division["fold"] == 0) & (division["role"] == "test"), "subject_id"]
    outcomes = pd.read_parquet(study / "stroke.parquet")
    rows = outcomes["subject_id"].isin(test)
    outcomes.loc[rows, ["time", "event"]] = outcomes.loc[rows, ["time", "event"]].to_numpy()[::-1]
    write_table(outcomes, study / "stroke.parquet", OUTCOMES)
    after = train(study, "after")
    for name in TIMES:
        old, new = (read_predictions(folder / name / "predictions.parquet") for folder in (before, after))
        assert old[old["fold"] == 0].equals(new[new["fold"] == 0])
        assert not old[old["fold"] == 1].equals(new[new["fold"] == 1])


def test_a_fold_of_an_endpoint_without_events_is_told(study):
    outcomes = pd.read_parquet(study / "stroke.parquet")
    write_table(outcomes.assign(event=0), study / "stroke.parquet", OUTCOMES)
    with pytest.raises(DataError, match="endpoint stroke, fold 0: none of the"):
        train(study)

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from small_experiment import COX, FOLDS_N, TIMES, N, build, rewrite, stamp, train

from riskweave.cohort.tables import FOLDS, OUTCOMES, read_table, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, FeatureWriter, read_features, write_features
from riskweave.study.models import CoxModel, RandomSurvivalForestModel
from riskweave.survival.fits import digest_of, read_fits, stamp_fits
from riskweave.survival.predictions import read_predictions, risk_columns
from riskweave.survival.stored_models import load_models


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study whose experiment is trained, for tests that only look."""
    folder = build(tmp_path_factory.mktemp("made"))
    train(folder)
    return folder


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of the test's own."""
    return build(tmp_path)


def test_every_subject_at_risk_is_predicted_by_the_fold_that_tests_it(made):
    found = read_predictions(made / "a" / "predictions.parquet")
    folds = pd.read_parquet(made / "folds.parquet")
    tested = folds[folds["role"] == "test"].set_index("subject_id")["fold"]
    assert (found.set_index("subject_id")["fold"] == tested).all()
    assert len(found) == N
    assert list(found.columns[6:]) == [*(f"risk_{d}" for d in TIMES), *(f"risk_c2_{d}" for d in TIMES)]
    lacking = ~found["subject_id"].isin(pd.read_parquet(made / "ecg.parquet")["subject_id"])
    assert lacking.sum() == 60
    assert found.loc[lacking, "risk_1000"].nunique() > 50
    assert (found["modalities"] == np.where(lacking, "ehr", "ehr+ecg")).all()
    assert found["linear_predictor"].notna().all()


def test_a_sparse_history_is_reduced_in_each_fold(study):
    ids = np.array([f"s{i:03d}" for i in range(N)])
    age = read_features(study / "ehr.parquet")[0]["age"].to_numpy()
    rng = np.random.default_rng(4)
    # Thirty codes, the first fifteen of which the old have.
    odds = np.where(np.arange(30) < 15, 1 / (1 + np.exp(-(age - 60) / 3))[:, None], 0.3)
    codes = scipy.sparse.csr_array((rng.random((N, 30)) < odds).astype(np.float32))
    column = Column("history", "ehr", kind="sparse", codes=tuple(f"DX//{k}" for k in range(30)), components=4)
    with FeatureWriter(study / "past.parquet", [column]) as writer:
        writer.write(pd.DataFrame({"subject_id": ids}), {"history": codes})
    folder = train(study, "past", sets=("past",))
    models = load_models(folder / "models.zip")
    assert models["folds"][0]["columns"] == [f"past.history:svd_0{k}" for k in range(1, 5)]
    assert models["feature_sets"]["past"] == [column]
    found = read_predictions(folder / "predictions.parquet").set_index("subject_id")
    assert found["risk_1000"].loc[ids].corr(pd.Series(age, index=ids), method="spearman") > 0.5


def test_record_and_models_tell_what_was_done(made):
    folder = made / "a"
    record = json.loads((folder / "run.json").read_text())
    assert record["feature_sets"] == {"ehr": ["age", "smoker"], "ecg": ["rate", "emb_0"]}
    assert [fold["fold"] for fold in record["folds"]] == [0, 1]
    first = record["folds"][0]
    assert first["params"]["penalty_cause_1"] in COX.penalty
    assert first["metrics"]["test_harrell_c"] > 0.6
    outcomes = pd.read_parquet(made / "outcomes.parquet")
    total = sum(first["counts"][f"{role}_events_cause_1"] for role in ("train", "validation", "test"))
    assert total == (outcomes["event"] == 1).sum()
    assert (folder / "curves.csv").read_text().strip() == "fold,epoch,metric,value"
    models = load_models(folder / "models.zip")
    assert models["format"] == 4
    assert models["folds"][0]["columns"] == ["ehr.age", "ehr.smoker=no", "ecg.rate", "ecg.emb_0", "has_ecg"]


def test_stored_models_give_the_predictions_again(made):
    from riskweave.survival.preprocessing import FeatureTable

    folder = train(made, "alone", sets=("ehr",))
    found = read_predictions(folder / "predictions.parquet")
    stored = load_models(folder / "models.zip")["folds"][1]
    rows = found[found["fold"] == 1]
    frame, _ = read_features(made / "ehr.parquet")
    table = FeatureTable("ehr", "ehr", frame.set_index("subject_id"), ("smoker",))
    design = stored["preprocessing"].design([table], pd.Index(rows["subject_id"]))
    risks = stored["model"].predict(design, TIMES)
    np.testing.assert_allclose(risks[:, 0], rows[[f"risk_{day}" for day in TIMES]], rtol=1e-12)


def test_embeddings_are_those_of_the_fold(made):
    # The planted embedding of fold k is (k + 1) times the signal: its scale shows which one was used.
    models = load_models(made / "a" / "models.zip")
    scales = [models["folds"][fold]["preprocessing"].transformers_["ecg"][-1].scale_[1] for fold in range(FOLDS_N)]
    np.testing.assert_allclose(scales, [1, 2], rtol=0.15)


def test_test_rows_influence_nothing_of_their_fold(study):
    before = train(study, "before")
    folds = pd.read_parquet(study / "folds.parquet")
    test = folds.loc[(folds["fold"] == 0) & (folds["role"] == "test"), "subject_id"]

    def permuted(outcomes):
        rows = outcomes["subject_id"].isin(test).to_numpy()
        order = np.random.default_rng(1).permutation(rows.sum())
        outcomes.loc[rows, ["time", "event"]] = outcomes.loc[rows, ["time", "event"]].to_numpy()[order]
        return outcomes

    rewrite(study, "outcomes.parquet", OUTCOMES, permuted)
    for name in ("ehr", "ecg"):
        frame, columns = read_features(study / f"{name}.parquet")
        rows = frame["subject_id"].isin(test)
        for column in columns:
            frame.loc[rows, column.name] = "alien" if column.kind == "categorical" else 1e6
        write_features(frame, study / f"{name}.parquet", columns)
    after = train(study, "after")
    old, new = (load_models(folder / "models.zip")["folds"] for folder in (before, after))
    pd.testing.assert_frame_equal(
        old[0]["model"].estimator.coefficients(), new[0]["model"].estimator.coefficients(), check_exact=True
    )
    assert joblib.hash(old[0]["preprocessing"]) == joblib.hash(new[0]["preprocessing"])
    # The same rows are training rows of another fold, where they do matter.
    assert joblib.hash(old[1]["preprocessing"]) != joblib.hash(new[1]["preprocessing"])


@pytest.mark.parametrize("model", [COX, RandomSurvivalForestModel(kind="random_survival_forest", trees=5)])
def test_same_seed_same_bytes(study, model):
    if model.kind == "random_survival_forest":
        pytest.importorskip("sksurv")
    first, second = train(study, "a", model), train(study, "b", model)
    assert (first / "predictions.parquet").read_bytes() == (second / "predictions.parquet").read_bytes()
    assert (first / "curves.csv").read_bytes() == (second / "curves.csv").read_bytes()


def test_without_a_search_the_table_of_trials_is_empty(made):
    text = (made / "a" / "trials.csv").read_text()
    assert text.splitlines() == ["fold,model,trial,state,chosen,value,seconds"]


def test_subjects_outside_the_risk_set_do_not_enter(study):
    rewrite(study, "outcomes.parquet", OUTCOMES, lambda outcomes: outcomes[outcomes["subject_id"] < "s120"])
    with_ecg = set(read_features(study / "ecg.parquet")[0]["subject_id"])
    division = read_table(study / "folds.parquet", FOLDS)
    stamp(study / "embeddings.parquet", division, {name for name in with_ecg if name < "s120"})
    found = read_predictions(train(study) / "predictions.parquet")
    assert len(found) == N // 2


def test_fold_without_target_events_is_refused_before_training(study):
    folds = pd.read_parquet(study / "folds.parquet")
    kept = folds.loc[(folds["fold"] == 1) & (folds["role"] == "train"), "subject_id"]

    def censor(outcomes):
        return outcomes.assign(event=np.where(outcomes["subject_id"].isin(kept), 0, outcomes["event"]))

    rewrite(study, "outcomes.parquet", OUTCOMES, censor)
    with pytest.raises(
        DataError, match=r"endpoint mace, fold 1: none of the .* training subjects has the target event"
    ):
        train(study)
    assert not (study / "a").exists()


def test_subjects_that_no_fold_tests_are_refused(study):
    rewrite(study, "folds.parquet", FOLDS, lambda folds: folds[folds["subject_id"] > "s004"])
    with pytest.raises(DataError, match="5 of 240 subjects at risk are not in the test rows of exactly one fold"):
        train(study)


def test_fold_that_tests_no_subject_at_risk_is_left_out(study):
    # One group per fold, and no subject of the second group is at risk of this endpoint.
    ids = pd.read_parquet(study / "outcomes.parquet")["subject_id"].to_numpy()
    group = np.repeat([0, 1, 2], N // 3)
    validation = np.arange(N) % 4 == 0
    folds = pd.concat(
        pd.DataFrame(
            {
                "subject_id": ids,
                "fold": fold,
                "role": np.where(group == fold, "test", np.where(validation, "validation", "train")),
            }
        )
        for fold in range(3)
    )
    write_table(folds, study / "folds.parquet", FOLDS)
    at_risk = ids[group != 1]
    rewrite(study, "outcomes.parquet", OUTCOMES, lambda outcomes: outcomes[outcomes["subject_id"].isin(at_risk)])
    found = read_predictions(train(study, sets=("ehr",)) / "predictions.parquet")
    assert list(found["subject_id"]) == list(at_risk)
    assert set(found["fold"]) == {0, 2}


def test_columns_that_say_nothing_give_everybody_the_incidence_of_the_training_rows(study):
    """As where an encoder found no signal: the experiment's result is that its feature set predicts nothing."""
    frame, columns = read_features(study / "ehr.parquet")
    write_features(frame.assign(age=1.0, smoker="no"), study / "ehr.parquet", columns)
    found = read_predictions(train(study, sets=("ehr",)) / "predictions.parquet")
    days = risk_columns(found)[1]
    last = days[max(days)]
    assert len(found[["fold", last]].drop_duplicates()) == found["fold"].nunique()
    assert (found["linear_predictor"] == 0).all()
    outcomes = read_table(study / "outcomes.parquet", OUTCOMES).set_index("subject_id")
    folds = read_table(study / "folds.parquet", FOLDS)
    subjects = folds.loc[(folds["fold"] == 0) & (folds["role"] == "train"), "subject_id"]
    rows = outcomes.loc[outcomes.index.intersection(subjects)]
    expected = aalen_johansen_by_hand(rows["time"].to_numpy(), rows["event"].to_numpy(), max(days))
    assert found.loc[found["fold"] == 0, last].iloc[0] == pytest.approx(expected)


def aalen_johansen_by_hand(time, event, until):
    survival, incidence = 1.0, 0.0
    for day in np.unique(time[event > 0]):
        if day > until:
            break
        at_risk, here = (time >= day).sum(), time == day
        incidence += survival * (here & (event == 1)).sum() / at_risk
        survival *= 1 - (here & (event > 0)).sum() / at_risk
    return incidence


def test_metabric_concordance_is_that_of_the_literature(study, real_data):
    """Ridge Cox, 5 folds: 0.634 (sd .026) in a run of the same folds; 0.635 in Burk et al. 2026 (arXiv 2406.04098)."""
    selection = pytest.importorskip("sklearn.model_selection")
    metabric = pd.read_parquet(real_data / "benchmarks_tabular" / "metabric.parquet")
    ids = np.array([f"{i:05d}" for i in range(len(metabric))])
    # The set's time axis is scaled to at most 1; any unit will do.
    time = np.maximum(metabric["time"] * 10_000, 1.0)
    outcomes = pd.DataFrame({"subject_id": ids, "endpoint": "death", "time": time, "event": metabric["event"]})
    write_table(outcomes, study / "outcomes.parquet", OUTCOMES)
    splitter = selection.StratifiedKFold(5, shuffle=True, random_state=1234)
    parts = []
    for fold, (_, test) in enumerate(splitter.split(ids, metabric["event"])):
        role = np.where(np.isin(np.arange(len(ids)), test), "test", "train").astype(object)
        role[np.flatnonzero(role == "train")[::5]] = "validation"
        parts.append(pd.DataFrame({"subject_id": ids, "fold": fold, "role": role}))
    write_table(pd.concat(parts), study / "folds.parquet", FOLDS)
    features = metabric.drop(columns=["time", "event"]).astype(float)
    write_features(
        features.assign(subject_id=ids), study / "ehr.parquet", [Column(name, "ehr") for name in features.columns]
    )
    days = sorted({int(day) for day in np.quantile(time, [0.25, 0.5, 0.75])})
    folder = train(study, sets=("ehr",), times=days, model=CoxModel(kind="cox"))
    record = json.loads((folder / "run.json").read_text())
    assert record["metrics"]["test_harrell_c"] == pytest.approx(0.634, abs=0.01)


def test_an_encoder_fitted_on_other_rows_than_the_training_rows_is_refused(study):
    division = read_table(study / "folds.parquet", FOLDS)
    present = set(read_features(study / "ecg.parquet")[0]["subject_id"])
    stamp(study / "embeddings.parquet", division, present, role="test")
    with pytest.raises(DataError, match="in 2 of 2 folds the encoder was fitted on rows outside the training fold"):
        train(study)
    one = read_fits(study / "embeddings.parquet")
    stamp(study / "embeddings.parquet", division, present)
    stamp_fits(study / "embeddings.parquet", {0: read_fits(study / "embeddings.parquet")[0], 1: one[1]})
    with pytest.raises(DataError, match="in 1 of 2 folds"):
        train(study)


def test_models_tell_on_whose_rows_they_were_fitted(made):
    division = read_table(made / "folds.parquet", FOLDS)
    folds = load_models(made / "a" / "models.zip")["folds"]
    for fold, content in folds.items():
        rows = division[(division["fold"] == fold) & (division["role"] == "train")]
        assert content["fitted_on"] == digest_of(rows["subject_id"].sample(frac=1, random_state=1))
    assert folds[0]["fitted_on"] != folds[1]["fitted_on"]


def test_a_digest_depends_on_who_alone():
    assert digest_of(["b", "a"]) == digest_of(pd.Index(["a", "b"]))
    assert digest_of(["ab"]) != digest_of(["a", "b"])

"""Clinical scores as experiments: checked with the study, computed from raw columns, beside fitted models."""

import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from small_experiment import N, build, train

from riskweave.clinical_scores import prevent, score2
from riskweave.clinical_scores.compute import FUNCTIONS, score_of
from riskweave.errors import DataError, StudyError
from riskweave.modalities.base import Column, write_features
from riskweave.study.clinical_scores import SCORES, ClinicalScoreModel
from riskweave.study.study import parse_study
from riskweave.survival.null import NullModel
from riskweave.survival.predictions import read_predictions
from riskweave.survival.preprocessing import FeatureTable
from riskweave.survival.registry import build_estimator, build_preprocessing
from riskweave.survival.stored_models import load_models
from riskweave.tracking.record import read_record

SCORE2 = {
    "kind": "clinical_score",
    "score": "score2",
    "region": "low",
    "units": {"cholesterol": "mmol/L"},
    "inputs": {"sbp": "vitals:last", "total_cholesterol": "labs.chol", "smoker": "habit"},
    "coding": {"smoker": {"current": 1, "never": 0, "unknown": None}},
}
TIMES = [365, 1826, 3650]


def model(**changes) -> ClinicalScoreModel:
    return ClinicalScoreModel.model_validate({**deepcopy(SCORE2), **changes})


def test_scores_of_the_study_are_those_that_are_computed():
    assert set(SCORES) == set(FUNCTIONS)


@pytest.fixture
def cohort(tmp_path):
    """The small cohort, with what SCORE2 takes in two feature sets; some subjects are outside its validity."""
    build(tmp_path)
    ids = pd.read_parquet(tmp_path / "outcomes.parquet")["subject_id"].to_numpy()
    rng = np.random.default_rng(3)
    vitals = pd.DataFrame(
        {
            "subject_id": ids,
            "age": rng.uniform(42, 68, N),
            "sex": rng.choice(["male", "female"], N),
            "vitals:last": rng.normal(135, 15, N),
            "habit": rng.choice(["current", "never"], N),
        }
    )
    vitals.loc[:9, "age"] = 35.0
    vitals.loc[10:14, "habit"] = "unknown"
    columns = [Column("age", "ehr", "years"), Column("sex", "ehr", kind="categorical"), Column("vitals:last", "ehr")]
    write_features(vitals, tmp_path / "vitals.parquet", [*columns, Column("habit", "ehr", kind="categorical")])
    labs = pd.DataFrame({"subject_id": ids[20:], "chol": rng.normal(5.6, 0.8, N - 20), "hdl": np.full(N - 20, 1.3)})
    write_features(labs, tmp_path / "labs.parquet", [Column("chol", "ehr"), Column("hdl", "ehr")])
    return tmp_path


def test_an_experiment_has_the_risks_of_the_formula_and_tells_whom_it_refused(cohort):
    folder = train(cohort, model=model(), sets=("vitals", "labs"), times=TIMES)
    found = read_predictions(folder / "predictions.parquet").set_index("subject_id").sort_index()
    assert len(found) == N
    vitals, labs = (pd.read_parquet(cohort / f"{name}.parquet").set_index("subject_id") for name in ("vitals", "labs"))
    raw = vitals.join(labs).loc[found.index]
    expected = score2(
        region="low",
        cholesterol="mmol/L",
        age=raw["age"],
        sex=raw["sex"],
        sbp=raw["vitals:last"],
        total_cholesterol=raw["chol"],
        hdl=raw["hdl"],
        smoker=raw["habit"].map({"current": 1, "never": 0}),
    )
    scored = ~expected.refused
    assert scored.sum() == N - 20
    np.testing.assert_allclose(found["risk_3650"][scored], expected.risk[scored], rtol=1e-12)
    assert set(found["modalities"][scored]) == {"ehr"}
    assert set(found["modalities"][~scored]) == {""}
    assert found["linear_predictor"].isna().all()
    # The refused share the incidence of the training rows of their fold; the order of the others is the score's.
    for _, fold in found[~scored].groupby("fold"):
        assert np.ptp(fold["risk_1826"]) == 0
    one = found[scored & (found["fold"] == 0)]
    assert (one["risk_365"].rank() == one["risk_3650"].rank()).all()
    assert (one["risk_365"] < one["risk_1826"]).all()
    record = read_record(folder / "run.json")
    counts = [fold.counts for fold in record.folds]
    assert sum(fold["test_refused"] for fold in counts) == 20
    assert sum(fold["test_refused_age_out_of_range"] for fold in counts) == 10
    assert sum(fold.get("test_refused_total_cholesterol_missing", 0) for fold in counts) == 10
    assert "clinical score" in record.architecture
    stored = load_models(folder / "models.zip")["folds"][0]
    assert set(stored["columns"]) >= set(model().needs())


def test_before_the_horizon_risks_grow_as_the_training_rows_incidence():
    rng = np.random.default_rng(0)
    time, event = np.ceil(rng.exponential(4000, 500)), rng.integers(0, 3, 500)
    block = model(inputs={}, coding={})
    columns = ["age", "sex", "sbp", "smoker", "total_cholesterol", "hdl"]
    estimator = build_estimator(model=block, causes=2, seed=1, columns=columns)
    person = [60, 0, 140, 1, 6.0, 1.2]
    x = np.array([person, [90, *person[1:]], [np.nan, *person[1:]]])
    estimator.fit(np.zeros((500, 6)), time, event, np.zeros((0, 6)), np.zeros(0), np.zeros(0))
    risks = estimator.predict(x, TIMES)
    known = score2(
        region="low", cholesterol="mmol/L", age=60, sex="male", sbp=140, smoker=1, total_cholesterol=6, hdl=1.2
    )
    null = NullModel(causes=2).fit(np.zeros((500, 6)), time, event).predict(x[:1], [*TIMES[:-1], 3650, 3652.5])[0]
    assert risks[0, 0, -1] == pytest.approx(known.risk[0], rel=1e-12)
    share = np.log(1 - null[0, 1]) / np.log(1 - null[0, -1])
    assert risks[0, 0, 1] == pytest.approx(1 - (1 - known.risk[0]) ** share)
    np.testing.assert_allclose(risks[1], null[:, :-1])
    np.testing.assert_array_equal(risks[1], risks[2])
    assert (np.diff(risks, axis=2) >= 0).all()
    assert (risks.sum(axis=1) <= 1).all()
    assert estimator.counts(x) == {"refused": 2, "refused_age_missing": 1, "refused_age_out_of_range": 1}
    with pytest.raises(DataError, match="gives the risk of 10 years, and day 5000"):
        estimator.predict(x, [5000])


def test_without_events_before_the_horizon_risks_grow_evenly():
    block = model(inputs={}, coding={})
    columns = ["age", "sex", "sbp", "smoker", "total_cholesterol", "hdl"]
    estimator = build_estimator(model=block, causes=1, seed=1, columns=columns)
    estimator.fit(np.zeros((3, 6)), np.array([9.0, 9, 9000]), np.array([0, 0, 1]), *[np.zeros(0)] * 3)
    x = np.array([[60, 0, 140, 1, 6.0, 1.2]])
    risks = estimator.predict(x, [1826, 3653])[0, 0]
    assert 1 - (1 - risks[1]) ** 0.5 == pytest.approx(risks[0], rel=1e-3)


def tables(frame):
    words = tuple(name for name in frame if frame[name].dtype == object)
    return [FeatureTable("one", "ehr", frame.set_axis([f"s{i}" for i in range(len(frame))]), words)]


RAW = pd.DataFrame(
    {"age": [50.0], "sex": ["M"], "sbp": [140.0], "smoker:ever": [1.0], "total_cholesterol": [5.5], "hdl": [1.3]}
)


def test_columns_are_found_by_their_names_and_words_by_their_meaning():
    block = model(inputs={}, coding={})
    prepared = build_preprocessing(block).fit(tables(RAW), pd.Index(["s0"]))
    design = prepared.design(tables(RAW), pd.Index(["s0"]))
    assert prepared.places_["smoker"] == ("one", "smoker:ever")
    assert dict(zip(design.columns, design.frame().iloc[0], strict=True)) == {
        "age": 50, "sex": 0, "sbp": 140, "smoker": 1, "total_cholesterol": 5.5, "hdl": 1.3,
    }  # fmt: skip
    # A condition that the score is not meant for is looked at where there is such a column.
    sick = RAW.assign(diabetes=1.0)
    prepared = build_preprocessing(block).fit(tables(sick), pd.Index(["s0"]))
    assert prepared.design(tables(sick), pd.Index(["s0"])).patterns() == [""]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sex": ["X"]}, r"1 subjects have values of sex whose meaning is not known .*coding\.sex"),
        ({"sex": [1.0]}, r"1 subjects have values of sex whose meaning is not known"),
        ({"smoker:ever": [2.0]}, r"1 subjects have values of smoker whose meaning is not known"),
        ({"age": ["fifty"]}, r"age has to be a number"),
    ],
)
def test_values_whose_meaning_nobody_said_stop_the_run(change, message):
    frame = RAW.assign(**change)
    prepared = build_preprocessing(model(inputs={}, coding={})).fit(tables(frame), pd.Index(["s0"]))
    with pytest.raises(DataError, match=message):
        prepared.design(tables(frame), pd.Index(["s0"]))


def test_columns_that_are_missing_or_in_two_sets_stop_the_run():
    with pytest.raises(DataError, match=r"input sbp: no feature set of the experiment has the column 'sbp' or"):
        build_preprocessing(model(inputs={}, coding={})).fit(tables(RAW.drop(columns="sbp")), pd.Index(["s0"]))
    twice = [*tables(RAW), FeatureTable("two", "ehr", RAW[["sbp"]].set_axis(["s0"]))]
    with pytest.raises(DataError, match=r"column 'sbp' is in the feature sets one, two.*one\.sbp"):
        build_preprocessing(model(inputs={}, coding={})).fit(twice, pd.Index(["s0"]))
    named = build_preprocessing(model(inputs={"sbp": "two.sbp"}, coding={})).fit(twice, pd.Index(["s0"]))
    assert named.places_["sbp"] == ("two", "sbp")


def test_numbers_get_the_meaning_that_the_study_gives():
    frame = RAW.assign(sex=[2.0])
    prepared = build_preprocessing(model(inputs={}, coding={"sex": {1: "male", 2: "female"}}))
    design = prepared.fit(tables(frame), pd.Index(["s0"])).design(tables(frame), pd.Index(["s0"]))
    assert design.frame()["sex"].tolist() == [1]


STUDY = {
    "study": "scores",
    "question": "Does the ECG add to SCORE2?",
    "cohort": {"source": "tables", "subjects": "subjects.csv", "events": "events.csv"},
    "endpoints": {"cvd": {"kind": "codes", "target": ["ICD10//I21"], "horizons": [1826, 3652]}},
    "feature_sets": {
        "base": {
            "modality": "ehr",
            "static": ["age", "sex", "smoker"],
            "events": [
                {"codes": ["VITAL//SBP"], "name": "sbp", "aggregates": ["last"], "unit": "mmHg"},
                {"codes": ["LAB//CHOL"], "name": "total_cholesterol", "aggregates": ["last"], "unit": "mmol/L"},
                {"codes": ["LAB//HDL"], "name": "hdl", "aggregates": ["last"], "windows": [365], "unit": "mmol/L"},
            ],
        }
    },
    "models": {
        "cox": {"kind": "cox"},
        "score2": {
            "kind": "clinical_score",
            "score": "score2",
            "region": "low",
            "units": {"cholesterol": "mmol/L"},
            "inputs": {"hdl": "hdl:last@365d"},
        },
    },
    "experiments": {"base": {"feature_sets": ["base"], "models": ["cox", "score2"]}},
    "evaluation": {"reference": "base.score2"},
}


def changed(path, value):
    config = deepcopy(STUDY)
    block = config
    *parents, last = path.split(".")
    for key in parents:
        block = block[int(key)] if isinstance(block, list) else block[key]
    if value is None:
        del block[last]
    else:
        block[last] = value
    return config


def test_a_study_with_a_score_is_allowed():
    assert parse_study(STUDY).models["score2"].needs()[0] == "age"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.score2.score", "score22", r"models.score2.score: 'score22' is not allowed.*Did you mean"),
        ("models.score2.region", None, r"score2 needs `region`: low, moderate, high, very_high"),
        ("models.score2.region", "medium", r"models.score2.region: 'medium' is not allowed.*low, moderate"),
        ("models.score2.units", None, r"give `units: \{cholesterol: mmol/L\}` or `mg/dL`"),
        ("models.score2.units", {"cholesterol": "mg/dl"}, r"'mg/dl' is not allowed.*Did you mean 'mg/dL'"),
        ("models.score2.units", {"cholesterol": "mg/dL"}, r"'total_cholesterol:last' is in 'mmol/L', and .*'mg/dL'"),
        ("models.score2.years", 30, r"score2 has no horizon of 30 years"),
        ("models.score2.outcome", "cvd", r"score2 has no `outcome`"),
        ("models.score2.inputs", {"bmi": "bmi"}, r"`inputs` names bmi, which score2 does not take"),
        ("models.score2.inputs", {}, r"models.score2.inputs.hdl: experiment base.score2 has no column 'hdl' or"),
        ("models.score2.inputs", {"hdl": "hdll:last"}, r"inputs.hdl: .* no column 'hdll:last'.*hdl:last@365d"),
        ("models.score2.coding", {"sex": {"1": 1}}, r"`coding.sex`: 1 is none of male, female"),
        ("models.score2.coding", {"age": {"old": 1}}, r"`coding` is of inputs that are words or yes and no"),
        ("endpoints.cvd.horizons", [1826], r"whose last horizon is day 1826, and score2 gives the risk of 10 years"),
        ("feature_sets.base.static", ["age", "smoker"], r"inputs.sex: experiment base.score2 has no column 'sex'"),
        ("feature_sets.base.events.0.unit", "kPa", r"column 'sbp:last' is in 'kPa', and the score takes it .*'mmHg'"),
        ("experiments.base.fusion", "late", r"base.score2.late has fusion 'late'.*Allowed fusion: early"),
        ("models.both", {"kind": "stacked", "members": ["cox", "score2"]}, r"score2 .* is not fitted"),
    ],
)  # fmt: skip
def test_impossible_scores_are_answered_before_anything_runs(path, value, message):
    with pytest.raises(StudyError, match=message):
        parse_study(changed(path, value))


def test_columns_that_the_data_decide_are_left_to_the_run():
    config = changed("feature_sets.base.static", ["age", "smoker"])
    config["feature_sets"]["base"]["events"] += [{"codes": ["X//"], "by_code": True, "aggregates": ["ever"]}]
    assert parse_study(config)


def test_prevent_needs_its_outcome_and_heart_failure_the_body_mass_index():
    block = {"kind": "clinical_score", "score": "prevent"}
    with pytest.raises(ValueError, match="prevent needs `outcome`"):
        ClinicalScoreModel.model_validate(block)
    found = ClinicalScoreModel.model_validate({**block, "outcome": "hf", "years": 30})
    assert "bmi" in found.needs()
    assert "hdl" not in found.needs()
    assert found.days == 30 * 365.25
    assert (
        "uacr" in ClinicalScoreModel.model_validate({**block, "outcome": "hf", "years": 30, "variant": "uacr"}).needs()
    )
    with pytest.raises(ValueError, match="variant uacr is of prevent and the outcomes cvd, ascvd and hf"):
        ClinicalScoreModel.model_validate({**block, "outcome": "chd", "variant": "uacr"})


def test_variants_of_prevent_come_from_the_block():
    kept = {"kind": "clinical_score", "score": "prevent", "outcome": "hf", "variant": "full"}
    block = ClinicalScoreModel.model_validate(kept)
    person = {
        "age": 50, "sex": 1, "sbp": 160, "smoker": 0, "diabetes": 1, "bp_treated": 1, "egfr": 90, "bmi": 35,
        "hba1c": 7.5, "uacr": 40, "sdi": 8,
    }  # fmt: skip
    assert set(block.needs()) == set(person)
    found = score_of(block, np.array([[person[name] for name in block.needs()]], dtype=float), list(block.needs()))
    expected = prevent(**{**person, "sex": "female"}, outcome="hf", variant="full")
    np.testing.assert_array_equal(found.risk, expected.risk)


def test_the_study_of_the_page_is_allowed():
    page = (Path(__file__).parents[2] / "docs/clinical-scores.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE).group(1))
    shown["endpoints"]["cvd"]["target"] = ["ICD10//I21"]
    shown["models"]["cox"] = {"kind": "cox"}
    study = parse_study({**{key: STUDY[key] for key in ("study", "question", "cohort")}, **shown})
    assert study.models["score2"].score == "score2_by_age"
    script = re.search(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE).group(1)
    scope = {}
    exec(compile(script, "docs/clinical-scores.md", "exec"), scope)
    assert scope["scored"].counts() == {"age_out_of_range": 1}
    assert round(scope["scored"].risk[0], 4) == 0.0591

"""The study file: what a valid one parses to, and the matrix of experiments it stands for."""

import sys
from copy import deepcopy
from itertools import combinations

import pytest
import yaml
from pydantic import ValidationError

from riskweave.errors import StudyError
from riskweave.study.study import load_study, parse_study

STUDY = yaml.safe_load("""
study: demo
question: Which modality predicts myocardial infarction?
cohort: {source: synthetic, subjects: 200}
endpoints:
  mi: {kind: codes, target: [ICD10//I21], competing: [MEDS_DEATH], horizons: [365, 1825]}
  death: {kind: codes, target: [MEDS_DEATH], horizons: [1825]}
folds: {count: 3, stratify: mi}
feature_sets:
  age_sex: {modality: ehr, static: [age, sex]}
  history: {modality: ehr, events: [{codes: [ICD10//], by_code: true, aggregates: [ever]}]}
  ecg: {modality: ecg, encoder: {blocks: 3}}
  image: {modality: image}
models:
  cox: {kind: cox}
  forest: {kind: random_survival_forest, trees: 50}
experiments:
  age_sex: {feature_sets: [age_sex], models: [cox]}
  subsets: {all_subsets_of: [history, ecg, image], always: [age_sex], models: [cox, forest], endpoints: [mi]}
evaluation: {reference: age_sex.cox}
objectives:
  gain:
    description: All modalities together beat age and sex.
    endpoint: mi
    experiment: history+ecg+image.cox
    compared_with: age_sex.cox
    above: 0
""")


@pytest.fixture
def config():
    return deepcopy(STUDY)


def test_values_and_defaults_are_read(config):
    study = parse_study(config)
    assert study.cohort.subjects == 200
    assert study.folds.count == 3
    assert study.feature_sets["ecg"].encoder.blocks == 3
    assert study.feature_sets["ecg"].sampling_rate == 100
    assert study.models["forest"].trees == 50
    assert study.seed == 1


def test_a_partial_training_block_keeps_the_defaults_of_its_owner(config):
    config["models"]["net"] = {"kind": "logistic_hazard", "training": {"batch_size": 128}}
    config["feature_sets"]["pictures"] = {"modality": "image", "encoder": {"training": {"epochs": 3}}}
    config["fusions"] = {"whole": {"kind": "joint", "training": {"epochs": 2}}}
    study = parse_study(config)
    net, encoder = study.models["net"].training, study.feature_sets["pictures"].encoder.training
    assert (net.batch_size, net.epochs, net.patience, net.learning_rate) == (128, 100, 10, 3e-3)
    assert (encoder.epochs, encoder.patience, encoder.batch_size) == (3, 5, 32)
    assert (study.fusions["whole"].training.epochs, study.fusions["whole"].training.patience) == (2, 3)


def test_subsets_are_expanded_over_sets_models_and_endpoints(config):
    found = [e for e in parse_study(config).matrix() if e.endpoint == "mi" and e.name != "age_sex.cox"]
    sets = [subset for size in (1, 2, 3) for subset in combinations(["history", "ecg", "image"], size)]
    expected = {
        ("+".join(subset) + f".{model}", ("age_sex", *subset)) for subset in sets for model in ("cox", "forest")
    }
    assert {(e.name, e.feature_sets) for e in found} == expected
    assert len(found) == 14


def test_a_block_without_endpoints_predicts_all_of_them(config):
    study = parse_study(config)
    assert [e.name for e in study.of_endpoint("death")] == ["age_sex.cox"]
    assert study.experiment("mi", "ecg+image.forest").feature_sets == ("age_sex", "ecg", "image")


def test_the_matrix_follows_the_order_of_the_file(config):
    assert parse_study(config).matrix() == parse_study(deepcopy(config)).matrix()
    assert [e.name for e in parse_study(config).matrix()][:4] == [
        "age_sex.cox",
        "age_sex.cox",
        "history.cox",
        "history.forest",
    ]


def test_experiments_are_unique_within_their_endpoint(config):
    found = [(e.endpoint, e.name) for e in parse_study(config).matrix()]
    assert len(found) == len(set(found))


def test_feature_sets_that_no_experiment_uses_are_not_made(config):
    config["feature_sets"]["spare"] = {"modality": "ecg", "encoder": {}}
    study = parse_study(config)
    assert study.sets_of("ecg") == ["ecg"]
    assert study.encoders() == ["ecg", "image"]


def test_the_time_grid_is_even_and_holds_the_horizons(config):
    grid = parse_study(config).endpoints["mi"].time_grid()
    assert {365, 1825} <= set(grid)
    assert grid == sorted(set(grid))
    assert grid[0] > 0
    assert grid[-1] == 1825
    assert len(grid) in (20, 21)


def test_a_study_does_not_change_once_read(config):
    with pytest.raises(ValidationError, match="frozen"):
        parse_study(config).seed = 2


def test_a_saved_study_reads_back_to_the_same(config, tmp_path):
    study = parse_study(config)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study.model_dump(mode="json")), encoding="utf-8")
    assert load_study(path) == study


def test_the_order_of_keys_changes_no_experiment(config):
    turned = {key: config[key] for key in reversed(config)}
    assert parse_study(turned) == parse_study(config)


def test_tables_need_no_dates_where_nothing_is_dated(config):
    config["cohort"] = {
        "source": "tables",
        "subjects": "subjects.csv",
        "columns": {"index_time": None, "followup_end": None},
    }
    config["endpoints"] = {"mi": {"kind": "columns", "time": "days", "event": "event", "horizons": [365]}}
    config["feature_sets"] = {"age_sex": config["feature_sets"]["age_sex"]}
    config["experiments"] = {"age_sex": config["experiments"]["age_sex"]}
    del config["objectives"]
    assert [e.name for e in parse_study(config).matrix()] == ["age_sex.cox"]


def test_every_shipped_study_is_valid(repository):
    shipped = sorted([*repository.glob("config/*.yaml"), *repository.glob("config/studies/*.yaml")])
    assert shipped
    for path in shipped:
        assert load_study(path).matrix(), path
        assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema="), path


def test_the_forest_needs_its_extra(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "sksurv", None)
    with pytest.raises(StudyError, match=r"models\.forest: .* pip install 'riskweave\[forest\]'"):
        parse_study(config)
    config["experiments"]["subsets"]["models"] = ["cox"]
    assert parse_study(config).models["forest"].kind == "random_survival_forest"


def test_required_keys_are_required():
    with pytest.raises(StudyError, match="question: this key is required"):
        parse_study({"study": "demo"})

"""The JSON Schema and the reference page: equal to the code, complete, and in agreement with the checks."""

import json
from copy import deepcopy

import jsonschema
import pytest
from study_mistakes import STUDY, put

from riskweave.errors import StudyError
from riskweave.study.reference import main, page, render, schema
from riskweave.study.study import parse_study

SCHEMA = schema()
BLOCKS = {"Study": SCHEMA, **SCHEMA["$defs"]}


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def reference_page():
    return page()


def test_the_committed_files_are_up_to_date(repository):
    for name, content in render().items():
        committed = (repository / name).read_text(encoding="utf-8")
        assert committed == content, f"{name} is out of date: run python -m riskweave.study.reference"


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_and_key_is_described(block):
    content = BLOCKS[block]
    assert content["description"]
    assert content["additionalProperties"] is False
    for key, node in content["properties"].items():
        described = node.get("description") or BLOCKS[node["$ref"].rsplit("/", 1)[-1]]["description"]
        assert described.endswith("."), f"{block}.{key}"


@pytest.mark.parametrize("block", BLOCKS)
def test_every_key_is_on_the_page(block, reference_page):
    for key in BLOCKS[block]["properties"]:
        assert f"| `{key}` |" in reference_page


def test_schema_and_checks_accept_the_same_study(validator):
    validator.validate(STUDY)
    assert parse_study(deepcopy(STUDY))


def test_the_schema_accepts_a_study_with_all_defaults_written_out(validator):
    validator.validate(parse_study(deepcopy(STUDY)).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cohort.subjects", 3),
        ("cohort.subject", 100),
        ("endpoints.Heart Attack", {"kind": "codes", "target": ["x"], "horizons": [1]}),
        ("endpoints.mi.horizons", []),
        ("feature_sets.ecg.modality", "egc"),
        ("feature_sets.ecg.encoder.training.epochs", 0),
        ("models.forest.max_features", 1.5),
        ("evaluation.confidence", 1),
        ("experiments", {}),
    ],
)
def test_schema_and_checks_refuse_the_same(key, value, validator):
    config = deepcopy(STUDY)
    put(key, value)(config)
    assert not validator.is_valid(config)
    with pytest.raises(StudyError):
        parse_study(config)


def test_the_command_writes_and_checks(tmp_path, capsys):
    assert main(["--check"], root=tmp_path) == 1
    assert "out of date" in capsys.readouterr().out
    assert main([], root=tmp_path) == 0
    assert main(["--check"], root=tmp_path) == 0
    assert json.loads((tmp_path / "config/study.schema.json").read_text(encoding="utf-8")) == SCHEMA

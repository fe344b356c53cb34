"""Code lists: files with source and version, named in a study and resolved when it is parsed."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from riskweave.cohort.codes import matches
from riskweave.errors import StudyError
from riskweave.study.codes import read_code_list, resolve_lists
from riskweave.study.study import parse_study

DEMO = Path(__file__).parents[2] / "config/config.yaml"
LIST = {"source": "ICD-10-CM 2025", "version": "1", "codes": {"ICD10//I21": "Infarction", "ICD10//I22": "Another"}}


@pytest.fixture
def mi(tmp_path) -> str:
    path = tmp_path / "mi.yaml"
    path.write_text(yaml.safe_dump(LIST))
    return str(path)


def test_a_list_stands_for_its_codes(mi):
    study = yaml.safe_load(DEMO.read_text()) | {"code_lists": {"mi": mi}}
    study["endpoints"]["mi"] |= {"target": ["@mi", "ICD10//I25"]}
    parsed = parse_study(study)
    assert parsed.endpoints["mi"].target == ["ICD10//I21", "ICD10//I22", "ICD10//I25"]
    assert parsed.code_lists == {"mi": mi}


def test_a_list_among_competing_events_is_one_cause(mi):
    given = {"code_lists": {"mi": mi}, "endpoints": {"death": {"competing": ["MEDS_DEATH", "@mi", ["A", "@mi"]]}}}
    made = resolve_lists(given)["endpoints"]["death"]["competing"]
    assert made == ["MEDS_DEATH", ["ICD10//I21", "ICD10//I22"], ["A", "ICD10//I21", "ICD10//I22"]]


def test_aggregates_of_a_single_list_are_named_after_it(mi):
    block = {"codes": ["@mi"], "aggregates": ["ever"]}
    given = {
        "code_lists": {"mi": mi},
        "events": [block, block | {"name": "own"}, block | {"by_code": True}, block | {"codes": ["@mi", "B"]}],
    }
    assert [made.get("name") for made in resolve_lists(given)["events"]] == ["mi", "own", None, None]


def test_what_is_no_code_stays_as_it_is(mi):
    given = {"code_lists": {"mi": mi}, "question": "@mi", "report": {"columns": ["@mi"]}, "seed": 1}
    assert resolve_lists(given) == given


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LIST | {"codes": []}, "needs at least one code"),
        (LIST | {"codes": [410]}, "put numbers such as 410 or 041.2 in quotes"),
        (LIST | {"codes": ["I21", "I21"]}, "names I21 twice"),
        (LIST | {"version": 2}, "says its `version`, as text in quotes"),
        ({"codes": ["I21"]}, "says its `source`"),
        (LIST | {"code": []}, "unknown key 'code'"),
    ],
)
def test_a_list_that_cannot_be_used_is_answered(tmp_path, content, said):
    path = tmp_path / "list.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(StudyError, match=r"list\.yaml") as error:
        read_code_list(path)
    assert said in str(error.value)


def test_an_unknown_list_is_answered_with_the_nearest(mi):
    with pytest.raises(StudyError, match=r"endpoints\.mi\.target: there is no code list 'mii'\. Did you mean 'mi'"):
        resolve_lists({"code_lists": {"mi": mi}, "endpoints": {"mi": {"target": ["@mii"]}}})
    with pytest.raises(StudyError, match="Allowed: none: add it under `code_lists`"):
        resolve_lists({"endpoints": {"mi": {"target": ["@mi"]}}})


def test_a_missing_file_is_answered():
    with pytest.raises(StudyError, match=r"nowhere\.yaml: there is no such code list"):
        resolve_lists({"code_lists": {"mi": "nowhere.yaml"}, "endpoints": {"mi": {"target": ["@mi"]}}})


def test_patterns_match_by_prefix_or_exactly():
    codes = pd.Series(["LAB//5", "LAB//50", "DX//I21", "I21"])
    assert matches(codes, ["LAB//5$", "I2"]).tolist() == [True, False, False, True]
    assert matches(codes, ["LAB//5"]).tolist() == [True, True, False, False]
    assert matches(codes, ["X$"]).tolist() == [False] * 4

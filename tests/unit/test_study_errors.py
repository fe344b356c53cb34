"""Mistakes in a study file: each is answered with key, value, what is allowed and the nearest name, in plain words."""

import re
from copy import deepcopy

import pytest
import yaml
from study_mistakes import MISTAKES, STUDY, put
from study_mistakes_together import MISTAKES_TOGETHER

from riskweave.errors import StudyError
from riskweave.study.study import load_study, parse_study

JARGON = re.compile(
    r"pydantic|Input should|Extra inputs|Field required|Value error|validation error|\[key\]|\[type=|discriminator|"
    r"literal\[|constrained-|<class|tuple|dictionary|union|mi\.codes\b|ecg\.ecg\b|age_sex\.ehr\b|cohort\.synthetic\b|"
    r"model_|string_type|None"
)


def test_the_study_without_mistakes_is_valid():
    assert parse_study(deepcopy(STUDY))


@pytest.mark.parametrize("mistake", [*MISTAKES, *MISTAKES_TOGETHER])
def test_a_mistake_is_answered(mistake):
    change, said = (MISTAKES | MISTAKES_TOGETHER)[mistake]
    config = deepcopy(STUDY)
    change(config)
    with pytest.raises(StudyError) as caught:
        parse_study(config, "study.yaml")
    message = str(caught.value)
    assert message.startswith("study.yaml cannot be used:\n  ")
    assert len(message.splitlines()) == 2, f"one mistake, one line: {message}"
    assert [text for text in said if text not in message] == [], message
    assert not JARGON.search(message), message


def test_all_mistakes_are_told_at_once():
    config = deepcopy(STUDY)
    put("folds.count", 1)(config)
    put("cohort.subjects", 3)(config)
    put("modles", {})(config)
    with pytest.raises(StudyError) as caught:
        parse_study(config)
    assert len(str(caught.value).splitlines()) == 4


FILES = {
    "a tab": ("study: demo\n\tquestion: q\n", ["is not valid YAML", "line 2, column 1"]),
    "an open bracket": ("study: demo\nmodels: {cox: {kind: cox}\nseed: 1\n", ["is not valid YAML", "line 3"]),
    "a list": ("- study: demo\n", ["a study file is a YAML mapping of keys to values"]),
    "nothing": ("", ["a study file is a YAML mapping of keys to values"]),
    "a key given twice": (
        "study: demo\nmodels:\n  cox: {kind: cox}\n  cox: {kind: cox, penalty: [1]}\n",
        ["line 4, column 3", "the key 'cox' is given twice"],
    ),
}


@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_no_study_is_answered_with_its_place(content, tmp_path):
    text, said = FILES[content]
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert [words for words in said if words not in message] == [], message
    assert len(message.splitlines()) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"stduy\.yaml: there is no such study file"):
        load_study(tmp_path / "stduy.yaml")


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes("study: demo\nquestion: Wer hört?\n".encode("latin-1"))
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(path)


def test_yaml_anchors_and_merge_keys_still_work(tmp_path):
    path = tmp_path / "study.yaml"
    text = yaml.safe_dump(STUDY | {"endpoints": {}}, sort_keys=False).replace(
        "endpoints: {}",
        "endpoints:\n  mi: &mi {kind: codes, target: [A], horizons: [365]}\n  late: {<<: *mi, horizons: [1825]}",
    )
    path.write_text(text.replace("count: 3", "count: 3\n  stratify: mi"), encoding="utf-8")
    study = load_study(path)
    assert study.endpoints["late"].horizons == [1825]
    assert study.endpoints["late"].target == ["A"]

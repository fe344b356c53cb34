"""The page of the cohort language: its examples are studies, and its code lists can be read."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from riskweave.study.codes import read_code_list
from riskweave.study.study import parse_study

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/population.md").read_text(encoding="utf-8"), flags=re.DOTALL)
LISTS = sorted((ROOT / "config/codes").glob("*.yaml"))

REST = yaml.safe_load("""
study: example
question: What does the page promise?
cohort: {source: omop, path: data}
endpoints: {death: {kind: codes, target: [MEDS_DEATH], horizons: [365]}}
feature_sets: {static: {modality: ehr, static: [age]}}
models: {cox: {kind: cox}}
experiments: {static: {feature_sets: [static], models: [cox]}}
evaluation: {reference: static.cox}
""")


def test_the_page_has_examples():
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_is_a_study(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = yaml.safe_load(block)
    study = parse_study(deepcopy(REST) | given)
    for key in set(given) - {"code_lists"}:
        assert getattr(study, key) is not None


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_code_list_is_spelt_as_mimic_spells_diagnoses(path):
    for code in read_code_list(path):
        assert re.fullmatch(r"DIAGNOSIS//ICD//(10//[A-Z]\d{2}\w*|9//\d{3,5})\$?", code)


def test_there_are_code_lists():
    assert len(LISTS) >= 3

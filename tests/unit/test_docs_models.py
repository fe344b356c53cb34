"""docs/models.md: a section for every kind of model, and an example that the study takes."""

import re
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from riskweave.study.experiments import ExperimentBlock
from riskweave.study.models import Model
from riskweave.survival.implementations import ESTIMATORS, HEADS

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")


def test_every_kind_has_a_section_and_a_row():
    sections = set(re.findall(r"^### (\w+)$", PAGE, flags=re.MULTILINE))
    assert sections >= set(ESTIMATORS) | set(HEADS)
    assert set(re.findall(r"^\| \[`(\w+)`\]", PAGE, flags=re.MULTILINE)) == sections


def test_the_example_is_a_part_of_a_study():
    example = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE).group(1))
    for block in example["models"].values():
        TypeAdapter(Model).validate_python(block)
    for block in example["experiments"].values():
        assert set(block["models"]) <= set(example["models"])
        TypeAdapter(ExperimentBlock).validate_python(block)

"""The examples of docs/sources.md are blocks that a study may hold."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from riskweave.study.population import Population
from riskweave.study.sources import Cohort

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
ADAPTERS = {"cohort": TypeAdapter(Cohort), "population": TypeAdapter(Population)}


@pytest.mark.parametrize("text", BLOCKS)
def test_example_is_valid(text):
    content = yaml.safe_load(text)
    checked = [adapter.validate_python(content[key]) for key, adapter in ADAPTERS.items() if key in content]
    assert checked


def test_every_source_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    sources = ["tables", "meds", "omop", "mimic_iv", "public", "nafld", "synthetic"]
    assert [name for name in sources if not re.search(rf"^\| \[?`{name}`", page, flags=re.MULTILINE)] == []

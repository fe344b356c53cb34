"""The notebooks as they are committed: without outputs, short, and reading results through the loader alone."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_four_and_the_readme_names_them():
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"explore_cohort", "compare_experiments", "explain_model", "look_at_subject"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"notebooks/{name}.ipynb" not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_it_has_no_outputs(self, path):
        assert [cell.source for cell in code_of(path) if cell.outputs or cell.execution_count is not None] == []

    def test_the_study_is_named_in_the_first_cell_of_code_and_nowhere_else(self, path):
        first, *others = code_of(path)
        assert 'STUDY = os.environ.get("RISKWEAVE_STUDY", "demo")' in first.source
        assert [cell.source for cell in others if "demo" in cell.source] == []

    def test_it_reads_results_through_the_loader(self, path):
        around = re.compile(r"read_parquet|read_csv|\bopen\(|\bPath\b|results/")
        assert [cell.source for cell in code_of(path) if around.search(cell.source)] == []

    def test_its_cells_are_short(self, path):
        assert [cell.source for cell in code_of(path) if len(cell.source.splitlines()) > 16] == []

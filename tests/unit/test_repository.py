"""The house rules that a reader relies on, checked on the files of the repository themselves."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import riskweave

ROOT = Path(__file__).parents[2]


def _tracked():
    """Return the files that are, or could be, committed."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


TRACKED = _tracked()
CODE = [path for path in TRACKED if path.suffix in {".py", ".smk"} or path.name == "Snakefile"]
MODULES = [path for path in CODE if path.is_relative_to(ROOT / "src")]


def _name(path):
    return str(path.relative_to(ROOT))


def _text(path):
    """Return the content, or nothing for a file that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def _imports(path):
    """Yield the module names that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_file_of_code_is_long():
    assert {_name(path): lines for path in CODE if (lines := len(_text(path).splitlines())) >= 400} == {}


def test_no_function_is_long():
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(_text(path))):
            if isinstance(node, ast.FunctionDef) and node.body:
                first = node.body[0]
                doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                start = node.body[1].lineno if doc and len(node.body) > 1 else first.lineno
                if node.end_lineno - start + 1 > 60:
                    long[f"{_name(path)}:{node.name}"] = node.end_lineno - start + 1
    assert long == {}


def test_no_file_is_large():
    assert [_name(path) for path in TRACKED if path.stat().st_size > 2_000_000] == []


# Written in pieces, so that this file does not hold what it looks for.
HOSTS = [".".join(parts) for parts in (
    ("pypi", "org"), ("files", "python" "hosted", "org"), ("conda", "anaconda", "org"), ("repo", "anaconda", "com"),
    ("download", "pytorch", "org"), ("registry", "npmjs", "org"), ("test", "pypi", "org"),
)]  # fmt: skip
FOLDERS = ["/" + folder + "/" for folder in ("work", "home", "root", "Users", "mnt", "tmp", "var", "scratch")]


@pytest.mark.parametrize("host", HOSTS)
def test_no_file_names_a_package_registry(host):
    assert [_name(path) for path in TRACKED if host in _text(path)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_holds_an_absolute_path(folder):
    pattern = re.compile(rf"(?<![\w.)}}\]*-]){re.escape(folder)}")
    assert [_name(path) for path in TRACKED if pattern.search(_text(path))] == []


def test_results_and_environments_are_not_committed():
    made = ("results", ".venv", ".snakemake", "mlruns")
    assert [_name(path) for path in TRACKED if path.relative_to(ROOT).parts[0] in made] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_it_is_for_and_what_is_public(path):
    tree = ast.parse(_text(path))
    assert ast.get_docstring(tree), "module without docstring"
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets)
    ]
    if path.name == "__init__.py" and not lists:
        return
    assert len(lists) == 1, "module without __all__"
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert sorted(defined - set(lists[0])) == [], "public and not in __all__: list it, or start its name with _"


def test_the_package_does_not_import_snakemake():
    assert [_name(path) for path in MODULES if any(n.split(".")[0] == "snakemake" for n in _imports(path))] == []


ABOVE = {
    "study": [
        "cohort",
        "modalities",
        "networks",
        "survival",
        "evaluation",
        "tracking",
        "synthetic",
        "explain",
        "leaks",
        "report",
    ],
    "networks": ["study", "cohort", "modalities", "survival", "evaluation", "tracking", "synthetic", "explain"],
    "tracking": ["cohort", "modalities", "networks", "survival", "evaluation", "synthetic", "explain"],
    "evaluation": ["modalities", "networks", "tracking", "synthetic", "leaks", "report"],
    "cohort": ["modalities", "networks", "survival", "evaluation", "explain", "leaks", "report"],
    "leaks": ["networks", "survival", "evaluation", "tracking", "explain", "report"],
    "report": ["networks", "survival", "tracking", "explain"],
}


@pytest.mark.parametrize("room", ABOVE)
def test_rooms_import_in_one_direction(room):
    for path in MODULES:
        if path.parent.name == room or f"riskweave/{room}/" in path.as_posix():
            found = [n for n in _imports(path) for other in ABOVE[room] if f"{n}.".startswith(f"riskweave.{other}.")]
            assert found == [], _name(path)


def test_the_study_stays_light():
    code = "import json, sys, riskweave.study.study, riskweave.study.raw; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    heavy = {"torch", "mlflow", "pandas", "numpy", "pyarrow", "sklearn", "snakemake"}
    assert heavy & {name.split(".")[0] for name in json.loads(done.stdout)} == set()


def test_every_rule_that_runs_a_script_has_it_and_every_script_its_rule():
    rules = "\n".join(_text(path) for path in CODE if path.suffix == ".smk")
    used = set(re.findall(r'"\.\./scripts/(\w+)\.py"', rules))
    assert used == {path.stem for path in ROOT.glob("workflow/scripts/*.py")}


def test_the_version_is_one():
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    citation = yaml.safe_load(_text(ROOT / "CITATION.cff"))
    assert riskweave.__version__ == project["version"] == citation["version"]


def _targets():
    return set(re.findall(r"^([a-z][a-z-]*):", _text(ROOT / "Makefile"), flags=re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_make_commands_of_the_pages_exist(page):
    commands = re.findall(r"^\s*make ([a-z -]+?)\s*(?:#.*)?$|`make ([a-z -]+)`", _text(ROOT / page), flags=re.MULTILINE)
    named = {target for pair in commands for target in " ".join(pair).split()}
    assert named
    assert named <= _targets()


def test_every_target_of_the_makefile_is_explained():
    makefile = _text(ROOT / "Makefile")
    explained = set(re.findall(r"^([a-z][a-z-]*):.*  ## \S", makefile, flags=re.MULTILINE))
    assert explained == _targets()


def test_continuous_integration_runs_the_test_command_of_the_readme():
    assert "make test" in _text(ROOT / "README.md")
    assert re.search(r"^make test$", _text(ROOT / ".ci/run"), flags=re.MULTILINE)


def test_links_between_the_pages_lead_somewhere():
    link = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
    pages = [path for path in TRACKED if path.suffix == ".md"]
    links = [(path, target) for path in pages for target in link.findall(_text(path))]
    assert [f"{_name(path)} -> {target}" for path, target in links if not (path.parent / target).exists()] == []

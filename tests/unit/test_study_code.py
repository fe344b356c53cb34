"""Which files a script depends on, against what Python itself imports; fingerprints of raw files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from riskweave.errors import StudyError
from riskweave.study.code import code_of
from riskweave.study.cohort import TablesSource
from riskweave.study.raw import fingerprint, raw_files


@pytest.fixture
def source(tmp_path):
    package = tmp_path / "src/riskweave"
    for name, content in {
        "__init__": "",
        "errors": "",
        "a/__init__": "",
        "a/one": "from riskweave.a.two import f\nimport riskweave.errors",
        "a/two": "def f():\n    from riskweave.b import deep\n    return deep",
        "a/unused": "",
        "b/__init__": "",
        "b/deep": "from . import sibling",
        "b/sibling": "",
        "b/plugin": "import riskweave.a.two",
        "tracking/__init__": "",
        "tracking/store": "import riskweave.a.unused",
    }.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "src"


def names(files: list[str], source: Path) -> set[str]:
    return {Path(file).relative_to(source / "riskweave").with_suffix("").as_posix() for file in files[1:]}


def test_imports_are_followed_wherever_they_stand(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import numpy\nfrom riskweave.a import one\nfrom riskweave.tracking.store import x\n")
    files = code_of(script, source)
    assert files[0] == str(script)
    assert names(files, source) == {
        "__init__", "a/__init__", "a/one", "a/two", "b/__init__", "b/deep", "b/sibling",
    }  # fmt: skip


def test_implementations_imported_by_name_are_added(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import json\n")
    assert names(code_of(script, source, ["riskweave.b.plugin"]), source) >= {"b/plugin", "a/two", "b/deep"}
    with pytest.raises(FileNotFoundError, match=r"riskweave\.b\.missing"):
        code_of(script, source, ["riskweave.b.missing"])


@pytest.mark.parametrize("script", ["define_outcomes", "assign_folds", "draw_evaluation", "aggregate_events"])
def test_no_module_that_python_loads_is_missing(repository, script):
    """Importing what a script imports must load no module of the package that the list lacks."""
    path = repository / f"workflow/scripts/{script}.py"
    listed = {Path(file).resolve() for file in code_of(path, repository / "src")}
    imports = [line for line in path.read_text().splitlines() if line.startswith("from riskweave")]
    show = "import sys; print('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'riskweave'))"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, show])], capture_output=True, text=True, check=True, timeout=120
    )
    left_out = ("/tracking/", "/jobs.py", "/errors.py")
    loaded = {Path(file).resolve() for file in done.stdout.split() if not any(part in file for part in left_out)}
    assert loaded <= listed


def test_fingerprint_follows_content_and_not_times(tmp_path):
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file in files:
        file.write_text(file.name)
    cache = tmp_path / "cache.sqlite"
    first = fingerprint(files, cache)
    os.utime(files[0], (1, 1))
    assert fingerprint(files, cache) == first
    assert fingerprint(list(reversed(files)), tmp_path / "other.sqlite") == first
    files[1].write_text("other")
    changed = fingerprint(files, cache)
    assert changed != first
    files[1].write_text("b.csv")
    assert fingerprint(files, cache) == first


def test_raw_files_of_a_manifest_are_the_files_behind_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ecg").mkdir()
    for name in ("ecg/r1.hea", "ecg/r1.dat", "ecg/r10.hea", "subjects.csv"):
        Path(name).write_text(name)
    Path("ecg/manifest.csv").write_text("subject_id,time,path\n1,2020-01-01,r1\n2,2020-01-01,missing\n")
    cohort = TablesSource(source="tables", subjects="subjects.csv", recordings="ecg/manifest.csv")
    assert raw_files(cohort) == {
        "subjects": [Path("subjects.csv")],
        "recordings": [Path("ecg/manifest.csv"), Path("ecg/r1.dat"), Path("ecg/r1.hea")],
    }


def test_a_missing_table_is_answered_with_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"cohort\.subjects: there is no file 'subjects\.csv'"):
        raw_files(TablesSource(source="tables", subjects="subjects.csv"))

"""Which files a script depends on, against what Python itself imports; fingerprints of raw files."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.manifests import record_files
from riskweave.errors import StudyError
from riskweave.study import code
from riskweave.study.code import NOT_RESULTS, code_of
from riskweave.study.features import EhrFeatures, ImageFeatures
from riskweave.study.raw import fingerprint, raw_files, weights_file
from riskweave.study.sources import MedsSource, MimicSource, NafldSource, OmopSource, TablesSource


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


def test_what_is_remembered_is_what_the_sources_hold_now(source, tmp_path, monkeypatch):
    script, memory = tmp_path / "script.py", tmp_path / "memory/imports.json"
    script.write_text("from riskweave.a import one\n")

    def read() -> list[str]:
        for function in (code._direct, code._file_of, code._remembered):
            function.cache_clear()
        return code_of(script, source, memory=memory)

    first = read()
    assert first == code_of(script, source)
    parsed, parse = [], code.ast.parse
    monkeypatch.setattr(code.ast, "parse", lambda text, filename: parsed.append(Path(filename).name) or parse(text))
    assert (read(), parsed) == (first, [])
    (source / "riskweave/a/one.py").write_text("from riskweave.a.two import f\nimport riskweave.b.plugin")
    assert "b/plugin" in names(read(), source)
    assert set(parsed) == {"one.py", "plugin.py"}
    # The same text is another import in another package.
    (source / "riskweave/a/sibling.py").touch()
    (source / "riskweave/a/two.py").write_text((source / "riskweave/b/deep.py").read_text())
    assert "a/sibling" in names(read(), source)
    for broken in ("", "[]", '{"'):
        memory.write_text(broken)
        assert read() == code_of(script, source)
        assert len(memory.read_text()) > 100


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
    around = [f"/{name.replace('.', '/')}" for name in NOT_RESULTS]
    left_out = [*(f"{part}.py" for part in around), *(f"{part}/" for part in around)]
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


def recordings(manifest: str) -> list[str]:
    cohort = TablesSource(source="tables", subjects="subjects.csv", recordings=manifest)
    return [path.as_posix() for path in raw_files(cohort)["recordings"][1:]]


@pytest.fixture
def ecg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ecg").mkdir()
    for name in ("subjects.csv", "ecg/r1.hea", "ecg/r1.dat", "ecg/r[1].hea", "ecg/r[1].dat", "ecg/r10.dat"):
        Path(name).write_text("not a header")
    return Path("ecg")


def test_a_record_is_named_with_or_without_its_suffix(ecg):
    (ecg / "m.csv").write_text("subject_id,time,path\n1,2020-01-01,r1.hea\n2,2020-01-01,r[1]\n")
    assert recordings("ecg/m.csv") == ["ecg/r1.dat", "ecg/r1.hea", "ecg/r[1].dat", "ecg/r[1].hea"]


def test_manifests_are_read_in_all_accepted_forms(ecg):
    text = "subject_id,path\n1,r1\n2,\n3\n"
    (ecg / "m.CSV").write_text("\ufeff" + text, encoding="utf-8")
    with gzip.open(ecg / "m.csv.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    pq.write_table(pa.table({"path": ["r1", None, ""]}), ecg / "m.PARQUET")
    for name in ("m.CSV", "m.csv.gz", "m.PARQUET"):
        assert recordings(f"ecg/{name}") == ["ecg/r1.dat", "ecg/r1.hea"], name


def test_a_manifest_that_cannot_be_read_is_left_to_its_reader(ecg):
    (ecg / "field.csv").write_text("path\nr1\n" + "x" * 200_000 + "\n")
    assert recordings("ecg/field.csv") == ["ecg/r1.dat", "ecg/r1.hea"]
    (ecg / "no.csv.gz").write_text("path\nr1\n")
    (ecg / "cut.csv.gz").write_bytes(gzip.compress(b"path\nr1\n" * 99)[:12])
    (ecg / "no.parquet").write_text("path\nr1\n")
    pq.write_table(pa.table({"file": ["r1"]}), ecg / "column.parquet")
    pq.write_table(pa.table({"path": [1]}), ecg / "number.parquet")
    for name in ("no.csv.gz", "cut.csv.gz", "no.parquet", "column.parquet", "number.parquet"):
        assert recordings(f"ecg/{name}") == [], name


def test_files_that_a_header_names_belong_to_the_record(ecg):
    """What the reader of the manifest fingerprints, multi-segment records included, is what is found here."""
    for name in ("signals.bin", "s1.dat", "s2.dat"):
        (ecg / name).write_bytes(b"\0")
    (ecg / "other.hea").write_text("# a comment\nother 2 500 100\nsignals.bin 16\nsignals.bin 16\n# <age> 60\n")
    (ecg / "long.hea").write_text("long/3 1 500 300\ns1 100\n~ 100\ns2 100\n")
    for name in ("s1", "s2"):
        (ecg / f"{name}.hea").write_text(f"{name} 1 500 100\n{name}.dat 16\n")
    (ecg / "m.csv").write_text("path\nother\nlong\n")
    read = {file for name in ("other", "long") for file in record_files(ecg / name)}
    assert recordings("ecg/m.csv") == sorted(path.as_posix() for path in read)
    assert len(read) == 7


def test_a_folder_is_listed_once(ecg, monkeypatch):
    (ecg / "m.csv").write_text("path\n" + "".join(f"r{number}\n" for number in range(50)))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    assert recordings("ecg/m.csv") == ["ecg/r1.dat", "ecg/r1.hea", "ecg/r10.dat"]
    assert listed == [ecg]


def test_weights_of_an_encoder_are_a_file_or_none(tmp_path):
    def block(weights):
        return ImageFeatures(modality="image", encoder={"weights": weights})

    path = tmp_path / "weights.pt"
    path.write_bytes(b"")
    assert weights_file("xray", block(str(path))) == path
    assert weights_file("xray", block("none")) is None
    assert weights_file("age", EhrFeatures(modality="ehr", static=["age"])) is None
    with pytest.raises(
        StudyError, match=r"feature_sets\.xray\.encoder\.weights: there is no file 'imagenet'\. Give the"
    ):
        weights_file("xray", block("imagenet"))


def test_a_missing_table_is_answered_with_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"cohort\.subjects: there is no file 'subjects\.csv'"):
        raw_files(TablesSource(source="tables", subjects="subjects.csv"))


def test_raw_files_of_every_source_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "omop/person.csv", "omop/measurement.parquet", "omop/README", "cdm.duckdb", "mimic/hosp/patients.csv.gz",
        "mimic/icu/stays.csv", "mimic/LICENSE.txt", "mimic/notes/x.csv", "ecg/record_list.csv", "ecg/files/p1/s1/1.hea",
        "cxr/mimic-cxr-2.0.0-metadata.csv.gz", "cxr/files/p1/s1/1.jpg", "flat/patients.csv", "more.csv",
    ):  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def names(cohort):
        return {table: [path.as_posix() for path in files] for table, files in raw_files(cohort).items()}

    omop = OmopSource(source="omop", path="omop", further=["more.csv"])
    assert names(omop) == {"omop": ["omop/measurement.parquet", "omop/person.csv"], "further[0]": ["more.csv"]}
    assert names(OmopSource(source="omop", path="cdm.duckdb")) == {"omop": ["cdm.duckdb"]}
    assert names(MimicSource(source="mimic_iv", path="mimic", ecg="ecg", cxr="cxr")) == {
        "mimic_iv": ["mimic/hosp/patients.csv.gz", "mimic/icu/stays.csv"],
        "ecg": ["ecg/record_list.csv"],
        "cxr": ["cxr/mimic-cxr-2.0.0-metadata.csv.gz"],
    }
    assert names(MimicSource(source="mimic_iv", path="flat")) == {"mimic_iv": ["flat/patients.csv"]}
    assert raw_files(NafldSource(source="nafld")) == {}
    for cohort, message in (
        (MedsSource(source="meds", path="export"), r"cohort\.path: there is no folder 'export'"),
        (OmopSource(source="omop", path="x.duckdb"), r"cohort\.path: there is no file or folder 'x\.duckdb'"),
        (MimicSource(source="mimic_iv", path="mimic", ecg="ekg"), r"cohort\.ecg: there is no folder 'ekg'"),
        (OmopSource(source="omop", path="omop", further=["less.csv"]), r"cohort\.further\[0\]: there is no file"),
    ):
        with pytest.raises(StudyError, match=message):
            raw_files(cohort)

"""Nothing of a person is outside the tables of people: planted identifiers and rows are looked for in every file."""

import fnmatch
import re
import stat

import numpy as np
import pandas as pd
import pytest
from private_study import MARKERS, STUDY, contents, encoded, plant
from small_project import SMALL, copy_project

from riskweave.survival.preprocessing import DropRedundant
from riskweave.survival.sets import read_set
from riskweave.survival.stored_models import load_models, store_models

pytestmark = pytest.mark.workflow

TABLES = (
    "cohort/source/subjects.parquet",  # who the people are, as their table tells
    "cohort/source/events.parquet",
    "cohort/source/recordings.parquet",
    "cohort/source/images.parquet",
    "cohort/source/sounds.parquet",
    "cohort/subjects.parquet",
    "cohort/folds.parquet",
    "cohort/outcomes/*.parquet",
    "features/*/features.parquet",
    "features/*/index.parquet",
    "features/*/inputs.npy",  # what encoders read: signals, pictures, words
    "features/*/*/embeddings.parquet",
    "experiments/*/*/predictions.parquet",
    "deployment/*/folds.parquet",
    "deployment/*/encoders/*/embeddings.parquet",
)
"""The tables of people, by contract (docs/tables.md): the only files that may know who somebody is."""

MODELS = ("*.zip", "*.onnx", "*.wasm", "*.json", "*.db", "*.html")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Return the project of a finished study with its people."""
    project = copy_project(tmp_path_factory.mktemp("private"), SMALL)
    planted = plant(project.root / "data")
    project.write_study(STUDY)
    done = project.snakemake("all", "deploy")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    return project, planted


def files(project, *patterns):
    """Return the files of all results but the tables of people, by their paths below the study's or all results."""
    results, own = project.root / "results", project.root / "results/private"
    found = {}
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(path.relative_to(own if path.is_relative_to(own) else results))
        table = any(fnmatch.fnmatchcase(name, pattern) for pattern in TABLES)
        if not table and (not patterns or any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns)):
            found[name] = path
    return found


def test_the_tables_hold_what_is_looked_for(people):
    """Or looking elsewhere would prove nothing."""
    project, _ = people
    results = project.root / "results/private"
    subjects = b"".join(contents(results / "cohort/source/subjects.parquet"))
    events = b"".join(contents(results / "cohort/source/events.parquet"))
    for name, text in MARKERS.items():
        assert text.encode() in (subjects if name in {"identifiers", "names"} else subjects + events), name


def test_no_identifier_name_or_rare_word_leaves_the_tables(people):
    project, _ = people
    found, looked = [], files(project)
    assert len(looked) > 100
    for name, path in looked.items():
        for content in contents(path):
            found += [(name, what) for what, text in MARKERS.items() if any(each in content for each in encoded(text))]
    assert not found


def test_no_birth_leaves_the_tables(people):
    project, planted = people
    births = planted["birth"]
    texts = {day.strftime(form).encode() for day in births for form in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y")}
    numbers = {np.int64(day.value // unit).tobytes() for day in births[::20] for unit in (1, 1000, 1_000_000)}
    date = re.compile(rb"\d{4}-\d{2}-\d{2}|\d{2}[./]\d{2}[./]\d{4}")
    found = [
        name
        for name, path in files(project).items()
        for content in contents(path)
        if texts.intersection(date.findall(content)) or any(each in content for each in numbers)
    ]
    assert not found


def rows_of(project, planted):
    """Yield rows of two continuous features of a person, and stretches of a column: raw, and as models see them."""
    results = project.root / "results/private"
    clinical = read_set("clinical", results / "features/clinical/features.parquet", None)
    names = ["age", "LAB//K:last", "LAB//NA:last"]
    raw = clinical.table[names]
    yield from raw[["age", "LAB//K:last"]].to_numpy()[::20]
    yield from (raw["age"].to_numpy()[start : start + 3] for start in range(0, len(raw) - 3, 20))
    folds = pd.read_parquet(results / "cohort/folds.parquet")
    outcomes = pd.read_parquet(results / "cohort/outcomes/death.parquet")["subject_id"]
    for fold, content in load_models(results / "experiments/death/clinical.cox/models.zip")["folds"].items():
        train = folds[(folds["fold"] == fold) & (folds["role"] == "train") & folds["subject_id"].isin(outcomes)]
        subjects = pd.Index(sorted(train["subject_id"]), dtype=object)
        design = content["preprocessing"].design([clinical.of_fold(fold)], subjects)
        columns = [design.columns.index(f"clinical.{name}") for name in names[:2]]
        values = design.frame().to_numpy()[:, columns]
        assert columns[1] == columns[0] + 1
        yield from values[::20]
        yield from (values[start : start + 3, 0] for start in range(0, len(values) - 3, 20))
    assert len(planted) > 100


def test_no_model_remembers_a_row(people):
    """Raw or standardised, person by person or column by column, in single or double precision."""
    project, planted = people
    needles = {
        np.asarray(row, dtype=kind).tobytes()
        for row in rows_of(project, planted)
        for kind in ("<f8", ">f8", "<f4", ">f4")
    }
    assert len(needles) > 100
    looked = files(project, *MODELS)
    assert {path.suffix for path in looked.values()} >= {".zip", ".onnx", ".wasm", ".json", ".db"}
    found = [
        name
        for name, path in looked.items()
        for content in contents(path)
        if any(needle in content for needle in needles)
    ]
    assert not found


def test_such_a_row_would_be_found(people, tmp_path):
    """A model that keeps its training rows, as nearest neighbours and kernels do."""
    project, planted = people
    rows = np.array([row for row in rows_of(project, planted) if len(row) == 2])
    model = DropRedundant()
    model.rows_ = rows
    store_models({"model": model}, tmp_path / "models.zip")
    content = b"".join(contents(tmp_path / "models.zip"))
    assert rows[3].astype("<f8").tobytes() in content


def test_files_are_their_users_alone(people):
    project, _ = people
    open_to_others = [
        str(path.relative_to(project.root))
        for path in (project.root / "results").rglob("*")
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert not open_to_others

"""Two studies that share experiments: what the plan tells of the second, what it restores, and what trains again."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_project import REPOSITORY, copy_project

pytestmark = pytest.mark.workflow
pytest.importorskip("sksurv", reason="the cohort whas500 comes with scikit-survival (extra cohorts)")

WHAS500 = REPOSITORY / "config/studies/whas500.yaml"
SHARED = ["age_sex.cox", "admission.cox"]
FILES = ("predictions.parquet", "models.zip", "curves.csv", "trials.csv")


def goals(study: str) -> list[str]:
    return [f"results/{study}/experiments/death/{name}/predictions.parquet" for name in SHARED]


def run(project, *arguments: str) -> str:
    done = project.snakemake(*arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def log_of(project, study: str, experiment: str) -> str:
    return (project.root / f"results/{study}/logs/train_experiment/death/{experiment}.log").read_text()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return a project with a finished study and the file of a second one that shares its experiments."""
    project = copy_project(tmp_path_factory.mktemp("shared"), WHAS500)
    first = project.study()
    run(project, *goals(first["study"]))
    second = first | {"study": "second", "question": "Asked again?", "reuse": True}
    second["models"] = {**first["models"], "ridge": {"kind": "cox", "penalty": [0.2]}}
    second["experiments"] = {**first["experiments"], "own": {"feature_sets": ["age_sex"], "models": ["ridge"]}}
    (project.root / "second.yaml").write_text(yaml.safe_dump(second, sort_keys=False))
    return project, first["study"]


def test_the_second_study_restores_what_the_first_one_trained(shared):
    project, first = shared
    checks = "results/second/cohort/checks/death"
    run(project, "--configfile", "second.yaml", "--", *(f"{checks}/{name}" for name in ("age_sex", "admission")))
    before = sorted(path for path in (project.root / "results").rglob("*") if path.is_file())
    plan = run(project, "--configfile", "second.yaml", "--", "plan")
    for name in SHARED:
        told = plan.partition(f"train_experiment death, {name}:")[2].splitlines()[1]
        assert f"done before: study {first}, by " in told
        assert "will be restored from this disk" in told
    own = plan.partition("train_experiment death, own.ridge:")[2].splitlines()[1]
    assert "not known to have been done before" in own
    after = sorted(path for path in (project.root / "results").rglob("*") if path.is_file())
    assert [path.name for path in set(after) - set(before)] == ["plan.log"]

    run(project, "--configfile", "second.yaml", "--", *goals("second"))
    for name in SHARED:
        ours, theirs = (project.root / "results" / study / "experiments/death" / name for study in ("second", first))
        for file in FILES:
            assert (ours / file).read_bytes() == (theirs / file).read_bytes()
        record = json.loads((ours / "run.json").read_text())
        assert record["provenance"]["reused"]["from"] == f"results/{first}/experiments/death/{name}/run.json"
        assert record["context"]["study"] == "second"
        assert "not trained again" in log_of(project, "second", name)

    # The key itself is no reason to train: neither asked for nor taken back.
    study = yaml.safe_load((project.root / "second.yaml").read_text())
    (project.root / "third.yaml").write_text(yaml.safe_dump(study | {"reuse": False}))
    assert "Nothing to be done" in run(project, "--configfile", "third.yaml", "--", *goals("second"))

    # Another seed trains, and a study that does not ask for it is told.
    (project.root / "third.yaml").write_text(yaml.safe_dump(study | {"seed": 2}))
    run(project, "--configfile", "third.yaml", "--", goals("second")[0])
    assert "concordance validation" in log_of(project, "second", SHARED[0])
    (project.root / "third.yaml").write_text(yaml.safe_dump(study | {"reuse": False, "study": "third"}))
    run(project, "--configfile", "third.yaml", "--", goals("third")[0])
    told = log_of(project, "third", SHARED[0])
    assert "this training was done before" in told
    assert "concordance validation" in told


def test_the_store_knows_a_training_whose_results_are_gone(shared):
    project, first = shared
    records = [str(project.root / goal).replace("predictions.parquet", "run.json") for goal in goals(first)]
    command = [sys.executable, "-m", "riskweave.tracking", "collect", "--store", "results/mlflow", "--study", first]
    subprocess.run([*command, *records], cwd=project.root, check=True, capture_output=True)
    with sqlite3.connect(project.root / "results/mlflow/mlflow.db") as connection:
        stored = connection.execute("SELECT value FROM tags WHERE key = 'training.fingerprint'").fetchall()
    told = {json.loads(Path(record).read_text())["provenance"]["training"]["fingerprint"] for record in records}
    assert {value for (value,) in stored} == told

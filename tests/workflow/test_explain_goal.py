"""The goal `explain`: only what the study names is explained, and naming it repeats no evaluation."""

import re

import pandas as pd
import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow


def jobs(done) -> set[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE))


def test_only_named_experiments_are_explained_after_their_training(tmp_path):
    project = copy_project(tmp_path, SMALL)
    assert "explain_experiment" not in jobs(project.snakemake("--dry-run"))
    study = project.study()
    study["evaluation"]["explain"] = ["age_sex.cox", "everything.logistic_hazard"]
    project.write_study(study)
    found = project.snakemake("explain", "--dry-run")
    assert {"explain_experiment", "train_experiment", "train_encoder"} <= jobs(found)
    assert not {"evaluate_endpoint", "collect_runs"} & jobs(found)
    assert re.search(r"^explain_experiment +2$", found.stdout + found.stderr, flags=re.MULTILINE)


def test_an_experiment_is_explained(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["evaluation"]["explain"] = ["age_sex.cox"]
    project.write_study(study)
    done = project.snakemake("explain")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    folder = project.results / "evaluation/mace/explain/age_sex.cox"
    importance = pd.read_parquet(folder / "importance.parquet")
    assert set(importance["name"]) == {"age", "sex", "age_sex", "ehr"}
    effects = pd.read_parquet(folder / "effects.parquet")
    assert set(effects["column"]) == {"age", "sex"}
    assert effects.loc[effects["kind"] == "categorical", "category"].dropna().isin(["female", "male", "F", "M"]).all()

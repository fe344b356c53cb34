"""The goal `explain`: only what the study names is explained, and naming it repeats no evaluation."""

import re

import pandas as pd
import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow

EXPLAINING = {"explain_experiment", "draw_explanation", "divide_concordance", "draw_shapley"}


def jobs(done) -> set[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE))


def test_only_named_experiments_are_explained_after_their_training(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["evaluation"].pop("explain")
    project.write_study(study)
    assert not EXPLAINING & jobs(project.snakemake("--dry-run"))
    study["evaluation"]["explain"] = ["age_sex.cox", "everything.logistic_hazard"]
    project.write_study(study)
    found = project.snakemake("explain", "--dry-run")
    assert {"explain_experiment", "train_experiment", "train_encoder"} <= jobs(found)
    assert not {"evaluate_endpoint", "collect_runs"} & jobs(found)
    assert re.search(r"^explain_experiment +2$", found.stdout + found.stderr, flags=re.MULTILINE)


def test_an_experiment_is_explained_and_all_subsets_are_divided(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["feature_sets"]["labs"] = {
        "modality": "ehr",
        "events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}],
    }
    study["experiments"] = {"family": {"all_subsets_of": ["age_sex", "labs"], "models": ["cox"]}}
    study["objectives"] = {}
    project.write_study(study)
    done = project.snakemake("explain")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    evaluation = project.results / "evaluation/mace"
    shares = pd.read_parquet(evaluation / "shapley.parquet")
    assert set(shares["name"]) == {"age_sex", "labs", "all"}
    figures = (
        evaluation / "shapley",
        *(evaluation / "explain/age_sex.cox" / name for name in ("importance", "effects")),
    )
    for figure in figures:
        assert figure.with_suffix(".svg").read_bytes().startswith(b"<?xml")
        assert len(pd.read_csv(figure.with_suffix(".csv"))) == len(pd.read_parquet(figure.with_suffix(".parquet")))
    # Leave to explain single subjects changes no result.
    study["evaluation"]["explain_subjects"] = True
    project.write_study(study)
    assert jobs(project.snakemake("explain", "--dry-run")) == set()
    folder = project.results / "evaluation/mace/explain/age_sex.cox"
    importance = pd.read_parquet(folder / "importance.parquet")
    assert set(importance["name"]) == {"age", "sex", "age_sex", "ehr"}
    effects = pd.read_parquet(folder / "effects.parquet")
    assert set(effects["column"]) == {"age", "sex"}
    assert effects.loc[effects["kind"] == "categorical", "category"].dropna().isin(["female", "male", "F", "M"]).all()

"""A wrong column of the subgroups stops a study before anything is trained, and a right one trains nothing again."""

import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow


def test_a_wrong_subgroup_stops_the_study_before_training(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["evaluation"]["subgroups"] = ["sxe"]
    project.write_study(study)
    done = project.snakemake("evaluate")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "`evaluation.subgroups[0]` names the column 'sxe'" in output
    assert "Did you mean 'sex'?" in output
    assert (project.results / "cohort/subjects.parquet").exists()
    assert not list(project.results.rglob("encoder.zip"))
    assert not list(project.results.rglob("predictions.parquet"))


def test_training_does_not_depend_on_the_subgroups(tmp_path):
    project = copy_project(tmp_path, SMALL)
    predictions = "results/small/experiments/mace/age_sex.cox/predictions.parquet"
    done = project.snakemake(predictions, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check_groups" not in done.stdout + done.stderr

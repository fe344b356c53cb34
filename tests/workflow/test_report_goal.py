"""The goal `report`: a page on the whole study, with the ids of its runs in the MLflow store."""

import re

import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow


def test_the_report_needs_all_experiments_and_their_runs(tmp_path):
    project = copy_project(tmp_path, SMALL)
    done = project.snakemake("report", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    names = set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE))
    assert {"report_study", "report_cohort", "train_experiment", "judge_objectives", "draw_evaluation"} <= names
    assert {"init_tracking", "collect_runs"} <= names

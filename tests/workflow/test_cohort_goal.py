"""The goal `cohort`: a report on who is in the study, before any training and whatever the leak gates say."""

import re

import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow


def test_the_cohort_goal_stops_before_training_and_does_not_wait_for_the_gates(tmp_path):
    done = copy_project(tmp_path, SMALL).snakemake("cohort", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    names = set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE))
    # save_study: by it the notebook on the cohort finds the report.
    assert {
        "report_cohort",
        "save_study",
        "find_leaks",
        "define_outcomes",
        "aggregate_events",
        "read_modality",
    } <= names
    assert not {"check_inputs", "train_encoder", "train_experiment", "evaluate_endpoint"} & names

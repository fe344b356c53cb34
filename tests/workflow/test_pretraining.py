"""What the training without labels waits for, and what it does not depend on: the plan of a study, which is not run."""

import io

import pandas as pd
import pytest
from small_project import SMALL, copy_project

pytestmark = pytest.mark.workflow


def test_training_without_labels_waits_for_the_leak_gates_of_one_endpoint(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["feature_sets"]["ecg"]["encoder"]["pretraining"] = {"method": "masked", "epochs": 1}
    study["endpoints"]["death"] = {"kind": "codes", "target": ["MEDS_DEATH"], "horizons": [1095]}
    study["folds"]["stratify"] = "mace"
    project.write_study(study)
    done = project.snakemake("results/small/features/ecg/pretrained.zip", "--summary")
    assert done.returncode == 0, done.stdout + done.stderr
    made = set(pd.read_csv(io.StringIO(done.stdout), sep="\t")["output_file"].str.removeprefix("results/small/"))
    assert {"features/ecg/pretrained.zip", "cohort/checks/mace/ecg", "cohort/leaks/mace/ecg.csv"} <= made
    # Another endpoint, new or changed, does not repeat the training.
    assert not [path for path in made if "death" in path]

"""69 real 12-lead recordings through the source `tables`. The outcome is MADE UP: only the pipeline is tested."""

import numpy as np
import pandas as pd
import pytest
from small_project import REPOSITORY, copy_project

pytestmark = pytest.mark.workflow

STUDY = {
    "study": "real_ecgs",
    "question": "Do real recordings pass through the pipeline? (The outcome is made up.)",
    "cohort": {
        "source": "tables",
        "subjects": "data/subjects.csv",
        "columns": {"followup_end": None},
        "recordings": "data/recordings.csv",
    },
    "endpoints": {"made_up": {"kind": "columns", "time": "days", "event": "status", "horizons": [365]}},
    "folds": {"count": 2},
    "feature_sets": {
        "age_sex": {"modality": "ehr", "static": ["age", "sex"]},
        "ecg": {"modality": "ecg", "encoder": {"blocks": 3, "training": {"epochs": 2, "batch_size": 16}}},
    },
    "models": {"cox": {"kind": "cox"}},
    "experiments": {"sets": {"all_subsets_of": ["age_sex", "ecg"], "models": ["cox"]}},
    "evaluation": {"reference": "age_sex.cox", "bootstrap": 100},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, real_data):
    project = copy_project(tmp_path_factory.mktemp("ecgs"), REPOSITORY / "config/config.yaml")
    project.write_study(STUDY)
    (project.root / "data").mkdir()
    (project.root / "data/wfdb").symlink_to(real_data / "ecg12_chapman_cpsc")
    index = pd.read_csv(real_data / "ecg12_chapman_cpsc/index.csv")
    random = np.random.default_rng(1)
    subjects = pd.DataFrame({"subject_id": index["record"], "index_time": "2020-01-02", "age": index["age"]})
    subjects["sex"] = index["sex"]
    subjects["days"] = random.integers(30, 1000, len(index))
    subjects["status"] = random.integers(0, 2, len(index))
    subjects.to_csv(project.root / "data/subjects.csv", index=False)
    recordings = pd.DataFrame({"subject_id": index["record"], "time": "2020-01-01", "path": "wfdb/" + index["record"]})
    recordings.to_csv(project.root / "data/recordings.csv", index=False)
    done = project.snakemake("evaluate")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return project.root / "results/real_ecgs"


def test_every_record_is_read_and_measured(ran):
    features = pd.read_parquet(ran / "features/ecg/features.parquet")
    assert len(features) == 69
    assert features["heart_rate"].between(30, 220).all()
    assert (features["flat_leads"] > 0).sum() == 3
    assert features["flat_leads"].sum() == 12


def test_the_study_ends_with_a_leaderboard(ran):
    board = pd.read_csv(ran / "evaluation/made_up/leaderboard.csv")
    assert set(board["experiment"]) == {"age_sex.cox", "ecg.cox", "age_sex+ecg.cox"}

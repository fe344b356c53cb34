"""Attributions of one subject from stored results: they add up, and real people need the study's leave."""

import shutil

import numpy as np
import pandas as pd
import pytest
from small_experiment import TIMES, build, train

from riskweave.errors import DataError
from riskweave.results import Results
from riskweave.study.study import parse_study

STUDY = {
    "study": "small",
    "question": "What of one subject?",
    "cohort": {"source": "synthetic", "subjects": 240},
    "endpoints": {
        "mace": {"kind": "codes", "target": ["ICD10//I21"], "competing": ["MEDS_DEATH"], "horizons": TIMES[1:]}
    },
    "folds": {"count": 2},
    "feature_sets": {
        "ehr": {"modality": "ehr", "static": ["age", "smoker"]},
        "ecg": {"modality": "ecg", "encoder": {"blocks": 2}},
    },
    "models": {"cox": {"kind": "cox"}},
    "experiments": {"subsets": {"all_subsets_of": ["ehr", "ecg"], "models": ["cox"]}},
    "evaluation": {"reference": "ehr.cox"},
}
ASKED = {"endpoint": "mace", "experiment": "ehr+ecg.cox"}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    """The small experiment, laid out as the pipeline does."""
    made = build(tmp_path_factory.mktemp("made"))
    train(made)
    folder = tmp_path_factory.mktemp("results") / "small"
    for source, target in (
        ("outcomes.parquet", "cohort/outcomes/mace.parquet"),
        ("folds.parquet", "cohort/folds.parquet"),
        ("ehr.parquet", "features/ehr/features.parquet"),
        ("ecg.parquet", "features/ecg/features.parquet"),
        ("embeddings.parquet", "features/ecg/mace/embeddings.parquet"),
        ("a/models.zip", "experiments/mace/ehr+ecg.cox/models.zip"),
        ("a/predictions.parquet", "experiments/mace/ehr+ecg.cox/predictions.parquet"),
    ):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / source, folder / target)
    return Results(folder, parse_study(STUDY).model_dump(mode="json"))


@pytest.mark.parametrize("level", ["column", "feature_set", "modality"])
def test_shares_sum_to_the_stored_risk_beyond_the_mean(results, level):
    predictions = results.predictions("mace", "ehr+ecg.cox").set_index("subject_id")
    for subject in predictions.index[[0, 1, 2]]:
        found = results.attributions(**ASKED, subject_id=subject, level=level, background=20)
        for day, part in found.groupby("horizon"):
            assert part["risk"].iloc[0] == pytest.approx(predictions.loc[subject, f"risk_{day}"], abs=1e-6)
            difference = part["risk"].iloc[0] - part["mean_risk"].iloc[0]
            assert part["share"].sum() == pytest.approx(difference, abs=1e-9)
        assert set(found["modality"]) == {"ehr", "ecg"}


def test_the_oldest_has_a_higher_risk_by_age(results):
    ages = results.features("ehr").set_index("subject_id")["age"]
    found = {
        name: results.attributions(**ASKED, subject_id=ages.sort_values().index[place], background=20)
        for name, place in (("youngest", 0), ("oldest", -1))
    }
    last = {
        name: table[(table["name"] == "age") & (table["horizon"] == TIMES[-1])].iloc[0] for name, table in found.items()
    }
    assert last["oldest"]["share"] > 0.03 > -0.03 > last["youngest"]["share"]
    assert float(last["oldest"]["value"]) == pytest.approx(ages.max())


def test_real_people_need_the_studys_leave(results):
    study = {**results.study, "cohort": {"source": "nafld"}}
    subject = results.predictions("mace", "ehr+ecg.cox")["subject_id"].iloc[0]
    with pytest.raises(DataError, match="set `explain_subjects: true` under `evaluation`") as refused:
        Results(results.folder, study).attributions(**ASKED, subject_id=subject)
    assert subject not in str(refused.value)
    with pytest.raises(DataError, match="explain_subjects"):
        Results(results.folder, study).saliency("mace", "ecg", subject)
    study["evaluation"] = study["evaluation"] | {"explain_subjects": True}
    assert len(Results(results.folder, study).attributions(**ASKED, subject_id=subject, background=5))


def test_who_is_not_at_risk_is_answered_without_a_name(results):
    with pytest.raises(DataError, match="the subject asked for is not among the 240 at risk") as refused:
        results.attributions(**ASKED, subject_id="nobody7")
    assert "nobody7" not in str(refused.value)
    with pytest.raises(DataError, match="no encoder of traces or images"):
        results.saliency("mace", "ehr", pd.Index(np.array(["s000"]))[0])

"""What an edit makes run again: exactly what depends on it, by dry run on a finished study."""

import os
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.workflow

COMPARISON = ["collect_runs tracking", "draw_evaluation evaluation/mace", "evaluate_endpoint evaluation/mace"]
VERDICTS = "judge_objectives evaluation"


def experiment(name: str) -> str:
    return f"train_experiment experiments/mace/{name}"


def encoder(name: str) -> str:
    return f"train_encoder features/{name}/mace"


def touch_all(root: Path) -> None:
    """Set the time of every file but Snakemake's own to now, results and generated data included."""
    for path in sorted(root.rglob("*")):
        if ".snakemake" not in path.parts:
            os.utime(path)


def append_comment(path: Path) -> None:
    path.write_text(path.read_text() + "\n# A change.\n")


def test_nothing_runs_twice(finished):
    assert finished.planned() == []


def test_touching_every_file_reruns_nothing(project):
    touch_all(project.root)
    assert project.planned() == []


def test_reordering_the_study_reruns_nothing(project):
    def reverse(node):
        if isinstance(node, dict):
            return {key: reverse(node[key]) for key in reversed(list(node))}
        return node

    project.write_study(reverse(project.study()))
    assert project.planned() == []


def test_a_new_feature_set_runs_itself_and_its_experiments(project):
    study = project.study()
    study["feature_sets"]["labs"] = {
        "modality": "ehr",
        "events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}],
    }
    study["experiments"]["labs"] = {"feature_sets": ["labs"], "models": ["cox"]}
    project.write_study(study)
    assert project.planned() == sorted(
        ["aggregate_events features/labs", "check_inputs cohort", "save_study .", experiment("labs.cox"), *COMPARISON]
    )


def test_editing_a_model_reruns_its_experiments_only(project):
    study = project.study()
    study["models"]["logistic_hazard"]["dropout"] = 0.3
    project.write_study(study)
    assert project.planned() == sorted(["save_study .", experiment("everything.logistic_hazard"), *COMPARISON])


def test_swapping_two_values_counts_as_a_change(project):
    study = project.study()
    training = study["feature_sets"]["ecg"]["encoder"]["training"]
    training["learning_rate"], training["weight_decay"] = training["weight_decay"], training["learning_rate"]
    project.write_study(study)
    planned = project.planned()
    assert encoder("ecg") in planned
    assert encoder("image") not in planned
    assert "read_ecg features/ecg" not in planned


def test_editing_the_cohort_reruns_the_whole_study(project):
    study = project.study()
    study["cohort"]["seed"] += 1
    project.write_study(study)
    planned = project.planned()
    for job in ("synthesise_cohort cohort", "ingest cohort/source", "assign_folds cohort", encoder("ecg")):
        assert job in planned


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("src/riskweave/evaluation/figures.py", ["draw_evaluation evaluation/mace"]),
        ("src/riskweave/survival/cox.py", ["age_sex.cox", "ecg.cox", "ehr.cox", "image.cox"]),
        ("src/riskweave/tracking/store.py", []),
        ("workflow/scripts/judge_objectives.py", [VERDICTS]),
    ],
)
def test_editing_code_reruns_what_executes_it(project, module, expected):
    append_comment(project.root / module)
    if module.endswith("cox.py"):
        expected = [*(experiment(name) for name in expected), *COMPARISON, VERDICTS]
    assert project.planned() == sorted(expected)


def test_editing_the_image_network_does_not_retrain_the_ecg_encoder(project):
    append_comment(project.root / "src/riskweave/networks/cnn.py")
    planned = project.planned()
    assert encoder("image") in planned
    assert encoder("ecg") not in planned
    assert experiment("ecg.cox") not in planned


def test_the_saved_study_is_the_one_that_ran(finished):
    saved = yaml.safe_load((finished.results / "study.yaml").read_text())
    assert saved["seed"] == finished.study()["seed"]
    assert saved["evaluation"]["confidence"] == 0.95

"""The small study, run for real: what it leaves behind, what an edit makes run again, and that errors destroy nothing.

One file, so that one worker runs the study once for all of its tests.
"""

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient
from small_project import REPOSITORY, SMALL, Project, copy_project

pytestmark = pytest.mark.workflow

MODALITIES = ("ecg", "image", "audio", "text")
EXPERIMENTS = {
    "age_sex.cox", "ehr.cox", "ehr.forest", "ehr.stacked", "ecg.cox", "image.cox", "text.cox", "audio.cox",
    "pair.cox.late", "everything.logistic_hazard", "everything.logistic_hazard.attention",
}  # fmt: skip
COMPARISON = ["collect_runs tracking", "draw_evaluation evaluation/mace", "evaluate_endpoint evaluation/mace"]
REPORT = ["report_study report", "report_study report/mace"]
VERDICTS = "judge_objectives evaluation"
EXPLANATIONS = [f"{rule} evaluation/mace/explain/age_sex.cox" for rule in ("explain_experiment", "draw_explanation")]


def store(project) -> sqlite3.Connection:
    return sqlite3.connect(project.root / "results/mlflow/mlflow.db")


def test_every_experiment_predicts_the_same_subjects_once(finished):
    outcomes = pd.read_parquet(finished.results / "cohort/outcomes/mace.parquet")
    for name in EXPERIMENTS:
        predictions = pd.read_parquet(finished.results / f"experiments/mace/{name}/predictions.parquet")
        assert sorted(predictions["subject_id"]) == sorted(outcomes["subject_id"])
    board = pd.read_csv(finished.results / "evaluation/mace/leaderboard.csv")
    assert set(board["experiment"]) == EXPERIMENTS


def test_predictions_come_from_the_fold_that_tested_the_subject(finished):
    folds = pd.read_parquet(finished.results / "cohort/folds.parquet")
    tested = folds[folds["role"] == "test"].set_index("subject_id")["fold"]
    predictions = pd.read_parquet(finished.results / "experiments/mace/ehr.cox/predictions.parquet")
    assert (predictions["fold"].to_numpy() == tested.loc[predictions["subject_id"]].to_numpy()).all()


def test_some_subjects_lack_modalities_and_have_no_rows(finished):
    subjects = pd.read_parquet(finished.results / "cohort/source/subjects.parquet")
    for name in MODALITIES:
        features = pd.read_parquet(finished.results / f"features/{name}/features.parquet")
        assert 0 < len(features) < len(subjects)


def availability(finished) -> pd.Series:
    """Return the modalities that each subject at risk has, by subject_id."""
    outcomes = pd.read_parquet(finished.results / "cohort/outcomes/mace.parquet")
    pattern = pd.Series("ehr", index=pd.Index(outcomes["subject_id"]))
    for name in MODALITIES:
        features = pd.read_parquet(finished.results / f"features/{name}/features.parquet")
        pattern[pattern.index.isin(features["subject_id"])] += f"+{name}"
    return pattern


def test_availability_patterns_count_who_has_what(finished):
    metrics = pd.read_parquet(finished.results / "evaluation/mace/metrics.parquet")
    counts = metrics[metrics["group"] == "modalities"].groupby("group_value")["n"].first()
    expected = availability(finished).value_counts()
    assert counts.dropna().to_dict() == {name: count for name, count in expected.items() if count >= 10}


def test_predictions_say_which_modalities_they_rest_on(finished):
    predictions = pd.read_parquet(finished.results / "experiments/mace/everything.logistic_hazard/predictions.parquet")
    used = predictions.set_index("subject_id")["modalities"].str.split("+").map(set)
    has = availability(finished).str.split("+").map(set).loc[used.index]
    assert all(one <= other for one, other in zip(used, has, strict=True))
    # An encoder without signal in a fold is not used in it; measurements are.
    measured = {"ehr", "ecg", "text", "audio"}
    assert all(one & measured == other & measured for one, other in zip(used, has, strict=True))


def test_every_training_step_is_a_run_with_a_child_for_each_fold(finished):
    with store(finished) as connection:
        tags = pd.read_sql("select run_uuid, key, value from tags", connection)
    wide = tags.pivot_table(index="run_uuid", columns="key", values="value", aggfunc="first")
    parents = wide[wide["mlflow.parentRunId"].isna() & wide["rule"].notna()]
    assert set(parents["experiment"].dropna()) == EXPERIMENTS
    assert set(parents["feature_set"].dropna()) == set(MODALITIES)
    assert (wide["mlflow.parentRunId"].value_counts() == 2).all()
    assert len(wide["mlflow.parentRunId"].value_counts()) == len(parents)
    assert (parents["rule"].isin(["train_encoder", "train_experiment"])).all()


def test_final_metrics_are_in_the_store(finished):
    board = pd.read_parquet(finished.results / "evaluation/mace/leaderboard.parquet").set_index("experiment")
    with store(finished) as connection:
        found = pd.read_sql(
            "select t.value as experiment, m.value as estimate from latest_metrics m join tags t on t.run_uuid = "
            "m.run_uuid and t.key = 'experiment' where m.key = 'harrell_c_1826'",
            connection,
        ).set_index("experiment")
    assert found["estimate"].to_dict() == pytest.approx(board["harrell_c"].to_dict(), abs=1e-9)


def test_no_identifier_leaves_the_tables(finished):
    ids = pd.read_parquet(finished.results / "cohort/source/subjects.parquet")["subject_id"]
    texts = [path.read_text() for path in finished.results.rglob("run.json")]
    texts += [path.read_text() for path in finished.results.rglob("*.log")]
    texts += [(finished.results / "evaluation/mace/leaderboard.csv").read_text()]
    with store(finished) as connection:
        texts += ["\n".join(connection.iterdump())]
    assert ids.str.len().min() >= 5  # long enough that a chance hit is no number of another kind
    words = {word for text in texts for word in text.replace('"', " ").replace(",", " ").split()}
    assert not words & set(ids)


def test_records_know_data_code_and_hardware(finished):
    record = json.loads((finished.results / "experiments/mace/ehr.cox/run.json").read_text())
    data = json.loads((finished.results / "cohort/source/data.json").read_text())
    assert record["data"]["fingerprint"] == data["fingerprint"]
    assert record["context"]["wildcards"] == {"endpoint": "mace", "experiment": "ehr.cox"}
    assert record["hardware"]["memory_peak"] > 0
    assert {"torch", "lifelines"} <= set(record["provenance"]["packages"])
    assert "age" in record["feature_sets"]["ehr"]


def test_a_second_run_from_scratch_gives_the_same_digits(finished, tmp_path):
    """From the generator over all encoders to the predictions of a network that uses them all."""
    again = copy_project(tmp_path, SMALL)
    path = "experiments/mace/everything.logistic_hazard/predictions.parquet"
    done = again.snakemake(f"results/small/{path}")
    assert done.returncode == 0, done.stderr[-5000:]
    first, second = (pd.read_parquet(project.results / path) for project in (finished, again))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_the_report_holds_figures_tables_and_captions(project):
    done = project.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    page = (project.root / "report.html").read_text()
    for part in ("leaderboard.svg", "calibration.svg", "objectives.csv", "mace.csv", "left out and remaining"):
        assert part in page


def executed(name: str, folder: Path) -> list[dict]:
    """Run a notebook of the repository in a folder and return what its cells put out."""
    notebook = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures(outputs: list[dict]) -> int:
    return sum(bool({"image/png", "image/svg+xml"} & set(output.get("data", {}))) for output in outputs)


def text(outputs: list[dict]) -> str:
    return "".join(output.get("text", "") + "".join(map(str, output.get("data", {}).values())) for output in outputs)


@pytest.mark.parametrize(("name", "least"), [("explore_cohort", 4), ("compare_experiments", 6), ("look_at_subject", 5)])
def test_the_notebooks_run_on_the_results(finished, monkeypatch, name, least):
    monkeypatch.setenv("RISKWEAVE_STUDY", "small")
    assert figures(executed(name, finished.results)) >= least


def test_the_notebook_on_models_says_what_is_not_explained(finished, monkeypatch):
    monkeypatch.setenv("RISKWEAVE_STUDY", "small")
    outputs = executed("explain_model", finished.results)
    explained = finished.study()["evaluation"].get("explain", [])
    assert figures(outputs) >= 2 * len(explained)
    assert ("no experiment" in text(outputs)) == (not explained)


def test_the_notebook_on_a_subject_shows_nothing_of_a_real_person(finished, monkeypatch, tmp_path):
    """The same results, as if the people were real."""
    real = tmp_path / "results" / "real"
    real.mkdir(parents=True)
    for part in ("cohort", "evaluation", "experiments", "features"):
        (real / part).symlink_to(finished.results / part)
    study = yaml.safe_load((finished.results / "study.yaml").read_text())
    study["cohort"] = {"source": "tables"}
    (real / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    monkeypatch.setenv("RISKWEAVE_STUDY", "real")
    outputs = executed("look_at_subject", tmp_path)
    assert figures(outputs) == 0
    assert "its people are real" in text(outputs)
    ids = pd.read_parquet(finished.results / "cohort/subjects.parquet")["subject_id"]
    assert not set(re.findall(r"\w+", text(outputs))) & set(ids)


def test_a_typo_stops_before_anything_runs(project):
    study = project.study()
    study["feature_sets"]["ecg"]["encoder"]["chanels"] = 4
    project.write_study(study)
    done = project.snakemake()
    assert done.returncode != 0
    assert "feature_sets.ecg.encoder.chanels: unknown key (value 4). Did you mean 'channels'?" in done.stderr


def snapshot(project) -> dict[Path, bytes]:
    made = [path for path in project.results.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {path: path.read_bytes() for path in made}


def test_a_mistake_found_while_running_destroys_nothing(project):
    before = snapshot(project)
    study = project.study()
    study["endpoints"]["mace"]["target"] = ["ICD10//I99"]
    project.write_study(study)
    done = project.snakemake()
    assert done.returncode != 0
    assert "'ICD10//I99' matches no event" in done.stdout + done.stderr
    after = snapshot(project)
    lost = {path for path in before if path not in after}
    assert not lost
    changed = {path.name for path in before if after[path] != before[path]}
    assert changed <= {"study.yaml", "define_outcomes.tsv"}


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


def test_a_deleted_store_is_made_again_and_the_report_names_its_new_runs(project):
    def shown():
        table = pd.read_csv(project.results / "tracking/runs.csv", dtype=str)
        named = re.findall(r"\b[0-9a-f]{32}\b", (project.results / "report/index.html").read_text())
        assert set(table.loc[table["fold"] == "parent", "mlflow_run"]) == set(named)
        return table

    before = shown()
    shutil.rmtree(project.root / "results/mlflow")
    assert project.planned() == sorted(["collect_runs tracking", "init_tracking ../mlflow/studies", *REPORT])
    assert (project.snakemake("report").returncode, project.planned()) == (0, [])
    assert not set(shown()["mlflow_run"]) & set(before["mlflow_run"])
    assert shown()["fingerprint"].equals(before["fingerprint"])


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
        [
            "aggregate_events features/labs",
            "check_inputs cohort/checks/mace",
            "collect_findings cohort/leaks",
            "find_leaks cohort/leaks/mace",
            "report_cohort cohort/report",
            "report_cohort cohort/report/mace",
            "save_study .",
            experiment("labs.cox"),
            *COMPARISON,
            *REPORT,
        ]
    )


def test_two_edits_at_once_rerun_what_each_of_them_does(project):
    """A gate that runs again hides no other reason to train: a finding allowed, a new feature set, a new setting."""
    study = project.study()
    study["allow"] = [{"finding": "name_pattern:image.los", "why": "there is no such column"}]
    study["feature_sets"]["labs"] = {
        "modality": "ehr",
        "events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}],
    }
    study["experiments"]["labs"] = {"feature_sets": ["labs"], "models": ["cox"]}
    study["feature_sets"]["ecg"]["encoder"]["training"]["weight_decay"] = 0.02
    study["models"]["logistic_hazard"]["dropout"] = 0.3
    project.write_study(study)
    planned = project.planned()
    for job in (
        experiment("labs.cox"),
        experiment("everything.logistic_hazard"),
        experiment("ecg.cox"),
        encoder("ecg"),
    ):
        assert job in planned
    assert experiment("age_sex.cox") not in planned
    assert experiment("ehr.cox") not in planned


def test_training_runs_again_after_the_cohort_report_saw_the_change(project, tmp_path):
    """Features made again for the report are new to the experiments too."""
    shutil.copytree(project.root, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy")
    study = copy.study()
    study["feature_sets"]["ehr"]["static"] = study["feature_sets"]["ehr"]["static"][:-1]
    copy.write_study(study)
    done = copy.snakemake("cohort")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = copy.planned()
    assert experiment("ehr.cox") in planned
    assert experiment("everything.logistic_hazard") in planned
    assert experiment("age_sex.cox") not in planned


def test_editing_a_model_reruns_its_experiments_only(project):
    study = project.study()
    study["models"]["logistic_hazard"]["dropout"] = 0.3
    project.write_study(study)
    trained = [experiment(f"everything.logistic_hazard{fusion}") for fusion in ("", ".attention")]
    assert project.planned() == sorted(["save_study .", *trained, *COMPARISON, *REPORT])


def test_swapping_two_values_counts_as_a_change(project):
    study = project.study()
    training = study["feature_sets"]["ecg"]["encoder"]["training"]
    training["learning_rate"], training["weight_decay"] = training["weight_decay"], training["learning_rate"]
    project.write_study(study)
    planned = project.planned()
    assert encoder("ecg") in planned
    assert encoder("image") not in planned
    assert "read_modality features/ecg" not in planned


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
        ("src/riskweave/evaluation/figures.py", ["draw_evaluation evaluation/mace", *REPORT]),
        (
            "src/riskweave/survival/cox.py",
            ["age_sex.cox", "audio.cox", "ecg.cox", "ehr.cox", "ehr.stacked", "image.cox", "pair.cox.late", "text.cox"],
        ),
        ("src/riskweave/tracking/store.py", []),
        ("workflow/scripts/judge_objectives.py", ["collect_runs tracking", VERDICTS, *REPORT]),
    ],
)
def test_editing_code_reruns_what_executes_it(project, module, expected):
    append_comment(project.root / module)
    if module.endswith("cox.py"):
        expected = [*(experiment(name) for name in expected), *COMPARISON, VERDICTS, *EXPLANATIONS, *REPORT]
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

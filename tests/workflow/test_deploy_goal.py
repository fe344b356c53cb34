"""The goal `deploy`: from a study to bundles that are the models, made again the same, of nothing but their parts."""

import hashlib
import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from small_project import SMALL, Project, copy_project

from riskweave.deployment.runtime.golden import check_golden
from riskweave.deployment.runtime.module import Module

pytestmark = pytest.mark.workflow

BUNDLE = "bundle/mace/trio.cox"


def small_study() -> dict:
    """Return the small study with the record, ECG and image alone, and their bundle."""
    study = yaml.safe_load(SMALL.read_text())
    study["cohort"].pop("also")
    study["feature_sets"] = {name: study["feature_sets"][name] for name in ("age_sex", "ehr", "ecg", "image")}
    study["feature_sets"]["image"]["encoder"]["architecture"] = "small"
    # The image is encoded and not measured, as it is without being told: its table has no column.
    study["feature_sets"]["ehr"]["events"][0]["range"] = [0, 1000]
    study["models"] = {"cox": study["models"]["cox"]}
    study["experiments"] = {
        "age_sex": {"feature_sets": ["age_sex"], "models": ["cox"]},
        "trio": {"feature_sets": ["ehr", "ecg", "image"], "models": ["cox"]},
    }
    study |= {"objectives": {}, "fusions": {}}
    study["evaluation"] = {"reference": "age_sex.cox", "bootstrap": 100}
    study["deployment"] = {"experiments": ["trio.cox"]}
    return study


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("deployed"), SMALL)
    project.write_study(small_study())
    done = project.snakemake("deploy")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    return project


def jobs(done) -> set[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, flags=re.MULTILINE))


def test_the_bundle_is_whole_and_tells_what_it_is(deployed):
    folder = deployed.results / BUNDLE
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, told in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"])
    data = json.loads((deployed.results / "cohort/source/data.json").read_text())
    assert manifest["data"] == data["fingerprint"]
    module = Module.open(folder)
    check_golden(module, json.loads((folder / "golden.json").read_text()))
    assert module.schema["modalities"] == ["ehr", "ecg", "image"]


def test_every_subject_gets_the_pipelines_risk(deployed):
    parity = json.loads((deployed.results / "deployment/mace/trio.cox/parity.json").read_text())
    outcomes = pd.read_parquet(deployed.results / "cohort/outcomes/mace.parquet")
    assert parity["subjects"] == len(outcomes)
    assert parity["refused"] == 0
    assert parity["largest_difference"] < 1e-6
    predictions = pd.read_parquet(deployed.results / "experiments/mace/trio.cox/predictions.parquet")
    assert predictions["risk_1826"].std() > 0.02  # a model of one risk for all would be equal without any skill


def test_no_identifier_and_no_path_is_in_the_bundle(deployed):
    ids = set(pd.read_parquet(deployed.results / "cohort/source/subjects.parquet")["subject_id"])
    for path in (deployed.results / BUNDLE).iterdir():
        content = path.read_bytes()
        words = set(re.findall(rb"[A-Za-z0-9_-]{5,}", content))
        assert not {word.decode() for word in words} & ids, path.name
        assert str(deployed.root).encode() not in content, path.name


def test_the_same_parts_give_the_same_bytes(deployed, tmp_path):
    root = tmp_path / "again"
    shutil.copytree(deployed.root, root, copy_function=shutil.copy2, symlinks=True)
    again = Project(root)
    assert jobs(again.snakemake("deploy", "--dry-run")) == set()
    shutil.rmtree(again.results / "bundle")
    shutil.rmtree(again.results / "deployment/mace/trio.cox")
    done = again.snakemake("deploy")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    for path in (deployed.results / BUNDLE).iterdir():
        assert (again.results / BUNDLE / path.name).read_bytes() == path.read_bytes(), path.name


def test_an_edit_makes_nothing_again_but_what_depends_on_it(deployed, tmp_path):
    root = tmp_path / "edited"
    shutil.copytree(deployed.root, root, copy_function=shutil.copy2, symlinks=True)
    project, study = Project(root), small_study()
    study["experiments"]["further"] = {"feature_sets": ["ehr"], "models": ["cox"]}
    project.write_study(study)
    assert not {"compile_model", "check_model", "refit_experiment"} & jobs(project.snakemake("deploy", "--dry-run"))
    study = small_study()
    study["question"] = "Another question?"
    study["deployment"] |= {"title": {"en": "Another name"}, "target": {"de": "etwas"}, "not_for": {"en": "Children."}}
    study["deployment"]["inputs"] = {"age": {"label": {"en": "Years of life"}, "description": {"en": "In full."}}}
    project.write_study(study)
    deployment = {"compile_model", "check_model", "bundle_model", "refit_experiment", "refit_encoder"}
    planned = jobs(project.snakemake("deploy", "--dry-run"))
    assert planned & deployment == {"bundle_model"}
    assert not {"train_experiment", "train_encoder"} & planned
    study["deployment"]["inputs"]["age"]["limits"] = [18, 110]
    project.write_study(study)
    planned = jobs(project.snakemake("deploy", "--dry-run"))
    assert planned & deployment == {"compile_model", "check_model", "bundle_model"}


def test_another_compiler_compiles_again_and_the_manifest_keeps_what_compiled(deployed, tmp_path):
    root = tmp_path / "upgraded"
    shutil.copytree(deployed.root, root, copy_function=shutil.copy2, symlinks=True)
    project = Project(root)
    manifest = json.loads((project.results / BUNDLE / "manifest.json").read_text())
    built = json.loads((project.results / "deployment/mace/trio.cox/built.json").read_text())
    assert built.items() <= manifest.items()
    assert {"ziglang", "emx-onnx-cgen", "torch", "onnx"} <= set(built["tools"])
    rules = project.root / "workflow/rules/common_deployment.smk"
    text = rules.read_text().replace("deployment.built import tools", "deployment.built import tools as installed")
    rules.write_text(text + '\n\ndef tools():\n    return installed() | {"ziglang": "99.0"}\n')
    planned = jobs(project.snakemake("deploy", "--dry-run"))
    assert {"compile_model", "check_model", "bundle_model"} <= planned
    assert not {"refit_experiment", "refit_encoder", "train_experiment"} & planned


def test_an_ensemble_is_the_mean_of_the_folds_recalibrated(deployed, tmp_path):
    root = tmp_path / "ensemble"
    shutil.copytree(deployed.root, root, copy_function=shutil.copy2, symlinks=True)
    project, study = Project(root), small_study()
    study["deployment"] |= {"model": "ensemble", "recalibrate": True}
    project.write_study(study)
    refused = project.snakemake("deploy", "--dry-run")
    assert refused.returncode != 0
    assert "needs `evaluation.recalibration: true`" in refused.stdout + refused.stderr
    study["evaluation"]["recalibration"] = True
    project.write_study(study)
    done = project.snakemake("deploy")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    module = Module.open(project.results / BUNDLE)
    assert module.schema["members"] == 2
    golden = json.loads((project.results / BUNDLE / "golden.json").read_text())["patients"][1]
    module.set_patient(golden["patient"])
    found = module.predict()
    parity = json.loads((project.results / "deployment/mace/trio.cox/parity.json").read_text())
    assert parity["refused"] == 0
    assert max(parity["largest_difference"], parity["largest_difference_of_onnx"]) < 1e-6
    target, *_ = module.schema["recalibration"]
    assert abs(target["slope"] - 1) > 0.01
    # The mean of the members is what is recalibrated; each of them is recalibrated beside it.
    assert (
        min(each[0][-1] for each in found.members) <= found.risks[0][-1] <= max(each[0][-1] for each in found.members)
    )
    card = json.loads((project.results / BUNDLE / "card.json").read_text())
    table = pd.read_parquet(project.results / "evaluation/mace/recalibration.parquet")
    own = table[(table["experiment"] == "trio.cox") & (table["metric"] == "observed_expected")]
    told = [row["estimate"] for row in card["performance"] if row["metric"] == "observed_expected"]
    assert told == own["after"].tolist()


def test_what_cannot_be_deployed_is_said_before_anything_runs(tmp_path):
    project = copy_project(tmp_path, SMALL)
    study = project.study()
    study["deployment"] = {"experiments": ["ehr.forest", "pair.cox.late", "everything.logistic_hazard", "ehr.coxx"]}
    project.write_study(study)
    done = project.snakemake("deploy", "--dry-run")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    for part in ("'random_survival_forest'", "fused by 'late'", "modality 'text'", "Did you mean 'ehr.cox'"):
        assert part in text

"""Fingerprints of trainings, and what a job that is about to train finds, tells and restores."""

import ast
import hashlib
import json
import logging
import sqlite3
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from riskweave.errors import DataError
from riskweave.tracking.earlier import TAGS, runs_in_store, runs_on_disk, sorted_out
from riskweave.tracking.fingerprints import PARTS, training_facts
from riskweave.tracking.plan import PlannedJob, plan
from riskweave.tracking.provenance import PACKAGE_FOLDER, PACKAGES
from riskweave.tracking.record import recording
from riskweave.tracking.reuse import beginning

pytestmark = pytest.mark.usefixtures("lab")

CONTEXT = {"rule": "train_experiment", "wildcards": {"endpoint": "mi", "experiment": "ehr.cox"}}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Work in a folder with code, and the tables of two studies on the same data."""
    monkeypatch.chdir(tmp_path)
    for name in ("workflow/scripts/train.py", "src/riskweave/cox.py"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(f"# {name}\n")
    for study in ("one", "two"):
        write(study, "features/ehr/features.parquet", b"table")
        write(study, "cohort/folds.parquet", b"folds")
        write(study, "cohort/data.json", json.dumps({"fingerprint": "raw", "files": [study]}).encode())


def write(study, name, content):
    path = Path("results", study, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def job(study, *, seed=1, reuse=False, penalty=0.1, population=365, precision="32", gpus=1):
    """Return rule, inputs, params, outputs and GPUs of a training, as Snakemake names them."""
    results = f"results/{study}"
    folder = f"{results}/experiments/mi/ehr.cox"
    return {
        "rule": "train_experiment",
        "inputs": {
            "code": ["workflow/scripts/train.py", "src/riskweave/cox.py"],
            "tables": [f"{results}/features/ehr/features.parquet"],
            "folds": f"{results}/cohort/folds.parquet",
            "data": f"{results}/cohort/data.json",
            "checked": [f"{results}/cohort/checks/mi/ehr"],
        },
        "params": {
            "study": study,
            "experiment": {"name": "ehr.cox", "endpoint": "mi", "feature_sets": ("ehr",), "fusion": "early"},
            "model": {"kind": "cox", "penalty": penalty, "training": {"precision": precision}},
            "seed": seed,
            "earlier": {
                "results": results,
                "store": "results/mlflow",
                "reuse": reuse,
                "blocks": {"population": {"minimum_history": population}},
            },
        },
        "outputs": {
            "predictions": f"{folder}/predictions.parquet",
            "models": f"{folder}/models.zip",
            "record": f"{folder}/run.json",
            "curves": f"{folder}/curves.csv",
        },
        "gpus": gpus,
    }


def trained(study, **settings):
    """Train: ask, write what a training writes, and record it."""
    asked = job(study, **settings)
    training = beginning(**asked)
    with recording(
        Path(asked["outputs"]["record"]), kind="experiment", name="ehr.cox", endpoint="mi", feature_sets={},
        params={}, seed=1, context={"study": study, **CONTEXT, **training.context()},
    ) as run:  # fmt: skip
        run.metrics["test_harrell_c"] = 0.71
        for name in ("predictions", "models", "curves"):
            Path(asked["outputs"][name]).parent.mkdir(parents=True, exist_ok=True)
            Path(asked["outputs"][name]).write_bytes(f"{name} of a training".encode())
    return training


def facts(study="one", **settings):
    asked = job(study, **settings)
    return training_facts(rule=asked["rule"], inputs=asked["inputs"], params=asked["params"])


def restored(study, **settings) -> bool:
    return beginning(**job(study, **settings)).restored({"study": study, **CONTEXT})


def test_a_fingerprint_does_not_know_the_study_nor_its_paths():
    assert facts("one") == facts("two")
    assert set(facts("one")) == {"fingerprint", *PARTS}
    assert facts("one", reuse=True) == facts("one")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda: facts(seed=2), "settings"),
        (lambda: facts(penalty=0.2), "settings"),
        (lambda: facts(population=0), "settings"),
        (lambda: write("one", "features/ehr/features.parquet", b"other") and facts(), "inputs"),
        (lambda: write("one", "cohort/folds.parquet", b"other") and facts(), "inputs"),
        (lambda: write("one", "cohort/data.json", b'{"fingerprint": "new"}') and facts(), "data"),
        (lambda: Path("src/riskweave/cox.py").write_text("# new") and facts(), "code"),
    ],
)
def test_what_a_training_depends_on_changes_one_part_and_the_whole(change, part):
    before = facts()
    after = change()
    assert {key for key in before if before[key] != after[key]} == {"fingerprint", part}


def test_two_inputs_that_change_places_are_others():
    asked = job("one")
    write("one", "features/ecg/features.parquet", b"ecg")
    tables = [f"results/one/features/{name}/features.parquet" for name in ("ehr", "ecg")]
    both = [
        training_facts(rule="r", inputs=asked["inputs"] | {"tables": order}, params=asked["params"])["inputs"]
        for order in (tables, tables[::-1])
    ]
    assert both[0] != both[1]


def test_packages_count(monkeypatch):
    before = facts()
    monkeypatch.setattr("riskweave.tracking.fingerprints.package_versions", lambda names: dict.fromkeys(names, "9"))
    assert {key for key, value in facts().items() if value != before[key]} == {"fingerprint", "packages"}


def test_all_that_is_imported_where_models_are_trained_counts():
    """A version that is not in the fingerprint would let a model of another version of its library be restored."""
    folders = [PACKAGE_FOLDER / name for name in ("survival", "modalities", "fusion", "networks")]
    imported = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "riskweave"}
    of = metadata.packages_distributions()
    assert len(imported) > 15
    assert {name for name in imported if not set(of[name]) & set(PACKAGES)} == set()


@pytest.mark.parametrize("package", ["skglm", "hazardous", "optuna", "torchtuples", "pillow"])
def test_another_version_of_a_library_is_another_training(monkeypatch, package):
    before, version = facts(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99" if name == package else version(name))
    assert facts()["packages"] != before["packages"]


@pytest.mark.parametrize(
    ("trained_in", "here", "same"), [("32-true", "bf16-mixed", False), ("bf16-mixed",) * 2 + (True,)]
)
def test_mixed_precision_is_restored_where_it_would_be_the_same(monkeypatch, caplog, trained_in, here, same):
    monkeypatch.setattr("riskweave.tracking.record.precision_here", lambda **_: trained_in)
    trained("one", precision="bf16-mixed")
    told = json.loads(Path("results/one/experiments/mi/ehr.cox/run.json").read_text())["provenance"]["training"]
    assert told["precision"] == trained_in
    monkeypatch.setattr("riskweave.tracking.reuse.precision_here", lambda **_: here)
    assert restored("two", reuse=True, precision="bf16-mixed") == same
    assert ("trained in precision 32-true, and here it would be bf16-mixed" in caplog.text) != same


def test_a_machine_without_a_device_says_single_precision_in_both_ways(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    trained("one", precision="bf16-mixed")
    assert restored("two", reuse=True, precision="bf16-mixed")


PREDICTIONS = Path("results/one/experiments/mi/ehr.cox/predictions.parquet")


@pytest.mark.parametrize(
    "case",  # precision of the finished training, whether a GPU is here, GPUs of the job, what happened, trained again
    [
        ("32-true", False, 1, None, False),
        ("bf16-mixed", True, 1, None, False),
        ("bf16-mixed", False, 1, None, True),
        ("32-true", True, 1, None, True),
        # Whose profile gives the job no GPU.
        ("32-true", True, 0, None, False),
        ("bf16-mixed", True, 0, None, True),
        ("32-true", False, 1, PREDICTIONS.unlink, True),
        ("32-true", False, 1, lambda: PREDICTIONS.write_bytes(b"edited"), True),
    ],
)
def test_the_plan_says_what_the_job_then_does(monkeypatch, caplog, case):
    """Of a training that asks for mixed precision and was done before, on another machine or on this one."""
    trained_in, gpu_here, gpus, happened, again = case
    monkeypatch.setattr("riskweave.tracking.record.precision_here", lambda **_: trained_in)
    trained("one", precision="bf16-mixed")
    if happened:
        happened()
    if gpu_here:
        monkeypatch.setattr("riskweave.tracking.reuse.precision_here", lambda **_: "bf16-mixed")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked = job("two", reuse=True, precision="bf16-mixed", gpus=gpus)
    text = plan(
        [PlannedJob(**asked, wildcards=CONTEXT["wildcards"], runs=True, threads=1, after=())],
        study="two", results=Path("results"), store=Path("results/mlflow"), cores=1, cache=Path("cache.sqlite"),
    )  # fmt: skip
    (told,) = [line for line in text.splitlines() if "done before: study one" in line]
    assert ("will be restored from this disk" in told, "will be trained again" in told) == (not again, again)
    assert restored("two", reuse=True, precision="bf16-mixed", gpus=gpus) == (not again)
    if again:  # for the same reason, in the same words
        reason = told.partition("will be trained again, as ")[2]
        assert reason.startswith("the results of study one are not reused: ")
        assert reason in caplog.text


def test_an_input_that_is_not_made_yet_leaves_the_fingerprint_open():
    Path("results/one/cohort/folds.parquet").unlink()
    found = facts()
    assert (found["fingerprint"], found["inputs"]) == (None, None)
    assert found["settings"] == facts("two")["settings"]


def test_the_record_states_fingerprint_parts_and_outputs():
    trained("one")
    told = json.loads(Path("results/one/experiments/mi/ehr.cox/run.json").read_text())["provenance"]["training"]
    assert {key: told[key] for key in facts()} == facts()
    assert told["outputs"] == {
        f"experiments/mi/ehr.cox/{file}": hashlib.sha256(f"{name} of a training".encode()).hexdigest()
        for name, file in (
            ("predictions", "predictions.parquet"),
            ("models", "models.zip"),
            ("curves", "curves.csv"),
        )
    }


def test_without_being_asked_nothing_is_restored_and_the_log_tells(caplog):
    trained("one")
    assert not restored("two")
    assert not Path("results/two/experiments").exists()
    assert "this training was done before" in caplog.text
    assert "study one" in caplog.text
    assert "test concordance 0.710" in caplog.text
    assert "`reuse: true` in the study restores it" in caplog.text


def test_a_finished_training_is_restored_byte_for_byte_and_its_record_says_so(caplog):
    caplog.set_level(logging.INFO)
    trained("one")
    assert restored("two", reuse=True)
    folders = [Path("results", study, "experiments/mi/ehr.cox") for study in ("one", "two")]
    for name in ("predictions.parquet", "models.zip", "curves.csv"):
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes()
        assert (folders[1] / name).stat().st_ino != (folders[0] / name).stat().st_ino
    first, second = (json.loads((folder / "run.json").read_text()) for folder in folders)
    reused = second["provenance"].pop("reused")
    assert reused["from"] == "results/one/experiments/mi/ehr.cox/run.json"
    assert reused["sha256"] == hashlib.sha256((folders[0] / "run.json").read_bytes()).hexdigest()
    assert (first["context"].pop("study"), second["context"].pop("study")) == ("one", "two")
    assert first == second
    assert {path.name for path in folders[1].iterdir()} == {path.name for path in folders[0].iterdir()}
    assert "not trained again" in caplog.text


@pytest.mark.parametrize("settings", [{"seed": 2}, {"penalty": 0.2}, {"population": 0}])
def test_another_seed_or_block_trains(settings):
    trained("one")
    assert not restored("two", reuse=True, **settings)


def test_other_data_train():
    trained("one")
    write("two", "features/ehr/features.parquet", b"other")
    assert not restored("two", reuse=True)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"edited"), lambda path: path.unlink()])
def test_results_that_are_not_whole_are_not_restored(caplog, damage):
    trained("one")
    damage(Path("results/one/experiments/mi/ehr.cox/predictions.parquet"))
    assert not restored("two", reuse=True)
    assert "predictions.parquet" in caplog.text
    assert not any(path.is_file() for path in Path("results/two/experiments").rglob("*"))


def test_restoring_imports_nothing_that_trains():
    trained("one")
    program = (
        "import sys\nfrom riskweave.tracking.reuse import beginning\n"
        f"assert beginning(**{job('two', reuse=True)!r}).restored({ {'study': 'two', **CONTEXT}!r})\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'mlflow', 'lifelines'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def fill(database: Path, runs: dict[str, dict]) -> None:
    """Write the tables of a store as MLflow makes them, as far as they are asked."""
    database.parent.mkdir(parents=True)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE runs (run_uuid, status, lifecycle_stage, start_time)")
        connection.execute("CREATE TABLE tags (key, value, run_uuid)")
        connection.execute("CREATE TABLE latest_metrics (key, value, run_uuid)")
        for number, (name, run) in enumerate(runs.items()):
            start = 1_750_000_000_000 + number
            status = run.get("status", "FINISHED")
            connection.execute("INSERT INTO runs VALUES (?, ?, 'active', ?)", (name, status, start))
            connection.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(k, v, name) for k, v in run["tags"].items()])
            connection.executemany(
                "INSERT INTO latest_metrics VALUES (?, ?, ?)", [(k, v, name) for k, v in run["metrics"].items()]
            )
    connection.close()


def tags(of, **further):
    return {TAGS[part]: value for part, value in of.items()} | {"user": "anna", "host": "gpu1"} | further


def test_the_store_tells_by_whom_when_and_with_what_result():
    found = facts()
    metrics = {
        "harrell_c_1826": 0.7343,
        "harrell_c_365": 0.8,
        "harrell_c_1826_lower": 0.7,
        "training.test_harrell_c": 1,
    }
    fill(
        Path("results/mlflow/mlflow.db"),
        {
            "old": {"tags": tags(found, study="first", status="superseded"), "metrics": metrics},
            "killed": {"tags": tags(found, study="first"), "metrics": {}, "status": "FAILED"},
            "other": {"tags": tags(facts(seed=2), study="first"), "metrics": {}},
            "code": {"tags": tags(found | {"code": "x", "fingerprint": "y"}, study="first"), "metrics": {}},
        },
    )
    runs = runs_in_store(Path("results/mlflow"), [found["settings"]])[found["settings"]]
    same, perhaps, differing = sorted_out(runs, found)
    assert [run.told() for run in same] == [
        "study first, by anna on gpu1, 2025-06-15 15:06 UTC, concordance 0.734 at 1826 days (superseded)"
    ]
    assert perhaps == []
    assert list(differing) == ["code"]
    _, perhaps, _ = sorted_out(runs, found | {"inputs": None, "fingerprint": None})
    assert [run.status for run in perhaps] == ["superseded"]


def test_a_job_tells_of_a_run_that_only_the_store_knows(caplog):
    fill(
        Path("results/mlflow/mlflow.db"), {"a": {"tags": tags(facts(), study="gone", status="current"), "metrics": {}}}
    )
    assert not restored("two", reuse=True)
    assert "study gone, by anna on gpu1" in caplog.text
    assert "not on this disk" in caplog.text


def test_a_store_that_cannot_be_read_does_not_stop_a_training(caplog):
    Path("results/mlflow").mkdir(parents=True)
    Path("results/mlflow/mlflow.db").write_bytes(b"no database, not at all" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        runs_in_store(Path("results/mlflow"), ["x"])
    assert not restored("two", reuse=True)
    assert "not known" in caplog.text


def test_records_of_before_there_were_fingerprints_are_passed_over():
    path = write("one", "experiments/mi/ehr.cox/run.json", b'{"provenance": {}, "metrics": {}}')
    assert runs_on_disk([path, Path("nowhere.json")], "x") == []

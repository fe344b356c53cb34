"""What a training step leaves behind about itself: nothing on failure, no rows ever, the true use of the machine."""

import json
import math
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riskweave.errors import DataError
from riskweave.tracking import hardware, provenance
from riskweave.tracking.record import context_of, fingerprint, read_record, read_records, recording

SETTINGS = {"model": {"kind": "cox", "penalties": (0.1, 1.0)}, "fusion": "early"}


def record(path, **changes):
    arguments = {
        "kind": "experiment",
        "name": "ehr.cox",
        "endpoint": "mace",
        "feature_sets": {"ehr": ["age", "sex"]},
        "params": SETTINGS,
        "seed": 3,
        "context": {"study": "demo", "rule": "train_experiment", "data": {"fingerprint": "ab" * 32}},
    }
    return recording(path, **(arguments | changes))


def test_what_is_given_is_read_back(tmp_path):
    with record(tmp_path / "a/run.json") as run:
        run.architecture = "Linear(2, 1)"
        run.metrics["log_likelihood"] = np.float64(-3.5)
        run.add_fold(1, metrics={"loss": np.float32(0.5)}, params={"penalty": 0.1}, counts={"train": np.int64(30)})
        run.add_fold(0, metrics={"loss": math.nan}, counts={"train": 31})
    back = read_record(tmp_path / "a/run.json")
    assert back.params == {"model": {"kind": "cox", "penalties": [0.1, 1.0]}, "fusion": "early"}
    assert back.feature_sets == {"ehr": ["age", "sex"]}
    assert back.context == {"study": "demo", "rule": "train_experiment"}
    assert back.data == {"fingerprint": "ab" * 32}
    assert back.architecture == "Linear(2, 1)"
    assert back.metrics == {"log_likelihood": -3.5}
    assert [fold.fold for fold in back.folds] == [0, 1]
    assert math.isnan(back.folds[0].metrics["loss"])
    assert back.folds[1].counts == {"train": 30}
    assert back.seed == 3
    assert list(read_records(tmp_path)) == [tmp_path / "a/run.json"]
    # Strict JSON: other tools than Python read it.
    json.loads((tmp_path / "a/run.json").read_text(), parse_constant=pytest.fail)


def test_means_are_over_the_folds_that_have_the_metric(tmp_path):
    with record(tmp_path / "run.json") as run:
        run.add_fold(0, metrics={"loss": 1.0})
        run.add_fold(1, metrics={"loss": 2.0, "concordance": 0.5, "slope": math.nan})
        run.add_fold(2, metrics={"loss": 6.0, "concordance": math.nan})
        run.add_fold(3, metrics={"loss": 3.0, "concordance": 0.7})
        run.average_folds()
    found = read_record(tmp_path / "run.json").metrics
    assert found.pop("concordance") == pytest.approx(0.6)
    assert math.isnan(found.pop("slope"))
    assert found == {"loss": 3.0, "concordance_folds": 2.0, "slope_folds": 0.0}


def test_a_failing_step_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), record(tmp_path / "run.json"):
        raise RuntimeError("diverged")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        pd.DataFrame({"subject_id": ["a"]}),
        pd.Series([1.0]),
        {"nested": [np.zeros(2)]},
        [str(number) for number in range(1001)],
        object(),
    ],
    ids=["array", "table", "series", "nested array", "long list", "object"],
)
def test_rows_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"rows|at most"), record(tmp_path / "run.json", params={"x": value}):
        pytest.fail("the step must not start")
    with pytest.raises(ValueError, match=r"rows|at most"), record(tmp_path / "run.json") as run:
        run.params["x"] = value
    with pytest.raises(ValueError, match=r"rows|at most"), record(tmp_path / "run.json") as run:
        run.add_fold(0, params={"x": value})
    assert not (tmp_path / "run.json").exists()


def test_metrics_and_counts_are_single_numbers(tmp_path):
    with record(tmp_path / "run.json") as run:
        with pytest.raises(TypeError, match="not a number"):
            run.add_fold(0, metrics={"risk": np.array([0.1, 0.2])})
        with pytest.raises(ValueError, match="whole number"):
            run.add_fold(0, counts={"train": 1.5})
        run.add_fold(0)
        with pytest.raises(ValueError, match="already"):
            run.add_fold(0)


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "not valid JSON"), ("[]", "format"), ('{"format": 1, "folds": []}', "complete")]
)
def test_a_damaged_record_is_named(tmp_path, content, problem):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(DataError, match=problem):
        read_record(path)
    with pytest.raises(DataError, match="no such run record"):
        read_record(tmp_path / "other.json")


def test_the_fingerprint_covers_the_curves(tmp_path):
    with record(tmp_path / "run.json"):
        (tmp_path / "curves.csv").write_text("fold,epoch,metric,value\n0,0,loss,1\n")
    before = fingerprint(tmp_path / "run.json")
    assert before == fingerprint(tmp_path / "run.json")
    (tmp_path / "curves.csv").write_text("fold,epoch,metric,value\n0,0,loss,2\n")
    assert before != fingerprint(tmp_path / "run.json")


def test_context_of_a_job(tmp_path):
    (tmp_path / "data.json").write_text('{"source": "tables", "fingerprint": "ab"}')
    context = context_of(study="s", rule="r", wildcards={"b": "2", "a": "1"}, data=tmp_path / "data.json")
    assert context == {
        "study": "s",
        "rule": "r",
        "wildcards": {"a": "1", "b": "2"},
        "data": {"source": "tables", "fingerprint": "ab"},
    }


def test_recording_imports_neither_torch_nor_mlflow():
    heavy = "{'torch', 'mlflow', 'pandas'}"
    code = f"import sys, riskweave.tracking, riskweave.jobs; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_use_of_the_machine_is_measured():
    began = time.perf_counter()
    with hardware.measuring(interval=0.1) as facts:
        assert facts == {}
        held = np.ones(20_000_000)  # 160 MB
        end = time.process_time() + 0.5
        while time.process_time() < end:
            held[:1000].sum()
    assert facts["memory_peak"] > held.nbytes
    assert facts["memory_total"] > facts["memory_peak"]
    # Half a second of processor time, however long a busy machine took to give it.
    assert 40 / (time.perf_counter() - began) < facts["cpu_percent_mean"] <= 100 * facts["cpus"] + 10
    assert facts["cpu_percent_peak"] >= facts["cpu_percent_mean"]
    assert facts["samples"] >= 4
    assert facts["cpu_model"]


def test_children_are_counted():
    child = "import time; held = bytearray(150_000_000); time.sleep(0.8)"
    with hardware.measuring(interval=0.1) as alone:
        time.sleep(0.2)
    with hardware.measuring(interval=0.1) as facts:
        subprocess.run([sys.executable, "-c", child], check=True)
    assert facts["memory_peak"] > alone["memory_peak"] + 140e6


def test_a_gpu_is_described_once_torch_uses_it(monkeypatch):
    """No graphics processor in a test: torch's answers are played, and nvidia-smi's."""
    about = types.SimpleNamespace(name="NVIDIA A100", total_memory=40 * 2**30, uuid="1234")
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        max_memory_allocated=lambda device: 0 if device else 5 * 2**30,
        get_device_properties=lambda _: about,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, get_num_threads=lambda: 2))
    monkeypatch.setattr(hardware, "_nvidia_smi", lambda _: [["GPU-1234", "80"], ["GPU-5678", "[N/A]"]])
    with hardware.measuring(interval=0.02) as facts:
        time.sleep(0.2)
    assert facts["torch_threads"] == 2
    assert facts["gpus"] == [
        {
            "name": "NVIDIA A100",
            "memory_total": 40 * 2**30,
            "memory_peak": 5 * 2**30,
            "utilisation_mean": 80.0,
            "utilisation_peak": 80.0,
        }
    ]


@pytest.mark.parametrize("given", [True, False])
def test_a_gpu_on_which_a_child_trains_is_described_where_it_was_given_to_the_job(monkeypatch, given):
    """Of three devices the process has used the first, a child the second, nobody the third."""
    named = ["one", "two", "three"]
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 3,
        max_memory_allocated=lambda device: 0 if device else 5 * 2**30,
        get_device_properties=lambda number: types.SimpleNamespace(
            name=named[number], total_memory=2**30, uuid=str(number)
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, get_num_threads=lambda: 2))
    monkeypatch.setattr(hardware, "_nvidia_smi", lambda _: [["GPU-0", "80"], ["GPU-1", "40"], ["GPU-2", "0"]])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2" if given else "")
    with hardware.measuring(interval=0.02) as facts:
        time.sleep(0.2)
    assert [gpu["name"] for gpu in facts["gpus"]] == (["one", "two"] if given else ["one"])
    assert ["memory_peak" in gpu for gpu in facts["gpus"]] == ([True, False] if given else [True])


@pytest.fixture
def checkout(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    return tmp_path, git


def test_git_state_follows_the_checkout(checkout):
    folder, git = checkout
    (folder / "a.py").write_text("x = 1\n")
    assert provenance.git_state((folder,)) == {"commit": None, "dirty": False, "diff": None, "untracked": 1}
    git("add", "a.py")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_state((folder,)) == {"commit": commit, "dirty": False, "diff": None, "untracked": 0}
    (folder / "a.py").write_text("x = 2\n")
    two = provenance.git_state((folder,))
    (folder / "a.py").write_text("x = 3\n")
    three = provenance.git_state((folder,))
    assert two["dirty"]
    assert three["dirty"]
    assert two["diff"] != three["diff"]
    assert two["commit"] == commit


def test_an_unpacked_archive_has_no_git_state(tmp_path, monkeypatch):
    assert provenance.git_state((tmp_path,)) == {}
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.git_state((tmp_path,)) == {}


def test_git_of_a_hook_is_not_taken_for_the_checkout(checkout, monkeypatch):
    folder, _ = checkout
    monkeypatch.setenv("GIT_DIR", str(folder / "elsewhere"))
    assert provenance.git_state((folder,))["commit"] is None


def test_code_fingerprint_changes_with_content_and_name(tmp_path):
    def made(name, files):
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return provenance.code_fingerprint(tmp_path / name)

    same = [made("one", {"a.py": "1", "b/c.py": "2"}), made("two", {"b/c.py": "2", "a.py": "1", "notes.md": "x"})]
    assert same[0] == same[1]
    assert made("three", {"a.py": "2", "b/c.py": "2"}) != same[0]
    assert made("four", {"a.py": "1", "b/d.py": "2"}) != same[0]


def test_data_facts_date_the_newest_file(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("x")
    data = {"source": "tables", "files": [str(file), str(tmp_path / "gone.csv")]}
    assert provenance.data_facts(data)["modified"].startswith("20")
    assert provenance.data_facts({"source": "synthetic", "files": []}) == {"source": "synthetic", "files": []}


def test_provenance_names_package_python_and_person():
    facts = provenance.provenance()
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["user"]
    assert len(facts["code"]) == 64
    assert str(Path.home()) not in json.dumps(facts)

"""The plan of a study: what jobs cost by hand calculation, and what is said of trainings that were done before."""

import json
import re
from pathlib import Path

import pytest

from riskweave.tracking.costs import RECORDS, read_past_runs
from riskweave.tracking.fingerprints import training_facts
from riskweave.tracking.plan import PlannedJob, plan

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("code.py").write_text("# code")
    Path("data.json").write_text('{"fingerprint": "raw"}')


def benchmark(study, name, seconds, memory="100.0"):
    path = Path("results", study, "benchmarks", f"{name}.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t1\t1\t1\t1\n")


def record(path, *, kind="cox", reused=False, gpus=0, training=None):
    path = Path("results", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance = {"user": "anna", "host": "gpu1"}
    provenance |= {"reused": {}} if reused else {}
    provenance |= {"training": training} if training else {}
    content = {
        "params": {"kind": kind, "fusion": "early", "modality": "ecg"},
        "hardware": {"gpus": [{"name": "x", "memory_peak": 10}] * gpus},
        "provenance": provenance,
        "context": {"study": path.parts[1]},
        "started": "2026-05-03T10:00:00.000+00:00",
        "metrics": {"test_harrell_c": 0.7},
    }
    path.write_text(json.dumps(content))


def training(name="ehr.cox", *, kind="cox", runs=True, after=(), table="table.parquet", reuse=False, seed=1):
    results = "results/new"
    return PlannedJob(
        rule="train_experiment",
        wildcards={"endpoint": "mi", "experiment": name},
        runs=runs,
        threads=1,
        inputs={"code": ["code.py"], "data": "data.json", "tables": [table]},
        params={
            "model": {"kind": kind},
            "experiment": {"fusion": "early"},
            "seed": seed,
            "earlier": {"results": results, "store": "results/mlflow", "reuse": reuse, "blocks": {}},
        },
        outputs={"record": f"{results}/experiments/mi/{name}/run.json"},
        after=after,
        gpus=0,
    )


def other(rule="ingest", *, runs=True, threads=1, outputs=None, after=()):
    return PlannedJob(rule, {}, runs, threads, {}, {}, outputs or {}, after, 0)


def planned(*jobs, cores=2):
    return plan(
        jobs,
        study="new",
        results=Path("results"),
        store=Path("results/mlflow"),
        cores=cores,
        cache=Path("cache.sqlite"),
    )


def test_costs_are_medians_by_rule_and_kind():
    for number, seconds in enumerate((10, 30, 20)):
        benchmark("old", f"train_experiment/mi/a{number}.cox", seconds, memory=str(100 * (number + 1)))
        record(f"old/experiments/mi/a{number}.cox/run.json")
    benchmark("old", "train_experiment/mi/f.forest", 400)
    record("old/experiments/mi/f.forest/run.json", kind="random_survival_forest")
    past = read_past_runs(Path("results"))
    cox = past.cost("train_experiment", "cox, early")
    assert (cox.seconds, cox.memory, cox.runs, cox.same_kind) == (20, 200 * 2**20, 3, True)
    unknown = past.cost("train_experiment", "deephit, early")
    assert (unknown.seconds, unknown.runs, unknown.same_kind) == (25, 4, False)
    assert past.cost("ingest", "") is None


def test_a_restored_training_does_not_make_training_look_cheap():
    benchmark("old", "train_experiment/mi/a.cox", 100)
    record("old/experiments/mi/a.cox/run.json")
    benchmark("copy", "train_experiment/mi/a.cox", 1)
    record("copy/experiments/mi/a.cox/run.json", reused=True)
    assert read_past_runs(Path("results")).cost("train_experiment", "cox, early").seconds == 100


def test_gpu_hours_count_the_devices_that_were_used():
    benchmark("old", "train_encoder/ecg/mi", 3600)
    record("old/features/ecg/mi/run.json", gpus=2)
    assert read_past_runs(Path("results")).cost("train_encoder", "ecg").gpu_seconds == 7200


@pytest.mark.parametrize(
    ("rule", "of", "path"),
    [
        ("train_endpoints", "ehr.multi", "experiments/mi/ehr.multi"),
        ("refit_encoder", "ecg/mi", "deployment/mi/encoders/ecg"),
    ],
)
def test_every_training_rule_tells_its_devices_and_what_was_restored(rule, of, path):
    benchmark("old", f"{rule}/{of}", 3600)
    record(f"old/{path}/run.json", gpus=1)
    benchmark("copy", f"{rule}/{of}", 1)
    record(f"copy/{path}/run.json", reused=True)
    cost = read_past_runs(Path("results")).cost(rule, "")
    assert (cost.seconds, cost.gpu_seconds, cost.runs) == (3600, 3600, 1)


def test_where_the_record_of_each_training_rule_lies_is_known():
    rules = Path(__file__).parents[2] / "workflow/rules"
    text = "".join(path.read_text() for path in sorted(rules.glob("*.smk")))
    blocks = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)[1:]
    trained = {name for name, block in zip(blocks[::2], blocks[1::2], strict=True) if "earlier=earlier_of" in block}
    again = {new for name, new in re.findall(r"^use rule (\w+) as (\w+)", text, re.MULTILINE) if name in trained}
    assert trained | again == set(RECORDS)


def test_a_job_too_short_to_be_looked_at_has_a_time():
    benchmark("old", "ingest", 0.5, memory="NA")
    cost = read_past_runs(Path("results")).cost("ingest", "")
    assert (cost.seconds, cost.memory) == (0.5, 0)


def test_sums_follow_cores_threads_and_the_longest_chain():
    """Ingest 60 s on both cores; then 100 s and, beside it, a chain of 50 s and 100 s."""
    for rule, seconds in (("ingest", 60), ("a", 100), ("b", 50)):
        benchmark("old", rule, seconds)
    jobs = [
        other("ingest", threads=4),
        other("a", after=(0,)),
        other("b", after=(0,)),
        other("a", after=(2,)),
        other("a", runs=False),
        other("new_rule"),
    ]
    text = planned(*jobs)
    # 60 + 100 + 50 + 100 one after another; the chain 60 + 50 + 100 = 210 s is longer than (120 + 250) / 2 = 185 s.
    assert "5 jobs to run, 1 done" in text
    assert "Cost of 4 jobs: 5 min one after another, at least 4 min on 2 cores; up to 0.1 GB" in text
    assert "Not in it, not having run here or too short to be measured: new_rule." in text
    # One core: all of it, and the wider job takes what there is.
    assert "at least 5 min on 1 core;" in planned(*jobs, cores=1)


def facts(job):
    return training_facts(rule=job.rule, inputs=job.inputs, params=job.params)


def test_a_training_that_was_done_before_is_named():
    Path("table.parquet").write_bytes(b"table")
    record("old/experiments/mi/ehr.cox/run.json", training=facts(training()) | {"outputs": {}})
    text = planned(training())
    assert "done before: study old, by anna on gpu1, 2026-05-03 10:00 UTC, test concordance 0.700 in training" in text
    assert "`reuse: true` in the study restores it" in text
    assert "will be restored from this disk" in planned(training(reuse=True))
    assert "not known to have been done before" in planned(training(seed=2))
    Path("code.py").write_text("# other code")
    assert "with other code: study old" in planned(training())


def test_before_its_inputs_are_made_a_training_may_be_one_of_before():
    Path("table.parquet").write_bytes(b"table")
    record("old/experiments/mi/ehr.cox/run.json", training=facts(training()) | {"outputs": {}})
    text = planned(other("aggregate_events", outputs={"table": "table.parquet"}), training(after=(0,)))
    assert "done before, if its inputs come out the same: study old" in text
    assert "table.parquet" not in text


def test_a_store_that_cannot_be_read_does_not_stop_the_plan():
    Path("table.parquet").write_bytes(b"table")
    Path("results/mlflow").mkdir(parents=True)
    Path("results/mlflow/mlflow.db").write_bytes(b"no database at all" * 100)
    text = planned(training())
    assert "the store cannot be read" in text
    assert "not known to have been done before" in text


def test_nothing_to_do_is_said():
    assert planned(training(runs=False)).splitlines() == [
        "Plan of study new: 0 jobs to run, 1 done.",
        "Done: train_experiment.",
    ]

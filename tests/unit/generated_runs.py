"""Run records of a lab that never was: many small training steps of several studies, written in no time."""

import json
import math
import multiprocessing
import random
from collections.abc import Sequence
from pathlib import Path

from riskweave.tracking.reading import read_trees
from riskweave.tracking.record import FoldRecord, RunRecord, write_record
from riskweave.tracking.sql import SqlStore
from riskweave.tracking.store import collect
from riskweave.tracking.trees import FINGERPRINT, PARENT, RECORD

__all__ = ["STUDIES", "contents_of", "generated_record", "write_in_parallel"]

STUDIES = ("alpha", "beta", "gamma", "delta")
PEOPLE = ("ada", "ben", "chi", "dua")


def generated_record(folder: Path, number: int, folds: int = 5) -> Path:
    """Write record number n, of study n modulo four, with curves of 20 epochs; the same n gives the same record."""
    chance = random.Random(number)
    study, sets = STUDIES[number % len(STUDIES)], ["ehr", "ehr+ecg", "ecg+image"][number % 3].split("+")
    model = ["cox", "deephit", "forest"][number % 5 % 3]
    fold_records = [
        FoldRecord(
            fold,
            metrics={"validation_harrell_c": chance.uniform(0.6, 0.8), "test_harrell_c": chance.uniform(0.6, 0.8)},
            params={"penalty": chance.uniform(0, 1), "best_epoch": chance.randrange(20)},
            counts={"train_subjects": 800, "test_subjects": 200},
        )
        for fold in range(folds)
    ]
    run = RunRecord(
        kind="experiment",
        name=f"{'+'.join(sets)}.{model}.{number}",
        endpoint=["mi", "stroke"][number % 2],
        feature_sets={name: ["age", f"{name}_first", f"{name}_second"] for name in sets},
        params={"fusion": "early", "model": model, **{f"setting_{key}": chance.random() for key in range(20)}},
        seed=number,
        context={"study": study, "rule": "train_experiment", "wildcards": {"experiment": str(number)}},
        data={"source": "tables", "fingerprint": f"{number % 7:032x}" * 2, "tables": {}, "files": ["subjects.csv"]},
        architecture=f"{model}, {len(sets)} feature sets",
        metrics={"test_harrell_c": chance.uniform(0.6, 0.8), "undefined": math.nan},
        folds=fold_records,
        hardware={"cpu_model": "none", "cpus": 2, "memory_peak": 10**8, "gpus": []},
        provenance={"user": PEOPLE[number % 4], "host": "lab", "packages": {"numpy": "2.0"}, "git": {"commit": "c0"}},
        started=f"2026-01-{1 + number % 28:02d}T00:00:00.000+00:00",
        duration=float(1 + number % 50),
    )
    path = folder / study / run.endpoint / run.name / "run.json"
    write_record(run, path)
    rows = [
        f"{fold},{epoch},{metric},{chance.random()}\n"
        for fold in range(folds)
        for epoch in range(20)
        for metric in ("train_loss", "val_loss")
    ]
    path.with_name("curves.csv").write_text("fold,epoch,metric,value\n" + "".join(rows), encoding="utf-8")
    return path


def _work(folder: Path, store: Path, numbers: Sequence[int], portion: int) -> None:
    """Write records and collect them, a few at a time, as one of several writers does."""
    for first in range(0, len(numbers), portion):
        by_study: dict[str, list[Path]] = {}
        for number in numbers[first : first + portion]:
            by_study.setdefault(STUDIES[number % 4], []).append(generated_record(folder, number))
        for study, records in by_study.items():
            collect(records=records, directory=store, study=study)


def write_in_parallel(folder: Path, store: Path, *, runs: int, writers: int, portion: int) -> list[int]:
    """Let several processes write and collect records at once, each into all studies; return their exit codes."""
    # Not forked: a writer has its own imports and connections, as a job of the workflow has.
    start = multiprocessing.get_context("spawn")
    jobs = [
        start.Process(target=_work, args=(folder, store, range(writer, runs, writers), portion))
        for writer in range(writers)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return [job.exitcode for job in jobs]


def contents_of(store: SqlStore) -> list[str]:
    """Return all that a store holds of the four studies, one text per record, but for MLflow's ids and locations."""
    found = []
    for study in STUDIES:
        runs = store.runs(store.experiment(study), [FINGERPRINT])
        tops = [run for run in runs if PARENT not in run.tags]
        trees = read_trees(store, [run.run_id for run in tops])
        assert len(runs) == sum(1 for tree in trees for _ in tree.walk())
        for top, tree in zip(tops, trees, strict=True):
            found.append(json.dumps([study, top.tags[RECORD], _plain(tree)], sort_keys=True))
    return sorted(found)


def _plain(tree) -> list:
    tags = {key: value for key, value in tree.contents.tags.items() if key != PARENT}
    files = [(folder, file.name, file.read_text(encoding="utf-8")) for file, folder in tree.files]
    points = sorted((key, repr(value), moment, step) for key, value, moment, step in tree.points())
    about = [tree.contents.name, tree.start, tree.end, tree.contents.params, tags, points, files, tree.data]
    return [about, [_plain(child) for child in tree.children]]

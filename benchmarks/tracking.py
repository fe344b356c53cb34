"""The store of runs under load: parallel writers, what a run costs to log, and ten thousand runs on one page.

    python benchmarks/tracking.py [--runs 1000] [--writers 8] [--pages 10000] [--client 50]
                                  [--parts sqlite postgresql client pages]

1. Writers: `--runs` run records of four studies (each with five folds and curves of 20 epochs: six runs of MLflow) are
   written and collected by `--writers` processes at once, each into all studies, into a fresh SQLite store, and into a
   PostgreSQL server that is started in a temporary folder. None may be lost, be there twice or lie in another study.
   Then the store is made again from the records by one process: all that it holds has to be the same but for MLflow's
   ids (parameters, metrics with their times, tags, data sets, the content of every file).
2. Cost of logging: milliseconds per record of that one process, beside the same records through MLflow's client in as
   few calls as it allows (create_run, log_batch, set_terminated), which leaves the files out.
3. Reading: a store of `--pages` runs with 20 parameters, 20 tags and 18 metrics; seconds of the comparison page, beside
   mlflow.search_runs of the same runs.

Bars: none lost; the same when made again; below 20 ms of processor per record of six runs; the page within 10 seconds.
The clock is not trusted on a busy machine: seconds of this process are printed beside it.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from riskweave.tracking.compare import compare
from riskweave.tracking.contents import Contents
from riskweave.tracking.database import address_of, init_store, open_store
from riskweave.tracking.record import read_record
from riskweave.tracking.store import collect
from riskweave.tracking.trees import CURRENT, FINGERPRINT, PARENT, RECORD, STATUS, Node, tree_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit"))
from generated_runs import STUDIES, contents_of, generated_record, write_in_parallel
from postgres_server import missing_postgres, postgres

PARTS = ("sqlite", "postgresql", "client", "pages")


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Print seconds of the body on the wall and of this process, and milliseconds per run."""
    wall, own = time.perf_counter(), time.process_time()
    yield
    wall, own = time.perf_counter() - wall, time.process_time() - own
    print(f"  {what}: {wall:.2f} s ({own:.2f} s of this process), {1000 * wall / count:.2f} ms each", flush=True)


def check_places(store: Path, runs: int) -> None:
    """Assert that each study holds its records, each once."""
    total = 0
    with open_store(store) as opened:
        assert set(opened.experiments()) == set(STUDIES)
        for number, study in enumerate(STUDIES):
            found = opened.runs(opened.experiment(study), [FINGERPRINT, "study", "experiment"])
            assert {run.tags["study"] for run in found} == {study}
            names = [run.tags["experiment"] for run in found if PARENT not in run.tags]
            expected = range(number, runs, len(STUDIES))
            assert sorted(int(name.rpartition(".")[2]) for name in names) == list(expected)
            total += len(found)
    print(f"  none of {runs} records lost, none twice, none in another study ({total} runs of MLflow)")


def writers(folder: Path, *, runs: int, writers: int, database: str | None) -> None:
    """Fill a store from several processes, and make it again from the records."""
    store = folder / "store"
    init_store(directory=store, database=database)
    with timed(f"{writers} writers, each with its own imports", runs):
        codes = write_in_parallel(folder / "results", store, runs=runs, writers=writers, portion=25)
    assert codes == [0] * writers, codes
    check_places(store, runs)
    records = {study: sorted((folder / "results" / study).rglob("run.json")) for study in STUDIES}
    with open_store(store) as opened:
        before = contents_of(opened)
    if database is None:
        shutil.rmtree(store)
        again = store
    else:
        again = folder / "again"
    init_store(directory=again)
    with timed("made again in SQLite from the records by one process", runs):
        for study, paths in records.items():
            collect(records=paths, directory=again, study=study)
    with timed("collected once more, nothing to do", runs):
        for study, paths in records.items():
            collect(records=paths, directory=again, study=study)
    with open_store(again) as opened:
        assert contents_of(opened) == before
    print(f"  made again: the same, {len(before)} records")


def client(folder: Path, records: list[Path]) -> None:
    """Log records through MLflow's client."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    init_store(directory=folder / "client")
    trees = [tree_of(path, read_record(path)) for path in records]
    api = MlflowClient(tracking_uri=address_of(folder / "client"))
    experiment = api.create_experiment("client", artifact_location=str(folder / "client/artifacts"))
    with timed(f"{len(records)} of them through MLflow's client, without files", len(records)):
        for node in (node for tree in trees for node in tree.walk()):
            run = api.create_run(
                experiment, start_time=node.start, run_name=node.contents.name, tags=node.contents.tags
            )
            params = [Param(key, value) for key, value in node.contents.params.items()]
            metrics = [Metric(key, value, moment, step) for key, value, moment, step in node.points()]
            api.log_batch(run.info.run_id, metrics=metrics, params=params)
            api.set_terminated(run.info.run_id, end_time=node.end)


def fill(store: Path, runs: int) -> None:
    """Write many runs without folds straight into a store."""
    chance = random.Random(0)
    sets = ["ehr", "ecg", "image", "ehr+ecg", "ehr+image", "ecg+image", "ehr+ecg+image", "age_sex"]
    models = ["cox", "deephit", "logistic_hazard", "forest", "weibull", "gradient_boosting"]
    with open_store(store) as opened:
        for study in ("heart", "kidney", "liver", "ward", "registry"):
            nodes = []
            for number in range(runs // 5):
                features, model = chance.choice(sets), chance.choice(models)
                tags = {
                    "study": study, "kind": "experiment", "endpoint": chance.choice(["mi", "stroke", "death"]),
                    "experiment": f"{features}.{model}.{number}", "feature_sets": features,
                    "user": chance.choice(["ada", "ben", "chi", "dua", "eva"]), "data": chance.choice("abc") * 64,
                    STATUS: CURRENT if chance.random() < 0.6 else "superseded",
                    RECORD: f"experiment/{number}", FINGERPRINT: f"{chance.getrandbits(256):064x}",
                    **{f"package.p{key}": "1.0" for key in range(10)},
                }  # fmt: skip
                params = {"model": model, **{f"setting.{key}": str(chance.random()) for key in range(19)}}
                level, metrics = 0.62 + 0.03 * features.count("+") + chance.gauss(0, 0.02), []
                for name, base in (("harrell_c", level), ("uno_c", level - 0.01), ("brier", 0.2 - level / 10)):
                    for horizon in (1826, 3652):
                        ends = (("", base), ("_lower", base - 0.02), ("_upper", base + 0.02))
                        metrics += [(f"{name}_{horizon}{end}", value, 0) for end, value in ends]
                start = 1_760_000_000_000 + chance.randrange(10**10)
                nodes.append(Node(Contents(tags["experiment"], params, tags, metrics), start, start + 60_000))
            opened.write(opened.experiment(study), nodes)


def page(folder: Path, runs: int, keep: Path | None) -> None:
    """Compare how long the comparison page and MLflow's client take to read all runs."""
    store = folder / "many"
    init_store(directory=store)
    with timed(f"{runs} runs written by SQL", runs):
        fill(store, runs)
    with timed("comparison page", runs):
        assert compare(directory=store, page=folder / "index.html") == runs
    print(f"  the page has {(folder / 'index.html').stat().st_size / 1e6:.1f} MB", flush=True)
    if keep:
        shutil.copy(folder / "index.html", keep)
    import mlflow

    mlflow.set_tracking_uri(address_of(store))
    with timed("mlflow.search_runs", runs):
        assert len(mlflow.search_runs(search_all_experiments=True)) == runs


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--client", type=int, default=50)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--keep", type=Path, help="copy the comparison page there")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "sqlite" in options.parts:
            print("SQLite", flush=True)
            writers(folder / "sqlite", runs=options.runs, writers=options.writers, database=None)
        if "postgresql" in options.parts:
            print(f"PostgreSQL {missing_postgres()}", flush=True)
            if not missing_postgres():
                with postgres() as database:
                    writers(folder / "postgresql", runs=options.runs, writers=options.writers, database=database)
        if "client" in options.parts:
            print("MLflow's client", flush=True)
            client(folder, [generated_record(folder / "few", number) for number in range(options.client)])
        if "pages" in options.parts:
            print(f"{options.pages} runs", flush=True)
            page(folder, options.pages, options.keep)


if __name__ == "__main__":
    main()

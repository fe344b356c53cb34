"""Cohorts of 5,000, 50,000 and 500,000 subjects: from a MEDS data set to outcomes and 230 EHR columns.

Each stage runs in a process of its own on two cores, as its job does; its seconds, those that the processors worked for
it (the ones that count on a busy machine) and the peak of its memory are printed. Beside it, at up to 50,000 subjects,
a plain pandas script makes the same outcomes and columns from the same files, and all are compared value by value.

The data are generated: about 200 events a subject over up to 15 years (60 % laboratory values of 300 codes, 40 %
diagnoses of 1300 codes), a birth, and a death at the end of some. Index time is 2015-01-01, with a year of history; who
had the target before is left out. Columns are 3 aggregates of 5 laboratory codes in 2 windows, and 200 code prefixes.

Run: python benchmarks/cohort_scale.py [--subjects 5000 50000 500000] [--folder FOLDER]
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CORES = 2
PANDAS_AT_MOST = 50_000
SHARD = 10_000
INDEX = "2015-01-01"
END = "2020-01-01"
DAY = 86_400_000_000
LABS = [f"LAB//{number:03d}//mg/dL" for number in range(300)]
CHAPTERS = [f"ICD10//{chr(65 + number % 26)}{number // 26:02d}" for number in range(260)]
DIAGNOSES = [f"{chapter}.{digit}" for chapter in CHAPTERS for digit in range(5)]
TARGET, PRIOR = "ICD10//I05", "ICD10//W08"
AGGREGATES = ("last", "mean", "max")
WINDOWS = (365, None)
MEASURED = LABS[:5]
PREFIXES = CHAPTERS[:200]


def _day(date: str) -> int:
    return int(np.datetime64(date, "us").astype(np.int64))


def make_shard(start: int, count: int, rng: np.random.Generator) -> pa.Table:
    """Return the events of some subjects, in the order of subjects and times."""
    number = rng.poisson(198, count) + 1
    begin = _day("2005-01-01") + rng.integers(0, 9 * 365, count) * DAY
    end = begin + ((_day(END) - begin) * rng.uniform(0.3, 1, count)).astype(np.int64)
    dies = rng.random(count) < 0.15
    owner = np.repeat(np.arange(count), number)
    laboratory = rng.random(len(owner)) < 0.6
    code = (rng.random(len(owner)) ** 2 * np.where(laboratory, len(LABS), len(DIAGNOSES))).astype(int)
    code += np.where(laboratory, 0, len(LABS))
    moment = begin[owner] + (rng.random(len(owner)) * (end - begin)[owner]).astype(np.int64)
    value = np.where(laboratory, rng.normal(100, 15, len(owner)), np.nan)
    births = _day("1940-01-01") + rng.integers(0, 40 * 365, count) * DAY
    further = len(LABS) + len(DIAGNOSES)
    rows = pd.DataFrame(
        {
            "subject_id": np.concatenate([owner, np.arange(count), np.flatnonzero(dies)]) + 10_000_000 + start,
            "time": np.concatenate([moment, births, end[dies]]),
            "code": np.concatenate([code, np.full(count, further), np.full(dies.sum(), further + 1)]),
            "numeric_value": np.concatenate([value, np.full(count + dies.sum(), np.nan)]).astype(np.float32),
        }
    ).sort_values(["subject_id", "time"], kind="stable")
    words = pa.array([*LABS, *DIAGNOSES, "MEDS_BIRTH", "MEDS_DEATH"])
    return pa.table(
        {
            "subject_id": pa.array(rows["subject_id"], pa.int64()),
            "time": pa.array(rows["time"], pa.timestamp("us")),
            "code": words.take(pa.array(rows["code"])),
            "numeric_value": pa.array(rows["numeric_value"], from_pandas=True),
            "text_value": pa.nulls(len(rows), pa.large_string()),
        }
    )


def generate(folder: Path, subjects: int) -> int:
    """Write a MEDS data set, and return its number of events."""
    rng = np.random.default_rng(1)
    (folder / "meds" / "data").mkdir(parents=True)
    events = 0
    for number, start in enumerate(range(0, subjects, SHARD)):
        table = make_shard(start, min(SHARD, subjects - start), rng)
        pq.write_table(table, folder / "meds" / "data" / f"{number}.parquet", compression="zstd")
        events += len(table)
    return events


def ingest_stage(folder: Path) -> None:
    """Read, check, sort and store the data set."""
    from riskweave.cohort.ingest import ingest
    from riskweave.study.sources import MedsSource

    ingest(cohort=MedsSource(source="meds", path=str(folder / "meds")), output=folder / "source", threads=CORES)


def select_stage(folder: Path) -> None:
    """Select the subjects of the study."""
    from riskweave.cohort.selection import select_cohort
    from riskweave.study.population import Population

    population = {
        "index": {"at": "date", "date": INDEX},
        "minimum_history": 365,
        "exclude": [{"name": "prior", "codes": [PRIOR]}],
        "followup": {"last_contact": "last_event", "date": END},
    }
    select_cohort(
        subjects=folder / "source" / "subjects.parquet",
        events=folder / "source" / "events.parquet",
        population=Population.model_validate(population),
        output=folder / "subjects.parquet",
        attrition=folder / "attrition.csv",
    )


def outcomes_stage(folder: Path) -> None:
    """Define the outcomes of an endpoint with a competing one."""
    from riskweave.cohort.outcomes import define_outcomes
    from riskweave.study.cohort import CodesEndpoint

    define_outcomes(
        subjects=folder / "subjects.parquet",
        events=folder / "source" / "events.parquet",
        selected=folder / "attrition.csv",
        name="target",
        endpoint=CodesEndpoint(kind="codes", target=[TARGET], competing=["MEDS_DEATH"], horizons=[365]),
        outcomes=folder / "outcomes.parquet",
        attrition=folder / "attrition_target.csv",
    )


def features_stage(folder: Path) -> None:
    """Make 30 windowed aggregates and 200 code prefixes."""
    from riskweave.modalities.ehr import aggregate_events
    from riskweave.study.features import EhrFeatures

    measured = [
        {"codes": [code], "name": f"lab{place}", "aggregates": list(AGGREGATES), "windows": list(WINDOWS)}
        for place, code in enumerate(MEASURED)
    ]
    prefixes = [{"codes": [prefix], "aggregates": ["ever"]} for prefix in PREFIXES]
    aggregate_events(
        subjects=folder / "subjects.parquet",
        events=folder / "source" / "events.parquet",
        features=EhrFeatures.model_validate({"modality": "ehr", "events": measured + prefixes}),
        output=folder / "features.parquet",
        threads=CORES,
    )


def _pandas_cohort(events: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return index time and end of follow-up of the subjects, and the outcomes of those at risk."""
    index, end = pd.Timestamp(INDEX), pd.Timestamp(END) + pd.Timedelta(days=1)
    dated = events[events["code"] != "MEDS_BIRTH"].groupby("subject_id")["time"].agg(["min", "max"])
    deaths = events[events["code"] == "MEDS_DEATH"].groupby("subject_id")["time"].min()
    subjects = dated.join(deaths.rename("death"))
    subjects["end"] = subjects["max"].clip(upper=end)
    prior = events[events["code"].str.startswith(PRIOR) & (events["time"] <= index)]["subject_id"].unique()
    subjects = subjects[~(subjects["death"] <= index) & (subjects["end"] > index)]
    subjects = subjects[(subjects["min"] <= index - pd.Timedelta(days=365)) & ~subjects.index.isin(prior)]
    targets = events[events["code"].str.startswith(TARGET)]
    before = targets[targets["time"] <= index]["subject_id"].unique()
    after = targets[targets["time"] > index].groupby("subject_id")["time"].min()
    risk = subjects[~subjects.index.isin(before)].join(after.rename("target"))
    happened = risk["target"] <= risk["end"]
    died = risk["death"] <= risk["end"]
    time_ = risk["target"].where(happened, risk["end"])
    outcomes = pd.DataFrame(
        {
            "time": (time_ - index) / pd.Timedelta(days=1),
            "event": np.select([happened, died], [1, 2], 0),
        }
    )
    return subjects, outcomes


def _pandas_features(events: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    """Return the columns, by whole-column operations as far as pandas has them."""
    index = pd.Timestamp(INDEX)
    past = events[(events["time"] <= index) & events["subject_id"].isin(subjects.index)]
    columns = {}
    for place, code in enumerate(MEASURED):
        mine = past[past["code"].str.startswith(code)]
        for window in WINDOWS:
            seen = mine if window is None else mine[mine["time"] > index - pd.Timedelta(days=window)]
            suffix = "" if window is None else f"@{window}d"
            grouped = seen.sort_values("time").groupby("subject_id")["numeric_value"]
            for name in AGGREGATES:
                columns[f"lab{place}:{name}{suffix}"] = getattr(grouped, name)()
    chapter = past["code"].str.partition(".")[0]
    for prefix in PREFIXES:
        ids = past["subject_id"][chapter == prefix].unique()
        columns[f"{prefix}:ever"] = pd.Series(1.0, index=ids)
    made = pd.DataFrame(columns).reindex(subjects.index)
    ever = [f"{prefix}:ever" for prefix in PREFIXES]
    return made.fillna(dict.fromkeys(ever, 0.0))


def pandas_stage(folder: Path) -> None:
    """Do all of it as a notebook would, with the events in memory."""
    events = pd.read_parquet(folder / "meds" / "data")
    events["subject_id"] = events["subject_id"].astype(str)
    subjects, outcomes = _pandas_cohort(events)
    outcomes.to_parquet(folder / "pandas_outcomes.parquet")
    _pandas_features(events, subjects).to_parquet(folder / "pandas_features.parquet")


STAGES = {
    "ingest": ingest_stage,
    "selection": select_stage,
    "outcomes": outcomes_stage,
    "features": features_stage,
    "pandas": pandas_stage,
}


def run_stage(name: str, folder: Path) -> dict[str, float]:
    """Run a stage in a process of its own, and return its seconds, those of both cores, and its peak memory (GiB)."""
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"stage {name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, folder: Path) -> None:
    """Run a stage here on two cores, and print what it took."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    start = time.perf_counter()
    STAGES[name](folder)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "gib": used.ru_maxrss / 2**20}))


def compare(folder: Path) -> tuple[int, int]:
    """Check that pandas and riskweave made the same outcomes and columns; return the shape of the latter."""
    from riskweave.modalities.base import read_features

    mine = pd.read_parquet(folder / "outcomes.parquet").set_index("subject_id")[["time", "event"]]
    other = pd.read_parquet(folder / "pandas_outcomes.parquet")
    pd.testing.assert_index_equal(mine.index, other.index, check_names=False)
    np.testing.assert_array_equal(mine["event"], other["event"])
    np.testing.assert_allclose(mine["time"], other["time"], atol=1e-9)
    columns = read_features(folder / "features.parquet")[0].set_index("subject_id")
    expected = pd.read_parquet(folder / "pandas_features.parquet").reindex(index=columns.index, columns=columns.columns)
    np.testing.assert_allclose(columns, expected, rtol=1e-5, atol=1e-5)
    return columns.shape


def _line(name: str, seconds: float, cpu: float, gib: float) -> str:
    return f"  {name:<12} {seconds:8.1f} s {cpu:8.1f} s of processors {gib:6.2f} GiB"


def run_size(subjects: int, folder: Path) -> float:
    """Run everything at one size, print a line for each stage, and return the seconds of all of ours."""
    events = generate(folder, subjects)
    print(f"\n{subjects} subjects, {events} events")
    total = busy = peak = 0.0
    for name in ("ingest", "selection", "outcomes", "features"):
        took = run_stage(name, folder)
        total, busy, peak = total + took["seconds"], busy + took["cpu"], max(peak, took["gib"])
        print(_line(name, took["seconds"], took["cpu"], took["gib"]), flush=True)
    print(_line("riskweave", total, busy, peak), f"  {total / subjects * 1e3:.3f} ms a subject", flush=True)
    if subjects <= PANDAS_AT_MOST:
        took = run_stage("pandas", folder)
        rows, columns = compare(folder)
        same = f"  the same outcomes, and the same values in {rows} rows and {columns} columns"
        print(_line("pandas", took["seconds"], took["cpu"], took["gib"]), same, flush=True)
    return total


def main() -> None:
    """Run all sizes, and print how time grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--folder", type=Path, default=None, help="where to work (25 GB at 500,000 subjects)")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        measure(arguments.stage, arguments.folder)
        return
    seconds = {}
    for subjects in sorted(arguments.subjects):
        folder = Path(tempfile.mkdtemp(prefix="cohort-scale-", dir=arguments.folder))
        try:
            seconds[subjects] = run_size(subjects, folder)
        finally:
            shutil.rmtree(folder)
    sizes = sorted(seconds)
    for small, large in pairwise(sizes):
        growth = seconds[large] / seconds[small]
        print(f"\n{small} to {large} subjects: {large / small:.0f} times the subjects, {growth:.1f} times the seconds")


if __name__ == "__main__":
    main()

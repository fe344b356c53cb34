"""EHR aggregates: riskweave (DuckDB, set-wise) beside a pandas loop over the subjects, on the same events.

Run: python benchmarks/ehr_aggregates.py [--events 1000000] [--subjects 10000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.modalities.base import read_features
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.features import EhrFeatures

AGGREGATES = ["last", "mean", "min", "max", "count", "slope", "time_since"]
CODES = [f"LAB//{number:02d}" for number in range(20)]


def make_cohort(folder: Path, *, events: int, subjects: int, seed: int = 1) -> None:
    """Write a table of subjects and one of events (20 codes, 10 years before the index, 1 year after it)."""
    rng = np.random.default_rng(seed)
    index_time = pd.Timestamp("2020-01-01")
    ids = np.array([f"{number:07d}" for number in range(subjects)])
    people = pd.DataFrame({"subject_id": ids, "person_id": ids, "index_time": index_time, "followup_end": pd.NaT})
    people.to_parquet(folder / "subjects.parquet", index=False)
    frame = pd.DataFrame(
        {
            "subject_id": ids[rng.integers(0, subjects, events)],
            "time": index_time + pd.to_timedelta(rng.uniform(-3650, 365, events), "D").round("us"),
            "code": rng.choice(CODES, events),
            "numeric_value": rng.normal(100, 15, events).astype(np.float32),
            "unit": "mg/dL",
        }
    )
    frame.sort_values(["subject_id", "time", "code"]).to_parquet(folder / "events.parquet", index=False)


def pandas_loop(folder: Path) -> pd.DataFrame:
    """Aggregate one subject after the other, as notebooks do."""
    subjects, events = (pd.read_parquet(folder / f"{name}.parquet") for name in ("subjects", "events"))
    index_times = subjects.set_index("subject_id")["index_time"]
    rows = {}
    for subject_id, history in events.groupby("subject_id"):
        past = history[history["time"] <= index_times[subject_id]]
        days = ((index_times[subject_id] - past["time"]) / pd.Timedelta(days=1)).to_numpy()
        codes, values = past["code"].to_numpy(), past["numeric_value"].to_numpy(dtype=float)
        row = {}
        for code in np.unique(codes):
            mine = codes == code
            value, day = values[mine], days[mine]
            centred = -(day - day.mean()) / 365.25
            slope = (centred @ value) / (centred @ centred) if len(value) > 1 else np.nan
            made = (value[day.argmin()], value.mean(), value.min(), value.max(), len(value), slope, day.min())
            row |= {f"{code}:{name}": number for name, number in zip(AGGREGATES, made, strict=True)}
        rows[subject_id] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    """Time both, check that they agree, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--subjects", type=int, default=10_000)
    arguments = parser.parse_args()
    block = {"codes": ["LAB//"], "by_code": True, "aggregates": AGGREGATES}
    features = EhrFeatures(modality="ehr", events=[block])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cohort(folder, events=arguments.events, subjects=arguments.subjects)
        start = time.perf_counter()
        aggregate_events(
            subjects=folder / "subjects.parquet",
            events=folder / "events.parquet",
            features=features,
            output=folder / "features.parquet",
        )
        columnar = time.perf_counter() - start
        made = read_features(folder / "features.parquet")[0].set_index("subject_id")
        start = time.perf_counter()
        looped = pandas_loop(folder)
        loop = time.perf_counter() - start
    looped = looped.reindex(index=made.index, columns=made.columns)
    counts = [column for column in made.columns if column.endswith(":count")]
    looped[counts] = looped[counts].fillna(0)
    np.testing.assert_allclose(made, looped, rtol=1e-6, atol=1e-6)
    print(f"{arguments.events} events, {arguments.subjects} subjects, {made.shape[1]} columns: the same values")
    print(f"riskweave (DuckDB, one thread) {columnar:8.2f} s")
    print(f"pandas loop                    {loop:8.2f} s")
    print(f"ratio                          {loop / columnar:8.1f}")


if __name__ == "__main__":
    main()

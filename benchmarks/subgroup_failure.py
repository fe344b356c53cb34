"""The planted subgroup failure, the centre whose ECG recorder distorts, as the subgroup tables show it.

    python benchmarks/subgroup_failure.py [RESULTS/STUDY] [--metrics observed_expected harrell_c ...]

Reads the study and the metrics of a study that has been run with `cohort.shifted_device` and `evaluation.subgroups:
[centre]`, as the demo study has (default: results/demo), and prints for every experiment the metric in each centre at
the last horizon. A star marks intervals without the value of perfect calibration: in experiments with ECG the shifted
centre should have one, in those without it should not. Among many intervals some miss by chance.
"""

import argparse
from pathlib import Path

import pandas as pd
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
METRICS = ("observed_expected", "calibration_intercept", "harrell_c")
PERFECT = {"observed_expected": 1.0, "calibration_intercept": 0.0}


def centre_rows(folder: Path, metric: str) -> pd.DataFrame:
    """Return the rows of a metric in the centres, of every endpoint and experiment at the last horizon."""
    tables = [pd.read_parquet(path) for path in sorted(folder.glob("evaluation/*/metrics.parquet"))]
    if not tables:
        raise SystemExit(f"{folder} has no evaluation/*/metrics.parquet: run the study first")
    rows = pd.concat(tables)
    rows = rows[(rows["metric"] == metric) & (rows["group"] == "centre")]
    return rows[rows["horizon"] == rows.groupby("endpoint")["horizon"].transform("max")]


def cell(row: pd.Series, perfect: float | None) -> str:
    """Return the centre's estimate and interval, with a star where they leave out the perfect value."""
    star = "*" if perfect is not None and (row.lower > perfect or row.upper < perfect) else " "
    return f"{row.group_value} {row.estimate:5.2f} ({row.lower:5.2f} to {row.upper:5.2f}){star}"


def main() -> None:
    """Print the centres' rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "results/demo")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    chosen = parser.parse_args()
    study = yaml.safe_load((chosen.folder / "study.yaml").read_text(encoding="utf-8"))
    shifted = study["cohort"].get("shifted_device")
    print(f"ECG recorder that distorts: {shifted or 'none'}")
    for metric in chosen.metrics:
        print(f"\n{metric}, last horizon (95 % interval)")
        for (endpoint, experiment), rows in centre_rows(chosen.folder, metric).groupby(["endpoint", "experiment"]):
            cells = [cell(row, PERFECT.get(metric)) for _, row in rows.sort_values("group_value").iterrows()]
            print(f"  {endpoint} {experiment:28s}" + "  ".join(cells))


if __name__ == "__main__":
    main()

"""Measure how much of what the demo cohort holds the experiments find.

Compares the concordance of each experiment with two bounds on the same subjects: age and sex alone, and the oracle, the
planted log-hazard that the pipeline never reads. Run the demo study first (`make demo`).
"""

from pathlib import Path

import pandas as pd

from riskweave.evaluation.metrics import harrell_c

STUDY = Path("results/demo")
ENDPOINT, BASE = "mi", "age_sex.cox"


def main() -> None:
    """Print the concordances and the share of the gap that each experiment closes."""
    truth_file = STUDY / "cohort/synthetic/truth.parquet"
    if not truth_file.is_file():
        print(f"{truth_file} is missing: run `make demo` first. Nothing was measured.")
        return
    outcomes = pd.read_parquet(STUDY / f"cohort/outcomes/{ENDPOINT}.parquet").set_index("subject_id")
    truth = pd.read_parquet(truth_file).astype({"subject_id": str}).set_index("subject_id").loc[outcomes.index]
    values = {"time": outcomes["time"].to_numpy(), "event": outcomes["event"].to_numpy()}
    oracle = harrell_c(**values, risk=truth["log_hazard"].to_numpy())
    board = pd.read_parquet(STUDY / f"evaluation/{ENDPOINT}/leaderboard.parquet").set_index("experiment")["harrell_c"]
    gap = oracle - board[BASE]
    print(f"{len(outcomes)} subjects; oracle {oracle:.3f}, {BASE} {board[BASE]:.3f}, gap {gap:.3f}")
    for name, value in board.items():
        print(f"{name:36s} {value:.3f}  closes {(value - board[BASE]) / gap:6.1%} of the gap")


if __name__ == "__main__":
    main()

"""Compare the NAFLD study with a figure from elsewhere, computed the way that figure was.

A ridge Cox on hand-made features reached a five-fold Harrell concordance for incident MACE of 0.752 with age and sex,
and 0.779 with body mass index, laboratory values and history, with death as a censoring. The leaderboard counts death
as a competing event, which gives lower numbers for the same predictions. Run the study first:
`snakemake --configfile config/studies/nafld.yaml`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from lifelines.utils import concordance_index

STUDY = Path("results/nafld")
REFERENCE = {"age_sex.cox": 0.752, "ehr.cox": 0.779}


def main() -> None:
    """Print the mean concordance over the folds of each experiment, and the reference where there is one."""
    outcomes_file = STUDY / "cohort/outcomes/mace.parquet"
    if not outcomes_file.is_file():
        print(f"{outcomes_file} is missing: run the study first. Nothing was measured.")
        return
    outcomes = pd.read_parquet(outcomes_file).set_index("subject_id")[["time", "event"]]
    print(f"{len(outcomes)} subjects at risk, {(outcomes['event'] == 1).sum()} events")
    for folder in sorted((STUDY / "experiments/mace").iterdir()):
        rows = pd.read_parquet(folder / "predictions.parquet").set_index("subject_id").join(outcomes)
        risk = max((name for name in rows if name.startswith("risk_") and "_c" not in name), key=lambda n: int(n[5:]))
        folds = [
            concordance_index(fold["time"], -fold[risk], fold["event"] == 1)
            for _, fold in rows.groupby("fold", sort=True)
        ]
        reference = f"  reference {REFERENCE[folder.name]:.3f}" if folder.name in REFERENCE else ""
        print(f"{folder.name:24s} {np.mean(folds):.4f} (sd over folds {np.std(folds, ddof=1):.4f}){reference}")


if __name__ == "__main__":
    main()

"""A study's results written by hand: as small as the tests of what notebooks read can do with."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

__all__ = ["INDEX", "write_results"]

INDEX = pd.Timestamp("2020-01-01")
IDS = ["00101", "00102", "00103"]


def _study(source: str) -> dict:
    return {
        "study": "tiny",
        "question": "?",
        "cohort": {"source": source},
        "endpoints": {"mace": {"horizons": [365, 730]}},
        "feature_sets": {"labs": {"modality": "ehr"}, "ecg": {"modality": "ecg"}, "unused": {"modality": "image"}},
        "evaluation": {"reference": "labs.cox", "confidence": 0.95},
    }


def _csv(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _parquet(path: Path, **columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path, index=False)


def _cohort(folder: Path) -> None:
    _csv(folder / "report/mace/attrition.csv", "step,description,excluded,remaining\nfree,Free of it,s,s\n")
    _csv(folder / "report/mace/curves.csv", "curve,day,estimate,lower,upper,at_risk\ntarget event,0,0,0,0,\n")
    _csv(folder / "report/mace/flow.svg", "<svg/>")
    _parquet(folder / "subjects.parquet", subject_id=IDS, person_id=IDS, index_time=[INDEX] * 3, age=[50.0, 60.0, 70.0])
    _parquet(folder / "outcomes/mace.parquet", subject_id=IDS[1:], endpoint="mace", time=[730.5, 100.0], event=[0, 1])
    times = INDEX + pd.to_timedelta([-365.25, 730.5, 10], unit="D")
    _parquet(
        folder / "source/events.parquet", subject_id=[IDS[1], IDS[1], IDS[2], IDS[1], IDS[1]],
        time=[*times, pd.NaT, times[0]], code=["LAB//A", "ICD10//I21", "LAB//A", "SEX//F", "MEDS_BIRTH"],
    )  # fmt: skip


def _experiment(folder: Path, first: float) -> None:
    _parquet(
        folder / "predictions.parquet", subject_id=IDS[1:], fold=[0, 1],
        risk_365=[first, 0.1], risk_730=[2 * first, 0.3], risk_c2_365=[0.9, 0.9],
    )  # fmt: skip
    record = {"kind": "experiment", "name": folder.name, "endpoint": "mace", "duration": 2.5, "metrics": {"loss": 1.0}}
    record |= {"architecture": "Cox\nall of it", "provenance": {"user": "somebody", "host": "somewhere"}}
    _csv(folder / "run.json", json.dumps(record))


def write_results(root: Path, *, source: str = "synthetic", **evaluation) -> Path:
    """Write ``root/tiny`` and return it.

    Three subjects; the first is not at risk. The last has an ECG, twice; the others have none. Two experiments.
    """
    folder = root / "tiny"
    study = _study(source)
    study["evaluation"] |= evaluation
    _csv(folder / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    _cohort(folder / "cohort")
    _parquet(folder / "features/labs/features.parquet", subject_id=IDS, crp=[1.0, 2.0, 3.0])
    _parquet(folder / "features/ecg/features.parquet", subject_id=IDS[2:], heart_rate=[70.0])
    _parquet(folder / "features/ecg/index.parquet", subject_id=[IDS[2]] * 2, row=[0, 1])
    np.save(folder / "features/ecg/inputs.npy", np.arange(12, dtype="float32").reshape(2, 2, 3))
    for name, first in (("labs.cox", 0.2), ("labs+ecg.cox", 0.4)):
        _experiment(folder / "experiments/mace" / name, first)
    _parquet(
        folder / "evaluation/mace/leaderboard.parquet", experiment=["labs+ecg.cox", "labs.cox"], harrell_c=[0.7, 0.6]
    )
    return folder

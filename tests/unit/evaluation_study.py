"""Files of a study whose true risks are known, for tests of the evaluation from prediction tables to tables."""

import numpy as np
import pandas as pd

from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, write_table
from riskweave.evaluation.evaluate import evaluate_endpoint
from riskweave.evaluation.inputs import read_comparison
from riskweave.study.cohort import ColumnsEndpoint
from riskweave.study.evaluation import Evaluation
from riskweave.survival.predictions import prediction_frame, write_predictions

ENDPOINT = ColumnsEndpoint(kind="columns", time="time", event="event", horizons=[180, 360], grid_points=6)
EVALUATION = Evaluation(reference="half.cox", bootstrap=200, seed=3, thresholds=[0.1, 0.2, 0.3, 0.5, 0.7])
FOLD_COUNT = 4
COMPETING = 1 / 1500  # per day


def true_risks(rate):
    """Cumulative incidence of the target and of a competing event at the grid: (n, 2, times)."""
    days = np.array(ENDPOINT.time_grid())
    gone = 1 - np.exp(-(rate[:, None] + COMPETING) * days)
    share = (rate / (rate + COMPETING))[:, None]
    return np.stack([share * gone, (1 - share) * gone], axis=1)


def write_experiment(folder, name, ids, fold, risks, *, endpoint=ENDPOINT):
    parts = [
        prediction_frame(
            subjects=pd.Index(ids[fold == number]),
            experiment=name,
            endpoint="mace",
            fold=number,
            modalities=["ehr"] * int((fold == number).sum()),
            linear_predictor=None,
            risks=risks[fold == number],
            times=endpoint.time_grid(),
        )
        for number in np.unique(fold)
    ]
    write_predictions(pd.concat(parts, ignore_index=True), folder / f"{name}.parquet")


def write_study(folder, *, n=600, seed=21, shifted=1.0):
    """Write three experiments (true, half of the signal, constant); centre `c` has `shifted` times the true rate."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    centre = rng.choice(["a", "b", "c"], n).astype("U4")
    centre[:6] = "tiny"
    rate = np.exp(0.8 * signal) / 900
    target = rng.exponential(1 / (rate * np.where(centre == "c", shifted, 1)))
    competing, censored = rng.exponential(1 / COMPETING, n), rng.uniform(200, 900, n)
    time = np.ceil(np.minimum.reduce([target, competing, censored]))
    event = np.select([np.ceil(target) == time, np.ceil(competing) == time], [1, 2], 0)
    ids = np.array([f"{i:05d}" for i in range(n)])
    fold = rng.integers(0, FOLD_COUNT, n)
    write_table(
        pd.DataFrame({"subject_id": ids, "endpoint": "mace", "time": time, "event": event}),
        folder / "outcomes.parquet",
        OUTCOMES,
    )
    subjects = {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    subjects |= {"centre": centre, "sex": rng.choice(["f", "m"], n), "age": rng.uniform(30, 90, n).round(1)}
    write_table(pd.DataFrame(subjects), folder / "subjects.parquet", SUBJECTS)
    role = np.where(fold[:, None] == np.arange(FOLD_COUNT), "test", "train").astype("U10")
    role[(role == "train") & (rng.random(role.shape) < 0.2)] = "validation"
    folds = {"subject_id": np.repeat(ids, FOLD_COUNT), "fold": np.tile(np.arange(FOLD_COUNT), n).astype("int16")}
    write_table(pd.DataFrame({**folds, "role": role.ravel()}), folder / "folds.parquet", FOLDS)
    risks = {
        "true.cox": true_risks(rate),
        "half.cox": true_risks(np.exp(0.4 * signal + 0.4 * rng.normal(size=n)) / 900),
        "constant.null": true_risks(np.full(n, 1 / 700)),
    }
    for name, values in risks.items():
        write_experiment(folder, name, ids, fold, values)
    return {"folder": folder, "time": time, "event": event, "risks": risks, "ids": ids, "fold": fold} | subjects


def evaluated(study, *, output="made", evaluation=EVALUATION, names=None, **changes):
    """Evaluate, and return the paths of the tables made."""
    folder = study["folder"]
    tables = ("metrics", "differences", "calibration", "leaderboard", "decision_curve", "calibration_curve")
    made = {name: folder / output / f"{name}.parquet" for name in tables}
    made |= {"fold_metrics": folder / output / "folds.parquet", "leaderboard_csv": folder / output / "leaderboard.csv"}
    if evaluation.reclassification:
        made["reclassification"] = folder / output / "reclassification.parquet"
    if evaluation.recalibration:
        made["recalibration"] = folder / output / "recalibration.parquet"
    arguments = {
        "predictions": [folder / f"{name}.parquet" for name in names or study["risks"]],
        "subjects": folder / "subjects.parquet",
        "availability": {},
        "endpoint_name": "mace",
        "endpoint": ENDPOINT,
        "outcomes": folder / "outcomes.parquet",
        "reference": evaluation.reference,
        "evaluation": evaluation,
        "folds": folder / "folds.parquet",
    }
    evaluate_endpoint(**(arguments | made | changes))
    return made


def comparison_of(study):
    folder = study["folder"]
    return read_comparison(
        predictions=[folder / f"{name}.parquet" for name in study["risks"]],
        outcomes=folder / "outcomes.parquet",
        subjects=folder / "subjects.parquet",
        name="mace",
        endpoint=ENDPOINT,
    )

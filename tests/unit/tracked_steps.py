"""Run records of small training steps, and what MLflow holds of them, for the tests of the store."""

import pandas as pd

from riskweave.tracking.record import recording

__all__ = ["FINGERPRINT", "SUBJECTS", "make_metrics", "make_record", "runs_of"]

SUBJECTS = [f"patient-{number:05d}-x" for number in range(40)]
FINGERPRINT = "ab12" * 16


def make_record(folder, name="ehr.cox", kind="experiment", penalty=0.1, study="demo"):
    """Write the record of a training step over a small cohort, as the trainers do."""
    cohort = pd.DataFrame({"subject_id": SUBJECTS, "age": range(40), "event": [0, 1] * 20})
    path = folder / kind / name / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [f"lab_{number}_last" for number in range(2000)]
    data = {
        "source": "tables",
        "fingerprint": FINGERPRINT,
        "tables": {"subjects": {"rows": 40, "subjects": 40, "sha256": FINGERPRINT}},
        "files": ["data/subjects.csv"],
    }
    with recording(
        path,
        kind=kind,
        name=name,
        endpoint="mace",
        feature_sets={"ehr": ["age", *columns], "ecg": []},
        params={"model": {"kind": "cox", "penalty": penalty, "codes": [f"ICD10//I{code}" for code in range(300)]}},
        seed=7,
        context={"study": study, "rule": "train_experiment", "wildcards": {"endpoint": "mace"}, "data": data},
    ) as run:
        run.architecture = "Linear(1, 1)\n" * 2000
        run.metrics["iterations"] = 12
        rows = []
        for fold in range(2):
            train = cohort[cohort.index % 2 == fold]
            counts = {"train": len(train), "train_events": int(train["event"].sum())}
            metrics = {"validation_loss": 0.25, "log_likelihood": float("nan")}
            run.add_fold(fold, metrics=metrics, params={"penalty": penalty * (fold + 1)}, counts=counts)
            rows += [(fold, epoch, "validation_loss", 1 / (epoch + 1)) for epoch in range(4)]
        pd.DataFrame(rows, columns=["fold", "epoch", "metric", "value"]).to_csv(
            path.with_name("curves.csv"), index=False
        )
    return path


def make_metrics(path, estimate=0.71):
    row = {"experiment": "ehr.cox", "endpoint": "mace", "n": 40, "events": 20, "lower": 0.6, "upper": 0.8}
    rows = [
        row | {"metric": "harrell_c", "horizon": None, "group": None, "group_value": None, "estimate": estimate},
        row | {"metric": "brier", "horizon": 1825.0, "group": None, "group_value": None, "estimate": 0.1},
        row | {"metric": "brier", "horizon": 1825.0, "group": "sex", "group_value": "female", "estimate": 0.2},
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def runs_of(store, study="demo"):
    """Return parents and children through MLflow's own client."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return client, parents, children

"""The ids of runs, as written for the study report: those of the runs that MLflow itself finds."""

import pandas as pd
from tracked_steps import make_record, runs_of

from riskweave.tracking.store import collect


def test_the_ids_of_current_runs_are_written_and_a_new_store_has_others(tmp_path):
    paths = [make_record(tmp_path), make_record(tmp_path, name="ecg_tcn", kind="encoder")]
    store = tmp_path / "store"
    collect(records=paths, directory=store, study="demo")
    make_record(tmp_path, penalty=0.2)  # trained again: the run of before is not the current one

    def written(folder):
        collect(records=paths, directory=folder, study="demo", ids=tmp_path / "runs.csv")
        return pd.read_csv(tmp_path / "runs.csv", dtype=str)

    table = written(store)
    steps = [("encoder", "mace", "ecg_tcn"), ("experiment", "mace", "ehr.cox")]
    assert list(table[["kind", "endpoint", "name", "fold"]].itertuples(index=False, name=None)) == [
        (*step, fold) for step in steps for fold in ("parent", "0", "1")
    ]
    client, parents, _ = runs_of(store)
    assert len(parents) == 3
    for row in table.itertuples():
        run = client.get_run(row.mlflow_run)
        assert run.info.experiment_id == row.mlflow_experiment
        assert run.data.tags.get("fold", "parent") == row.fold
        assert run.data.tags["status"] == "current"
        above = run if row.fold == "parent" else client.get_run(run.data.tags["mlflow.parentRunId"])
        assert above.data.tags["riskweave.fingerprint"] == row.fingerprint
        assert above.info.run_name == f"{row.name} (mace)"
    assert written(store).equals(table)
    again = written(tmp_path / "again")
    same = [column for column in table if not column.startswith("mlflow_")]
    assert again[same].equals(table[same])
    assert not set(again["mlflow_run"]) & set(table["mlflow_run"])

"""The search of hyper-parameters inside an experiment's job: what it may look at, and what it leaves."""

import json

import pandas as pd
import pytest
from killing import same_code, start
from small_experiment import COX, build, rewrite, train

from riskweave.cohort.tables import OUTCOMES
from riskweave.study.fusions import BUILT_IN
from riskweave.study.models import LogisticHazardModel
from riskweave.study.search import Interval, Search
from riskweave.study.training import Training
from riskweave.survival.search import validated


@pytest.fixture
def study(tmp_path):
    """A study of the test's own."""
    return build(tmp_path)


PENALTIES = {"penalty": Interval(low=1e-4, high=10.0, log=True)}
SEARCHED = COX.model_copy(update={"search": Search(trials=4, space=PENALTIES)})


def test_the_search_of_a_fold_chooses_on_its_validation_rows(study):
    folder = train(study, model=SEARCHED)
    trials = pd.read_csv(folder / "trials.csv")
    head = ["fold", "model", "trial", "state", "chosen", "value", "seconds"]
    assert list(trials) == [*head, "penalty"]
    assert trials.groupby("fold").size().tolist() == [4, 4]
    best = trials.loc[trials.groupby("fold")["value"].idxmax()]
    assert best["chosen"].all()
    assert trials["chosen"].sum() == 2
    record = json.loads((folder / "run.json").read_text())
    for fold, (_, row) in zip(record["folds"], best.iterrows(), strict=True):
        assert len(fold["trials"]) == 4
        assert fold["params"]["search.cox.penalty"] == row["penalty"]
        assert fold["params"]["search.cox.trial"] == row["trial"]
    chosen = [fold["params"]["penalty_cause_1"] for fold in record["folds"]]
    assert chosen == best["penalty"].tolist()
    assert not list(folder.glob(".search*"))

    # The outcomes of the test rows decide nothing.
    folds = pd.read_parquet(study / "folds.parquet")
    test = folds.loc[(folds["fold"] == 0) & (folds["role"] == "test"), "subject_id"]
    rewrite(
        study,
        "outcomes.parquet",
        OUTCOMES,
        lambda frame: frame.assign(time=frame["time"] + frame["subject_id"].isin(test)),
    )
    again = pd.read_csv(train(study, "other", SEARCHED) / "trials.csv")
    kept = [name for name in trials if name != "seconds"]
    pd.testing.assert_frame_equal(trials.loc[trials["fold"] == 0, kept], again.loc[again["fold"] == 0, kept])
    assert (trials["value"] != again["value"]).any()


def test_a_killed_search_goes_on_and_gives_the_same_bytes(study, monkeypatch):
    whole, made = train(study, "whole", SEARCHED), []

    def dies(*arguments, **further):
        made.append(1)
        if len(made) == 6:
            raise KeyboardInterrupt
        return validated(*arguments, **further)

    with monkeypatch.context() as patched:
        patched.setattr("riskweave.survival.experiment.validated", dies)
        with pytest.raises(KeyboardInterrupt):
            train(study, "killed", SEARCHED)
    monkeypatch.setattr("riskweave.survival.experiment.validated", dies)
    killed = train(study, "killed", SEARCHED)
    assert len(made) == 6 + 8 - 5  # the sixth was not finished, the other five are not made again
    assert (killed / "predictions.parquet").read_bytes() == (whole / "predictions.parquet").read_bytes()
    tables = [pd.read_csv(folder / "trials.csv").drop(columns="seconds") for folder in (whole, killed)]
    pd.testing.assert_frame_equal(*tables)


NETWORK = LogisticHazardModel(
    kind="logistic_hazard",
    hidden=[],
    intervals=5,
    training=Training(epochs=3, patience=3, batch_size=32, learning_rate=1e-2),
    search=Search(trials=2, space={"dropout": Interval(low=0.0, high=0.5)}),
)
KILLS = """
from pathlib import Path
import optuna
from killing import killed
from riskweave.survival import tuning
from test_experiment_search import NETWORK, train

tuning.code_fingerprint = str

killed(lambda: train(Path({study!r}), "killed", NETWORK), [(None, 13), ("fold_0", 4), (None, 4)])
"""


def test_a_network_killed_in_a_trial_and_in_its_final_training_gives_the_same_bytes(study, monkeypatch):
    """In the second trial, in the final training of fold 0 and in a trial of fold 1, each within an epoch."""
    process = start(KILLS.format(study=str(study)))
    same_code(monkeypatch)
    whole = train(study, "whole", NETWORK)
    told, _ = process.communicate()
    assert process.returncode == 0, told
    made = []
    monkeypatch.setattr(
        "riskweave.survival.experiment.validated", lambda *a, **further: made.append(1) or validated(*a, **further)
    )
    resumed = train(study, "killed", NETWORK)
    assert len(made) == 2  # those of fold 1: all of fold 0 were finished
    for name in ("predictions.parquet", "curves.csv"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in resumed.iterdir()} == {path.name for path in whole.iterdir()}


def test_late_fusion_searches_on_the_columns_together(study):
    searched = COX.model_copy(update={"search": Search(trials=2, space=PENALTIES)})
    folder = train(study, model=searched, fusion=BUILT_IN["late"])
    assert len(pd.read_csv(folder / "trials.csv")) == 4

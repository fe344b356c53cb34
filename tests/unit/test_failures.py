"""What a comparison goes on without: told by leaderboard and verdicts."""

import os

import pandas as pd

from riskweave.errors import DataError
from riskweave.evaluation.layout import with_missing
from riskweave.evaluation.objectives import judge
from riskweave.failures import (
    LeftOut,
    Missing,
    failure_file,
    note_failure,
    note_start,
    pending_rules,
    read_failure,
    read_left_out,
    write_left_out,
)
from riskweave.study.cohort import CodesEndpoint
from riskweave.study.evaluation import Evaluation, Objective


def test_what_is_left_out_is_read_as_it_was_written(tmp_path):
    left_out = LeftOut((Missing("mace", "ehr.cox", "3 rows, empty"),), frozenset({"results/s/run.json"}))
    write_left_out(left_out, tmp_path / "left_out.json")
    found = read_left_out(tmp_path / "left_out.json")
    assert found == left_out
    assert found.has("mace", "ehr.cox")
    assert not found.has("stroke", "ehr.cox")
    assert found.reasons("mace") == {"ehr.cox": "3 rows, empty"}
    assert not read_left_out(None)


def test_a_failure_of_an_earlier_run_is_not_this_runs(tmp_path):
    log = tmp_path / "job.log"
    assert read_failure(log) is None
    note_start(log)
    note_failure(log, DataError("subjects.csv", "it is empty", "Fill it"))
    os.utime(failure_file(log), (1000, 1000))
    assert read_failure(log).reason == "subjects.csv: it is empty. Fill it"
    assert read_failure(log, since=1001) is None


def test_the_rules_that_would_run_are_read_from_a_summary():
    rows = ["output_file\tdate\trule\tlog-file(s)\tstatus\tplan"]
    rows += [
        'a "b\t-\tevaluate_endpoint\t-\tmissing\tupdate pending',
        "c\t-\tingest\t-\tok\tno update",
        "d\t-\ttrain_experiment\t-\tparams changed\tupdate pending",
    ]
    assert pending_rules("\n".join(rows) + "\n") == {"evaluate_endpoint", "train_experiment"}
    assert pending_rules(rows[0]) == set()


def test_the_leaderboard_names_what_is_missing_and_why():
    board = pd.DataFrame(
        {"rank": [1, 2], "experiment": ["b", "a"], "endpoint": "mace", "n": 240, "harrell_c": [0.7, 0.6]}
    )
    assert with_missing(board, {}) is board
    found = with_missing(board, {"c": "killed, perhaps"})
    text = found.to_csv(index=False)
    assert text.splitlines()[1:] == ["1,b,mace,240,0.7,", "2,a,mace,240,0.6,", ',c,mace,,,"killed, perhaps"']


def test_an_objective_whose_experiment_failed_is_not_judged(tmp_path):
    objective = Objective(
        description="Records improve on age.", endpoint="mace", experiment="ehr.cox", compared_with="age.cox", above=0
    )
    endpoint = CodesEndpoint.model_validate({"kind": "codes", "target": ["ICD10//I21"], "horizons": [365, 1826]})
    table = judge(
        objectives={"adds": objective},
        endpoints={"mace": endpoint},
        predictions={"mace": {"age.cox": tmp_path / "not read"}},
        outcomes={},
        subjects=tmp_path / "not read",
        evaluation=Evaluation.model_validate({"reference": "age.cox"}),
        output=tmp_path / "objectives.csv",
    )
    row = table.iloc[0]
    assert (row["verdict"], row["horizon"]) == ("not judged", 1826)
    assert row["sentence"] == "Not judged: the training of ehr.cox failed."
    assert pd.read_csv(tmp_path / "objectives.csv")["n"].isna().all()

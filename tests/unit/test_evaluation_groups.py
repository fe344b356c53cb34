"""Columns that are no subgroups are refused, before any training and in the evaluation alike."""

import numpy as np
import pandas as pd
import pytest
from evaluation_study import EVALUATION, evaluated, write_study

from riskweave.cohort.tables import SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.evaluation.groups import check_groups


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), n=200)


WRONG = [
    (
        {"subgroups": ["sex", "center"]},
        r"column center: `evaluation\.subgroups\[1\]` names the column 'center', which is no column of the subject "
        r"table to group by\. Did you mean 'centre'\?\. Allowed: centre, sex, age",
    ),
    ({"subgroups": ["person_id"]}, r"Allowed: centre, sex, age"),
    ({"subgroups": ["index_time"]}, r"Allowed: centre, sex, age"),
    ({"subgroups": ["age"]}, r"column age: has \d+ different values, more than 100: .*`evaluation\.subgroups\[0\]`"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_columns_that_are_no_subgroups_are_refused(study, changes, message):
    evaluation = EVALUATION.model_copy(update=changes)
    with pytest.raises(DataError, match=message):
        check_groups(subjects=study["folder"] / "subjects.parquet", evaluation=evaluation)
    with pytest.raises(DataError, match=message):
        evaluated(study, output="refused", evaluation=evaluation)
    assert not (study["folder"] / "refused").exists()


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"ages": [50.0] * 30}, {"age_bands": [60.0]}, r"`evaluation\.age_bands` names the column 'age'.*mean 'ages'"),
        ({}, {"age_bands": [60.0]}, "Allowed: none"),
        ({"age": ["old"] * 30}, {"age_bands": [60.0]}, "column age: holds no numbers"),
        ({"sex": [None] * 30}, {"subgroups": ["sex"]}, r"all 30 subjects lack a value \(`evaluation\.subgroups\[0\]`"),
    ],
)
def test_the_columns_are_checked_without_any_prediction(tmp_path, columns, changes, message):
    ids = [f"{i:02d}" for i in range(30)]
    subjects = {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    frame = pd.DataFrame({**subjects, **columns})
    if "sex" in columns:
        frame["sex"] = frame["sex"].astype("string")
    write_table(frame, tmp_path / "subjects.parquet", SUBJECTS)
    with pytest.raises(DataError, match=message):
        check_groups(subjects=tmp_path / "subjects.parquet", evaluation=EVALUATION.model_copy(update=changes))


def test_good_columns_pass(study):
    evaluation = EVALUATION.model_copy(update={"subgroups": ["centre", "sex"], "age_bands": [50.0, 65.0]})
    check_groups(subjects=study["folder"] / "subjects.parquet", evaluation=evaluation)
    assert len(np.unique(study["centre"])) == 4

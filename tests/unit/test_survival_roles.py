"""What training needs of endpoints and folds, checked before anything is trained."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.tables import FOLDS, OUTCOMES, write_table
from riskweave.errors import DataError
from riskweave.survival.roles import association, check_training, concordance

IDS = [f"s{number:02d}" for number in range(24)]


@pytest.fixture
def study(tmp_path):
    group = np.arange(24) % 3
    folds = pd.concat(
        pd.DataFrame(
            {
                "subject_id": IDS,
                "fold": fold,
                "role": np.where(group == fold, "test", np.where(np.arange(24) % 4 == 0, "validation", "train")),
            }
        )
        for fold in range(3)
    )
    write_table(folds, tmp_path / "folds.parquet", FOLDS)
    return tmp_path


def check(study, *, events: dict[str, list[int]], having: list[str] | None = None) -> None:
    paths = {}
    for endpoint, event in events.items():
        paths[endpoint] = study / f"{endpoint}.parquet"
        time = np.arange(24.0) + 1
        outcomes = pd.DataFrame({"subject_id": IDS, "endpoint": endpoint, "time": time, "event": event})
        write_table(outcomes, paths[endpoint], OUTCOMES)
    index = study / "index.parquet"
    pd.DataFrame({"subject_id": IDS if having is None else having}).to_parquet(index)
    encoders = [("ecg", endpoint) for endpoint in events]
    check_training(outcomes=paths, folds=study / "folds.parquet", encoders=encoders, present={"ecg": index})


def test_a_study_that_can_be_trained_passes(study):
    check(study, events={"mi": [0, 1] * 12})


def test_validation_rows_without_an_event_are_warned_of(study, caplog):
    check(study, events={"mi": [1] * 24})
    assert not caplog.text
    event = [0 if i % 4 == 0 else 1 for i in range(24)]  # validation rows are those that 4 divides
    check(study, events={"mi": event})
    assert "endpoint mi, fold 0: none of the 4 validation subjects has the target event" in caplog.text


def test_an_endpoint_that_the_folds_were_not_stratified_by(study):
    rare = [0] * 24
    rare[1] = 1  # tested in fold 1, so that fold 1 trains without any event
    with pytest.raises(DataError, match=r"endpoint rare, fold 1: none of the 12 training subjects has the target"):
        check(study, events={"mi": [0, 1] * 12, "rare": rare})


def test_too_few_who_have_the_modality(study):
    with pytest.raises(DataError, match=r"fold 0, feature set ecg: 1 validation subjects at risk have the modality"):
        check(study, events={"mi": [0, 1] * 12}, having=[IDS[i] for i in range(24) if i % 4 or i == 4])


def test_concordance_of_competing_events_by_hand():
    """A competing event at 1 ranks behind the target event at 2, whose risk is higher: the only pair is in order."""
    values = {"time": np.array([1.0, 2.0]), "event": np.array([2, 1])}
    assert concordance(**values, risk=np.array([0.1, 0.9])) == 1
    assert concordance(**values, risk=np.array([0.9, 0.1])) == 0
    assert np.isnan(concordance(time=np.array([1.0]), event=np.array([1]), risk=np.array([0.5])))


def test_association_tells_a_planted_signal_from_none():
    random = np.random.default_rng(3)
    score = random.normal(size=300)
    time = random.exponential(np.exp(-0.5 * score))
    event = random.random(300) < 0.6
    assert association(time=time, event=event, risk=score) > 3
    assert association(time=time, event=event, risk=-score) < -3
    permuted = [association(time=time, event=event, risk=random.permutation(score)) for _ in range(40)]
    assert np.mean(np.array(permuted) > 1.645) < 0.15
    assert association(time=time, event=event, risk=np.ones(300)) == 0
    assert association(time=time, event=np.zeros(300, dtype=bool), risk=score) == 0

"""Sparse histories: a code that gives the outcome away is found among thousands, honest codes are not."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from riskweave.cohort.tables import FOLDS, OUTCOMES, SUBJECTS, write_table
from riskweave.leaks.find import find_leaks
from riskweave.leaks.histories import telling_codes
from riskweave.modalities.base import Column, FeatureWriter
from riskweave.study.cohort import CodesEndpoint, Folds
from riskweave.study.features import EhrFeatures
from riskweave.study.population import Population

N, CODES = 1500, 800


@pytest.fixture(scope="module")
def cohort():
    """Return subjects, outcomes, folds, and honest histories: common codes go with the hazard."""
    rng = np.random.default_rng(3)
    ids = np.sort((10_000_000 + rng.choice(89_999_999, N, replace=False)).astype(str))
    frailty = rng.normal(size=N)
    shares = rng.beta(0.4, 8, CODES)
    present = rng.random((N, CODES)) < shares * np.exp(0.6 * frailty[:, None])
    target, end = rng.exponential(6000 * np.exp(-frailty)), rng.uniform(300, 4000, N)
    index_time = pd.Timestamp("2010-01-01") + pd.to_timedelta(rng.integers(0, 2000 * 86_400, N), unit="s")
    subjects = pd.DataFrame({
        "subject_id": ids, "person_id": ids, "index_time": index_time.astype("datetime64[us]"),
        "followup_end": (index_time + pd.to_timedelta(np.ceil(end), unit="D")).astype("datetime64[us]"),
    })  # fmt: skip
    outcomes = pd.DataFrame({
        "subject_id": ids, "endpoint": "mi", "time": np.minimum(target, end),
        "event": (target < end).astype(np.int8),
    })  # fmt: skip
    parts = rng.permutation(np.arange(N) % 3)
    folds = pd.concat([
        pd.DataFrame({"subject_id": ids, "fold": np.int16(fold),
                      "role": np.where(parts == fold, "test", np.where(rng.random(N) < 0.2, "validation", "train"))})
        for fold in range(3)
    ])  # fmt: skip
    return subjects, outcomes, folds, present


def findings(folder, cohort, codes, present) -> set[str]:
    """Return the names of what the gates find in these histories."""
    subjects, outcomes, folds, _ = cohort
    write_table(subjects, folder / "subjects.parquet", SUBJECTS)
    write_table(outcomes, folder / "mi.parquet", OUTCOMES)
    write_table(folds, folder / "folds.parquet", FOLDS)
    column = Column("history", "ehr", kind="sparse", codes=tuple(codes), components=8)
    with FeatureWriter(folder / "ehr.parquet", [column]) as writer:
        matrix = scipy.sparse.csr_array(present.astype(np.float32))
        writer.write(subjects[["subject_id"]], {"history": matrix})
    assert pq.read_metadata(folder / "ehr.parquet").num_rows == N
    found = find_leaks(
        subjects=folder / "subjects.parquet",
        outcomes={"mi": folder / "mi.parquet"},
        folds=folder / "folds.parquet",
        tables={"ehr": folder / "ehr.parquet"},
        used={"mi": ["ehr"]},
        features={"ehr": EhrFeatures(modality="ehr", history=[{"codes": ["ICD10//", "RX//"]}])},
        endpoints={"mi": CodesEndpoint(kind="codes", target=["ICD10//I21"], horizons=[365])},
        population=Population(),
        division=Folds(count=3),
    )
    return {finding.name for finding in found}


def names() -> list[str]:
    return [f"ICD10//{chr(65 + number % 26)}{number:04d}" for number in range(CODES)]


def test_honest_histories_pass(tmp_path, cohort):
    assert findings(tmp_path, cohort, names(), cohort[3]) == set()


def test_a_code_given_after_the_event_is_found(tmp_path, cohort):
    codes, present = names(), cohort[3].copy()
    event = cohort[1]["event"].to_numpy() == 1
    codes[17], present[:, 17] = "RX//rehabilitation", event & (np.arange(N) % 2 == 0)
    assert findings(tmp_path, cohort, codes, present) == {"outcome_association:mi/ehr.history.RX//rehabilitation"}


def test_the_target_among_the_codes_is_found(tmp_path, cohort):
    codes, present = names(), cohort[3].copy()
    codes[5], present[:, 5] = "ICD10//I21.4", np.arange(N) % 10 == 0
    assert findings(tmp_path, cohort, codes, present) == {"target_code_feature:mi/ehr.history.ICD10//I21.4"}


def test_a_code_that_says_death_is_found(tmp_path, cohort):
    codes = names()
    codes[3] = "RX//death certificate"
    assert findings(tmp_path, cohort, codes, cohort[3]) == {"name_pattern:ehr.history.RX//death certificate"}


def test_thresholds_by_hand():
    # Of 100 events and 900 others. Certain: 30 carriers, all with events. Agreeing: 90 and 10 carriers, phi 0.89.
    # Honest: 50 of 100 events, 90 of 900 others, phi 0.35. Too few: 19 carriers, all with events. Everybody has it.
    with_event, without = np.array([30, 90, 50, 19, 100]), np.array([0, 10, 90, 0, 900])
    assert telling_codes(with_event, without, 100, 900).tolist() == [True, True, False, False, False]
    # Protective: nobody with the event has it, nearly everybody else does (area 0.5 + 0.95 / 2).
    assert telling_codes(np.array([0]), np.array([855]), 100, 900).tolist() == [True]

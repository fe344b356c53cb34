"""Studies on real data, from raw tables to figures: MIMIC-IV's open demo and the PhysioNet Challenge 2012.

They use the study files of the repository as they are; the data lie where those say.
"""

import pandas as pd
import pytest
import yaml
from lifelines.utils import concordance_index
from small_project import REPOSITORY, copy_project

pytestmark = pytest.mark.workflow


def project_with(tmp_path, study: str, data, place: str):
    """Return a project with one of the repository's studies, and its data where the study looks for them."""
    if not data.is_dir():
        pytest.skip(f"real data: no folder {data.name}")
    project = copy_project(tmp_path, REPOSITORY / f"config/studies/{study}.yaml")
    (project.root / "data").mkdir()
    (project.root / "data" / place).symlink_to(data.absolute())
    return project


def run(project, *targets: str):
    done = project.snakemake("--cores", "2", *targets)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


def test_mimic_iv_demo(tmp_path, real_data):
    data = real_data / "mimic4_demo"
    project = project_with(tmp_path, "mimic_iv", data, "mimic-iv-demo-2.2")
    results = project.root / "results/mimic_iv"
    run(project, "results/mimic_iv/evaluation/death/metrics.parquet", "results/mimic_iv/cohort/report/cohort.html")

    subjects = pd.read_parquet(results / "cohort/subjects.parquet").set_index("subject_id")
    outcomes = pd.read_parquet(results / "cohort/outcomes/death.parquet").set_index("subject_id")
    wanted = expected_outcomes(data)
    assert subjects["person_id"].nunique() == wanted["person"].nunique()
    found = outcomes.join(subjects[["person_id", "index_time"]]).sort_values(["person_id", "index_time"])
    assert found["person_id"].tolist() == wanted["person"].tolist()
    assert found["index_time"].tolist() == wanted["index"].tolist()
    assert found["event"].tolist() == wanted["event"].tolist()
    assert abs(found["time"].to_numpy() - wanted["time"].to_numpy()).max() < 1e-6

    folds = pd.read_parquet(results / "cohort/folds.parquet").join(subjects["person_id"], on="subject_id")
    roles = folds.groupby(["fold", "person_id"])["role"]
    assert (roles.transform("first") == folds["role"]).all()
    # Billed diagnoses are features of those index times only before which the stay has ended.
    features = pd.read_parquet(results / "features/records/features.parquet").set_index("subject_id")
    billed = billed_heart_failure(data)
    known = [
        (billed["dischtime"] <= row.index_time)[billed["person"] == row.person_id].any() for row in found.itertuples()
    ]
    assert features["heart_failure:ever"].loc[found.index].astype(bool).tolist() == known
    assert 0 < sum(known) < len(known)
    assert (results / "evaluation/death/metrics.parquet").is_file()


def expected_outcomes(data) -> pd.DataFrame:
    """Make index times and outcomes of the study person by person, with nothing but pandas and loops."""
    stays = pd.read_parquet(data / "admissions.parquet")
    for column in ("admittime", "dischtime", "deathtime"):
        stays[column] = pd.to_datetime(stays[column])
    patients = pd.read_parquet(data / "patients.parquet").set_index("subject_id")
    rows = []
    for person, own in stays.groupby("subject_id"):
        dead = own["deathtime"].min()
        if pd.isna(dead) and pd.notna(patients.loc[person, "dod"]):
            dead = pd.Timestamp(patients.loc[person, "dod"])
        end = own["dischtime"].max() + pd.DateOffset(years=1)
        last, count = None, 0
        for admitted in sorted(own["admittime"].unique()):
            if count == 5 or (last is not None and admitted - last < pd.Timedelta(days=30)):
                continue
            last, count = admitted, count + 1
            index = admitted + pd.Timedelta(days=1)
            if pd.notna(dead) and dead <= index:
                continue
            event = pd.notna(dead) and dead <= index + pd.Timedelta(days=365)
            until = dead if event else min(end, index + pd.Timedelta(days=365))
            time = (until - index) / pd.Timedelta(days=1)
            rows.append({"person": str(person), "index": index, "event": int(event), "time": time})
    return pd.DataFrame(rows).sort_values(["person", "index"], ignore_index=True)


def billed_heart_failure(data) -> pd.DataFrame:
    """Return the discharges after which heart failure was billed."""
    stays = pd.read_parquet(data / "admissions.parquet", columns=["hadm_id", "dischtime"])
    codes = pd.read_parquet(data / "diagnoses_icd.parquet").merge(stays)
    ninth = (codes["icd_version"] == 9) & codes["icd_code"].str.startswith("428")
    tenth = (codes["icd_version"] == 10) & codes["icd_code"].str.startswith("I50")
    person, times = codes["subject_id"].astype(str), pd.to_datetime(codes["dischtime"])
    return pd.DataFrame({"person": person, "dischtime": times})[ninth | tenth]


def test_physionet2012(tmp_path, real_data):
    """The ridge Cox reaches the published discrimination, and a length of stay among the features stops the run."""
    project = project_with(tmp_path, "physionet2012", real_data / "physionet2012_a", "physionet2012")
    results = project.root / "results/physionet2012"
    run(project, "results/physionet2012/evaluation/objectives.csv", "results/physionet2012/cohort/attrition/death.csv")

    outcomes = pd.read_parquet(results / "cohort/outcomes/death.parquet").set_index("subject_id")
    raw = pd.read_csv(real_data / "physionet2012_a/Outcomes-a.csv", index_col="RecordID")["Survival"]
    own = raw.loc[outcomes.index.astype(int)].to_numpy()
    assert (outcomes["event"].to_numpy() == ((own != -1) & (own <= 29))).all()
    assert ((own == -1) | (own >= 2)).all()
    objectives = pd.read_csv(results / "evaluation/objectives.csv").set_index("objective")
    assert (objectives["verdict"] == "met").all()

    risks = pd.read_parquet(results / "experiments/death/series.cox/predictions.parquet").set_index("subject_id")
    concordances = [
        concordance_index(outcomes["time"].loc[rows.index], -rows, outcomes["event"].loc[rows.index])
        for _, rows in risks["linear_predictor"].groupby(risks["fold"])
    ]
    assert len(concordances) == 5
    assert sum(concordances) / 5 >= 0.79

    study = yaml.safe_load((project.root / "config/config.yaml").read_text())
    study["feature_sets"]["series"]["static"] = ["Length_of_stay"]
    project.write_study(study)
    refused = project.snakemake("--cores", "2", "results/physionet2012/cohort/checks/death/series")
    assert refused.returncode != 0
    assert "name_pattern:series.Length_of_stay" in refused.stdout + refused.stderr

"""From prediction tables of all subsets to shares, and which experiments a study divides."""

import numpy as np
import pandas as pd
import pytest
from evaluation_study import ENDPOINT, true_risks, write_experiment
from study_mistakes import STUDY

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, write_table
from riskweave.errors import StudyError
from riskweave.evaluation.metrics import harrell_c
from riskweave.explain.figures import draw_shapley
from riskweave.explain.shapley import divide_concordance
from riskweave.study.study import parse_study
from riskweave.study.subsets import complete_families

PLAYERS = ("ehr", "ecg", "image")
SUBSETS = ("ehr", "ecg", "image", "ehr+ecg", "ehr+image", "ecg+image", "ehr+ecg+image")
FAMILY = {
    "experiment": "ehr+ecg+image.cox",
    "players": PLAYERS,
    "base": None,
    "members": {subset: f"{subset}.cox" for subset in SUBSETS},
    "missing": (),
}


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """Cox models of all subsets of three planted parts, fitted in another cohort; the image carries no signal."""
    from lifelines import CoxPHFitter

    folder = tmp_path_factory.mktemp("divided")
    rng = np.random.default_rng(5)
    weight = {"ehr": 0.9, "ecg": 0.5, "image": 0.0}

    def people(n):
        parts = pd.DataFrame(rng.normal(size=(n, 3)), columns=PLAYERS)
        rate = np.exp(sum(weight[name] * parts[name] for name in PLAYERS)).to_numpy() / 900
        target, censored = rng.exponential(1 / rate), rng.uniform(200, 900, n)
        return parts, np.ceil(np.minimum(target, censored)), (target <= censored).astype(int)

    train, time, event = people(400)
    parts, tested_time, tested_event = people(600)
    ids, fold = np.array([f"{i:05d}" for i in range(600)]), np.arange(600) % 2
    write_table(
        pd.DataFrame({"subject_id": ids, "endpoint": "mace", "time": tested_time, "event": tested_event}),
        folder / "outcomes.parquet",
        OUTCOMES,
    )
    subjects = {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    write_table(pd.DataFrame(subjects), folder / "subjects.parquet", SUBJECTS)
    for subset in SUBSETS:
        names = subset.split("+")
        fitted = CoxPHFitter().fit(train[names].assign(time=time, event=event), "time", "event")
        score = fitted.predict_log_partial_hazard(parts[names]).to_numpy()
        write_experiment(folder, f"{subset}.cox", ids, fold, true_risks(np.exp(score) / 900))
    divide_concordance(
        families=[FAMILY],
        modalities={name: name for name in PLAYERS},
        predictions=[folder / f"{subset}.cox.parquet" for subset in SUBSETS],
        outcomes=folder / "outcomes.parquet",
        subjects=folder / "subjects.parquet",
        endpoint_name="mace",
        endpoint=ENDPOINT,
        shapley=folder / "shapley.parquet",
        count=300,
        seed=1,
        confidence=0.95,
    )
    return folder, tested_time, tested_event


def test_noise_has_no_share_and_signal_has(divided):
    folder, time, event = divided
    found = pd.read_parquet(folder / "shapley.parquet")
    assert set(found["horizon"]) == {180, 360}
    assert set(found["base"].dropna()) == set()
    assert set(found["n"]) == {600}
    assert set(found["events"]) == {int(event.sum())}
    shares = found[(found["measure"] == "share") & (found["horizon"] == 360)].set_index("name")
    assert shares.loc["image", "lower"] <= 0 <= shares.loc["image", "upper"]
    assert abs(shares.loc["image", "estimate"]) < 0.01
    assert (shares.loc[["ehr", "ecg"], "lower"] > 0).all()
    assert shares.loc["ehr", "estimate"] > shares.loc["ecg", "estimate"]
    risk = pd.read_parquet(folder / "ehr+ecg+image.cox.parquet").sort_values("subject_id")["risk_360"].to_numpy()
    assert shares.loc["all", "estimate"] == pytest.approx(harrell_c(time=time, event=event, risk=risk) - 0.5, abs=1e-9)
    assert shares.loc["all", "modality"] is pd.NA or pd.isna(shares.loc["all", "modality"])


def test_the_figure_is_the_same_again_and_has_its_numbers_beside_it(divided):
    folder = divided[0]
    made = []
    for name in ("one", "other"):
        draw_shapley(shapley=folder / "shapley.parquet", output=folder / f"{name}.svg", csv=folder / f"{name}.csv")
        made.append((folder / f"{name}.svg").read_bytes())
    assert made[0] == made[1]
    table = pd.read_csv(folder / "one.csv")
    assert len(table) == len(pd.read_parquet(folder / "shapley.parquet"))


def study(experiments, **evaluation):
    content = dict(STUDY)
    content["experiments"] = experiments
    content["objectives"] = {}
    content["evaluation"] = {"reference": "age_sex.cox", **evaluation}
    return parse_study(content)


ALONE = {"age_sex": {"feature_sets": ["age_sex"], "models": ["cox"]}}


def family_block(**changes):
    return {"family": {"all_subsets_of": ["labs", "ecg"], "models": ["cox"]} | changes}


def test_all_subsets_are_divided_without_being_named():
    made = study(ALONE | family_block(always=["age_sex"]))
    (family,) = complete_families(made, next(iter(made.endpoints)))
    assert (family.experiment, family.players, family.base) == ("labs+ecg.cox", ("labs", "ecg"), "age_sex.cox")
    assert family.members == {"labs": "labs.cox", "ecg": "ecg.cox", "labs+ecg": "labs+ecg.cox"}


def test_without_an_experiment_of_what_all_have_nothing_is_divided():
    reference = {"age_sex": {"feature_sets": ["age_sex", "labs"], "models": ["cox"]}}
    made = study(reference | family_block(always=["age_sex"]))
    assert complete_families(made, next(iter(made.endpoints))) == []


def test_named_experiments_need_all_subsets():
    blocks = ALONE | {
        "pair": {"feature_sets": ["labs", "ecg"], "models": ["cox"], "fusion": "late"},
        "record": {"feature_sets": ["labs"], "models": ["cox"]},
    }
    with pytest.raises(StudyError, match=r"'pair.cox.late' needs .* lacks 1: ecg\. Add them, or use `all_subsets_of"):
        study(blocks, shapley=["pair.cox.late"])
    whole = study(blocks | {"trace": {"feature_sets": ["ecg"], "models": ["cox"]}}, shapley=["pair.cox.late"])
    (family,) = complete_families(whole, next(iter(whole.endpoints)))
    assert family.members == {"labs": "record.cox", "ecg": "trace.cox", "labs+ecg": "pair.cox.late"}


def test_names_that_cannot_be_divided_are_answered():
    with pytest.raises(StudyError, match=r"evaluation\.shapley: there is no experiment named 'ehr\.cx'"):
        study(ALONE, shapley=["ehr.cx"])
    with pytest.raises(StudyError, match=r"'age_sex\.cox' has 1 feature sets\. Between 2 and 8"):
        study(ALONE, shapley=["age_sex.cox"])

"""Tables of decisions: numbers needed, moves that few people make, what recalibration changes, further objectives."""

import numpy as np
import pandas as pd
import pytest
from evaluation_study import ENDPOINT, EVALUATION, comparison_of, evaluated, write_experiment, write_study

from riskweave.evaluation import metrics
from riskweave.evaluation.net_benefit import number_needed
from riskweave.evaluation.objectives import judge
from riskweave.evaluation.recalibration import apply_recalibration, learn_recalibration
from riskweave.evaluation.recalibration_table import cross_fitted_risks
from riskweave.evaluation.scores import make_panel, score, score_columns
from riskweave.study.evaluation import Objective

DAYS = ENDPOINT.time_grid()
ASKED = EVALUATION.model_copy(
    update={"bootstrap": 50, "relative_risk_reduction": 0.25, "recalibration": True, "reclassification": [0.2, 0.4]}
)
FEW = 6


def bent(risks):
    """Overconfident curves: cumulative hazards of the target to the power of 1.8 about their median."""
    hazard = -np.log1p(-risks[:, 0])
    centre = np.median(hazard, axis=0)
    first = 1 - np.exp(-centre * (hazard / centre) ** 1.8)
    return np.stack([first, np.minimum(risks[:, 1], (1 - first[:, -1:]) * risks[:, 1])], axis=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Beside the true risks overconfident ones, and those of which a few people move up across the threshold."""
    made = write_study(tmp_path_factory.mktemp("study"))
    risks = made["risks"]
    moved = risks["half.cox"].copy()
    high = risks["half.cox"][np.argmin(np.abs(risks["half.cox"][:, 0, -1] - 0.25))]
    below = np.flatnonzero(risks["half.cox"][:, 0, DAYS.index(180)] < 0.05)
    moved[below[:FEW]] = high
    risks |= {"bent.cox": bent(risks["true.cox"]), "moved.cox": moved}
    for name in ("bent.cox", "moved.cox"):
        write_experiment(made["folder"], name, made["ids"], made["fold"], risks[name])
    return made


@pytest.fixture(scope="module")
def made(study):
    paths = evaluated(study, evaluation=ASKED)
    return {name: pd.read_parquet(path) for name, path in paths.items() if "csv" not in name}


def pick(table, **values):
    return table[np.logical_and.reduce([table[column] == value for column, value in values.items()])]


def test_numbers_needed_are_those_of_the_function(study, made):
    seen = {"time": study["time"], "event": study["event"], "horizon": 360, "relative_risk_reduction": 0.25}
    rows = pick(made["decision_curve"], experiment="true.cox", horizon=360).set_index("threshold")
    for threshold in (0.1, 0.3, 0.5):
        risk = study["risks"]["true.cox"][:, 0, DAYS.index(360)]
        found = number_needed(**seen, risk=risk, threshold=threshold)
        row = rows.loc[threshold]
        assert row["treated"] == pytest.approx(found.treated)
        assert row["incidence_treated"] == pytest.approx(found.incidence_treated)
        assert [row["to_treat"], row["to_screen"]] == pytest.approx([found.to_treat, found.to_screen])
        assert row["to_treat_lower"] == pytest.approx(4 / row["incidence_treated_upper"])
        assert row["to_treat_lower"] < row["to_treat"] < row["to_treat_upper"]
        assert row["to_screen_lower"] < row["to_screen"] < row["to_screen_upper"]
    everybody = pick(made["decision_curve"], strategy="treat all", horizon=360)
    assert (everybody["to_treat"] == everybody["to_screen"]).all()
    assert pick(made["decision_curve"], strategy="treat none")["to_treat"].isna().all()


def test_without_a_stated_reduction_there_are_no_numbers_needed(study):
    evaluation = EVALUATION.model_copy(update={"bootstrap": 50})
    paths = evaluated(study, output="plain", evaluation=evaluation, names=["half.cox", "true.cox"])
    table = pd.read_parquet(paths["decision_curve"])
    assert table[["to_treat", "to_screen_upper"]].isna().all(axis=None)
    assert pick(table, strategy="model", threshold=0.1)["incidence_treated"].notna().all()
    assert "recalibration" not in paths


def test_moves_of_few_people_are_hidden_with_what_they_follow_from(study, made):
    rows = pick(made["reclassification"], experiment="moved.cox", threshold=0.2, horizon=360).set_index("move")
    old, new = (study["risks"][name][:, 0, DAYS.index(360)] >= 0.2 for name in ("half.cox", "moved.cox"))
    up = ~old & new
    assert 0 < up.sum() <= FEW
    assert not (old & ~new).any()
    had = (study["event"] == 1) & (study["time"] <= 360)
    for kind, members in (("events", had), ("non_events", ~had & ((study["event"] > 1) | (study["time"] >= 360)))):
        assert rows.loc[f"{kind}_down", ["estimate", "lower", "upper"]].tolist() == [0, 0, 0]
        hidden = bool((members & up).any())
        assert np.isnan(rows.loc[[f"{kind}_up", f"{kind}_net"], "estimate"]).all() == hidden
    assert rows["estimate"].isna().any()


def test_moves_of_many_people_are_shown(made):
    rows = pick(made["reclassification"], experiment="true.cox", threshold=0.2, horizon=360)
    assert rows[["estimate", "lower", "upper"]].notna().all(axis=None)


def test_recalibration_is_learnt_on_the_other_folds(study):
    comparison = comparison_of(study)
    found = cross_fitted_risks(comparison)[comparison.experiments.index("bent.cox")]
    risk, fold = study["risks"]["bent.cox"][:, 0], study["fold"]
    for number in np.unique(fold):
        others = fold != number
        seen = {"time": study["time"][others], "event": study["event"][others], "times": DAYS}
        learnt = learn_recalibration(**seen, incidence=risk[others])
        assert found[~others] == pytest.approx(apply_recalibration(learnt, risk[~others]), abs=1e-12)


def test_recalibration_mends_overconfident_risks_and_leaves_true_ones(made):
    table = made["recalibration"]
    row = pick(table, experiment="bent.cox", metric="calibration_slope", horizon=360).iloc[0]
    assert row["before_upper"] < 0.8
    assert row["after"] == pytest.approx(1, abs=0.15)
    for metric in ("brier", "ici"):
        row = pick(table, experiment="bent.cox", metric=metric, horizon=360).iloc[0]
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
        assert row["difference"] < 0
    row = pick(table, experiment="true.cox", metric="ibs").iloc[0]
    assert abs(row["difference"]) < 0.003
    assert row["difference_lower"] < row["difference"] < row["difference_upper"]
    whole = pick(made["metrics"], experiment="bent.cox", metric="ici", horizon=360, group="all").iloc[0]
    before = pick(table, experiment="bent.cox", metric="ici", horizon=360).iloc[0]
    assert before[["before", "before_lower", "before_upper"]].tolist() == whole[["estimate", "lower", "upper"]].tolist()


def test_recalibrated_brier_is_that_of_the_recalibrated_risks(study, made):
    comparison = comparison_of(study)
    risks = cross_fitted_risks(comparison)[comparison.experiments.index("bent.cox")]
    seen = {"time": study["time"], "event": study["event"], "times": DAYS}
    row = pick(made["recalibration"], experiment="bent.cox", metric="ibs").iloc[0]
    assert row["after"] == pytest.approx(metrics.integrated_brier_score(**seen, risk=risks), abs=1e-12)


def test_a_single_fold_is_left_as_it_is(study, caplog):
    comparison = comparison_of(study)
    alone = type(comparison)(**{**vars(comparison), "fold": np.zeros(len(comparison.time), dtype=int)})
    assert np.array_equal(cross_fitted_risks(alone), comparison.risks)
    assert "no target events in the other folds" in caplog.text


@pytest.mark.parametrize("metric", ["auc", "ipa", "brier", "ici", "calibration_slope", "observed_expected"])
def test_wanted_metrics_have_the_digits_that_they_have_among_all(study, metric):
    comparison = comparison_of(study)
    rows = np.random.default_rng(0).integers(0, 3, (5, len(study["ids"])))
    columns = [i for i, (name, _) in enumerate(score_columns(comparison.horizons)) if name == metric]
    alone = score(make_panel(comparison, wanted=frozenset([metric])), rows)
    assert np.array_equal(alone[..., columns], score(make_panel(comparison), rows)[..., columns], equal_nan=True)
    assert np.isnan(alone).any()


def test_objectives_of_calibration_and_accuracy_have_the_numbers_of_the_tables(study, made):
    def expected(**values):
        return Objective(**{"description": "x", "endpoint": "mace", "experiment": "bent.cox", **values})

    found = judge(
        objectives={
            "slope": expected(metric="calibration_slope", above=0.9),
            "area": expected(metric="auc", above=0.5),
            "ipa": expected(metric="ipa", compared_with="half.cox", above=-1),
        },
        endpoints={"mace": ENDPOINT},
        predictions={"mace": {name: study["folder"] / f"{name}.parquet" for name in ("bent.cox", "half.cox")}},
        outcomes={"mace": study["folder"] / "outcomes.parquet"},
        subjects=study["folder"] / "subjects.parquet",
        evaluation=ASKED,
        output=study["folder"] / "objectives.csv",
    ).set_index("objective")
    numbers = ["estimate", "lower", "upper"]
    for name, metric, table in (
        ("slope", "calibration_slope", "metrics"),
        ("area", "auc", "metrics"),
        ("ipa", "ipa", "differences"),
    ):
        row = pick(made[table], experiment="bent.cox", metric=metric, horizon=360, group="all").iloc[0]
        assert found.loc[name, numbers].tolist() == row[numbers].tolist()
    assert found["verdict"].tolist() == ["not met", "met", "met"]
    assert "calibration slope of bent.cox at 360 days" in found.loc["slope", "sentence"]

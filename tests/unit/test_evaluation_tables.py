"""The tables of an evaluation against the single functions: what is in them, of whom, and what is kept out."""

import numpy as np
import pandas as pd
import pytest
from evaluation_study import (
    ENDPOINT,
    EVALUATION,
    FOLD_COUNT,
    comparison_of,
    evaluated,
    true_risks,
    write_experiment,
    write_study,
)

from riskweave.errors import DataError
from riskweave.evaluation import metrics
from riskweave.evaluation.antolini import antolini_c
from riskweave.evaluation.auc import time_dependent_auc
from riskweave.evaluation.bootstrap import resamples
from riskweave.evaluation.calibration_curves import calibration_curve, weak_calibration
from riskweave.evaluation.curve_figures import plot_decision_curves, plot_smooth_calibration
from riskweave.evaluation.distribution_calibration import a_calibration, d_calibration
from riskweave.evaluation.fold_table import trained_subjects
from riskweave.evaluation.folds import fold_difference, fold_estimates
from riskweave.evaluation.intervals import bootstrap_p_values, holm, simultaneous_intervals
from riskweave.evaluation.likelihood import mean_log_likelihood
from riskweave.evaluation.net_benefit import decision_curve
from riskweave.evaluation.objectives import judge
from riskweave.evaluation.reclassification import reclassification
from riskweave.evaluation.scores import make_panel, score, score_columns
from riskweave.study.evaluation import Evaluation, Objective

DAYS = ENDPOINT.time_grid()
LAST = DAYS.index(360)
RICH = EVALUATION.model_copy(
    update={"subgroups": ["centre", "sex"], "age_bands": [50.0, 65.0], "reclassification": [0.2, 0.4]}
)


SHORT = EVALUATION.model_copy(update={"bootstrap": 50})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), shifted=2.5)


@pytest.fixture(scope="module")
def made(study):
    return {
        name: pd.read_parquet(path) for name, path in evaluated(study, evaluation=RICH).items() if "csv" not in name
    }


def pick(table, **values):
    return table[np.logical_and.reduce([table[column] == value for column, value in values.items()])]


def one(table, **values):
    found = pick(table, **values)
    assert len(found) == 1
    return found.iloc[0]


def outcome(study, members=slice(None)):
    return {"time": study["time"][members], "event": study["event"][members]}


def drawn_rows(study):
    return np.concatenate(list(resamples(people=np.arange(len(study["ids"])), count=EVALUATION.bootstrap, seed=3)))


def test_every_metric_is_that_of_its_function(study, made):
    values, risk = outcome(study), study["risks"]["half.cox"]
    last = {**values, "risk": risk[:, 0, LAST], "horizon": 360}
    weak, curve = weak_calibration(**last), calibration_curve(**last)
    causes = {"incidence": risk.transpose(1, 0, 2), "times": DAYS}
    tests = {"d_calibration": d_calibration(**values, **causes), "a_calibration": a_calibration(**values, **causes)}
    expected = {
        "auc": time_dependent_auc(**values, risk=risk[:, 0, [LAST]], horizons=[360])[0],
        "log_likelihood": mean_log_likelihood(**values, **causes),
        "calibration_intercept": weak.intercept.value,
        "calibration_slope": weak.slope.value,
        "antolini_c": antolini_c(**values, risk=risk[:, 0], times=DAYS),
        **{name: found.statistic for name, found in tests.items()},
        **{f"{name}_p": found.p_value for name, found in tests.items()},
    }
    for metric, value in expected.items():
        row = one(made["metrics"], experiment="half.cox", metric=metric, horizon=360, group="all")
        assert row["estimate"] == pytest.approx(value, abs=1e-9), metric
    # more risks than cells: distances are those of cells of near equal risk
    for metric in ("ici", "e50", "e90"):
        row = one(made["metrics"], experiment="half.cox", metric=metric, horizon=360, group="all")
        assert row["estimate"] == pytest.approx(getattr(curve, metric), abs=2e-4)


def test_intervals_of_new_metrics_are_those_of_their_resamples(study, made):
    risk = study["risks"]["half.cox"]
    values = []
    for row in drawn_rows(study):
        members = np.repeat(np.arange(len(row)), row)
        values.append(time_dependent_auc(**outcome(study, members), risk=risk[members][:, 0, [LAST]], horizons=[360]))
    row = one(made["metrics"], experiment="half.cox", metric="auc", horizon=360, group="all")
    assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_resampled_calibration_is_near_that_of_refitting(study):
    comparison = comparison_of(study)
    panel, columns = make_panel(comparison), score_columns(comparison.horizons)
    rows = drawn_rows(study)[:60]
    found = score(panel, rows)[:, comparison.experiments.index("half.cox")]
    risk = study["risks"]["half.cox"][:, 0, LAST]
    fits = [(weak_calibration(**outcome(study), risk=risk, horizon=360, weights=row), row) for row in rows]
    refitted = {
        "calibration_intercept": np.array([fit.intercept.value for fit, _ in fits]),
        "calibration_slope": np.array([fit.slope.value for fit, _ in fits]),
        "ici": np.array(
            [calibration_curve(**outcome(study), risk=risk, horizon=360, weights=row).ici for _, row in fits]
        ),
    }
    for metric, values in refitted.items():
        linear = found[:, columns.index((metric, 360))]
        assert np.corrcoef(linear, values)[0, 1] > 0.97, metric
        assert linear.std() == pytest.approx(values.std(), rel=0.15), metric


def test_the_analytic_interval_of_the_slope_is_near(study, made):
    weak = weak_calibration(**outcome(study), risk=study["risks"]["half.cox"][:, 0, LAST], horizon=360)
    row = one(made["metrics"], experiment="half.cox", metric="calibration_slope", horizon=360, group="all")
    assert row["upper"] - row["lower"] == pytest.approx(weak.slope.upper - weak.slope.lower, rel=0.2)


def test_a_constant_predictor_is_at_chance_exactly(made):
    rows = pick(made["metrics"], experiment="constant.null", group="all", horizon=360).set_index("metric")["estimate"]
    assert rows[["harrell_c", "uno_c", "auc", "antolini_c"]].tolist() == [0.5] * 4
    assert np.isnan(rows["calibration_slope"])
    assert np.isfinite(rows[["calibration_intercept", "ici", "log_likelihood", "a_calibration"]]).all()


def test_leaderboard_corrects_for_the_number_of_comparisons(study, made):
    board = made["leaderboard"].set_index("experiment")
    comparison = comparison_of(study)
    column = score_columns(comparison.horizons).index(("auc", 360))
    values = score(make_panel(comparison), drawn_rows(study))[:, :, column]
    r = comparison.experiments.index("half.cox")
    others = [e for e in range(3) if e != r]
    names = [comparison.experiments[e] for e in others]
    paired = values[:, others] - values[:, [r]]
    expected = holm(bootstrap_p_values(paired))
    assert board.loc[names, "auc_difference_p_holm"].to_numpy() == pytest.approx(expected)
    lower, upper, _ = simultaneous_intervals(paired, board.loc[names, "auc_difference"].to_numpy(), 0.95)
    assert board.loc[names, "auc_difference_joint_lower"].to_numpy() == pytest.approx(lower)
    assert board.loc[names, "auc_difference_joint_upper"].to_numpy() == pytest.approx(upper)
    assert board.loc["half.cox", board.columns.str.contains("_difference")].isna().all()
    assert not [name for name in board if name.startswith(("observed", "calibration")) and "holm" in name]


def test_a_centre_with_other_risks_shows(made):
    rows = pick(made["metrics"], experiment="true.cox", metric="observed_expected", horizon=360, group="centre")
    rows = rows.set_index("group_value")
    assert rows.loc["c", "lower"] > 1
    assert rows.loc["c", "estimate"] > 1.4
    assert (rows.loc[["a", "b"], "lower"] < 1).all()
    assert (rows.loc[["a", "b"], "upper"] > 1).all()


def test_every_metric_is_repeated_in_subgroups_and_small_ones_are_hidden(study, made):
    table = pick(made["metrics"], experiment="half.cox")
    names = {key: set(rows["group_value"]) for key, rows in table.groupby("group")}
    assert names == {
        "all": {"all"},
        "centre": {"a", "b", "c", "tiny"},
        "sex": {"f", "m"},
        "age": {"<50", "50 to <65", ">=65"},
    }
    assert pick(table, group_value="tiny")[["n", "estimate", "lower", "upper"]].isna().all(axis=None)
    assert len(pick(table, group_value="tiny")) == len(pick(table, group_value="all"))
    band = (study["age"] >= 50) & (study["age"] < 65)
    row = one(table, group_value="50 to <65", metric="auc", horizon=360)
    risk = study["risks"]["half.cox"][band][:, 0, [LAST]]
    assert row["n"] == band.sum()
    assert row["estimate"] == pytest.approx(time_dependent_auc(**outcome(study, band), risk=risk, horizons=[360])[0])
    assert row["lower"] < row["estimate"] < row["upper"]


def test_folds_are_kept_apart_from_the_pooled_estimates(study, made):
    table = pick(made["fold_metrics"], metric="harrell_c", horizon=360)

    def harrell(name):
        def of(members):
            return metrics.harrell_c(**outcome(study, members), risk=study["risks"][name][members][:, 0, LAST])

        return fold_estimates(fold=study["fold"], people=np.arange(len(study["fold"])), metric=of)

    true, half = harrell("true.cox"), harrell("half.cox")
    folds = pick(table, kind="fold", experiment="true.cox").sort_values("fold")
    assert folds["estimate"].to_numpy() == pytest.approx(true.values)
    assert folds["n"].tolist() == true.tested.tolist()
    assert one(table, kind="mean", experiment="true.cox")["estimate"] == pytest.approx(true.values.mean())  # noqa: PD011 - no pandas
    roles = pd.read_parquet(study["folder"] / "folds.parquet")
    trained = roles[roles["role"] == "train"].groupby("fold").size().to_numpy()
    expected = fold_difference(true, half, confidence=0.95, trained=trained)
    row = one(table, kind="difference", experiment="true.cox")
    assert row["reference"] == "half.cox"
    assert row["folds"] == FOLD_COUNT
    numbers = [expected.mean, expected.lower, expected.upper]
    assert row[["estimate", "lower", "upper"]].to_numpy(float) == pytest.approx(numbers)
    comparison = comparison_of(study)
    assert trained_subjects(comparison, study["folder"] / "folds.parquet").tolist() == trained.tolist()
    assert (trained_subjects(comparison, None) > trained).all()


def test_decision_curves_are_those_of_the_function_with_paired_gains(study, made):
    table = made["decision_curve"]
    whole = {**outcome(study), "risk": study["risks"]["true.cox"][:, 0, LAST], "horizon": 360}
    found = decision_curve(**whole, thresholds=EVALUATION.thresholds)
    rows = pick(table, strategy="model", experiment="true.cox", horizon=360)
    assert rows["net_benefit"].to_numpy() == pytest.approx(found.model)
    assert rows["treated"].to_numpy() == pytest.approx(found.treated)
    everybody = pick(table, strategy="treat all", horizon=360)
    assert everybody["net_benefit"].to_numpy() == pytest.approx(found.treat_all)
    assert (pick(table, strategy="treat none")[["net_benefit", "lower", "upper", "treated"]] == 0).all(axis=None)
    drawn = decision_curve(**whole, thresholds=EVALUATION.thresholds, weights=drawn_rows(study))
    for lower, values in (("lower", drawn.model), ("gain_lower", drawn.model - drawn.treat_all)):
        assert rows[lower].to_numpy() == pytest.approx(np.quantile(values, 0.025, axis=0))


def test_few_people_above_a_threshold_are_hidden(study):
    evaluation = SHORT.model_copy(update={"thresholds": [0.5, 0.99]})
    risks = study["risks"]["true.cox"].copy()
    risks[:4] = true_risks(np.full(4, 0.5))
    write_experiment(study["folder"], "high.cox", study["ids"], study["fold"], risks)
    made = evaluated(study, output="few", evaluation=evaluation, names=["half.cox", "high.cox"])
    rows = pick(pd.read_parquet(made["decision_curve"]), experiment="high.cox", horizon=360, threshold=0.99)
    assert rows[["treated", "net_benefit", "lower", "gain"]].isna().all(axis=None)


def test_smooth_curves_are_those_of_the_function(study, made):
    found = calibration_curve(**outcome(study), risk=study["risks"]["true.cox"][:, 0, LAST], horizon=360)
    rows = pick(made["calibration_curve"], experiment="true.cox", horizon=360)
    for column in ("risk", "observed", "lower", "upper"):
        assert rows[column].to_numpy() == pytest.approx(getattr(found, column), rel=1e-6)


def test_reclassification_needs_stated_thresholds(study, made, tmp_path):
    found = reclassification(
        **outcome(study),
        old=study["risks"]["half.cox"][:, 0, LAST],
        new=study["risks"]["true.cox"][:, 0, LAST],
        horizon=360,
        thresholds=RICH.reclassification,
    )
    for move in ("events_up", "non_events_down", "events_net"):
        rows = pick(made["reclassification"], experiment="true.cox", horizon=360, move=move)
        assert rows["estimate"].to_numpy() == pytest.approx(getattr(found, move))
        assert (rows["lower"] <= rows["estimate"]).all()
    assert set(made["reclassification"]["experiment"]) == {"true.cox", "constant.null"}
    off = tmp_path / "reclassification.parquet"
    evaluated(study, output="off", evaluation=SHORT, names=["half.cox"], reclassification=off)
    assert not off.exists()


def test_bca_intervals_are_those_of_every_table_and_of_the_objectives(study, made):
    evaluation = EVALUATION.model_copy(update={"interval": "bca"})
    names = ["half.cox", "true.cox"]
    paths = evaluated(study, output="bca", evaluation=evaluation, names=names)
    row = one(pd.read_parquet(paths["metrics"]), experiment="true.cox", metric="ibs", horizon=360)
    percentile = one(made["metrics"], experiment="true.cox", metric="ibs", horizon=360, group="all")
    assert row["estimate"] == percentile["estimate"]
    assert row["lower"] != percentile["lower"]
    assert row["lower"] == pytest.approx(percentile["lower"], abs=0.01)
    difference = one(pd.read_parquet(paths["differences"]), experiment="true.cox", metric="harrell_c", horizon=360)
    found = judge(
        objectives={
            "better": Objective(
                description="x", endpoint="mace", experiment="true.cox", compared_with="half.cox", above=0
            )
        },
        endpoints={"mace": ENDPOINT},
        predictions={"mace": {name: study["folder"] / f"{name}.parquet" for name in names}},
        outcomes={"mace": study["folder"] / "outcomes.parquet"},
        subjects=study["folder"] / "subjects.parquet",
        evaluation=evaluation,
        output=study["folder"] / "objectives.csv",
    ).iloc[0]
    numbers = ["estimate", "lower", "upper"]
    assert found[numbers].tolist() == difference[numbers].tolist()


def test_threads_change_no_byte(study):
    names = ["half.cox", "true.cox"]
    first = evaluated(study, output="one", evaluation=SHORT, names=names)
    second = evaluated(study, output="three", evaluation=SHORT, names=names, threads=3)
    assert all(path.read_bytes() == second[name].read_bytes() for name, path in first.items())


def test_figures_have_the_same_bytes(study):
    folder = study["folder"]
    paths = evaluated(study, output="drawn", evaluation=SHORT)
    for turn in ("a", "b"):
        plot_decision_curves(
            decision_curve=paths["decision_curve"],
            leaderboard=paths["leaderboard"],
            output=folder / f"decision_{turn}.svg",
        )
        plot_smooth_calibration(
            calibration_curve=paths["calibration_curve"],
            leaderboard=paths["leaderboard"],
            output=folder / f"smooth_{turn}.svg",
        )
    for figure in ("decision", "smooth"):
        assert (folder / f"{figure}_a.svg").read_bytes() == (folder / f"{figure}_b.svg").read_bytes()


def test_experiments_of_other_folds_are_refused(study):
    write_experiment(study["folder"], "other.cox", study["ids"], study["fold"][::-1], study["risks"]["true.cox"])
    with pytest.raises(DataError, match=r"in other folds than those of half\.cox"):
        evaluated(study, output="refused", names=["half.cox", "other.cox"])


@pytest.mark.parametrize(
    "changes",
    [
        {"subgroups": ["all"]},
        {"subgroups": ["age"]},
        {"subgroups": ["sex", "sex"]},
        {"age_bands": [65, 50]},
        {"thresholds": []},
        {"thresholds": [0.2, 0.1]},
        {"thresholds": [0.0]},
        {"reclassification": [1.0]},
        {"interval": "normal"},
    ],
)
def test_wrong_keys_are_refused(changes):
    with pytest.raises(ValueError, match="Evaluation"):
        Evaluation(reference="half.cox", **changes)

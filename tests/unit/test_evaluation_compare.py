"""Comparing experiments: paired bootstrap, groups, calibration, verdicts, figures, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from riskweave.cohort.tables import OUTCOMES, SUBJECTS, write_table
from riskweave.errors import DataError, StudyError
from riskweave.evaluation import kernel, metrics
from riskweave.evaluation.bootstrap import percentile_interval, resamples
from riskweave.evaluation.calibration import risk_group_members
from riskweave.evaluation.censoring import sort_outcomes
from riskweave.evaluation.evaluate import evaluate_endpoint
from riskweave.evaluation.figures import plot_calibration, plot_leaderboard
from riskweave.evaluation.objectives import judge, verdict
from riskweave.study.cohort import ColumnsEndpoint
from riskweave.study.evaluation import Evaluation, Objective
from riskweave.survival.predictions import prediction_frame, write_predictions

N = 240
ENDPOINT = ColumnsEndpoint(kind="columns", time="time", event="event", horizons=[180, 360], grid_points=6)
EVALUATION = Evaluation(reference="weak.cox", bootstrap=60, seed=3)
STRENGTHS = {"weak.cox": 0.2, "strong.cox": 1.0, "middle.cox": 0.5}


@pytest.fixture
def study(tmp_path):
    """Files of a small study with competing events and whole days; what the functions need to find them."""
    rng = np.random.default_rng(11)
    signal = rng.normal(size=N)
    target, competing = rng.exponential(500 * np.exp(-signal)), rng.exponential(1500, N)
    censored = rng.uniform(100, 800, N)
    time = np.ceil(np.minimum.reduce([target, competing, censored]))
    event = np.select([np.ceil(target) == time, np.ceil(competing) == time], [1, 2], 0)
    ids = np.array([f"{i:04d}" for i in range(N)])
    outcomes = pd.DataFrame({"subject_id": ids, "endpoint": "mace", "time": time, "event": event})
    write_table(outcomes, tmp_path / "outcomes.parquet", OUTCOMES)
    subjects = pd.DataFrame(
        {"subject_id": ids, "person_id": ids, "index_time": pd.Timestamp(0), "followup_end": pd.NaT}
    )
    write_table(subjects, tmp_path / "subjects.parquet", SUBJECTS)
    risks = {}
    for name, strength in STRENGTHS.items():
        score = strength * signal + (1 - strength) * rng.normal(size=N)
        risks[name] = 1 - np.exp(-np.exp(score)[:, None] * np.array(ENDPOINT.time_grid()) / 500)
        write_experiment(tmp_path, name, ids, risks[name])
    for modality, share in {"ehr": 1.0, "ecg": 0.6, "image": 0.97}.items():
        pd.DataFrame({"subject_id": ids[rng.random(N) < share]}).to_parquet(tmp_path / f"{modality}.parquet")
    return {"folder": tmp_path, "time": time, "event": event, "risks": risks, "ids": ids}


def with_competing(risks):
    """Risks of the target (n, times) and of a competing event beside them: (n, 2, times)."""
    other = 0.5 * (1 - risks[:, -1:]) * np.arange(1, risks.shape[1] + 1) / risks.shape[1]
    return np.stack([risks, other], axis=1)


def write_experiment(folder, name, ids, risks):
    frame = prediction_frame(
        subjects=pd.Index(ids),
        experiment=name,
        endpoint="mace",
        fold=0,
        modalities=["ehr"] * len(ids),
        linear_predictor=None,
        risks=with_competing(risks),
        times=ENDPOINT.time_grid(),
    )
    write_predictions(frame, folder / f"{name}.parquet")


def run(study, *, output="evaluation", **changes):
    folder = study["folder"]
    made = {
        "metrics": "metrics.parquet",
        "differences": "differences.parquet",
        "calibration": "calibration.parquet",
        "leaderboard_csv": "leaderboard.csv",
        "leaderboard": "leaderboard.parquet",
        "fold_metrics": "folds.parquet",
        "decision_curve": "decision_curve.parquet",
        "calibration_curve": "calibration_curve.parquet",
    }
    arguments = {
        "predictions": [folder / f"{name}.parquet" for name in STRENGTHS],
        "subjects": folder / "subjects.parquet",
        "availability": {modality: [folder / f"{modality}.parquet"] for modality in ("ehr", "ecg", "image")},
        "endpoint_name": "mace",
        "endpoint": ENDPOINT,
        "outcomes": folder / "outcomes.parquet",
        "reference": "weak.cox",
        "evaluation": EVALUATION,
        **{key: folder / output / name for key, name in made.items()},
    }
    evaluate_endpoint(**(arguments | changes))
    return {key: folder / output / name for key, name in made.items()}


def pick(table, **values):
    keep = np.logical_and.reduce([table[column] == value for column, value in values.items()])
    return table[keep]


def test_intervals_and_differences_equal_resampling_rows(study):
    made = run(study)
    table, differences = pd.read_parquet(made["metrics"]), pd.read_parquet(made["differences"])
    rows = np.concatenate(list(resamples(people=np.arange(N), count=EVALUATION.bootstrap, seed=EVALUATION.seed)))
    columns = [ENDPOINT.time_grid().index(horizon) for horizon in ENDPOINT.horizons]

    def brute(name, drawn):
        values = {"time": study["time"][drawn], "event": study["event"][drawn]}
        risk = study["risks"][name][drawn]
        last = {"risk": risk[:, columns[1]], "horizon": 360}
        return {
            ("harrell_c", 180): metrics.harrell_c(**values, risk=risk[:, columns[0]]),
            ("uno_c", 360): metrics.uno_c(**values, **last),
            ("observed_expected", 360): metrics.observed_expected_ratio(**values, **last),
            ("ibs", 360): metrics.integrated_brier_score(**values, risk=risk, times=ENDPOINT.time_grid()),
            ("ipa", 360): metrics.index_of_prediction_accuracy(**values, risk=risk, times=ENDPOINT.time_grid()),
        }

    drawn = [np.repeat(np.arange(N), row) for row in rows]
    strong, weak = ([brute(name, d) for d in drawn] for name in ("strong.cox", "weak.cox"))
    for (metric, horizon), estimate in brute("strong.cox", np.arange(N)).items():
        key = {"experiment": "strong.cox", "metric": metric, "horizon": horizon, "group": "all"}
        found = pick(table, **key).iloc[0]
        values = np.array([score[metric, horizon] for score in strong])
        assert found["estimate"] == pytest.approx(estimate, abs=1e-12)
        assert [found["lower"], found["upper"]] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)
        paired = values - np.array([score[metric, horizon] for score in weak])
        found = pick(differences, **key).iloc[0]
        assert [found["lower"], found["upper"]] == pytest.approx(np.quantile(paired, [0.025, 0.975]), abs=1e-12)
        assert found["reference"] == "weak.cox"


def test_leaderboard_is_sorted_and_agrees_with_the_tables(study):
    made = run(study)
    board = pd.read_parquet(made["leaderboard"])
    assert board["experiment"].tolist() == ["strong.cox", "middle.cox", "weak.cox"]
    assert board["rank"].tolist() == [1, 2, 3]
    assert (board["harrell_c_lower"] < board["harrell_c"]).all()
    assert (board["harrell_c"] < board["harrell_c_upper"]).all()
    assert board["harrell_c_difference"].isna().tolist() == [False, False, True]
    assert board.loc[0, "harrell_c_difference_lower"] > 0
    assert board.loc[0, "ibs_difference_upper"] < 0
    csv = pd.read_csv(made["leaderboard_csv"])
    assert csv.columns.tolist() == board.columns.tolist()
    assert csv["ipa"].to_numpy() == pytest.approx(board["ipa"].to_numpy(), rel=1e-5)


def test_same_bytes_whatever_the_order_of_files_and_rows(study):
    first = run(study)
    folder = study["folder"]
    shuffled = np.random.default_rng(0).permutation(N)
    for name in ("outcomes", "strong.cox"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        table.iloc[shuffled].to_parquet(folder / f"{name}.parquet", index=False)
    again = run(study, output="again")
    assert all(first[key].read_bytes() == again[key].read_bytes() for key in first)


def test_availability_patterns_are_groups_and_small_ones_are_hidden(study):
    table = pd.read_parquet(run(study)["metrics"])
    harrell = pick(table, metric="harrell_c", horizon=360, experiment="strong.cox").set_index("group_value")
    has = {m: set(pd.read_parquet(study["folder"] / f"{m}.parquet")["subject_id"]) for m in ("ecg", "image")}
    both = np.array([i in has["ecg"] and i in has["image"] for i in study["ids"]])
    assert harrell.loc["ehr+ecg+image", "n"] == both.sum()
    risk = study["risks"]["strong.cox"][both, -1]
    expected = metrics.harrell_c(time=study["time"][both], event=study["event"][both], risk=risk)
    assert harrell.loc["ehr+ecg+image", "estimate"] == pytest.approx(expected)
    hidden = harrell.loc["ehr"]
    assert hidden[["n", "estimate", "lower", "upper"]].isna().all()
    assert harrell.loc["all", "n"] == N


def test_who_has_a_row_in_some_table_of_a_modality_has_it(study):
    """A set of few measurements beside one of many: the first of them alone would say that hardly anybody has any."""
    folder = study["folder"]
    table = pd.read_parquet(folder / "ecg.parquet")
    table.iloc[::40].to_parquet(folder / "a.parquet")
    availability = {"ehr": [folder / "ehr.parquet"], "ecg": [folder / "a.parquet", folder / "ecg.parquet"]}
    metrics_made = pd.read_parquet(run(study, availability=availability)["metrics"])
    rows = pick(metrics_made, metric="harrell_c", horizon=360, experiment="strong.cox").set_index("group_value")
    assert rows.loc["ehr+ecg", "n"] == np.isin(study["ids"], table["subject_id"]).sum()


def test_calibration_counts_and_observed(study):
    table = pd.read_parquet(run(study)["calibration"])
    rows = pick(table, experiment="strong.cox", horizon=360)
    groups = risk_group_members(study["risks"]["strong.cox"][:, -1], len(rows))
    assert rows["risk_group"].tolist() == list(range(1, len(rows) + 1))
    assert rows["n"].sum() == N
    assert rows["expected"].is_monotonic_increasing
    top = groups == groups.max()
    ratio = metrics.observed_expected_ratio(
        time=study["time"][top], event=study["event"][top], risk=study["risks"]["strong.cox"][top, -1], horizon=360
    )
    assert rows.iloc[-1]["observed"] / rows.iloc[-1]["expected"] == pytest.approx(ratio)
    assert (rows["lower"] <= rows["observed"]).all()
    assert (rows["observed"] <= rows["upper"]).all()
    assert (rows["upper"] > 0).all(), "without events in a group the incidence is not known to be zero"


def test_equal_risks_stay_in_one_calibration_group():
    assert risk_group_members(np.full(20, 0.4), 10).tolist() == [1] * 20
    groups = risk_group_members(np.repeat([0.1, 0.2, 0.7], [60, 30, 10]), 10)
    assert [set(part.tolist()) for part in np.split(groups, [60, 90])] == [{1}, {2}, {3}]


def test_intervals_cover_the_truth():
    # 95 % intervals of Harrell's concordance without censoring, against the concordance of 200,000 subjects.
    rng = np.random.default_rng(12)

    def sample(n):
        risk = rng.normal(size=n)
        return {"time": rng.exponential(np.exp(-risk)), "event": np.ones(n, int), "risk": risk}

    truth = metrics.harrell_c(**sample(200_000))
    covered = 0
    for seed in range(120):
        values = sample(150)
        outcomes = sort_outcomes(values["time"], values["event"])
        rows = next(resamples(people=np.arange(150), count=150, seed=seed, batch=150))[:, outcomes.order].copy()
        uncensored = kernel.still_uncensored(outcomes.kind, outcomes.starts, rows)
        rank, limits = metrics.risk_ranks(values["risk"])[outcomes.order], np.array([150])
        draws = kernel.concordance(rank, outcomes.kind, outcomes.starts, rows, uncensored, limits)
        lower, upper = percentile_interval(draws[:, 0], 0.95)
        covered += lower <= truth <= upper
    assert 0.88 <= covered / 120 <= 0.99


def test_resamples_do_not_depend_on_the_batch():
    one = np.concatenate(list(resamples(people=np.arange(30), count=25, seed=1, batch=7)))
    assert np.array_equal(one, np.concatenate(list(resamples(people=np.arange(30), count=25, seed=1, batch=100))))
    assert (one.sum(axis=1) == 30).all()


def test_no_interval_from_mostly_undefined_resamples():
    values = np.array([[0.1, 0.2], [np.nan, 0.3], [0.2, 0.4]])
    lower, upper = percentile_interval(values, 0.9)
    assert np.isnan(lower[0])
    assert lower[1] < 0.3 < upper[1]


def judged(study, objectives):
    folder = study["folder"]
    return judge(
        objectives=objectives,
        endpoints={"mace": ENDPOINT},
        predictions={"mace": {name: folder / f"{name}.parquet" for name in STRENGTHS}},
        outcomes={"mace": folder / "outcomes.parquet"},
        subjects=folder / "subjects.parquet",
        evaluation=EVALUATION,
        output=folder / "objectives.csv",
    )


def test_objectives_have_verdicts_with_the_numbers_of_the_tables(study):
    def objective(**values):
        return Objective(**{"description": "x", "endpoint": "mace", "experiment": "strong.cox", **values})

    found = judged(
        study,
        {
            "better": objective(compared_with="weak.cox", above=0),
            "far_better": objective(compared_with="weak.cox", above=0.9),
            "any_pair": objective(compared_with="middle.cox", metric="ibs", below=0),
            "chance": objective(experiment="weak.cox", metric="uno_c", above=0.55),
        },
    ).set_index("objective")
    differences = pd.read_parquet(run(study)["differences"])
    row = pick(differences, experiment="strong.cox", metric="harrell_c", horizon=360, group="all").iloc[0]
    assert found.loc["better", ["estimate", "lower", "upper"]].tolist() == row[["estimate", "lower", "upper"]].tolist()
    assert found["verdict"].tolist()[:3] == ["met", "not met", "met"]
    assert found.loc["better", "sentence"].startswith(
        "Met: Harrell's concordance of strong.cox minus weak.cox at 360 days"
    )
    assert pd.read_csv(study["folder"] / "objectives.csv")["verdict"].tolist() == found["verdict"].tolist()


def test_a_study_without_objectives_has_an_empty_table(study):
    assert judged(study, {}).empty
    assert pd.read_csv(study["folder"] / "objectives.csv").columns[0] == "objective"


@pytest.mark.parametrize(
    ("interval", "threshold", "expected"),
    [
        ((0.6, 0.7), {"above": 0.5}, "met"),
        ((0.3, 0.5), {"above": 0.5}, "not met"),
        ((0.4, 0.6), {"above": 0.5}, "inconclusive"),
        ((-0.2, -0.1), {"below": 0}, "met"),
        ((0.1, 0.2), {"below": 0}, "not met"),
        ((np.nan, np.nan), {"below": 0}, "inconclusive"),
    ],
)
def test_verdict_needs_the_whole_interval(interval, threshold, expected):
    thresholds = {"above": None, "below": None} | threshold
    assert verdict(lower=interval[0], upper=interval[1], **thresholds) == expected


def test_figures_have_the_same_bytes_and_text_of_every_experiment(study):
    made = run(study)
    folder = study["folder"]
    for turn in ("a", "b"):
        plot_leaderboard(leaderboard=made["leaderboard"], output=folder / f"board_{turn}.svg")
        plot_calibration(
            calibration=made["calibration"], leaderboard=made["leaderboard"], output=folder / f"calibration_{turn}.svg"
        )
    for figure in ("board", "calibration"):
        first = (folder / f"{figure}_a.svg").read_bytes()
        assert first == (folder / f"{figure}_b.svg").read_bytes()
        assert b"<dc:date>" not in first


def test_a_single_experiment_can_be_evaluated(study):
    made = run(study, predictions=[study["folder"] / "weak.cox.parquet"])
    assert pd.read_parquet(made["differences"]).empty
    assert len(pd.read_csv(made["leaderboard_csv"])) == 1
    plot_leaderboard(leaderboard=made["leaderboard"], output=study["folder"] / "one.svg")


def test_other_subjects_are_refused_with_counts(study):
    folder, ids = study["folder"], study["ids"].copy()
    ids[0] = "other"
    write_experiment(folder, "strong.cox", ids[:-4], study["risks"]["strong.cox"][:-4])
    with pytest.raises(DataError, match=r"strong\.cox\.parquet.*lack 5 of the 240 subjects at risk and hold 1 others"):
        run(study)
    assert not (folder / "evaluation").exists()


def test_horizon_beyond_the_follow_up_is_refused(study):
    late = ENDPOINT.model_copy(update={"horizons": [180, 9000]})
    with pytest.raises(DataError, match=r"horizon of 9000 days is beyond the last follow-up of \d+ days \(last target"):
        run(study, endpoint=late)


def test_predictions_of_another_grid_are_refused(study):
    with pytest.raises(DataError, match="days of the endpoint's grid are missing"):
        run(study, endpoint=ENDPOINT.model_copy(update={"grid_points": 9}))


def test_unknown_reference_and_repeated_experiment_are_refused(study):
    with pytest.raises(StudyError, match=r"no experiment 'weak\.coxx'\. Did you mean 'weak\.cox'\?"):
        run(study, reference="weak.coxx")
    with pytest.raises(DataError, match=r"'weak\.cox' is given twice"):
        run(study, predictions=[study["folder"] / "weak.cox.parquet"] * 2)


def test_an_endpoint_without_events_is_refused(study):
    table = pd.read_parquet(study["folder"] / "outcomes.parquet").assign(event=0)
    write_table(table, study["folder"] / "outcomes.parquet", OUTCOMES)
    with pytest.raises(DataError, match="none of 240 subjects at risk has the target event"):
        run(study)


def test_subjects_at_risk_that_the_cohort_lacks_are_refused(study):
    path = study["folder"] / "subjects.parquet"
    write_table(pd.read_parquet(path).iloc[3:], path, SUBJECTS)
    with pytest.raises(DataError, match="3 subjects are not in"):
        run(study)
